"""Migrations, and queries that others rely on."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from gavip_web.database import downgrade, make_engine, upgrade
from jobqueue.app import MIGRATIONS
from jobqueue.storage.orm import Base


@pytest.fixture
def engine(empty_url):
    engine = make_engine(empty_url)
    yield engine
    engine.dispose()


def test_migrations_give_the_very_tables_of_the_code(engine):
    upgrade(engine, MIGRATIONS)
    upgrade(engine, MIGRATIONS)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_go_down_and_up_again(engine):
    upgrade(engine, MIGRATIONS)
    downgrade(engine, MIGRATIONS, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    upgrade(engine, MIGRATIONS)
    assert "jobs" in inspect(engine).get_table_names()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_event_numbers_are_never_given_twice(engine):
    upgrade(engine, MIGRATIONS)
    with engine.connect() as connection:
        sql = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE name = 'events'"
        ).scalar()
    assert "AUTOINCREMENT" in sql
