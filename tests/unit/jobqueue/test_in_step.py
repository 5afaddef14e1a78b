"""What is in memory follows the database, and yields to it when the two differ."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from gavip_api.errors import Unavailable
from gavip_api.models import RunResult
from jobqueue.amounts import Amount
from jobqueue.schedulers import ShareBook
from jobqueue.storage.hooks import on_commit

OK = RunResult(ok=True)


async def test_actions_run_after_the_commit_and_only_then(database):
    done = []

    def work(session):
        on_commit(session, lambda: done.append(1))
        on_commit(session, lambda: done.append(2))
        assert done == []

    await database.write(work)
    assert done == [1, 2]


async def test_actions_of_a_rollback_never_run(database):
    done = []

    def work(session):
        on_commit(session, lambda: done.append(1))
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        await database.write(work)
    assert done == []


def edit(service, statement, **values):
    with service.app.database.engine.begin() as connection:
        connection.execute(text(statement), values)


async def test_a_ghost_in_memory_does_not_stop_the_queue(start):
    service = await start(capacity_cpu=0.5, user_cpu=0.5, scheduler="fifo")
    first = await service.submit()
    await service.reach(first, "running")
    ghost, next_ = await service.submit(), await service.submit()
    edit(service, "DELETE FROM jobs WHERE id = :id", id=ghost)
    await service.plane.end(f"job-{first}.1", OK)
    await service.until(lambda: service.app.services["jobs"]._queries._waitlist.count() == 1)
    service.app.reconciler.wake()
    await service.reach(next_, "running")


async def test_housekeeping_finds_what_memory_missed(start):
    service = await start(housekeeping_seconds=0.1, reconcile_seconds=0.1, capacity_cpu=1.0)
    running = await service.submit(cpu=1)
    await service.reach(running, "running")
    missed = await service.submit("bob", cpu=1)
    waitlist = service.app.services["jobs"]._queries._waitlist
    waitlist._queue.discard(missed)
    await service.until(lambda: missed in waitlist)


async def test_the_queue_is_rebuilt_at_the_start(start):
    service = await start(user_cpu=0.5)
    ids = [await service.submit() for _ in range(4)]
    await service.reach(ids[0], "running")
    plane = service.plane
    await start.stop(service)
    service = await start(plane, user_cpu=0.5)
    places = [(await service.job(i))["position"] for i in ids]
    assert places == [None, 1, 2, 3]
    await plane.end(f"job-{ids[0]}.1", OK)
    await service.reach(ids[1], "running")


def test_shares_may_be_read_while_they_change():
    book = ShareBook(Amount(10, 1000, 1, 1), 1.0)
    owners = [f"u{n}" for n in range(200)]
    for owner in owners:
        book.know(owner)

    def change():
        for n in range(4000):
            book.hold(owners[n % 200], Amount(n % 3), n / 100)

    now = 0.0
    with ThreadPoolExecutor(1) as pool:
        changing = pool.submit(change)
        while not changing.done():
            now += 0.01
            with book.lock:
                assert len(list(book.ascending(now, owners))) == 200
        changing.result()
