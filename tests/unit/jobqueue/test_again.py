"""Jobs made from jobs: retry, clone; and lists narrowed in every way."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from urllib.parse import urlencode

import pytest

from gavip_api.models import RunResult
from gavip_api.slugs import new_id

FAILED = RunResult(ok=False)


async def failed(service, **resources):
    job_id = await service.submit(**resources)
    await service.reach(job_id, "running")
    await service.plane.end(f"job-{job_id}.1", FAILED, exit_code=1)
    await service.reach(job_id, "failed")
    return job_id


async def test_a_job_that_is_over_is_tried_again_as_it_was(service):
    old = await failed(service, memory="100M + 2M * rows")
    r = await service.client.post(f"jobs/{old}/retry")
    assert r.status_code == 201
    job = r.json()
    assert r.headers["Location"].endswith(f"/services/jobqueue/api/v1/jobs/{job['id']}")
    assert job["id"] != old
    assert job["origin"] == {"kind": "retry", "id": old}
    before = await service.job(old)
    for same in ("owner", "avi", "release", "pipeline", "parameters", "resources", "time_limit"):
        assert job[same] == before[same]
    assert before["state"] == "failed"
    await service.reach(job["id"], "running")


async def test_a_job_that_is_not_over_is_not_tried_again(service):
    job_id = await service.submit()
    r = await service.client.post(f"jobs/{job_id}/retry")
    assert (r.status_code, r.json()["code"]) == (409, "conflict")
    assert r.json()["hint"]


async def test_a_clone_has_other_parameters_and_their_resources(service):
    old = await service.submit(memory="100M + 2M * rows")
    r = await service.client.post(f"jobs/{old}/clone", json={"parameters": {"rows": 10}})
    assert r.status_code == 201
    job = r.json()
    assert job["parameters"] == {"rows": 10}
    assert job["resources"]["memory"] == 120 << 20
    assert job["origin"] == {"kind": "clone", "id": old}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("clone", {"parameters": {"rows": -1}}, 422, id="below the minimum"),
        pytest.param("clone", {"parameters": {"x": 1}}, 422, id="unknown parameter"),
        pytest.param("clone", {"surprise": 1}, 422, id="unknown member"),
    ],
)
async def test_bad_clones_are_refused(service, path, body, status):
    job_id = await service.submit()
    r = await service.client.post(f"jobs/{job_id}/{path}", json=body)
    assert r.status_code == status
    assert len((await service.client.get("jobs")).json()["items"]) == 1


@pytest.mark.parametrize("what", ["retry", "clone"])
async def test_what_is_not_there_is_not_made_again(service, what):
    r = await service.client.post(f"jobs/{new_id()}/{what}", json={})
    assert r.status_code == 404


async def test_lists_are_narrowed_by_time_pipeline_and_state(service, payload):
    first = await failed(service)
    middle = datetime.now(timezone.utc)
    other = await service.client.post("jobs", json=payload() | {"pipeline": "other"})

    async def ids(**query):
        r = await service.client.get("jobs?" + urlencode(query, doseq=True))
        assert r.status_code == 200, r.text
        return [job["id"] for job in r.json()["items"]]

    second = other.json()["id"]
    assert await ids() == [second, first]
    assert await ids(pipeline="other") == [second]
    assert await ids(since=middle.isoformat()) == [second]
    assert await ids(until=middle.isoformat()) == [first]
    assert await ids(since=(middle + timedelta(hours=1)).isoformat()) == []
    assert await ids(state=["failed", "lost"]) == [first]
    assert await ids(schedule=new_id()) == []
    assert (await service.client.get("jobs?since=2026-01-01T00:00:00")).status_code == 422
