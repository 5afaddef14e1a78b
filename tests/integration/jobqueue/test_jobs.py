"""Whole lives of jobs on the real process plane."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from gavip_web.sse import read_events

pytestmark = pytest.mark.integration


async def test_a_job_runs_reports_and_leaves_a_product(queue):
    job = await queue.submit("succeed", seconds=1.5)
    assert job["state"] == "queued"
    url = str(queue.client.base_url) + f"api/v1/jobs/{job['id']}/events"
    events = [e async for e in read_events(queue.client, url)]
    told = [json.loads(e.data) for e in events]
    states = list(dict.fromkeys(t["state"] for t in told))
    assert states == ["queued", "starting", "running", "succeeded"]
    assert [t["progress"]["done"] for t in told if t["kind"] == "progress"] == [0, 1, 2]
    assert [int(e.id) for e in events] == sorted(t["seq"] for t in told)

    rest = [e async for e in read_events(queue.client, url, last_id=events[-2].id)]
    assert rest == events[-1:]

    job = await queue.job(job["id"])
    assert job["outputs"] == ["answer.txt"]
    assert (queue.state / "userspace/alice" / job["product"] / "answer.txt").read_text() == "42"
    log = await queue.client.get(f"api/v1/jobs/{job['id']}/log")
    assert log.text == "started as ['-m', 'avi.runner']\n"
    assert log.headers["X-Log-Size"] == str(len(log.content))
    tail = await queue.client.get(f"api/v1/jobs/{job['id']}/log?offset=8")
    assert tail.text == log.text[8:]
    pool = (await queue.client.get("api/v1/pools/alice")).json()
    assert pool["used"] == {"memory": 0, "cpu": 0.0, "slots": 0, "archive": 0}


@pytest.mark.parametrize(
    ("what", "limit", "state", "code"),
    [
        pytest.param("fail", "1m", "failed", "cell-error", id="notebook raises"),
        pytest.param("die", "1m", "failed", "killed", id="killed from outside"),
        pytest.param("hang", "1s", "timed-out", "timed-out", id="over its time"),
        pytest.param("eat", "1m", "failed", "out-of-memory", id="over its memory"),
    ],
)
async def test_a_job_that_ends_badly_says_why(queue, what, limit, state, code):
    job = await queue.submit(what, time_limit=limit)
    job = await queue.reach(job["id"], "succeeded", "failed", "timed-out", "lost")
    assert (job["state"], job["error"]["code"]) == (state, code)
    assert job["error"]["message"]
    assert job["ended"]


async def test_a_forged_token_reports_nothing(queue):
    job = await queue.submit("wrong-token")
    await queue.reach(job["id"], "succeeded")
    log = await queue.client.get(f"api/v1/jobs/{job['id']}/log")
    assert log.text.endswith("answer 401\n")


async def test_cancelling_ends_the_process_and_frees_the_pool(queue):
    running = await queue.submit("hang", cpu=1)
    waiting = await queue.submit("hang", cpu=1)
    await queue.reach(running["id"], "running")
    waiting = await queue.job(waiting["id"])
    assert waiting["position"] == 1
    assert "Job Work" in waiting["waiting_for"]
    for _ in range(2):
        r = await queue.client.post(f"api/v1/jobs/{waiting['id']}/cancel")
        assert r.json()["state"] == "cancelled"
    assert (await queue.client.post(f"api/v1/jobs/{running['id']}/cancel")).status_code == 200
    job = await queue.reach(running["id"], "cancelled")
    assert job["error"]["code"] == "cancelled"
    assert (await queue.client.get("api/v1/pools/alice")).json()["holders"] == []


async def test_the_log_is_followed_live(queue):
    job = await queue.submit("hang")
    await queue.reach(job["id"], "running")
    url = str(queue.client.base_url) + f"api/v1/jobs/{job['id']}/log"
    stream = read_events(queue.client, url, params={"follow": "true"})
    event = await asyncio.wait_for(stream.__anext__(), 10)
    assert event.event == "log"
    assert json.loads(event.data)["text"].startswith("started as")
    await queue.client.post(f"api/v1/jobs/{job['id']}/cancel")
    assert [e async for e in stream] == []


async def test_killing_the_queue_loses_and_doubles_nothing(queue):
    ids = []
    for n in range(6):
        ids.append((await queue.submit("succeed", seconds=1.0, cpu=0.25, owner="alice"))["id"])
        if n % 2:
            await queue.kill(signal.SIGKILL)
            await queue.start()
    jobs = [await queue.reach(i, "succeeded", "failed", "lost") for i in ids]
    assert [j["state"] for j in jobs] == ["succeeded"] * len(ids)
    assert sorted(queue.runs()) == sorted(f"{i} 1" for i in ids)
    used = (await queue.client.get("api/v1/queue")).json()["used"]
    assert used == {"memory": 0, "cpu": 0.0, "slots": 0, "archive": 0}


async def test_a_job_that_ends_while_the_queue_is_away_is_finished_afterwards(queue):
    job = await queue.submit("succeed", seconds=0.6)
    await queue.reach(job["id"], "running")
    await queue.kill()
    await queue.until(
        lambda: asyncio.to_thread(
            lambda: (queue.state / f"plane/job-{job['id']}.1/exit.json").exists()
        ),
        "the job to end by itself",
    )
    await queue.start()
    assert (await queue.reach(job["id"], "succeeded", "lost"))["outputs"] == ["answer.txt"]


async def test_a_vanished_job_is_tried_once_more_visibly(queue):
    job = await queue.submit("hang")
    await queue.reach(job["id"], "running")
    await queue.kill()
    # the whole machine went down: supervisor and job with it, nobody wrote how it ended
    started = json.loads((queue.state / f"plane/job-{job['id']}.1/started").read_text())
    os.kill(started["pid"], signal.SIGKILL)
    await queue.start()

    async def second_attempt_runs():
        now = await queue.job(job["id"])
        return now["attempt"] == 2 and now["state"] == "running"

    await queue.until(second_attempt_runs, "the second attempt")
    await queue.client.post(f"api/v1/jobs/{job['id']}/cancel")
    await queue.reach(job["id"], "cancelled")
    url = str(queue.client.base_url) + f"api/v1/jobs/{job['id']}/events"
    states = [json.loads(e.data) async for e in read_events(queue.client, url)]
    assert [s["state"] for s in states if s["kind"] == "state"] == [
        *("queued", "starting", "running", "lost"),
        *("queued", "starting", "running", "cancelled"),
    ]
