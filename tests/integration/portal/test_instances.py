"""Instances from request to end, against a stand-in of the hub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.portal_platform import Platform, allow, running_portal, write_example

pytestmark = pytest.mark.integration

Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def opened(client: httpx.AsyncClient, **more: str) -> dict[str, Any]:
    answer = await client.post("instances", json={"avi": "gavip/demo", **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def in_state(client: httpx.AsyncClient, instance: str, *states: str) -> dict[str, Any] | None:
    found = (await client.get(f"instances/{instance}")).json()
    return found if found["state"] in states else None


async def test_opening_starts_shares_and_tells_where(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    asked = await opened(ada)
    assert asked["state"] == "requested"
    ready = await until(lambda: in_state(ada, asked["id"], "ready"))
    (name,) = platform.hub.users
    assert name.startswith("avi-")
    assert len(name) == 36
    assert ready["url"] == f"{platform.hub.url}/user/{name}/"
    assert platform.hub.shares == [(name, "ada")]
    server = platform.hub.users[name]
    assert server is not None
    options = server.options["instance"]
    assert options["owner"] == {"name": "ada", "roles": ["scientist"]}
    assert (options["avi"], options["view"], options["notebook"]) == (
        "gavip/demo",
        "interface",
        "app.ipynb",
    )
    assert options["release"] == ready["release"]
    assert options["permissions"] == {"userspace": "none", "archive": True, "network": []}


async def test_events_tell_every_step_and_end(platform: Platform, ada: httpx.AsyncClient) -> None:
    asked = await opened(ada)
    states: list[tuple[str, int]] = []
    async with ada.stream("GET", f"instances/{asked['id']}/events") as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                event = json.loads(line[6:])
                states.append((event["state"], event["progress"]))
                if event["state"] == "ready":
                    await ada.delete(f"instances/{asked['id']}")
    assert [p for _, p in states] == sorted(p for _, p in states)
    assert list(dict.fromkeys(s for s, _ in states))[-4:] == [
        "starting",
        "ready",
        "stopping",
        "stopped",
    ]


async def test_same_view_is_opened_once(ada: httpx.AsyncClient, platform: Platform) -> None:
    answers = await asyncio.gather(*(opened(ada) for _ in range(5)))
    assert len({a["id"] for a in answers}) == 1
    other = await opened(ada, view="dashboard-density")
    assert other["id"] != answers[0]["id"]


async def test_limit_per_person(tmp_path: Path) -> None:
    write_example(tmp_path / "examples")
    async with (
        running_portal(tmp_path, max_instances_per_user=1) as platform,
        httpx.AsyncClient(
            base_url=platform.url + "api/v1/", headers={"Authorization": "token person-ada"}
        ) as ada,
    ):
        await allow(ada)
        await opened(ada)
        refused = await ada.post(
            "instances", json={"avi": "gavip/demo", "view": "dashboard-density"}
        )
        assert refused.status_code == 429
        assert "Stop one" in refused.json()["hint"]


async def test_failure_says_the_spawners_reason(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    platform.hub.fail_with = "Your pool has 0.2 GiB free; the AVI needs 0.5 GiB."
    asked = await opened(ada)
    failed = await until(lambda: in_state(ada, asked["id"], "failed"))
    assert failed["message"] == platform.hub.fail_with
    assert "Retry" in failed["hint"]
    assert failed["url"] is None

    async def gone() -> bool:
        return platform.hub.users == {}

    await until(gone)


async def test_failure_at_once_says_the_reason_too(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    platform.hub.fail_at_once = True
    platform.hub.fail_with = "No release folder."
    asked = await opened(ada)
    failed = await until(lambda: in_state(ada, asked["id"], "failed"))
    assert failed["message"] == "No release folder."


async def test_stop_is_idempotent_and_leaves_nothing(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    asked = await opened(ada)
    await until(lambda: in_state(ada, asked["id"], "ready"))
    for _ in range(3):
        assert (await ada.delete(f"instances/{asked['id']}")).status_code == 204
    await until(lambda: in_state(ada, asked["id"], "stopped"))
    assert platform.hub.users == {}
    assert (await ada.delete(f"instances/{asked['id']}")).status_code == 204
    again = await opened(ada)
    assert again["id"] != asked["id"]


async def test_stop_while_starting(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    platform.hub.hold = asyncio.Event()
    asked = await opened(ada)
    await until(lambda: in_state(ada, asked["id"], "starting"))
    await ada.delete(f"instances/{asked['id']}")
    await until(lambda: in_state(ada, asked["id"], "stopped"))
    assert platform.hub.users == {}


async def test_others_do_not_see_or_stop_it(
    ada: httpx.AsyncClient, grace: httpx.AsyncClient
) -> None:
    asked = await opened(ada)
    for answer in (
        await grace.get(f"instances/{asked['id']}"),
        await grace.delete(f"instances/{asked['id']}"),
        await grace.get(f"instances/{asked['id']}/events"),
        await grace.get("instances/nonsense"),
    ):
        assert answer.status_code == 404
    assert (await grace.get("instances")).json() == []


async def test_sign_out_stops_all_of_one_person(
    platform: Platform,
    client: Callable[[str], httpx.AsyncClient],
    ada: httpx.AsyncClient,
    grace: httpx.AsyncClient,
    until: Until,
) -> None:
    mine = await opened(ada)
    hers = await opened(grace)
    await until(lambda: in_state(ada, mine["id"], "ready"))
    await until(lambda: in_state(grace, hers["id"], "ready"))
    assert (await ada.delete("instances", params={"owner": "grace"})).status_code == 403
    answer = await client("operator").delete("instances", params={"owner": "ada"})
    assert (answer.status_code, answer.json()) == (202, {"stopping": 1})
    await until(lambda: in_state(ada, mine["id"], "stopped"))
    assert await in_state(grace, hers["id"], "ready")


async def test_reconcile_notices_a_server_that_ended(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    asked = await opened(ada)
    await until(lambda: in_state(ada, asked["id"], "ready"))
    (name,) = platform.hub.users
    server = platform.hub.users[name]
    assert server is not None
    server.ready = False  # culled
    await platform.app.instances.reconcile()
    assert await in_state(ada, asked["id"], "stopped")
    assert platform.hub.users == {}


async def test_reconcile_removes_leftovers_and_spares_people(
    platform: Platform, ada: httpx.AsyncClient
) -> None:
    platform.hub.users["avi-" + "0" * 32] = None
    platform.hub.users["xavi-person"] = None
    await platform.app.instances.reconcile()
    assert list(platform.hub.users) == ["xavi-person"]


async def test_restart_takes_up_what_it_left(tmp_path: Path, until: Until) -> None:
    """The portal is stopped while an AVI starts; the next one follows it to the end."""
    write_example(tmp_path / "examples")
    async with running_portal(tmp_path) as first:
        first.hub.hold = asyncio.Event()
        async with httpx.AsyncClient(
            base_url=first.url + "api/v1/", headers={"Authorization": "token person-ada"}
        ) as ada:
            await allow(ada)
            asked = await opened(ada)
            await until(lambda: in_state(ada, asked["id"], "starting"))

            async def started() -> bool:
                return any(first.hub.users.values())

            await until(started)
            await first.app.instances.close()
            assert await in_state(ada, asked["id"], "starting")
            await first.app.instances.reconcile()
            first.hub.hold.set()
            assert await until(lambda: in_state(ada, asked["id"], "ready"))
