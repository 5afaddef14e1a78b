"""A full disk and a locked database: said plainly, nothing acknowledged is lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time

import pytest

pytestmark = pytest.mark.integration

LOCKED_SECONDS = 60 if os.environ.get("GAVIP_SOAK") else 13


async def refused(queue):
    """Submit until it is refused; return the answer and what was acknowledged before."""
    from tests.integration.jobqueue.conftest import submission

    acknowledged = []
    for _ in range(2000):
        r = await queue.client.post("api/v1/jobs", json=submission("succeed", seconds=0))
        if r.status_code != 201:
            return r, acknowledged
        acknowledged.append(r.json()["id"])
    raise AssertionError("it was never refused")


async def call(*argv):
    return await (await asyncio.create_subprocess_exec(*argv)).wait()


@pytest.fixture
async def small(queue):
    """The queue with its database on a disk of 4 MiB."""
    if os.geteuid():
        pytest.skip("mounting a small disk needs root")
    await queue.kill()
    run = queue.state / "small"
    run.mkdir()
    if await call("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(run)):
        pytest.skip("this machine lets nobody mount a tmpfs")
    queue.options = {
        "database_url": f"sqlite:///{run / 'queue.db'}",
        "max_queued_per_user": 5000,
        "reconcile_seconds": 1,
    }
    await queue.start()
    try:
        yield queue
    finally:
        if queue.process.returncode is None:
            await queue.kill()
        assert await call("umount", "-l", str(run)) == 0


async def test_a_full_disk(small):
    queue, folder = small, small.state / "small"
    before = [(await queue.submit("succeed", seconds=2))["id"] for _ in range(3)]
    await queue.reach(before[0], "running")
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    r, acknowledged = await refused(queue)
    assert (r.status_code, r.json()["code"]) == (503, "unavailable")
    assert "Nothing was stored" in r.json()["hint"]
    # what runs ends meanwhile and cannot be recorded
    await asyncio.sleep(4)
    assert (await queue.client.get("api/v1/queue")).status_code == 200
    filler.unlink()
    for job_id in [*before, *acknowledged]:
        assert (await queue.reach(job_id, "succeeded", "failed", "lost"))["state"] == "succeeded"
    runs = queue.runs()
    assert sorted(runs) == sorted(f"{job_id} 1" for job_id in [*before, *acknowledged])
    assert (await queue.submit("succeed", seconds=0))["state"] == "queued"


async def test_a_locked_database(queue):
    before = [(await queue.submit("succeed", seconds=2))["id"] for _ in range(3)]
    await queue.reach(before[0], "running")
    other = sqlite3.connect(queue.state / "run" / "jobqueue.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    begun = time.monotonic()
    r, _ = await refused(queue)
    assert (r.status_code, r.json()["code"]) == (503, "unavailable")
    assert r.headers["Retry-After"]
    await asyncio.sleep(max(0, LOCKED_SECONDS - (time.monotonic() - begun)))
    assert (await queue.client.get("api/v1/jobs?owner=alice")).status_code == 200
    other.execute("ROLLBACK")
    other.close()
    for job_id in before:
        assert (await queue.reach(job_id, "succeeded", "failed", "lost"))["state"] == "succeeded"
    assert sorted(queue.runs()) == sorted(f"{job_id} 1" for job_id in before)
