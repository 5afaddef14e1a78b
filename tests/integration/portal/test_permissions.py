"""What AVIs may do: asked of their users, granted, enforced, revoked; against stand-ins of hub and queue."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gavip_portal.services.publishing import Publisher
from gavip_portal.services.seeding import seed
from gavip_portal.storage import grants as store
from gavip_spawner.layout import StateLayout
from tests.support.portal_platform import (
    MANIFEST,
    Platform,
    allow,
    running_portal,
    write_example,
)

pytestmark = pytest.mark.integration

Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]

ALL = "permissions: {userspace: read, archive: true, network: [data.example.org]}\n"
ASKED = {"userspace": "read", "archive": True, "network": ["data.example.org"]}
NOTHING = {"userspace": "none", "archive": False, "network": []}
PATH = "avis/gavip/demo/permissions"
JOB = {"avi": "gavip/demo", "pipeline": "hr-diagram", "parameters": {"rows": 100}}
SCHEDULE = JOB | {"cron": "0 6 * * *"}


def manifest(permissions: str) -> str:
    return MANIFEST.replace("interface:", f"{permissions}interface:")


async def publish(platform: Platform, permissions: str) -> None:
    """Publish a further release of the demonstration AVI, which asks for other permissions."""
    write_example(platform.state / "examples", manifest(permissions))
    publisher = Publisher(platform.app.database, StateLayout(platform.state))
    await seed(publisher, [str(platform.state / "examples" / "*")])


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    write_example(tmp_path / "examples", manifest(ALL))
    async with running_portal(tmp_path) as platform:
        yield platform


@pytest.fixture
def ada(client: Callable[[str], httpx.AsyncClient]) -> httpx.AsyncClient:
    """Return a client of a person who has allowed nothing yet."""
    return client("person-ada")


async def state_of(client: httpx.AsyncClient, instance: str) -> str:
    return str((await client.get(f"instances/{instance}")).json()["state"])


# -- asking --


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("instances", {"avi": "gavip/demo"}, id="open"),
        pytest.param("jobs", JOB, id="job"),
        pytest.param("schedules", SCHEDULE, id="schedule"),
        pytest.param("jobs/{job}/retry", None, id="retry"),
        pytest.param("jobs/{job}/clone", {}, id="clone"),
    ],
)
async def test_nothing_starts_before_it_is_allowed(
    platform: Platform, ada: httpx.AsyncClient, path: str, body: Any
) -> None:
    earlier = platform.queue.add("ada", state="failed", permissions=ASKED)
    path = path.format(job=earlier["id"])
    refused = await ada.post(path, json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "permissions-needed")
    problem = refused.json()
    for words in (
        "read all your files, but not change them",
        "query the Gaia archive in your name",
        "send data to data.example.org",
    ):
        assert words in problem["detail"]
    assert problem["errors"]["needed"] == ASKED
    assert len(problem["errors"]["in_words"]) == 3
    assert problem["hint"]
    assert (platform.hub.users, platform.queue.submissions, platform.queue.schedules) == (
        {},
        [],
        {},
    )
    assert list(platform.queue.jobs) == [earlier["id"]]
    await allow(ada)
    assert (await ada.post(path, json=body)).status_code in (201, 202)


async def test_an_avi_that_asks_for_nothing_just_starts(
    platform: Platform, ada: httpx.AsyncClient
) -> None:
    await publish(platform, "permissions: {archive: false}\n")
    assert (await ada.post("instances", json={"avi": "gavip/demo"})).status_code == 202
    assert (await ada.post("jobs", json=JOB)).status_code == 201
    assert platform.queue.submissions[0]["permissions"] == NOTHING
    shown = (await ada.get(PATH)).json()
    assert (shown["needed"], shown["needed_in_words"]) == (NOTHING, [])
    # granting nothing leaves nothing behind
    assert (await ada.put(PATH, json={"permissions": NOTHING})).status_code == 200
    assert (await ada.get("permissions")).json() == []


async def test_what_is_enforced_is_what_was_asked_and_granted(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    await allow(ada)
    assert (await ada.post("jobs", json=JOB)).status_code == 201
    assert (await ada.post("schedules", json=SCHEDULE)).status_code == 201
    await ada.post("instances", json={"avi": "gavip/demo"})

    async def started() -> Any:
        return next(iter(platform.hub.users.values()), None)

    server = await until(started)
    assert server.options["instance"]["permissions"] == ASKED
    assert platform.queue.submissions[0]["permissions"] == ASKED
    assert platform.queue.permits == {("ada", "gavip/demo"): ASKED}
    # a release that asks for less gets less, and its user is not asked again
    await publish(platform, "permissions: {archive: true}\n")
    assert (await ada.post("jobs", json=JOB)).status_code == 201
    assert platform.queue.submissions[1]["permissions"] == NOTHING | {"archive": True}


async def test_a_release_that_asks_for_more_is_asked_about_by_name(
    platform: Platform, ada: httpx.AsyncClient
) -> None:
    await allow(ada)
    first = (await ada.get(PATH)).json()
    more = ALL.replace("[data.", "[data.example.org, ftp.")
    await publish(platform, more)
    refused = await ada.post("jobs", json=JOB)
    assert refused.json()["errors"]["in_words"] == ["Send data to ftp.example.org"]
    # the earlier release still runs
    assert (await ada.post("jobs", json=JOB | {"release": first["release"]})).status_code == 201
    shown = (await ada.get(PATH)).json()
    assert shown["needed"] == NOTHING | {"network": ["ftp.example.org"]}
    assert shown["granted"] == ASKED
    assert shown["first_release"] == first["release"] != shown["release"]
    await allow(ada)
    assert (await ada.post("jobs", json=JOB)).status_code == 201
    # what was granted first, and for which release, stays known
    after = (await ada.get(PATH)).json()
    assert (after["first_release"], after["since"]) == (first["release"], first["since"])
    assert after["needed"] == NOTHING


async def test_grants_for_different_releases_add_up(
    platform: Platform, ada: httpx.AsyncClient
) -> None:
    await allow(ada)
    old = (await ada.get(PATH)).json()["release"]
    await publish(platform, "permissions: {archive: false, network: [ftp.example.org]}\n")
    await allow(ada)
    for release in (None, old):
        assert (await ada.post("jobs", json=JOB | {"release": release})).status_code == 201
    assert (await ada.get(PATH)).json()["granted"]["network"] == [
        "data.example.org",
        "ftp.example.org",
    ]
    # the new one may still do no more than it asks
    assert platform.queue.submissions[0]["permissions"] == {
        "userspace": "none",
        "archive": False,
        "network": ["ftp.example.org"],
    }


# -- granting --


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param({"permissions": NOTHING}, 409, "conflict", id="less than asked"),
        pytest.param(
            {"permissions": ASKED | {"network": ["data.example.org", "evil.example.org"]}},
            409,
            "conflict",
            id="more than asked",
        ),
        pytest.param({"permissions": {"userspace": "write"}}, 422, "invalid-input", id="unknown"),
        pytest.param({"permissions": {"network": ["a b"]}}, 422, "invalid-input", id="no host"),
        pytest.param({}, 422, "invalid-input", id="nothing"),
        pytest.param({"permissions": ASKED, "owner": "grace"}, 422, "invalid-input", id="owner"),
        pytest.param(
            {"permissions": ASKED, "release": "0" * 40}, 404, "not-found", id="no such release"
        ),
    ],
)
async def test_only_what_the_release_asks_can_be_granted(
    platform: Platform, ada: httpx.AsyncClient, body: Any, status: int, code: str
) -> None:
    answer = await ada.put(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (await ada.get("permissions")).json() == []
    assert platform.queue.permits == {}


async def test_a_release_that_came_out_meanwhile_is_a_conflict(
    platform: Platform, ada: httpx.AsyncClient
) -> None:
    shown = (await ada.get(PATH)).json()
    await publish(platform, ALL.replace("[data.", "[evil.example.org, data."))
    answer = await ada.put(PATH, json={"permissions": shown["asked"]})
    assert answer.status_code == 409
    # for the release that was shown, it can be granted still
    body = {"permissions": shown["asked"], "release": shown["release"]}
    assert (await ada.put(PATH, json=body)).json()["needed"] == NOTHING
    assert (await ada.post("jobs", json=JOB)).status_code == 409


async def test_grants_are_ones_own(
    platform: Platform, ada: httpx.AsyncClient, client: Callable[[str], httpx.AsyncClient]
) -> None:
    grace = client("person-grace")
    await allow(ada)
    assert (await grace.get("permissions")).json() == []
    assert (await grace.post("jobs", json=JOB)).status_code == 409
    assert (await grace.delete(PATH)).status_code == 404
    (granted,) = (await ada.get("permissions")).json()
    assert (granted["avi"], granted["title"]) == ("gavip/demo", "Demonstration of the portal")
    assert granted["granted"] == ASKED
    assert [w["permission"] for w in granted["in_words"]] == ["userspace", "archive", "network"]


async def test_an_instance_submits_under_its_owners_grant(
    platform: Platform,
    ada: httpx.AsyncClient,
    client: Callable[[str], httpx.AsyncClient],
    until: Until,
) -> None:
    await allow(ada)
    await ada.post("instances", json={"avi": "gavip/demo"})

    async def started() -> Any:
        return next(iter(platform.hub.users), None)

    avi = client(f"instance-{await until(started)}")
    job = {"pipeline": "hr-diagram", "parameters": {"rows": 1}}
    assert (await avi.post("jobs", json=job)).status_code == 201
    assert platform.queue.submissions[0]["permissions"] == ASKED
    # what its owner has not allowed, it gets for no release
    await publish(platform, ALL.replace("[data.", "[evil.example.org, data."))
    newest = (await ada.get(PATH)).json()["release"]
    refused = await avi.post("jobs", json=job | {"release": newest})
    assert (refused.status_code, refused.json()["code"]) == (409, "permissions-needed")
    assert len(platform.queue.submissions) == 1


# -- revoking --


async def test_revoking_stops_instances_and_cancels_jobs(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    await allow(ada)
    other = platform.queue.add("ada", avi="gavip/other", state="running")
    job = (await ada.post("jobs", json=JOB)).json()
    instance = (await ada.post("instances", json={"avi": "gavip/demo"})).json()["id"]

    async def ready() -> bool:
        return await state_of(ada, instance) == "ready"

    await until(ready)
    answer = await ada.delete(PATH)
    assert (answer.status_code, answer.json()) == (202, {"stopping": 1, "cancelling": 1})

    async def stopped() -> bool:
        return await state_of(ada, instance) == "stopped"

    await until(stopped)
    assert platform.queue.jobs[job["id"]]["state"] == "cancelled"
    assert platform.queue.jobs[other["id"]]["state"] == "running"
    assert platform.hub.users == {}
    assert (await ada.get("permissions")).json() == []
    assert (await ada.post("instances", json={"avi": "gavip/demo"})).status_code == 409
    # again: nothing is left to do, and nothing is wrong with it
    assert (await ada.delete(PATH)).json() == {"stopping": 0, "cancelling": 0}
    history = (await ada.get("permissions/history")).json()
    assert [event["action"] for event in history] == ["revoked", "granted"]
    assert [event["granted"] for event in history] == [NOTHING, ASKED]
    # granted again it is granted since now
    await allow(ada)
    assert (await ada.get(PATH)).json()["since"] > history[0]["time"]


async def test_revoked_while_it_starts(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    await allow(ada)
    platform.hub.step_seconds = 30
    instance = (await ada.post("instances", json={"avi": "gavip/demo"})).json()["id"]
    assert (await ada.delete(PATH)).json()["stopping"] == 1

    async def over() -> bool:
        return await state_of(ada, instance) == "stopped"

    await until(over)
    assert platform.hub.users == {}


async def test_what_a_restart_takes_up_is_asked_about_again(
    platform: Platform, ada: httpx.AsyncClient, until: Until
) -> None:
    """A start that was only requested when the portal ended may not use a grant that is gone."""
    await allow(ada)
    platform.app.instances._spawn = lambda _id, work: work.close()  # type: ignore[method-assign]
    instance = (await ada.post("instances", json={"avi": "gavip/demo"})).json()["id"]
    del platform.app.instances._spawn
    await platform.app.database.write(store.revoke, "ada", "gavip/demo")
    await platform.app.instances.reconcile()

    async def failed() -> bool:
        return await state_of(ada, instance) == "failed"

    await until(failed)
    message = (await ada.get(f"instances/{instance}")).json()["message"]
    assert "needs your permission" in message
    assert platform.hub.users == {}


async def test_a_queue_that_is_away_is_told_later(
    platform: Platform, ada: httpx.AsyncClient
) -> None:
    await allow(ada)
    job = (await ada.post("jobs", json=JOB)).json()
    platform.queue.down = True
    answer = await ada.delete(PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    # it is revoked all the same
    assert (await ada.get(PATH)).json()["granted"] is None
    assert (await ada.post("jobs", json=JOB)).json()["code"] == "permissions-needed"
    platform.queue.down = False
    await platform.app.granting.settle_all()
    assert platform.queue.jobs[job["id"]]["state"] == "cancelled"
    assert platform.queue.permits == {("ada", "gavip/demo"): None}
    assert await platform.app.database.read(store.unsettled) == []


async def test_a_queue_that_does_not_know_of_a_grant_is_told_on_the_way(
    platform: Platform, ada: httpx.AsyncClient
) -> None:
    platform.queue.down = True
    await allow(ada)  # stored, though nobody could be told
    platform.queue.down = False
    platform.queue.checks_permits = True
    assert platform.queue.permits == {}
    assert (await ada.post("jobs", json=JOB)).status_code == 201
    assert json.dumps(platform.queue.permits["ada", "gavip/demo"]) == json.dumps(ASKED)


async def test_bad_parameters_are_told_before_permission_is_asked(ada: httpx.AsyncClient) -> None:
    answer = await ada.post("jobs", json=JOB | {"parameters": {"rows": 0}})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
