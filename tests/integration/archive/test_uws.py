"""The UWS surface of jobs, and that they outlive the service."""

import signal
import time
from datetime import datetime, timedelta, timezone
from xml.etree import ElementTree

import pytest
import requests

from .conftest import wait_for

pytestmark = pytest.mark.integration

UWS = "{http://www.ivoa.net/xml/UWS/v1.0}"
QUICK = "SELECT TOP 5 source_id FROM gaiadr3.gaia_source"
SLOW = "SELECT MAX(SIN(a.ra*b.ra*c.ra)) AS x FROM gaiadr3.gaia_source a, gaiadr3.gaia_source b, gaiadr3.gaia_source c"


def get(url, **parameters):
    return requests.get(url, params=parameters, timeout=70)


def post(url, **form):
    return requests.post(url, data=form, timeout=10, allow_redirects=False)


def test_properties_of_a_pending_job(service):
    url = service.create(QUICK, RUNID="mine")
    root = ElementTree.fromstring(get(url).content)
    assert root.get("version") == "1.1"
    names = [child.tag.removeprefix(UWS) for child in root]
    # the order is the schema's
    assert names == [
        "jobId", "runId", "ownerId", "phase", "quote", "creationTime", "startTime", "endTime",
        "executionDuration", "destruction", "parameters", "results",
    ]  # fmt: skip
    assert root.findtext(f"{UWS}runId") == "mine"
    assert get(f"{url}/phase").text == "PENDING"
    assert get(f"{url}/executionduration").text == "600"
    assert get(f"{url}/quote").text == ""
    assert get(f"{url}/owner").text == ""
    assert "QUERY" in get(f"{url}/parameters").text
    assert get(f"{url}/results").status_code == 200
    assert get(f"{url}/error").status_code == 404
    assert get(f"{url}/results/result").status_code == 404


def test_a_job_is_changed_while_pending_and_not_later(service):
    url = service.create("SELECT broken")
    assert post(f"{url}/parameters", QUERY=QUICK).status_code == 303
    assert post(f"{url}/executionduration", EXECUTIONDURATION="5").status_code == 303
    assert get(f"{url}/executionduration").text == "5"
    assert post(f"{url}/executionduration", EXECUTIONDURATION="999999").status_code == 303
    assert get(f"{url}/executionduration").text == "3600"
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert post(f"{url}/destruction", DESTRUCTION=tomorrow).status_code == 303
    assert get(f"{url}/destruction").text == tomorrow.replace("Z", ".000Z")
    assert post(f"{url}/phase", PHASE="RUN").status_code == 303
    assert wait_for(url, "COMPLETED", "ERROR") == "COMPLETED"
    refused = post(f"{url}/parameters", QUERY=QUICK)
    assert refused.status_code == 403
    assert "COMPLETED" in refused.text


def test_wait_returns_when_the_phase_changes(service):
    url = service.create(SLOW, PHASE="RUN")
    wait_for(url, "EXECUTING")
    started = time.monotonic()
    assert get(url, WAIT="1", PHASE="EXECUTING").status_code == 200
    assert 0.9 < time.monotonic() - started < 3
    assert post(f"{url}/phase", PHASE="ABORT").status_code == 303
    started = time.monotonic()
    assert "ABORTED" in get(url, WAIT="30").text
    assert get(f"{url}/phase", WAIT="-1", PHASE="EXECUTING").text == "ABORTED"
    assert time.monotonic() - started < 2


def test_wait_on_a_quick_job_is_short(service):
    url = service.create(QUICK)
    post(f"{url}/phase", PHASE="RUN")
    started = time.monotonic()
    while get(f"{url}/phase", WAIT="20").text in ("PENDING", "QUEUED", "EXECUTING"):
        pass
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "remove",
    [
        pytest.param(
            lambda url: requests.delete(url, timeout=10, allow_redirects=False), id="method"
        ),
        pytest.param(lambda url: post(url, ACTION="DELETE"), id="action"),
    ],
)
def test_delete_while_executing(service, remove):
    url = service.create(SLOW, PHASE="RUN")
    wait_for(url, "EXECUTING")
    answer = remove(url)
    assert answer.status_code == 303
    assert get(url).status_code == 404


