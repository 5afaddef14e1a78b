"""Pools, schedulers, chosen resources and explanations through the whole service."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from gavip_api.errors import LimitReached
from gavip_api.models import (
    AuditPage,
    JobSubmission,
    LedgerState,
    Pool,
    ResourceAmount,
    RunResult,
    SchedulerState,
    Waiting,
)

OPERATOR = {"Authorization": "token operator"}
OK = RunResult(ok=True)
MIB = 1 << 20


async def put(service, path, status=200, **body):
    r = await service.client.put(path, json={"by": "olga"} | body, headers=OPERATOR)
    assert r.status_code == status, r.text
    return r.json()


async def pool(service, owner="alice"):
    return Pool.model_validate((await service.client.get(f"pools/{owner}")).json())


# -- pools --


async def test_a_larger_pool_lets_a_waiting_job_start(service):
    await service.reach(await service.submit(cpu=1), "running")
    second = await service.submit(cpu=1)
    assert (await service.job(second))["state"] == "queued"
    await put(service, "pools/alice/limits", limits={"cpu": 2})
    await service.reach(second, "running")
    assert (await pool(service)).limit == ResourceAmount(memory=1 << 30, cpu=2, slots=50, archive=8)


async def test_roles_come_with_submissions_and_are_remembered(service, payload):
    await put(service, "role-pools/developer", limits={"memory": 300 * MIB, "cpu": 0.5})
    assert (await pool(service)).limit.memory == 1 << 30
    body = payload() | {"owner": {"name": "alice", "roles": ["developer", "scientist"]}}
    assert (await service.client.post("jobs", json=body)).status_code == 201
    assert (await pool(service)).limit == ResourceAmount(
        memory=300 * MIB, cpu=0.5, slots=50, archive=8
    )
    big = body | {"resources": {"memory": "400M"}}
    r = await service.client.post("jobs", json=big)
    assert (r.status_code, r.json()["code"]) == (422, "invalid-input")
    await put(service, "role-pools/scientist", limits={"memory": 500 * MIB})
    assert (await service.client.post("jobs", json=big)).status_code == 201
    found = (await service.client.get("role-pools", headers=OPERATOR)).json()
    assert found["items"]["scientist"]["memory"] == 500 * MIB


async def test_what_was_set_for_the_user_counts_before_roles_and_never_exceeds_the_machine(service):
    await put(service, "role-pools/scientist", limits={"cpu": 0.5})
    await put(service, "pools/alice/limits", limits={"cpu": 99, "archive": 1})
    assert (await pool(service)).limit.cpu == 2
    assert (await pool(service)).limit.archive == 1
    r = await service.client.delete("pools/alice/limits?by=olga", headers=OPERATOR)
    assert r.json() == {"memory": None, "cpu": None, "slots": None, "archive": None}
    assert (await pool(service)).limit.cpu == 1


async def test_slots_are_a_dimension(service):
    await put(service, "pools/alice/limits", limits={"slots": 1})
    await service.reach(await service.submit(cpu=0.1), "running")
    job = await service.job(await service.submit(cpu=0.1))
    assert "1 of the 1 things that a user may run at once" in job["waiting_for"]


async def test_archive_queries_are_reserved_beside_jobs(start):
    service = await start(capacity_archive=2, user_archive=2)
    query = {
        "id": "q1",
        "owner": "alice",
        "kind": "archive-query",
        "amount": {"memory": 0, "cpu": 0, "archive": 2},
        "title": "A long query",
    }
    r = await service.client.put("reservations/q1", json=query, headers=service.spawner)
    assert r.json()["state"] == "granted"
    own = await service.job(await service.submit(archive=1))
    assert own["waiting"]["kind"] == "archive"
    assert [h["title"] for h in own["waiting"]["holders"]] == ["A long query"]
    other = await service.submit("bob", archive=1)
    job = await service.job(other)
    assert job["waiting"]["kind"] == "archive"
    assert job["waiting_for"].startswith("The archive is busy")
    await service.reach(await service.submit("cid", archive=0), "running")
    await service.client.delete("reservations/q1", headers=service.spawner)
    await service.reach(other, "running")


TURN = "archive-queries/01936f3c-0000-7000-8000-00000000000"


async def test_turns_at_the_archive_are_lines_of_the_ledger(start):
    service = await start(capacity_archive=2, user_archive=1)
    alice, bob = {"owner": {"name": "alice"}}, {"owner": {"name": "bob"}}
    for _ in range(2):
        r = await service.client.put(TURN + "1", json=alice)
        assert (r.status_code, r.json()["state"]) == (200, "granted")
    r = await service.client.put(TURN + "2", json=alice)
    assert r.json()["state"] == "refused"
    assert "A query of the archive" in r.json()["reason"]
    assert (await service.client.put(TURN + "1", json=bob)).status_code == 409
    assert (await service.client.delete(TURN + "1?owner=bob")).status_code == 204
    assert (await pool(service)).used.archive == 1
    waiting = await service.submit("alice", archive=1)
    assert (await service.job(waiting))["waiting"]["kind"] == "archive"
    for _ in range(2):
        assert (await service.client.delete(TURN + "1?owner=alice")).status_code == 204
    await service.reach(waiting, "running")


async def test_a_turn_that_nobody_asks_for_again_ends_by_itself(start, monkeypatch):
    monkeypatch.setattr("jobqueue.services.reservations.QUERY_LEASE", 2)
    # nothing but the end of the lease wakes it
    service = await start(user_archive=1, reconcile_seconds=600.0)
    alice = {"owner": {"name": "alice"}}
    assert (await service.client.put(TURN + "1", json=alice)).json()["state"] == "granted"
    waiting = await service.submit("alice", archive=1)
    assert (await service.job(waiting))["state"] == "queued"
    assert (await service.client.put(TURN + "1", json=alice)).json()["state"] == "granted"
    await service.reach(waiting, "running")
    assert [h.kind for h in (await pool(service)).holders] == ["job"]


async def test_a_lease_outlives_a_restart_and_no_more(start, monkeypatch):
    monkeypatch.setattr("jobqueue.services.reservations.QUERY_LEASE", 2)
    service = await start(user_archive=1)
    await service.client.put(TURN + "1", json={"owner": {"name": "alice"}})
    await start.stop(service)
    service = await start(user_archive=1, reconcile_seconds=600.0)
    assert (await pool(service)).used.archive == 1
    await service.reach(await service.submit("alice", archive=1), "running")


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        pytest.param("role-pools/king", {"limits": {}}, "no role", id="no such role"),
        pytest.param("pools/alice/limits", {"limits": {"cpu": -1}}, "limits.cpu", id="negative"),
        pytest.param("pools/alice/limits", {"limits": {"gpu": 1}}, "limits.gpu", id="unknown"),
        pytest.param("pools/alice/limits", {"limits": {}, "by": ""}, "by", id="nobody"),
        pytest.param("scheduler", {"name": "magic"}, "no scheduler", id="no such scheduler"),
    ],
)
async def test_bad_changes_are_refused(service, path, body, text):
    r = await service.client.put(path, json={"by": "olga"} | body, headers=OPERATOR)
    assert r.status_code == 422
    assert text in r.text


async def test_changes_are_audited_and_survive_a_restart(start):
    service = await start()
    await put(service, "pools/alice/limits", limits={"cpu": 0.5})
    await put(service, "scheduler", name="fifo")
    await put(service, "pools/alice/limits", limits={"cpu": 0.75})
    plane = service.plane
    await start.stop(service)
    service = await start(plane)
    assert (await pool(service)).limit.cpu == 0.75
    state = SchedulerState.model_validate(
        (await service.client.get("scheduler", headers=OPERATOR)).json()
    )
    assert state.name == "fifo"
    assert {c.name for c in state.available} >= {"fifo", "backfill", "fair-share", "shortest-first"}
    page = AuditPage.model_validate(
        (await service.client.get("audit?limit=2", headers=OPERATOR)).json()
    )
    assert [(e.by, e.action, e.subject) for e in page.items] == [
        ("olga", "user-pool", "alice"),
        ("olga", "scheduler", ""),
    ]
    assert (page.items[0].before, page.items[0].after) == ({"cpu": 0.5}, {"cpu": 0.75})
    rest = await service.client.get(f"audit?cursor={page.next}", headers=OPERATOR)
    assert [e["after"] for e in rest.json()["items"]] == [{"cpu": 0.5}]


async def test_the_ledger_is_shown_in_full(service):
    await service.reach(await service.submit(), "running")
    state = LedgerState.model_validate(
        (await service.client.get("ledger", headers=OPERATOR)).json()
    )
    assert [line.owner for line in state.items] == ["alice"]
    assert state.used == state.items[0].amount
    assert state.capacity.cpu == 2


# -- the scheduler --


async def test_the_scheduler_is_switched_while_jobs_wait(start):
    service = await start(user_cpu=2.0, capacity_cpu=1.0)
    first = await service.submit("dan", cpu=1)
    await service.reach(first, "running")
    long = await service.submit("ann", cpu=1, time="1h")
    short = await service.submit("bob", cpu=1, time="1m")
    await put(service, "scheduler", name="shortest-first")
    assert (await service.job(short))["position"] == 1
    await put(service, "scheduler", name="fifo")
    assert (await service.job(short))["position"] == 2
    await put(service, "scheduler", name="shortest-first")
    await service.plane.end(f"job-{first}.1", OK)
    await service.reach(short, "running")
    assert (await service.job(long))["state"] == "queued"


async def test_a_user_with_a_thousand_jobs_does_not_hold_up_another(start, payload):
    service = await start(capacity_cpu=1.0, user_cpu=1.0, max_queued_per_user=30)
    answers = await asyncio.gather(
        *(service.client.post("jobs", json=payload("greedy", cpu=1)) for _ in range(60))
    )
    refused = [r for r in answers if r.status_code == 429]
    assert len(refused) in (28, 29, 30)
    assert "jobs waiting, and no more than 30 are allowed" in refused[0].json()["detail"]
    running = (await service.until(lambda: service.plane.started))[0]
    other = await service.submit("bob", cpu=1)
    await service.plane.end(running, OK)
    await service.reach(other, "running")


async def test_a_million_submissions_of_one_user_do_not_hold_up_another(start, payload):
    service = await start(capacity_cpu=1.0, user_cpu=1.0, max_queued_per_user=30)
    jobs = service.app.services["jobs"]
    wanted = JobSubmission.model_validate(payload("greedy", cpu=1))
    accepted, refused, other = [], 0, ""
    for n in range(1_000_000):
        try:
            accepted.append((await jobs.submit(wanted)).id)
        except LimitReached as e:
            refused += 1
            assert "jobs waiting, and no more than 30 are allowed" in e.message
        if n == 500_000:
            other = await service.submit("bob", cpu=1)
        if n % 10_000 == 0:
            # other callers of a real service come in between, too
            await asyncio.sleep(0)
    assert len(accepted) in (30, 31)
    assert refused == 1_000_000 - len(accepted)
    (running,) = service.plane.started
    await service.plane.end(running, OK)
    # the end of one job is enough
    await service.reach(other, "running")
    assert service.plane.started[1:] == [f"job-{other}.1"]


async def test_all_waiting_jobs_together_are_limited(start, payload):
    service = await start(max_queued=2, capacity_cpu=0.5, user_cpu=0.5)
    await service.reach(await service.submit(), "running")
    for owner in ("ann", "bob"):
        await service.submit(owner)
    r = await service.client.post("jobs", json=payload("cid"))
    assert (r.status_code, r.json()["code"]) == (429, "limit-reached")
    assert "The queue is full" in r.json()["detail"]


# -- chosen resources --


@pytest.mark.parametrize(
    ("choice", "resources", "limit"),
    [
        pytest.param({"memory": "1G"}, (1024 * MIB, 0.5), 60, id="more memory"),
        pytest.param({"memory": 64 * MIB, "cpu": 0.1}, (64 * MIB, 0.1), 60, id="less of both"),
        pytest.param({"time": "2h"}, (256 * MIB, 0.5), 7200, id="more time"),
        pytest.param({}, (256 * MIB, 0.5), 60, id="nothing"),
    ],
)
async def test_users_choose_resources_within_their_pool(service, payload, choice, resources, limit):
    r = await service.client.post("jobs", json=payload() | {"resources": choice})
    job = r.json()
    assert r.status_code == 201, r.text
    assert (job["resources"]["memory"], job["resources"]["cpu"]) == resources
    assert job["time_limit"] == limit


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        pytest.param({"memory": "2G"}, "a user may hold no more", id="beyond the pool"),
        pytest.param({"memory": "1M"}, "too few to start", id="too little memory"),
        pytest.param({"memory": "1G * rows"}, "cannot be computed", id="expression"),
        pytest.param({"memory": 10**30}, "memory", id="absurd"),
        pytest.param({"cpu": 0}, "cpu", id="no cores"),
        pytest.param({"cpu": 1.5}, "a user may hold no more", id="cores beyond the pool"),
        pytest.param({"time": "2d"}, "86400 seconds at most", id="too long"),
        pytest.param({"time": "soon"}, "not a duration", id="no duration"),
        pytest.param({"archive": 1}, "archive", id="not to be chosen"),
    ],
)
async def test_bad_choices_are_refused(service, payload, choice, text):
    r = await service.client.post("jobs", json=payload() | {"resources": choice})
    assert r.status_code == 422
    assert text in r.text


# -- why and until when --


def parse(job):
    return Waiting.model_validate(job["waiting"])


async def test_a_start_is_estimated_from_past_runs(start):
    service = await start(user_cpu=0.5)
    first = await service.submit()
    await service.reach(first, "running")
    second = await service.submit()
    told = parse(await service.job(second))
    limit = datetime.fromisoformat((await service.job(first))["started"])
    assert 55 < (told.estimated_start - limit).total_seconds() < 65
    assert "never ran" in told.estimate
    await service.plane.end(f"job-{first}.1", OK)
    await service.reach(second, "running")
    told = parse(await service.job(await service.submit()))
    started = datetime.fromisoformat((await service.job(second))["started"])
    assert (told.estimated_start - started).total_seconds() < 10
    assert "in the last 1 run." in told.estimate


async def test_what_waits_for_a_server_has_no_estimate(service):
    lab = {
        "id": "alice/",
        "owner": "alice",
        "kind": "notebook",
        "amount": {"memory": 900 * MIB, "cpu": 0.1},
        "title": "JupyterLab",
    }
    await service.client.put("reservations/alice%2F", json=lab, headers=service.spawner)
    told = parse(await service.job(await service.submit()))
    assert told.estimated_start is None
    assert told.estimate.startswith("Unknown")
    assert (told.kind.value, [h.title for h in told.holders]) == ("pool", ["JupyterLab"])


async def test_failed_runs_teach_nothing(start):
    service = await start(user_cpu=0.5)
    first = await service.submit()
    await service.reach(first, "running")
    await service.plane.end(f"job-{first}.1", RunResult(ok=False), exit_code=1)
    await service.reach(first, "failed")
    second = await service.submit()
    await service.reach(second, "running")
    told = parse(await service.job(await service.submit()))
    assert "never ran" in told.estimate
