"""The whole service on a real port, with a fake plane and a fake hub."""

from __future__ import annotations

import asyncio
import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from sqlalchemy import delete, text

from gavip_api.models import Job, JobError, JobPage, Pool, QueueState, RunResult
from gavip_api.slugs import new_id
from gavip_spawner.plane import ProcessPhase
from gavip_web.database import make_engine
from gavip_web.openapi import undocumented
from gavip_web.sse import read_events
from jobqueue.handlers.routes import make_api
from jobqueue.storage.orm import Base

OK = RunResult(ok=True, outputs=("map.png", "/etc/passwd", "a/../../b"))
SPAWNER = {"Authorization": "token spawner"}


def reservation(name="alice/", owner="alice", kind="interface", memory=1 << 28, **more):
    amount = {"memory": memory, "cpu": 0.25}
    return {"id": name, "owner": owner, "kind": kind, "amount": amount, "title": "App"} | more


# -- jobs --


async def test_a_job_from_submission_to_product(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    assert (await service.report(job_id, task="Cell 1", message="reading")).status_code == 204
    await service.plane.end(f"job-{job_id}.1", OK)
    job = Job.model_validate(await service.reach(job_id, "succeeded"))
    assert job.outputs == ("map.png",)
    assert job.product.startswith("avis/gaia.demo/work-")
    assert job.progress.fraction == 1
    assert job.started <= job.ended
    assert job.parameters == {"rows": 5}


async def test_the_first_report_says_that_it_runs(service):
    job_id = await service.submit()
    await service.until(lambda: service.plane.started)
    await service.report(job_id, task="Cell 1")
    job = await service.job(job_id)
    assert (job["state"], job["progress"]["task"]) == ("running", "Cell 1")


async def test_a_location_comes_with_a_submission(service, payload):
    r = await service.client.post("jobs", json=payload())
    assert r.headers["Location"].endswith(f"/api/v1/jobs/{r.json()['id']}")


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        pytest.param({"parameters": {"rows": "many"}}, 422, "rows", id="wrong type"),
        pytest.param({"parameters": {"rows": -1}}, 422, "rows", id="below the minimum"),
        pytest.param({"parameters": {"drop": 1}}, 422, "drop", id="unknown parameter"),
        pytest.param({"release": "../../etc"}, 422, "commit", id="release is a path"),
        pytest.param({"avi": "gaia/../x"}, 422, "AVI", id="avi is a path"),
        pytest.param({"pipeline": "a/b"}, 422, "pipeline", id="pipeline is a path"),
        pytest.param({"surprise": 1}, 422, "surprise", id="unknown member"),
        pytest.param({"owner": {}}, 422, "owner.name", id="no owner"),
    ],
)
async def test_bad_submissions_are_refused(service, payload, change, status, text):
    r = await service.client.post("jobs", json=payload() | change)
    assert r.status_code == status
    assert text in json.dumps(r.json())
    assert (await service.client.get("jobs")).json()["items"] == []


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        pytest.param({"memory": "1M * rows * 1000"}, "4.9 GiB of memory", id="memory"),
        pytest.param({"cpu": 1.5}, "a user may hold no more", id="cores"),
        pytest.param({"memory": "1M * __import__"}, "cannot be computed", id="hostile expression"),
    ],
)
async def test_what_can_never_run_is_refused_at_once(service, payload, resources, text):
    r = await service.client.post("jobs", json=payload(**resources))
    assert r.status_code == 422
    assert text in r.text
    assert r.json()["hint"] or text == "cannot be computed"


async def test_resources_follow_from_parameters(service):
    job_id = await service.submit(memory="100M + 2M * rows", cpu="0.1 * rows")
    job = await service.job(job_id)
    assert job["resources"] == {"memory": 110 << 20, "cpu": 0.5, "slots": 1, "archive": 1}


async def test_waiting_jobs_are_limited_per_user(start, payload):
    service = await start(max_queued_per_user=2, user_cpu=0.5)
    for _ in range(3):
        await service.submit()
        await service.until(lambda: service.plane.started)
    r = await service.client.post("jobs", json=payload())
    assert (r.status_code, r.json()["code"]) == (429, "limit-reached")
    assert (await service.client.post("jobs", json=payload("bob"))).status_code == 201