def test_run_and_abort_are_idempotent(service):
    url = service.create(QUICK, PHASE="RUN")
    wait_for(url, "COMPLETED")
    assert post(f"{url}/phase", PHASE="ABORT").status_code == 303
    assert get(f"{url}/phase").text == "COMPLETED"
    assert post(f"{url}/phase", PHASE="RUN").status_code == 403
    assert post(f"{url}/phase", PHASE="JUMP").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/async/nope",
        "/async/0190e0a0-0000-7000-8000-000000000000",
        "/async/..%2f..%2fetc/phase",
        "/nothing",
        "/tables/no.such",
    ],
)
def test_what_is_not_there_is_404(service, path):
    answer = get(f"{service.url}{path}")
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_the_list_is_private_unless_published(service, own_service):
    service.create(QUICK)
    assert len(ElementTree.fromstring(get(f"{service.url}/async").content)) == 0
    public = own_service("--ArchiveApp.list_jobs=true")
    first = public.create(QUICK, PHASE="RUN")
    wait_for(first, "COMPLETED")
    between = datetime.now(timezone.utc).isoformat()
    second = public.create(QUICK)

    def listed(**parameters):
        root = ElementTree.fromstring(get(f"{public.url}/async", **parameters).content)
        return [reference.get("id") for reference in root]

    ids = [second.rpartition("/")[2], first.rpartition("/")[2]]
    assert listed() == ids
    assert listed(PHASE="COMPLETED") == ids[1:]
    assert listed(PHASE="HELD") == []
    assert listed(LAST="1") == ids[:1]
    assert listed(AFTER=between) == ids[:1]
    assert get(f"{public.url}/async", LAST="0").status_code == 400


def test_results_outlive_a_restart_and_interrupted_jobs_run_again(own_service):
    first = own_service()
    done = first.create(QUICK, PHASE="RUN")
    wait_for(done, "COMPLETED")
    interrupted = first.create(SLOW, PHASE="RUN")
    wait_for(interrupted, "EXECUTING")
    first.stop(signal.SIGKILL)
    second = own_service()

    def at(url, service):
        return f"{service.url}/async/{url.rpartition('/')[2]}"

    assert get(at(done, second)).text.count("COMPLETED") == 1
    assert b"BINARY2" in get(f"{at(done, second)}/results/result").content
    assert wait_for(at(interrupted, second), "EXECUTING") == "EXECUTING"
    second.stop(signal.SIGKILL)
    third = own_service()
    assert wait_for(at(interrupted, third), "ERROR") == "ERROR"
    assert "twice" in get(f"{at(interrupted, third)}/error").text


def test_an_orderly_stop_is_quick_and_queues_what_ran(own_service):
    first = own_service()
    url = first.create(SLOW, PHASE="RUN")
    wait_for(url, "EXECUTING")
    started = time.monotonic()
    assert first.stop(signal.SIGTERM) == 0
    assert time.monotonic() - started < 5
    second = own_service()
    assert wait_for(f"{second.url}/async/{url.rpartition('/')[2]}", "EXECUTING")


def test_destruction_removes_job_and_files(own_service, tmp_path):
    service = own_service("--ArchiveApp.sweep_interval=1")
    url = service.create(QUICK, PHASE="RUN")
    wait_for(url, "COMPLETED")
    folder = tmp_path / "state" / "jobs" / url.rpartition("/")[2]
    assert folder.is_dir()
    post(f"{url}/destruction", DESTRUCTION="2020-01-01T00:00:00Z")
    assert get(url).status_code == 404
    deadline = time.monotonic() + 10
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


def test_the_queue_is_bounded(own_service):
    service = own_service(
        "--ArchiveApp.workers=1", "--ArchiveApp.queue_length=0", "--ArchiveApp.max_jobs=2"
    )
    url = service.create(SLOW, PHASE="RUN")
    wait_for(url, "EXECUTING")
    answer = service.sync(QUICK)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert 'value="ERROR"' in answer.text
    service.create(QUICK)
    refused = requests.post(
        f"{service.url}/async",
        data={"QUERY": QUICK, "LANG": "ADQL"},
        timeout=5,
        allow_redirects=False,
    )
    assert refused.status_code == 503
    post(f"{url}/phase", PHASE="ABORT")
    deadline = time.monotonic() + 5
    while service.sync(QUICK).status_code != 200:
        assert time.monotonic() < deadline


def test_sync_times_out_and_other_requests_are_served_meanwhile(own_service):
    service = own_service("--ArchiveApp.sync_timeout=2")
    url = service.create(SLOW, PHASE="RUN")
    wait_for(url, "EXECUTING")
    started = time.monotonic()
    assert get(f"{service.url}/availability").status_code == 200
    assert time.monotonic() - started < 1
    answer = service.sync(SLOW)
    assert answer.status_code == 400
    assert "longer than it may" in answer.text


def test_a_taken_port_is_said(service, own_service):
    port = service.url.split(":")[2].split("/")[0]
    with pytest.raises(AssertionError, match="cannot be listened on"):
        own_service(port=int(port))
