"""How long from submitting a job to its first cell, beside plain papermill of the same notebook in the same run.

Prints the medians and their ratio; the bar of the project is a ratio of at most 1.0 on the process back-end.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import nbformat
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.integration.jobqueue.conftest import HubUser, Queue, submission  # noqa: E402

SHA = "a" * 40
CELL = """\
import os, time
with open(os.path.join(os.environ.get("GAVIP_OUTPUT_DIR") or os.environ["STAMP_DIR"], "first"), "w") as file:
    file.write(repr(time.time()))
"""
MANIFEST = """\
avi: 1
name: demo
title: Demo
pipelines:
  work:
    notebook: work.ipynb
"""


def write_release(folder: Path) -> Path:
    folder.mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, str(folder / "work.ipynb"))
    (folder / "avi.yaml").write_text(MANIFEST)
    return folder / "work.ipynb"


def plain(notebook: Path, folder: Path) -> float:
    """Seconds from starting papermill to the first cell."""
    folder.mkdir()
    begun = time.time()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "--no-progress-bar",
            str(notebook),
            str(folder / "out.ipynb"),
        ],
        check=True,
        capture_output=True,
        env=os.environ | {"STAMP_DIR": str(folder)},
    )
    return float((folder / "first").read_text()) - begun


async def queued(queue: Queue) -> float:
    """Seconds from sending a submission to the first cell."""
    body = submission("x")
    body["spec"] |= {"parameters": {}, "resources": {"memory": "500M", "cpu": 1, "time": "5m"}}
    body["parameters"] = {}
    begun = time.time()
    answer = await queue.client.post("api/v1/jobs", json=body)
    answer.raise_for_status()
    job = await queue.reach(answer.json()["id"], "succeeded", "failed", "lost")
    assert job["state"] == "succeeded", job["error"]
    first = queue.state / "userspace" / "alice" / job["product"] / "first"
    return float(first.read_text()) - begun


async def measure(state: Path, rounds: int, warm: bool) -> tuple[list[float], list[float]]:
    notebook = write_release(state / "releases" / SHA)
    hub = HTTPServer(Application([("/hub/api/user", HubUser)]))
    hub_socket, hub_port = bind_unused_port()
    hub.add_socket(hub_socket)
    free, port = bind_unused_port()
    free.close()
    queue = Queue(state, port, hub_port)
    queue.options = {"job_python": sys.executable}
    if not warm:
        queue.options["warm_modules"] = "[]"
    await queue.start()
    try:
        # the first of each warms the disk's cache, and lets the zygote finish its imports
        await asyncio.to_thread(plain, notebook, state / "plain-warm-up")
        await asyncio.sleep(4)
        await queued(queue)
        by_papermill, by_queue = [], []
        for n in range(rounds):
            by_papermill.append(await asyncio.to_thread(plain, notebook, state / f"plain-{n}"))
            by_queue.append(await queued(queue))
    finally:
        await queue.kill(15)
        await queue.client.aclose()
        hub.stop()
    return by_papermill, by_queue


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Measurements of each.")
@click.option("--cold", is_flag=True, help="Without warm start, for comparison.")
def main(rounds: int, cold: bool) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="gavip-overhead-") as folder:
        state = Path(folder)
        (state / "userspace" / "alice" / "avis" / "gaia.demo").mkdir(parents=True)
        by_papermill, by_queue = asyncio.run(measure(state, rounds, not cold))
    ours, theirs = statistics.median(by_queue), statistics.median(by_papermill)
    click.echo("| to the first cell | median | least | most |\n|---|---|---|---|")
    for name, found in (("plain papermill", by_papermill), ("through the queue", by_queue)):
        click.echo(
            f"| {name} | {statistics.median(found):.2f} s | {min(found):.2f} s | {max(found):.2f} s |"
        )
    click.echo(f"ratio {ours / theirs:.2f} (bar: at most 1.0), {rounds} rounds")
    raise SystemExit(0 if cold or ours <= theirs else 1)


if __name__ == "__main__":
    main()
