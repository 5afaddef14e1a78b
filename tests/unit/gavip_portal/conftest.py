"""A database and a state folder for the portal's services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gavip_portal.app import MIGRATIONS
from gavip_portal.services.publishing import Publisher
from gavip_spawner.layout import StateLayout
from gavip_web.database import Database, make_engine, upgrade


@pytest.fixture
def layout(tmp_path: Path) -> StateLayout:
    return StateLayout(tmp_path / "state")


@pytest.fixture
def database(layout: StateLayout) -> Iterator[Database]:
    engine = make_engine(f"sqlite:///{layout.run / 'portal.sqlite'}")
    upgrade(engine, MIGRATIONS)
    database = Database(engine)
    yield database
    database.close()


@pytest.fixture
def publisher(database: Database, layout: StateLayout) -> Publisher:
    return Publisher(database, layout)
