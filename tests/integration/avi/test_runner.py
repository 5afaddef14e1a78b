from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import nbformat
import pytest

pytestmark = pytest.mark.integration


def test_a_good_run_leaves_product_provenance_and_result(tiny, run):
    ran = run(tiny, parameters={"x": 21, "text": '" + __import__("os").getcwd() + "{x}'})
    assert ran.status == 0, ran.log
    assert ran.result == {
        "ok": True,
        "error": None,
        "outputs": ["out.txt", "provenance.json", "executed.ipynb"],
    }
    # the text stays text: parameters are data
    assert (ran.folder / "out.txt").read_text() == '42" + __import__("os").getcwd() + "{x}'
    record = json.loads((ran.folder / "provenance.json").read_text())
    assert record["avi"] == "ada/tiny"
    assert record["parameters"]["x"] == 21
    assert {o["path"] for o in record["outputs"]} == {"out.txt", "executed.ipynb"}
    assert "written" in ran.log
    assert not list(tiny.glob("__pycache__"))
    assert sorted(p.name for p in ran.folder.iterdir()) == sorted(
        [*ran.result["outputs"], "result.json"]
    )


@pytest.mark.parametrize(
    ("how", "code", "words", "hint"),
    [
        pytest.param(
            "raise", "notebook-error", "ValueError: no good", "executed notebook", id="raising-cell"
        ),
        pytest.param("exit", "kernel-died", "cell 3", "memory", id="os-exit"),
        pytest.param("kill", "kernel-died", "cell 3", "memory", id="sigkill"),
        pytest.param("empty", "empty-result", "No stars.", "Widen.", id="error-with-hint"),
    ],
)
def test_a_failing_notebook_is_explained(tiny, run, how, code, words, hint):
    ran = run(tiny, parameters={"how": how})
    error = ran.result["error"]
    assert ran.status == 1
    assert (error["code"], error["cell"]) == (code, 3)
    assert words in error["message"]
    assert hint in error["hint"]
    assert "Traceback" not in json.dumps(ran.result)
    executed = nbformat.read(ran.folder / "executed.ipynb", as_version=4)
    assert any(cell.get("execution_count") for cell in executed.cells)
    assert not (ran.folder / "out.txt").exists()


@pytest.mark.parametrize(
    ("pipeline", "parameters", "code", "words"),
    [
        pytest.param(
            "work", {"y": 1}, "invalid-input", "y is not a parameter", id="unknown-parameter"
        ),
        pytest.param("work", {"x": "1"}, "invalid-input", "x '1' is not of type", id="wrong-type"),
        pytest.param("work", "{", "invalid-input", "not JSON", id="broken-parameters"),
        pytest.param("gone", {}, "not-found", "gone.ipynb", id="missing-notebook"),
        pytest.param("broken", {}, "invalid-input", "not a Jupyter notebook", id="broken-notebook"),
        pytest.param("dag", {}, "invalid-input", "not yet supported", id="ploomber"),
        pytest.param("nope", {}, "not-found", "no pipeline 'nope'", id="unknown-pipeline"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(
    tiny, run, pipeline, parameters, code, words
):
    ran = run(tiny, pipeline, parameters)
    assert ran.status == 1
    assert ran.result["error"]["code"] == code
    assert words in ran.result["error"]["message"]
    assert ran.result["error"]["hint"]
    assert "Traceback" not in ran.log
    assert not (ran.folder / "executed.ipynb").exists()


def test_the_notebook_does_not_get_the_job_token(tiny, run):
    ran = run(
        tiny,
        parameters={"how": "token"},
        GAVIP_JOB_TOKEN="s3cret",
        GAVIP_JOB_URL="http://127.0.0.1:9/runs/1",
    )
    assert ran.status == 0, ran.log
    assert "s3cret" not in ran.log
    assert "s3cret" not in (ran.folder / "executed.ipynb").read_text()


class Queue(http.server.BaseHTTPRequestHandler):
    reports: list = []
    status = 204

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reports.append((self.path, self.headers["Authorization"], body))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def queue():
    Queue.reports, Queue.status = [], 204
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Queue)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/runs/1"
    server.shutdown()
    server.server_close()


def test_progress_reaches_the_queue(tiny, run, queue):
    ran = run(tiny, GAVIP_JOB_URL=queue, GAVIP_JOB_TOKEN="one-job")
    assert ran.status == 0, ran.log
    assert {(path, auth) for path, auth, _ in Queue.reports} == {
        ("/runs/1/progress", "Bearer one-job")
    }
    bodies = [body for *_, body in Queue.reports]
    assert all(body["attempt"] == 1 for body in bodies)
    assert (bodies[-1]["done"], bodies[-1]["total"]) == (4, 4)
    assert [b["done"] for b in bodies] == sorted(b["done"] for b in bodies)


def test_a_queue_that_is_down_does_not_fail_the_job(tiny, run):
    assert run(tiny, GAVIP_JOB_URL="http://127.0.0.1:9/runs/1", GAVIP_JOB_TOKEN="t").status == 0


def test_a_fenced_attempt_stops_and_leaves_no_result(tiny, run, queue):
    Queue.status = 409
    began = time.monotonic()
    ran = run(tiny, parameters={"how": "sleep"}, GAVIP_JOB_URL=queue, GAVIP_JOB_TOKEN="t")
    assert ran.status == 1
    assert time.monotonic() - began < 40
    assert ran.result == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_job_says_so(tiny, environ_of, tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, "-m", "avi.runner"],
        env=environ_of(tiny, parameters={"how": "sleep"}),
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "product {x}"
    limit = time.monotonic() + 60
    while not (folder / "sleeping").exists():
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(process.pid, number)
    assert process.wait(20) == 1
    result = json.loads((folder / "result.json").read_text())
    assert result["error"]["code"] == "cancelled"


def test_the_standalone_worker_runs_the_same(tiny, monkeypatch, tmp_path):
    import avi
    from avi import surroundings

    for name in [n for n in os.environ if n.startswith("GAVIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tiny)
    surroundings.reset()
    try:
        job = avi.pipeline("work").submit(x=4)
        states = [event.state for event in job.events()]
        assert states[0] == "running"
        assert states[-1] == "succeeded"
        assert (job.refresh().product_dir / "out.txt").read_text() == "8"
        assert "written" in job.log()
        stopped = avi.pipeline("work").submit(how="sleep")
        limit = time.monotonic() + 60
        while not (stopped.product_dir / "sleeping").exists():
            assert time.monotonic() < limit
            time.sleep(0.05)
        stopped.cancel().cancel()
        assert stopped.wait(20).state == "cancelled"
        assert [j.id for j in avi.jobs()] == [stopped.id, job.id]
    finally:
        surroundings.reset()
