"""Retry, clone and schedules through the public API and the pages: whose they are, and what is passed on."""

from __future__ import annotations

import pytest

from tests.support.portal_platform import Platform

pytestmark = pytest.mark.integration


async def test_retry_and_clone_of_ones_own_jobs(platform: Platform, ada, grace) -> None:
    job = platform.queue.add("ada", state="failed")["id"]
    r = await ada.post(f"jobs/{job}/retry")
    assert (r.status_code, r.json()["origin"]) == (201, {"kind": "retry", "id": job})
    r = await ada.post(f"jobs/{job}/clone", json={"parameters": {"ra": 1}})
    assert r.status_code == 201
    assert r.json()["parameters"] == {"ra": 1, "dec": 24.12, "radius": 1.0}
    running = platform.queue.add("ada", state="running")["id"]
    assert (await ada.post(f"jobs/{running}/retry")).status_code == 409
    assert (await ada.get(f"jobs/{job}/hooks")).json() == {"items": []}
    before = len(platform.queue.jobs)
    for what in ("retry", "clone"):
        assert (await grace.post(f"jobs/{job}/{what}", json={})).status_code == 404
    assert (await grace.get(f"jobs/{job}/hooks")).status_code == 404
    assert len(platform.queue.jobs) == before


async def test_lists_are_narrowed_by_several_states(platform: Platform, ada) -> None:
    for state in ("failed", "succeeded", "lost"):
        platform.queue.add("ada", state=state)
    found = (await ada.get("jobs?state=failed&state=lost")).json()["items"]
    assert [job["state"] for job in found] == ["lost", "failed"]
    assert (await ada.get("jobs?state=nothing")).status_code == 422


async def test_schedules_are_resolved_and_belong_to_who_made_them(
    platform: Platform, ada, grace
) -> None:
    asked = {
        "avi": "gavip/demo",
        "pipeline": "hr-diagram",
        "parameters": {"rows": 100},
        "cron": "0 6 * * *",
        "timezone": "Europe/Madrid",
    }
    r = await ada.post("schedules", json=asked)
    assert r.status_code == 201, r.text
    made = r.json()
    stored = platform.queue.schedules[made["id"]]
    assert (stored["owner"], len(stored["release"])) == ("ada", 40)
    assert stored["parameters"]["rows"] == 100
    path = f"schedules/{made['id']}"
    assert (await ada.get(path)).json()["id"] == made["id"]
    assert (await ada.post(f"{path}/pause")).json()["paused"] is True
    assert (await ada.post(f"{path}/resume")).json()["paused"] is False
    for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/pause")):
        assert (await grace.request(method, where)).status_code == 404
    assert (await grace.get("schedules")).json()["items"] == []
    assert len((await ada.get("schedules")).json()["items"]) == 1
    assert (await ada.delete(path)).status_code == 204
    assert (await ada.get(path)).status_code == 404
    bad = await ada.post("schedules", json=asked | {"parameters": {"nothing": 1}})
    assert (bad.status_code, bad.json()["code"]) == (422, "invalid-input")
    assert (await ada.get("hooks/secret")).json() == {"secret": "whsec_ada"}
