"""Background tasks end, whatever they swallow."""

from __future__ import annotations

import asyncio

import pytest

from gavip_web import tasks


async def test_a_loop_that_is_woken_and_cancelled_at_once_ends():
    awake = asyncio.Event()

    async def loop():
        while True:
            awake.clear()
            await tasks.woken(awake, 60)

    task = asyncio.ensure_future(loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    awake.set()
    await asyncio.sleep(0)  # the waiter is done, the loop has not been told yet
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    assert done == {task}
    assert task.cancelled()


@pytest.mark.parametrize("set_before", [True, False])
async def test_woken_says_whether(set_before):
    event = asyncio.Event()
    if set_before:
        event.set()
    assert await tasks.woken(event, 0.01) is set_before


async def test_end_insists(monkeypatch):
    monkeypatch.setattr(tasks, "_AGAIN_SECONDS", 0.01)
    swallowed = 0

    async def stubborn():
        nonlocal swallowed
        while swallowed < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    await tasks.end(task)
    assert task.done()
    assert swallowed == 3


async def test_end_says_what_failed(caplog):
    async def faulty():
        try:
            await asyncio.sleep(60)
        finally:
            raise ValueError("on the way out")

    task = asyncio.ensure_future(faulty())
    await asyncio.sleep(0)
    await tasks.end(task)
    assert "on the way out" in caplog.text


async def test_end_of_nothing_and_of_what_is_over():
    await tasks.end()
    over = asyncio.ensure_future(asyncio.sleep(0))
    await over
    await tasks.end(over)
