"""Logs, server-sent events' wire format, database helpers and the hub client."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import time

import httpx
import pytest
from httpx_sse import SSEError
from httpx_sse._decoders import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from gavip_api.errors import Conflict, Forbidden, NotFound, Unavailable
from gavip_web import hub as hub_module
from gavip_web.database import Database, make_engine
from gavip_web.hub import HubClient
from gavip_web.logs import JsonFormatter, request_id
from gavip_web.sse import ServerEvent

assert SSEError  # the dependency's public name; its decoder is what browsers do


def decode(wire: bytes) -> list[tuple[str, str, str]]:
    decoder, found = SSEDecoder(), []
    for line in wire.decode()[:-1].split("\n"):
        event = decoder.decode(line)
        if event is not None:
            found.append((event.id, event.event, event.data))
    return found


@given(
    data=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1),
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
)
def test_an_event_survives_the_wire_and_cannot_forge_another(data, name):
    found = decode(ServerEvent(data, id="7", event=name).encode())
    assert len(found) == 1
    assert found[0][0] == "7"
    assert found[0][2] == data


def test_json_log_lines_carry_request_id_fields_and_stay_one_line():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.Logger("t")
    logger.addHandler(handler)
    token = request_id.set("r1")
    try:
        logger.info("a\nforged line", extra={"fields": {"ms": 3}})
    finally:
        request_id.reset(token)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    assert {"message": "a\nforged line", "request": "r1", "ms": 3}.items() <= json.loads(
        lines[0]
    ).items()


@pytest.fixture
def database(tmp_path):
    db = Database(make_engine(f"sqlite:///{tmp_path}/sub/x.db"))
    yield db
    db.close()


async def test_database_work_runs_off_the_loop_and_rolls_back(database):
    def make(session):
        session.execute(text("CREATE TABLE t (n INTEGER)"))
        return threading.current_thread().name

    assert (await database.write(make)).startswith("db-write")

    def fail(session):
        session.execute(text("INSERT INTO t VALUES (1)"))
        raise RuntimeError("after the insert")

    with pytest.raises(RuntimeError):
        await database.write(fail)
    assert await database.read(lambda s: s.execute(text("SELECT count(*) FROM t")).scalar()) == 0


async def test_writers_of_two_processes_wait_for_each_other(tmp_path):
    first, second = (Database(make_engine(f"sqlite:///{tmp_path}/x.db")) for _ in range(2))
    await first.write(lambda s: s.execute(text("CREATE TABLE t (n INTEGER)")) and None)

    def bump(session):
        n = session.execute(text("SELECT count(*) FROM t")).scalar()
        session.execute(text("INSERT INTO t VALUES (:n)"), {"n": n})

    await asyncio.gather(*(db.write(bump) for _ in range(20) for db in (first, second)))
    seen = await first.read(lambda s: s.execute(text("SELECT n FROM t ORDER BY n")).scalars().all())
    assert seen == list(range(40))
    first.close()
    second.close()


async def test_writers_behind_each_other_wait_no_longer_than_one(database, monkeypatch):
    monkeypatch.setattr("gavip_web.database.BUSY_SECONDS", 1)
    with database.engine.connect() as other:
        # begins with the write lock, like everybody's
        other.execute(text("SELECT 1"))
        begun = time.monotonic()
        failed = await asyncio.gather(
            *(database.write(lambda s: s.execute(text("SELECT 1")) and None) for _ in range(10)),
            return_exceptions=True,
        )
        took = time.monotonic() - begun
    assert {type(e) for e in failed} == {Unavailable}
    assert 0.9 < took < 5
    assert await database.write(lambda s: s.execute(text("SELECT 1")).scalar()) == 1


async def test_a_broken_database_is_unavailable(database):
    with pytest.raises(Unavailable) as e:
        await database.read(lambda s: s.execute(text("SELECT * FROM secret_table")))
    assert "secret_table" not in e.value.message


def scripted(*answers: httpx.Response) -> tuple[HubClient, list[httpx.Request]]:
    queue, seen = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return queue.pop(0)

    return HubClient("http://hub/hub/api", "t", httpx.MockTransport(answer)), seen


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(hub_module, "_wait", lambda state: 0)


async def test_hub_client_waits_out_a_busy_hub():
    client, seen = scripted(
        httpx.Response(429, headers={"Retry-After": "3"}),
        httpx.Response(503),
        httpx.Response(200, json={"name": "a"}),
    )
    assert await client.user("a/../b") == {"name": "a"}
    assert len(seen) == 3
    assert seen[0].url.raw_path == b"/hub/api/users/a%2F..%2Fb"
    await client.close()


async def test_hub_client_never_repeats_a_start():
    client, seen = scripted(httpx.Response(503), httpx.Response(201))
    with pytest.raises(Unavailable):
        await client.start_server("a", {})
    assert len(seen) == 1
    await client.close()


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (403, Forbidden), (400, Conflict), (500, Unavailable)]
)
async def test_hub_client_translates_refusals(status, kind):
    client, _ = scripted(httpx.Response(status, json={"message": "no"}))
    with pytest.raises(kind):
        await client.user("a")
    await client.close()


async def test_deleting_what_is_gone_and_creating_what_exists_is_fine():
    client, _ = scripted(httpx.Response(404), httpx.Response(404), httpx.Response(409))
    await client.delete_user("a")
    await client.stop_server("a")
    await client.create_user("a")
    await client.close()
