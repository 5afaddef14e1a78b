"""A full disk and a locked database: said plainly, nothing acknowledged is lost, and it goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time

import pytest

pytestmark = pytest.mark.integration

LONG = bool(os.environ.get("GAVIP_SOAK"))
LOCKED_SECONDS = 60 if LONG else 13
FULL_SECONDS = 60 if LONG else 16


async def refused(queue, seconds=0):
    """Submit until it is refused; return the answer and what was acknowledged before."""
    from tests.integration.jobqueue.conftest import submission

    acknowledged = []
    for _ in range(2000):
        r = await queue.client.post("api/v1/jobs", json=submission("succeed", seconds=seconds))
        if r.status_code != 201:
            return r, acknowledged
        acknowledged.append(r.json()["id"])
    raise AssertionError("it was never refused")


async def call(*argv):
    return await (await asyncio.create_subprocess_exec(*argv)).wait()


@contextlib.asynccontextmanager
async def disk(folder, size):
    """Mount a small disk."""
    if os.geteuid():
        pytest.skip("mounting a small disk needs root")
    folder.mkdir(parents=True, exist_ok=True)
    if await call("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)):
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        yield folder
    finally:
        assert await call("umount", "-l", str(folder)) == 0


@contextlib.asynccontextmanager
async def full(folder):
    """Fill the disk of a folder to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    yield
    filler.unlink()


@pytest.fixture
async def small(queue):
    """The queue with its database on a disk of 4 MiB."""
    await queue.kill()
    async with disk(queue.state / "small", "4m") as folder:
        queue.options = {
            "database_url": f"sqlite:///{folder / 'queue.db'}",
            "max_queued_per_user": 5000,
            "reconcile_seconds": 1,
        }
        await queue.start()
        try:
            yield queue
        finally:
            if queue.process.returncode is None:
                await queue.kill()


@pytest.fixture
async def crowded(queue):
    """The queue with everything but the users' files on a disk of 16 MiB: database, processes, logs."""
    await queue.kill()
    state = queue.state
    async with disk(state / "crowded", "16m") as folder:
        (folder / "userspace").symlink_to(state / "userspace")
        queue.options = {
            "state_dir": str(folder),
            "max_queued_per_user": 5000,
            "reconcile_seconds": 1,
        }
        await queue.start()
        try:
            yield queue
        finally:
            if queue.process.returncode is None:
                await queue.kill()


async def test_a_full_disk(small):
    queue, folder = small, small.state / "small"
    before = [(await queue.submit("succeed", seconds=2))["id"] for _ in range(3)]
    await queue.reach(before[0], "running")
    async with full(folder):
        r, acknowledged = await refused(queue)
        assert (r.status_code, r.json()["code"]) == (503, "unavailable")
        assert "Nothing was stored" in r.json()["hint"]
        # what runs ends meanwhile and cannot be recorded
        await asyncio.sleep(4)
        assert (await queue.client.get("api/v1/queue")).status_code == 200
    for job_id in [*before, *acknowledged]:
        assert (await queue.reach(job_id, "succeeded", "failed", "lost"))["state"] == "succeeded"
    runs = queue.runs()
    assert sorted(runs) == sorted(f"{job_id} 1" for job_id in [*before, *acknowledged])
    assert (await queue.submit("succeed", seconds=0))["state"] == "queued"


async def test_a_disk_that_is_full_for_the_processes_too(crowded):
    queue, folder = crowded, crowded.state / "crowded"
    before = [(await queue.submit("talk", seconds=3))["id"] for _ in range(6)]
    await queue.reach(before[0], "running")
    async with full(folder):
        r, acknowledged = await refused(queue)
        assert r.status_code == 503
        # long enough for what runs to end, and for more tries to start what waits than a job has
        await asyncio.sleep(FULL_SECONDS)
        states = [(await queue.job(job_id))["state"] for job_id in before]
        assert not {"failed", "lost"} & set(states), states
    for job_id in [*before, *acknowledged]:
        job = await queue.reach(job_id, "succeeded", "failed", "lost")
        assert (job["state"], job["attempt"]) == ("succeeded", 1), job["error"]
    assert sorted(queue.runs()) == sorted(f"{job_id} 1" for job_id in [*before, *acknowledged])
    log = (await queue.client.get(f"api/v1/jobs/{before[0]}/log?limit=1000000")).text
    assert "[some output is missing: the disk was full]" in log
    used = (await queue.client.get("api/v1/queue")).json()["used"]
    assert not any(used.values()), used
    assert not list((folder / "plane").glob(".new-*"))


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
