"""Recurring submissions: when they are due, what they submit, what they leave out."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gavip_api.errors import InvalidInput
from gavip_api.models import RunResult
from gavip_api.schedules import Schedule, SchedulePage
from gavip_api.slugs import new_id
from jobqueue.services.timetable import due_after

OK = RunResult(ok=True)
UTC = timezone.utc


def at(*parts):
    return datetime(*parts, tzinfo=UTC)


# -- when --


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        pytest.param("30 6 * * 1", "UTC", at(2026, 11, 21), at(2026, 11, 23, 6, 30), id="mondays"),
        pytest.param(
            "0 0 1 * *", "America/New_York", at(2026, 7, 1), at(2026, 7, 1, 4), id="in its own zone"
        ),
        pytest.param(
            "30 2 * * *",
            "Europe/Madrid",
            at(2026, 3, 28, 12),
            at(2026, 3, 29, 1, 0),
            id="an hour that is skipped runs right after it",
        ),
        pytest.param(
            "30 2 * * *",
            "Europe/Madrid",
            at(2026, 10, 25, 0, 31),
            at(2026, 10, 26, 1, 30),
            id="an hour that is repeated runs once",
        ),
    ],
)
def test_due(cron, zone, after, expected):
    assert due_after(cron, zone, after) == [expected]


@pytest.mark.parametrize(
    ("cron", "zone", "text"),
    [
        pytest.param("* * * *", "UTC", "five fields", id="four fields"),
        pytest.param("* * * * * *", "UTC", "five fields", id="seconds"),
        pytest.param("@daily", "UTC", "five fields", id="macro"),
        pytest.param("61 * * * *", "UTC", "not valid", id="no such minute"),
        pytest.param("0 0 30 2 *", "UTC", "not valid", id="never"),
        pytest.param("* * * * *", "Mars/Olympus", "time zone", id="no such zone"),
        pytest.param("* * * * *", "../../etc/passwd", "time zone", id="zone is a path"),
        pytest.param("* * * * *", "", "time zone", id="no zone"),
    ],
)
def test_faults(cron, zone, text):
    with pytest.raises(InvalidInput) as e:
        due_after(cron, zone, at(2026, 1, 1))
    assert text in e.value.message
    assert e.value.detail


@given(
    st.integers(0, 59),
    st.integers(0, 23),
    st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(["UTC", "Europe/Madrid", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_what_is_due_is_later_and_in_order(minute, hour, after, zone):
    found = due_after(f"{minute} {hour} * * *", zone, after, 3)
    assert found == sorted(set(found))
    assert found[0] > after
    assert all(t.utcoffset() == timedelta(0) for t in found)
    # a daily run is daily, whatever the clocks do
    assert found[2] - found[0] <= timedelta(days=2, hours=2)


# -- what is submitted --


class Clock:
    def __init__(self):
        self.now = at(2026, 11, 21, 12, 0, 30)

    def __call__(self):
        return self.now


@pytest.fixture
async def timed(service):
    """The service with a clock of the test's own; runs are submitted when the test says so."""
    schedules = service.app.services["schedules"]
    service.clock = schedules._clock = Clock()
    return service


def request(payload, cron="0 * * * *", **more):
    job = payload() | more.pop("job", {})
    return {"cron": cron, "timezone": "Europe/Madrid", "job": job} | more


async def make(service, payload, **more):
    r = await service.client.post("schedules", json=request(payload, **more))
    assert r.status_code == 201, r.text
    return Schedule.model_validate(r.json())


async def ids(service):
    listed = (await service.client.get("jobs", params={"limit": 100})).json()["items"]
    return [job["id"] for job in reversed(listed)]


async def tick(service, minutes):
    """Let time pass; return the jobs that came of it, also when the service's own timer was first."""
    before = set(await ids(service))
    service.clock.now += timedelta(minutes=minutes)
    await service.app.services["schedules"].submit_due()
    return [job for job in await ids(service) if job not in before]


async def show(service, schedule):
    return Schedule.model_validate((await service.client.get(f"schedules/{schedule.id}")).json())


async def test_a_schedule_from_creation_to_its_jobs(timed, payload):
    made = await make(timed, payload, title="Hourly")
    assert made.next_runs == (
        at(2026, 11, 21, 13),
        at(2026, 11, 21, 14),
        at(2026, 11, 21, 15),
    )
    assert (made.owner, made.pipeline, made.parameters) == ("alice", "work", {"rows": 5})
    assert await tick(timed, 10) == []
    [job_id] = await tick(timed, 50)
    assert await tick(timed, 0) == []
    job = await timed.reach(job_id, "running")
    assert job["origin"] == {"kind": "schedule", "id": made.id}
    now = await show(timed, made)
    assert (now.last_job, now.last_due) == (job_id, at(2026, 11, 21, 13))
    assert now.next_runs[0] == at(2026, 11, 21, 14)
    listed = (await timed.client.get(f"jobs?schedule={made.id}")).json()["items"]
    assert [j["id"] for j in listed] == [job_id]