async def test_jobs_say_why_they_wait(service):
    first = await service.submit(cpu=1)
    await service.reach(first, "running")
    own = await service.submit(cpu=1)
    job = await service.job(own)
    assert job["position"] == 1
    assert "You hold: Job Work (256 MiB and 1 core)" in job["waiting_for"]
    assert job["waiting"]["kind"] == "pool"
    assert [h["id"] for h in job["waiting"]["holders"]] == [f"job:{first}"]
    bob = await service.submit("bob", cpu=1)
    await service.reach(bob, "running")
    cid = await service.submit("cid", cpu=1)
    job = await service.job(cid)
    # before alice's second: cid has had nothing yet
    assert job["position"] == 1
    assert (job["waiting"]["kind"], job["waiting"]["holders"]) == ("machine", [])
    assert job["waiting_for"].startswith("The machine is full: 1.5 GiB and 0 cores are free")
    await service.plane.end(f"job-{first}.1", OK)
    await service.reach(cid, "running")
    assert (await service.job(cid))["waiting_for"] is None
    await service.plane.end(f"job-{cid}.1", OK)
    await service.reach(own, "running")


async def test_lists_are_narrowed_and_paged(service):
    ids = [await service.submit(owner) for owner in ("alice", "bob", "alice", "alice")]
    page = JobPage.model_validate((await service.client.get("jobs?owner=alice&limit=2")).json())
    assert [j.id for j in page.items] == [ids[3], ids[2]]
    rest = (await service.client.get(f"jobs?owner=alice&limit=2&cursor={page.next}")).json()
    assert [j["id"] for j in rest["items"]] == [ids[0]]
    assert rest["next"] is None
    nothing = await service.client.get("jobs?state=failed&state=lost&avi=gaia/demo")
    assert nothing.json()["items"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param(f"jobs/{new_id()}", 404, id="unknown"),
        pytest.param("jobs/..%2f..%2fetc", 422, id="no id"),
        pytest.param(f"jobs/{new_id()}/events", 404, id="events of unknown"),
        pytest.param(f"jobs/{new_id()}/log", 404, id="log of unknown"),
        pytest.param(f"jobs/{new_id()}/log?follow=true", 404, id="followed log of unknown"),
        pytest.param("jobs?cursor=x", 422, id="bad cursor"),
        pytest.param("jobs?limit=1000", 422, id="too many"),
    ],
)
async def test_bad_addresses(service, path, status):
    assert (await service.client.get(path)).status_code == status


