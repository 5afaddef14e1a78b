"""Grants as the portal tells them: the last check before a job is stored, and what a revocation ends."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from gavip_api.models import RunResult

ASKED = {"userspace": "read", "archive": True, "network": ["data.example.org"]}
NOTHING = {"userspace": "none", "archive": False, "network": []}


async def permit(service, granted, owner="alice", avi="gaia/demo"):
    change = {"owner": owner, "avi": avi, "granted": granted}
    r = await service.client.put("permits", json=change)
    assert r.status_code == 200, r.text
    return r.json()["cancelling"]


def asking(payload, owner="alice", permissions=ASKED):
    return payload(owner) | {"permissions": permissions}


async def submit(service, payload, **more):
    r = await service.client.post("jobs", json=asking(payload, **more))
    assert r.status_code == 201, r.text
    return r.json()["id"]


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        pytest.param(None, "read all your files", id="nothing"),
        pytest.param(ASKED | {"userspace": "none"}, "read all your files", id="files"),
        pytest.param(ASKED | {"archive": False}, "query the Gaia archive", id="archive"),
        pytest.param(
            ASKED | {"network": ["other.example.org"]}, "send data to data.example.org", id="host"
        ),
    ],
)
async def test_a_job_that_may_do_more_than_is_granted_is_not_stored(
    service, payload, granted, missing
):
    await permit(service, granted)
    for path, body in (
        ("jobs", asking(payload)),
        ("schedules", {"cron": "0 * * * *", "job": asking(payload)}),
    ):
        r = await service.client.post(path, json=body)
        assert (r.status_code, r.json()["code"]) == (409, "permissions-needed")
        assert missing in r.json()["detail"]
        assert (await service.client.get(path)).json()["items"] == []


async def test_a_grant_is_of_one_user_for_one_avi(service, payload):
    await permit(service, ASKED)
    r = await service.client.post("jobs", json=asking(payload, "bob"))
    assert r.status_code == 409
    r = await service.client.post("jobs", json=asking(payload) | {"avi": "gaia/other"})
    assert r.status_code == 409


async def test_an_attempt_gets_what_its_job_may_do(service, payload):
    await permit(service, ASKED)
    job_id = await submit(service, payload)
    job = await service.reach(job_id, "running")
    assert job["permissions"] == ASKED
    spec = service.plane.specs[f"job-{job_id}.1"]
    assert spec.permissions.model_dump(mode="json") == ASKED
    assert any(mount.source.endswith("userspace/alice") for mount in spec.mounts)
    plain = await service.submit("bob")
    await service.reach(plain, "running")
    assert service.plane.specs[f"job-{plain}.1"].permissions.model_dump(mode="json") == NOTHING


async def test_a_revocation_ends_the_avis_jobs_and_no_others(service, payload):
    await permit(service, ASKED)
    await permit(service, ASKED, "bob")
    running = await submit(service, payload)
    await service.reach(running, "running")
    queued = [await submit(service, payload) for _ in range(3)]
    of_bob = await submit(service, payload, owner="bob")
    assert await permit(service, ASKED) == 0  # telling the same again ends nothing
    assert await permit(service, None) == 4
    for job_id in (running, *queued):
        await service.reach(job_id, "cancelled")
    assert (await service.job(of_bob))["state"] in {"queued", "starting", "running"}
    assert await permit(service, None) == 0


async def test_a_smaller_grant_ends_what_needs_more(service, payload):
    await permit(service, ASKED)
    more = await submit(service, payload)
    less = await submit(service, payload, permissions=NOTHING | {"archive": True})
    assert await permit(service, NOTHING | {"archive": True}) == 1
    await service.reach(more, "cancelled")
    assert (await service.job(less))["state"] != "cancelled"


@pytest.mark.parametrize("what", ["retry", "clone"])
async def test_a_job_is_made_again_only_while_it_is_granted(service, payload, what):
    await permit(service, ASKED)
    job_id = await submit(service, payload)
    await service.reach(job_id, "running")
    await service.plane.end(f"job-{job_id}.1", RunResult(ok=True))
    await service.reach(job_id, "succeeded")
    r = await service.client.post(f"jobs/{job_id}/{what}", json={})
    assert (r.status_code, r.json()["permissions"]) == (201, ASKED)
    await permit(service, None)
    r = await service.client.post(f"jobs/{job_id}/{what}", json={})
    assert (r.status_code, r.json()["code"]) == (409, "permissions-needed")


async def test_a_due_run_after_a_revocation_fails_and_says_why(service, payload):
    now = datetime(2026, 11, 21, 12, 0, 30, tzinfo=timezone.utc)
    schedules = service.app.services["schedules"]
    schedules._clock = lambda: now
    await permit(service, ASKED)
    asked = {"cron": "0 * * * *", "job": asking(payload)}
    made = (await service.client.post("schedules", json=asked)).json()["id"]
    await permit(service, None)
    now += timedelta(hours=1)
    assert await schedules.submit_due() == []
    shown = (await service.client.get(f"schedules/{made}")).json()
    assert shown["last_message"].startswith(
        "Not submitted: gaia/demo needs your permission to read all your files"
    )
    assert "revoked" in shown["last_message"]
    assert (shown["last_job"], shown["paused"]) == (None, False)
    assert (await service.client.get("jobs")).json()["items"] == []
    # granted again, the next run is submitted
    await permit(service, ASKED)
    now += timedelta(hours=1)
    assert len(await schedules.submit_due()) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"owner": ""}, 422, id="no owner"),
        pytest.param({"avi": "../etc"}, 422, id="no avi"),
        pytest.param({"granted": {"userspace": "write"}}, 422, id="no permission"),
        pytest.param({"granted": {"network": ["10.0.0.1"]}}, 422, id="an address"),
    ],
)
async def test_bad_grants_are_refused(service, change, status):
    body = {"owner": "alice", "avi": "gaia/demo", "granted": ASKED} | change
    assert (await service.client.put("permits", json=body)).status_code == status


@pytest.mark.parametrize("token", ["spawner", "operator", "alice"])
async def test_only_the_portal_says_what_is_granted(service, token):
    body = {"owner": "alice", "avi": "gaia/demo", "granted": ASKED}
    headers = {"Authorization": f"token {token}"}
    assert (await service.client.put("permits", json=body, headers=headers)).status_code == 403


async def test_the_pool_says_what_is_free_to_spawners_too(service, payload):
    r = await service.client.get("pools/alice?role=scientist", headers=service.spawner)
    assert r.status_code == 200, r.text
    pool = r.json()
    assert (pool["free"]["memory"], pool["free"]["cpu"]) == (1 << 30, 1.0)
    # what others hold of the machine is not free for anybody
    for owner in ("bob", "carol", "dave"):
        request = {
            "id": f"{owner}/", "owner": owner, "kind": "notebook",
            "amount": {"memory": 512 << 20, "cpu": 0.5},
        }  # fmt: skip
        await service.client.put(f"reservations/{owner}%2F", json=request, headers=service.spawner)
    pool = (await service.client.get("pools/alice", headers=service.spawner)).json()
    assert (pool["used"]["memory"], pool["limit"]["memory"]) == (0, 1 << 30)
    assert (pool["free"]["memory"], pool["free"]["cpu"]) == (512 << 20, 0.5)
    assert (
        await service.client.get("pools/a?role=king", headers=service.spawner)
    ).status_code == 422
