"""The queue under kills at random instants: what must hold whatever runs its jobs."""

from __future__ import annotations

import asyncio
import collections
import os
import random
import signal
import time
from collections.abc import Mapping
from typing import Any

import httpx

from tests.integration.jobqueue.conftest import Queue

OWNERS = [f"user{n}" for n in range(4)]


async def _submit_for_ever(
    queue: Queue, kills: int, owner: str, wanted: int, acknowledged: list[str]
) -> None:
    """Submit jobs until `wanted` are acknowledged; what was not answered may or may not exist."""
    while len(acknowledged) < wanted:
        try:
            job = await queue.submit("succeed", seconds=0, owner=owner, cpu=0.25, memory="64M")
            acknowledged.append(job["id"])
        except httpx.TransportError:
            await asyncio.sleep(0.1)
        # spread over the whole time, so that every kill meets jobs in all states
        while len(acknowledged) > queue.kills / kills * wanted + 12:  # noqa: ASYNC110 - polls a counter of its own loop
            await asyncio.sleep(0.2)


async def _listed(queue: Queue, owner: str) -> list[dict[str, Any]]:
    """Return all jobs of a user, page by page."""
    jobs, cursor = [], ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        page = (await queue.client.get(f"api/v1/jobs?owner={owner}&limit=200{more}")).json()
        jobs += page["items"]
        cursor = page["next"]
    return jobs


async def soak(
    queue: Queue, kills: int, count: int, options: Mapping[str, Any], patience: float
) -> dict[str, Any]:
    """Kill the queue `kills` times at random instants while `count` jobs go through it; return the figures.

    None may be lost, none may run twice, and the ledger must be empty afterwards.
    """
    seed = int(os.environ.get("GAVIP_SOAK_SEED", "0")) or random.randrange(1 << 30)
    chance = random.Random(seed)
    for owner in OWNERS:
        (queue.state / f"userspace/{owner}/avis/gaia.demo").mkdir(parents=True)
    await queue.kill()
    queue.kills = 0
    queue.options = {"reconcile_seconds": 2, "max_queued_per_user": count, **options}
    begun = time.monotonic()
    await queue.start()
    acknowledged: dict[str, list[str]] = {owner: [] for owner in OWNERS}
    submitters = [
        asyncio.ensure_future(
            _submit_for_ever(queue, kills, o, count // len(OWNERS), acknowledged[o])
        )
        for o in OWNERS
    ]
    while queue.kills < kills:
        # some kills hit the start-up with its recovery, most the work
        await asyncio.sleep(chance.choice([chance.uniform(0.1, 2.0), chance.uniform(1.5, 4.0)]))
        await queue.kill(signal.SIGKILL)
        queue.kills += 1
        await queue.launch()
    await queue.until(queue._ready, "the queue to be ready", 60)
    await asyncio.wait_for(asyncio.gather(*submitters), patience)

    async def all_over() -> bool:
        figures = (await queue.client.get("api/v1/queue")).json()
        return figures["queued"] + figures["running"] == 0

    await queue.until(all_over, "all jobs to be over", patience)

    jobs = [job for owner in OWNERS for job in await _listed(queue, owner)]
    states = collections.Counter(job["state"] for job in jobs)
    attempts = collections.Counter(job["attempt"] for job in jobs)
    runs = collections.Counter(line for owner in OWNERS for line in queue.runs(owner))
    promised = {job_id for ids in acknowledged.values() for job_id in ids}
    figures = {
        "seed": seed,
        "kills": queue.kills,
        "acknowledged": len(promised),
        "stored": len(jobs),
        "states": dict(states),
        "attempts": dict(attempts),
        "lost": len(promised - {job["id"] for job in jobs}),
        "never run": len({job["id"] for job in jobs} - {line.split()[0] for line in runs}),
        "run twice": sum(n > 1 for n in runs.values()),
        "seconds": round(time.monotonic() - begun),
    }
    assert figures["lost"] == 0
    assert figures["never run"] == 0
    assert figures["run twice"] == 0
    assert states == {"succeeded": len(jobs)}
    assert attempts == {1: len(jobs)}
    used = (await queue.client.get("api/v1/queue")).json()["used"]
    assert not any(used.values()), used
    for owner in OWNERS:
        assert (await queue.client.get(f"api/v1/pools/{owner}")).json()["holders"] == []
    ended = [p for p in (queue.state / "plane").glob("job-*") if (p / "exit.json").exists()]
    assert len(ended) == len(jobs)
    return figures