async def test_cancelling_a_running_job_twice(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    for _ in range(2):
        assert (await service.client.post(f"jobs/{job_id}/cancel")).status_code == 200
    job = await service.reach(job_id, "cancelled")
    assert job["error"]["code"] == "cancelled"
    again = await service.client.post(f"jobs/{job_id}/cancel")
    assert again.json()["state"] == "cancelled"
    pool = Pool.model_validate((await service.client.get("pools/alice")).json())
    assert pool.used.memory == 0


async def test_figures(service):
    await service.reach(await service.submit(), "running")
    await service.submit(cpu=1)
    queue = QueueState.model_validate((await service.client.get("queue")).json())
    assert (queue.queued, queue.running) == (1, 1)
    assert queue.used.cpu == 0.5
    assert queue.capacity.memory == 2 << 30


# -- runners --


async def test_reports_are_fenced(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    old = service.plane.environment(f"job-{job_id}.1")["GAVIP_JOB_TOKEN"]
    assert (await service.report(job_id, token="wrong")).status_code == 401
    await service.plane.end(f"job-{job_id}.1", phase=ProcessPhase.VANISHED, exit_code=None)
    await service.until(lambda: len(service.plane.started) == 2)
    await service.reach(job_id, "running")
    late = await service.report(job_id, token=old)
    assert (late.status_code, late.json()["code"]) == (409, "fenced")
    assert (await service.report(job_id, attempt=2, token=old)).status_code == 401
    assert (await service.report(job_id, attempt=2)).status_code == 204
    await service.plane.end(f"job-{job_id}.2", OK)
    job = await service.reach(job_id, "succeeded")
    assert job["attempt"] == 2
    assert job["product"].endswith("-2")
    assert (await service.report(job_id, attempt=2)).status_code == 409


async def test_a_token_of_one_job_says_nothing_of_another(service):
    first, second = await service.submit(), await service.submit()
    await service.reach(second, "running")
    url = service.plane.environment(f"job-{second}.1")["GAVIP_JOB_URL"]
    assert (await service.report(first, url=url)).status_code == 401


async def test_hub_tokens_are_no_job_tokens(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    assert (await service.report(job_id, token="portal")).status_code == 401


async def test_chatty_runners_are_slowed_but_the_last_word_counts(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    for n in range(50):
        assert (await service.report(job_id, done=n, total=50)).status_code == 204

    async def last_one():
        return (await service.job(job_id))["progress"]["done"] == 49

    await service.until(last_one, "the last report")
    stream = read_events(service.client, f"jobs/{job_id}/events")
    await service.plane.end(f"job-{job_id}.1", OK)
    await service.reach(job_id, "succeeded")
    told = [json.loads(e.data)["kind"] async for e in stream]
    assert 1 <= told.count("progress") < 15


# -- events and logs --


async def test_events_of_an_owner_tell_of_all_jobs_live_and_resume(service):
    first = await service.submit()
    await service.reach(first, "running")
    stream = read_events(service.client, "events", params={"owner": "alice"})
    waiting = asyncio.ensure_future(stream.__anext__())
    await service.until(lambda: service.app.streams.streams)
    await service.until(lambda: bool(service.app.services["job_events"]._bus._waiting))
    await service.plane.end(f"job-{first}.1", OK)
    event = await asyncio.wait_for(waiting, 5)
    assert json.loads(event.data)["state"] == "succeeded"
    await stream.aclose()
    again = read_events(service.client, "events", params={"owner": "alice"}, last_id="2")
    resumed = await again.__anext__()
    assert int(resumed.id) == 3
    await again.aclose()


async def test_events_of_others_are_not_told(service):
    stream = read_events(service.client, "events", params={"owner": "bob"}, last_id="1")
    waiting = asyncio.ensure_future(stream.__anext__())
    job_id = await service.submit("alice")
    await service.reach(job_id, "running")
    mine = await service.submit("bob")
    assert json.loads((await asyncio.wait_for(waiting, 5)).data)["job"] == mine
    await stream.aclose()


async def test_the_log_in_parts_and_followed(service):
    job_id = await service.submit()
    assert (await service.client.get(f"jobs/{job_id}/log")).status_code == 200
    await service.reach(job_id, "running")
    text = f"log of job-{job_id}.1 ä\n"
    part = await service.client.get(f"jobs/{job_id}/log?offset=7&limit=3")
    assert part.text == text[7:10]
    assert part.headers["X-Log-Size"] == str(len(text.encode()))
    stream = read_events(service.client, f"jobs/{job_id}/log", params={"follow": "true"})
    event = await stream.__anext__()
    assert json.loads(event.data) == {"attempt": 1, "offset": 0, "text": text}
    await service.plane.end(f"job-{job_id}.1", OK)
    assert [e async for e in stream] == []
    await service.reach(job_id, "succeeded")
    resumed = read_events(
        service.client, f"jobs/{job_id}/log", params={"follow": "true"}, last_id=event.id
    )
    assert [e async for e in resumed] == []


# -- reservations --


async def test_reserving_is_idempotent_and_visible(service):
    for _ in range(2):
        r = await service.client.put("reservations/alice%2F", json=reservation(), headers=SPAWNER)
        assert (r.status_code, r.json()["state"]) == (200, "granted")
    pool = Pool.model_validate((await service.client.get("pools/alice")).json())
    assert [h.title for h in pool.holders] == ["App"]
    for _ in range(2):
        r = await service.client.delete("reservations/alice%2F", headers=SPAWNER)
        assert r.status_code == 204
    assert (await service.client.get("pools/alice")).json()["holders"] == []


async def test_a_refused_reservation_says_why_and_is_not_kept(service):
    big = reservation(memory=900 << 20)
    await service.client.put("reservations/alice%2F", json=big, headers=SPAWNER)
    other = reservation("alice/b", memory=200 << 20)
    r = await service.client.put("reservations/alice%2Fb", json=other, headers=SPAWNER)
    assert (r.status_code, r.json()["state"]) == (200, "refused")
    assert "App (900 MiB" in r.json()["reason"]
    assert len((await service.client.get("pools/alice")).json()["holders"]) == 1


async def test_releasing_lets_a_waiting_job_start(service):
    big = reservation(memory=900 << 20)
    await service.client.put("reservations/alice%2F", json=big, headers=SPAWNER)
    job_id = await service.submit(memory="500M")
    assert "App" in (await service.job(job_id))["waiting_for"]
    await service.client.delete("reservations/alice%2F", headers=SPAWNER)
    await service.reach(job_id, "running")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("x", reservation("y"), 400, id="another id"),
        pytest.param("x", reservation("x", kind="job"), 422, id="kind job"),
        pytest.param("job:1", reservation("job:1"), 422, id="id of a job"),
        pytest.param("x", reservation("x", memory=3 << 30), 422, id="never fits"),
        pytest.param("x", reservation("x", memory=-1), 422, id="negative"),
    ],
)
async def test_bad_reservations(service, path, body, status):
    r = await service.client.put(f"reservations/{path}", json=body, headers=SPAWNER)
    assert r.status_code == status


async def test_a_jobs_reservation_cannot_be_released_from_outside(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    r = await service.client.delete(f"reservations/job:{job_id}", headers=SPAWNER)
    assert r.status_code == 422
    assert (await service.client.get("queue")).json()["used"]["cpu"] == 0.5


# -- who may what --

ROUTES = [
    ("GET", "jobs", "portal"),
    ("POST", "jobs", "portal"),
    ("GET", f"jobs/{new_id()}", "portal"),
    ("POST", f"jobs/{new_id()}/cancel", "portal"),
    ("GET", f"jobs/{new_id()}/log", "portal"),
    ("GET", f"jobs/{new_id()}/events", "portal"),
    ("GET", "events?owner=alice", "portal"),
    ("GET", "queue", "portal"),
    ("GET", "pools/alice", "portal spawner"),
    ("GET", "ledger", "operator"),
    ("GET", "audit", "operator"),
    ("GET", "scheduler", "operator"),
    ("PUT", "scheduler", "operator"),
    ("GET", "role-pools", "operator"),
    ("PUT", "role-pools/scientist", "operator"),
    ("GET", "pools/alice/limits", "operator"),
    ("PUT", "pools/alice/limits", "operator"),
    ("DELETE", "pools/alice/limits?by=x", "operator"),
    ("PUT", "reservations/x", "spawner"),
    ("DELETE", "reservations/x", "spawner"),
]


@pytest.mark.parametrize(("method", "path", "allowed"), ROUTES)
async def test_only_the_parts_of_the_platform_get_in(service, method, path, allowed):
    for who in {"portal", "spawner", "operator", "alice"} - set(allowed.split()):
        r = await service.client.request(
            method, path, headers={"Authorization": f"token {who}"}, json={}
        )
        assert (who, r.status_code) == (who, 403)
    r = await service.client.request(method, path, headers={"Authorization": "token no"}, json={})
    assert r.status_code == 401


async def test_openapi_is_valid_and_complete(service):
    document = (await service.client.get("openapi.json")).json()
    OpenAPIV31SpecValidator(document).validate()
    assert undocumented(make_api()) == []
    table = {m.upper() + " " + p for p, ms in document["paths"].items() for m in ms if m in METHODS}
    assert "PUT /reservations/{reservation}" in table
    assert "POST /runs/{job}/progress" in table


METHODS = {"get", "put", "post", "delete", "patch"}


# -- recovery, on the same state --


async def test_a_restart_adopts_finishes_and_goes_on(start):
    service = await start(user_cpu=2.0, user_memory="2G")
    ids = {what: await service.submit() for what in ("runs on", "ends", "vanishes")}
    for job_id in ids.values():
        await service.reach(job_id, "running")
    waits = await service.submit(cpu=1)
    plane = service.plane
    await start.stop(service)
    await plane.end(f"job-{ids['ends']}.1", OK)
    await plane.end(f"job-{ids['vanishes']}.1", phase=ProcessPhase.VANISHED, exit_code=None)
    service = await start(plane, user_cpu=2.0, user_memory="2G")
    await service.reach(ids["ends"], "succeeded")
    await service.until(lambda: f"job-{ids['vanishes']}.2" in plane.started)
    assert (await service.job(ids["runs on"]))["attempt"] == 1
    for name in list(plane.started):
        if not plane.statuses[name].over:
            await plane.end(name, OK)
    await service.reach(waits, "running")
    assert len(plane.started) == len(set(plane.started)) == 5


async def test_a_crash_between_recording_and_creating_starts_once(start, planes):
    service = await start(planes["holds creation"]())
    job_id = await service.submit()
    await asyncio.wait_for(service.plane.creating.wait(), 5)
    plane = service.plane
    await start.stop(service)  # dies in the middle of `create`
    assert plane.specs == {}
    plane.go_on.set()
    service = await start(plane)
    await service.reach(job_id, "running")
    assert plane.started == [f"job-{job_id}.1"]
    assert (await service.report(job_id)).status_code == 204


async def test_a_cancellation_during_creation_is_not_forgotten(start, planes):
    service = await start(planes["holds creation"]())
    job_id = await service.submit()
    await asyncio.wait_for(service.plane.creating.wait(), 5)
    await service.client.post(f"jobs/{job_id}/cancel")
    service.plane.go_on.set()
    await service.reach(job_id, "cancelled")


async def test_a_plane_that_cannot_start_fails_the_job_in_the_end(start, planes, monkeypatch):
    monkeypatch.setattr("jobqueue.services.reconciler._RETRY_SECONDS", 0.01)
    service = await start(planes["refuses to start"]())
    job_id = await service.submit()
    job = await service.reach(job_id, "failed")
    assert job["error"]["code"] == "not-startable"
    assert service.plane.tries == 5
    assert (await service.client.get("queue")).json()["used"]["cpu"] == 0


async def test_a_plane_that_answers_too_late_doubles_nothing(start, planes, monkeypatch):
    monkeypatch.setattr("jobqueue.services.reconciler._RETRY_SECONDS", 0.01)
    service = await start(planes["answers too late"]())
    job_id = await service.submit()
    await service.reach(job_id, "running")
    assert service.plane.started == [f"job-{job_id}.1"]
    await service.plane.end(f"job-{job_id}.1", OK)
    await service.reach(job_id, "succeeded")


async def test_old_jobs_are_removed_with_their_processes(start):
    service = await start(retention="1s", reconcile_seconds=0.1, housekeeping_seconds=0.1)
    job_id = await service.submit()
    await service.reach(job_id, "running")
    await service.plane.end(f"job-{job_id}.1", OK)
    product = service.app.layout.userspace("alice")
    await service.until(lambda: not service.plane.specs)

    async def gone():
        return (await service.client.get(f"jobs/{job_id}")).status_code == 404

    await service.until(gone)
    assert list(product.rglob("result.json"))
    assert not list((service.app.layout.run / "jobs").iterdir())


async def test_more_old_jobs_than_one_portion_are_removed_at_once(start, monkeypatch):
    monkeypatch.setattr("jobqueue.services.reconciler._REMOVED_AT_ONCE", 2)
    service = await start(retention="1d", max_queued_per_user=20)
    ids = [await service.submit(cpu=0.1, memory="20M") for _ in range(7)]
    for job_id in ids:
        await service.reach(job_id, "running")
        await service.plane.end(f"job-{job_id}.1", OK)
    for job_id in ids:
        await service.reach(job_id, "succeeded")
    plane = service.plane
    await start.stop(service)
    await asyncio.sleep(1.1)
    # housekeeping is done once, at the start
    service = await start(plane, retention="1s", housekeeping_seconds=600.0)
    await service.until(lambda: not plane.specs)


async def test_a_failed_job_shows_the_runners_reason(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    error = JobError(code="cell-error", message="Cell 2 raised ValueError.", hint="Look.", cell=2)
    await service.plane.end(f"job-{job_id}.1", RunResult(ok=False, error=error), exit_code=1)
    job = await service.reach(job_id, "failed")
    assert JobError.model_validate(job["error"]) == error


async def test_the_token_is_in_the_process_and_nowhere_else(service):
    job_id = await service.submit()
    await service.reach(job_id, "running")
    token = service.plane.environment(f"job-{job_id}.1")["GAVIP_JOB_TOKEN"].encode()
    files = [p for p in service.app.layout.root.rglob("*") if p.is_file()]
    assert files
    assert not [p for p in files if token in p.read_bytes()]


async def test_readiness_follows_the_reconciler(service):
    url = str(service.client.base_url).replace("api/v1/", "ready")
    assert (await service.client.get(url)).status_code == 200
    service.app._tasks[0].cancel()
    await asyncio.sleep(0.05)
    assert (await service.client.get(url)).status_code == 503


async def test_a_job_that_no_longer_fits_is_told_so_at_the_next_start(start):
    service = await start(user_cpu=1.0)
    runs = await service.submit(cpu=1)
    await service.reach(runs, "running")
    large, small = await service.submit(cpu=1), await service.submit(cpu=0.5)
    plane = service.plane
    await plane.end(f"job-{runs}.1", OK)
    await service.reach(large, "running")
    again = await service.submit(cpu=1)
    await start.stop(service)
    service = await start(plane, user_cpu=0.75)
    job = await service.reach(again, "failed")
    assert job["error"]["code"] == "never-fits"
    await plane.end(f"job-{large}.1", OK)
    await service.reach(small, "running")


async def test_a_process_that_no_record_counts_is_stopped(start):
    service = await start()
    job_id = await service.submit()
    await service.reach(job_id, "running")
    plane = service.plane
    await start.stop(service)
    # another database, for example an old backup
    with service.app.database.engine.begin() as connection:
        connection.execute(delete(Base.metadata.tables["jobs"]))
    # the stopped service had disposed of its engine, and using it opened a new pool
    service.app.database.engine.dispose()
    service = await start(plane)
    await service.until(lambda: plane.statuses[f"job-{job_id}.1"].over)


async def test_metrics_tell_of_the_queue(service):
    await service.reach(await service.submit(), "running")
    await service.submit(cpu=1)
    url = str(service.client.base_url).replace("api/v1/", "metrics")
    r = await service.client.get(url, headers={"Authorization": "token metrics"})
    assert 'gavip_jobqueue{figure="jobs_queued"} 1.0' in r.text
    assert 'gavip_jobqueue{figure="cpu_used"} 0.5' in r.text


async def test_a_locked_database_is_said_plainly_and_loses_nothing(start, payload, monkeypatch):
    monkeypatch.setattr("gavip_web.database.BUSY_SECONDS", 0.1)
    monkeypatch.setattr("jobqueue.services.reconciler._RETRY_SECONDS", 0.05)
    service = await start(reconcile_seconds=0.2)
    job_id = await service.submit()
    await service.reach(job_id, "running")
    # begins with the write lock, like everybody's
    other = make_engine(service.app.database_url).connect()
    other.execute(text("SELECT 1"))
    await service.plane.end(f"job-{job_id}.1", OK)
    r = await service.client.post("jobs", json=payload())
    assert (r.status_code, r.json()["code"]) == (503, "unavailable")
    assert "Nothing was stored" in r.json()["hint"]
    assert (await service.job(job_id))["state"] == "running"
    other.close()
    other.engine.dispose()
    await service.reach(job_id, "succeeded")
    assert len((await service.client.get("jobs")).json()["items"]) == 1