async def test_missed_runs_are_made_up_for_by_one(timed, payload):
    made = await make(timed, payload)
    assert len(await tick(timed, 60 * 24)) == 1
    assert (await show(timed, made)).next_runs[0] == at(2026, 11, 22, 13)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        pytest.param("allow", [1, 1, 1], id="allow"),
        pytest.param("skip", [1, 0, 0], id="skip"),
        pytest.param("queue-one", [1, 1, 0], id="queue-one"),
    ],
)
async def test_overlaps(timed, payload, overlap, expected):
    job = payload(cpu=1)  # one core is all that a user may hold
    made = await make(timed, payload, overlap=overlap, job=job)
    submitted = []
    for n in range(3):
        submitted.append(await tick(timed, 60))
        if n == 0:
            await timed.reach(submitted[0][0], "running")
    assert [len(ids) for ids in submitted] == expected
    assert bool((await show(timed, made)).last_message) == (expected[-1] == 0)
    await timed.plane.end(f"job-{submitted[0][0]}.1", OK)
    await timed.reach(submitted[0][0], "succeeded")
    if overlap == "skip":
        assert len(await tick(timed, 60)) == 1


async def test_pausing_and_resuming_are_idempotent_and_make_up_for_nothing(timed, payload):
    made = await make(timed, payload)
    for _ in range(2):
        r = await timed.client.post(f"schedules/{made.id}/pause")
        assert (r.json()["paused"], r.json()["next_runs"]) == (True, [])
    assert await tick(timed, 180) == []
    for _ in range(2):
        r = await timed.client.post(f"schedules/{made.id}/resume")
        assert r.json()["paused"] is False
    assert await tick(timed, 0) == []
    assert len(await tick(timed, 60)) == 1


async def test_deleting_keeps_the_jobs(timed, payload):
    made = await make(timed, payload)
    [job_id] = await tick(timed, 60)
    for _ in range(2):
        assert (await timed.client.delete(f"schedules/{made.id}")).status_code == 204
    assert (await timed.client.get(f"schedules/{made.id}")).status_code == 404
    assert await tick(timed, 60) == []
    assert (await timed.job(job_id))["id"] == job_id


async def test_a_run_that_cannot_be_submitted_is_said(start, payload):
    timed = await start(max_queued_per_user=1, user_cpu=0.5)
    timed.clock = timed.app.services["schedules"]._clock = Clock()
    made = await make(timed, payload, overlap="allow")
    await timed.reach(await timed.submit(), "running")
    await timed.submit()
    assert await tick(timed, 60) == []
    now = await show(timed, made)
    assert now.last_message.startswith("Not submitted: You have 1 jobs waiting")
    assert now.last_job is None
    assert now.next_runs[0] == at(2026, 11, 21, 14)


async def test_two_looks_at_once_submit_once(timed, payload):
    await make(timed, payload)
    timed.clock.now += timedelta(hours=1)
    import asyncio

    look = timed.app.services["schedules"].submit_due
    found = await asyncio.gather(*(look() for _ in range(5)))
    assert sum(map(len, found)) == 1


async def test_schedules_run_by_themselves(service, payload):
    service.clock = service.app.services["schedules"]._clock = Clock()
    service.clock.now = at(2026, 11, 21, 12, 59, 59)
    made = await make(service, payload)
    service.clock.now += timedelta(seconds=5)
    await service.client.post(f"schedules/{made.id}/resume")  # wakes it; nothing changes

    async def submitted():
        return (await show(service, made)).last_job

    await service.reach(await service.until(submitted), "running")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param({"cron": "* * *"}, "cron", id="cron"),
        pytest.param({"timezone": "Nowhere"}, "timezone", id="zone"),
        pytest.param({"overlap": "sometimes"}, "overlap", id="overlap"),
        pytest.param({"job": {"parameters": {"rows": -1}}}, "rows", id="parameters"),
        pytest.param({"job": {"release": "main"}}, "commit", id="release"),
        pytest.param({"owner": "bob"}, "owner", id="owner outside of the job"),
    ],
)
async def test_bad_schedules_are_refused(service, payload, change, text):
    r = await service.client.post("schedules", json=request(payload) | request(payload, **change))
    assert r.status_code == 422
    assert text in r.text
    assert (await service.client.get("schedules")).json()["items"] == []


async def test_schedules_are_limited_and_listed(start, payload):
    service = await start(max_schedules_per_user=2)
    made = [await make(service, payload) for _ in range(2)]
    r = await service.client.post("schedules", json=request(payload))
    assert (r.status_code, r.json()["code"]) == (429, "limit-reached")
    await make(service, payload, job=payload("bob") | {"avi": "gaia/other"})

    async def ids(query):
        page = SchedulePage.model_validate((await service.client.get(f"schedules?{query}")).json())
        return [s.id for s in page.items], page.next

    assert await ids("owner=alice") == ([made[1].id, made[0].id], None)
    assert await ids("owner=alice&limit=1") == ([made[1].id], made[1].id)
    assert await ids(f"owner=alice&limit=1&cursor={made[1].id}") == ([made[0].id], None)
    assert await ids("owner=alice&avi=gaia/other") == ([], None)


@pytest.mark.parametrize("what", ["", "/pause", "/resume"])
async def test_unknown_schedules(service, what):
    method = "POST" if what else "GET"
    assert (await service.client.request(method, f"schedules/{new_id()}{what}")).status_code == 404
    assert (await service.client.request(method, f"schedules/x{what}")).status_code == 422
