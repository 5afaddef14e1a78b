"""A real portal between stand-ins of hub and queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.portal_platform import Platform, allow, running_portal, write_example

pytestmark = pytest.mark.integration


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    write_example(tmp_path / "examples")
    async with running_portal(tmp_path, max_instances_per_user=2) as platform:
        yield platform


@pytest.fixture
async def client(platform: Platform) -> AsyncIterator[Callable[[str], httpx.AsyncClient]]:
    """Return a function that gives a client of the public API with somebody's token."""
    clients: list[httpx.AsyncClient] = []

    def make(token: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"token {token}"} if token else {}
        clients.append(
            httpx.AsyncClient(base_url=platform.url + "api/v1/", headers=headers, timeout=20)
        )
        return clients[-1]

    yield make
    for made in clients:
        await made.aclose()


@pytest.fixture
async def ada(client: Callable[[str], httpx.AsyncClient]) -> httpx.AsyncClient:
    """Return a client of a person who has allowed the demonstration AVI what it asks."""
    made = client("person-ada")
    await allow(made)
    return made


@pytest.fixture
async def grace(client: Callable[[str], httpx.AsyncClient]) -> httpx.AsyncClient:
    made = client("person-grace")
    await allow(made)
    return made


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Return a function that asks until the answer is true, within 10 s."""

    async def ask(question: Callable[[], Awaitable[Any]]) -> Any:
        deadline = time.monotonic() + 10
        while True:
            answer = await question()
            if answer:
                return answer
            assert time.monotonic() < deadline, "it did not happen in time"
            await asyncio.sleep(0.02)

    return ask
