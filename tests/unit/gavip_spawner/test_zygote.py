"""Warm starts: the same promises as cold ones, and nothing shared between jobs but what was imported."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time

import psutil
import pytest

from gavip_api.models import ResourceAmount
from gavip_spawner.plane import ProcessPhase
from gavip_spawner.process_plane import ProcessPlane
from gavip_spawner.specs import LaunchSpec

PROBE = """
import atexit, json, os, random, subprocess, sys, time
import warmed
warmed.jobs += 1
what = os.environ["WHAT"]
if what == "tell":
    atexit.register(print, "bye", flush=True)
    print(json.dumps({
        "environment": dict(os.environ), "argv": sys.argv, "cwd": os.getcwd(), "name": __name__,
        "random": random.random(), "jobs": warmed.jobs, "session": os.getsid(0) == os.getpid(),
        "loaded_by": warmed.pid, "pid": os.getpid(), "open": sorted(os.listdir("/proc/self/fd")),
    }), flush=True)
elif what == "raise":
    raise RuntimeError("as I please")
elif what == "exit":
    sys.exit(7)
elif what == "tree":
    subprocess.Popen(["sleep", "300"], start_new_session=True)
    print("grown", flush=True)
    time.sleep(300)
elif what == "eat":
    hoard = []
    while True:
        hoard.append(os.urandom(8 << 20))
elif what == "sleep":
    time.sleep(300)
"""


@pytest.fixture
async def plane(tmp_path, monkeypatch):
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "warmed.py").write_text("import os\njobs = 0\npid = os.getpid()\n")
    (modules / "gavip_probe.py").write_text(PROBE)
    monkeypatch.syspath_prepend(modules)
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "the platform's own")
    plane = ProcessPlane(tmp_path / "plane")
    await plane.prepare(("warmed", "psutil"))
    assert plane._warm is not None
    deadline = time.monotonic() + 20
    while not plane._warm._ready:
        assert time.monotonic() < deadline
        # a name that does not exist is answered by a supervisor that ends at once
        await asyncio.to_thread(plane._warm.spawn, tmp_path / "nothing")
        await asyncio.sleep(0.05)
    yield plane
    for status in await plane.find({}):
        await plane.remove(status.name)
    await plane.close()


async def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def spec(tmp_path, name, what, **more):
    facts = {
        "argv": (sys.executable, "-m", "gavip_probe", "one"),
        "environment": {"WHAT": what, "PATH": os.environ["PATH"]},
        "cwd": str(tmp_path / name),
        "amount": ResourceAmount(memory=1 << 30, cpu=1),
        "time_limit": 60,
    }
    return LaunchSpec(name=name, **(facts | more))


async def run(plane, made):
    await plane.create(made)
    await plane.start(made.name)
    status = await asyncio.wait_for(plane.wait(made.name), 30)
    log, _ = await plane.read_log(made.name)
    return status, log.decode()


async def test_a_fork_is_what_a_fresh_interpreter_would_be(plane, tmp_path):
    status, log = await run(plane, spec(tmp_path, "a", "tell"))
    assert (status.phase, status.exit_code) == (ProcessPhase.EXITED, 0)
    first, bye = log.splitlines()
    told = json.loads(first)
    assert bye == "bye"
    assert told["loaded_by"] != told["pid"]  # it really was a fork
    assert told["environment"] == {"WHAT": "tell", "PATH": os.environ["PATH"]}
    assert told["argv"][1:] == ["one"]
    assert told["cwd"] == str(tmp_path / "a")
    assert told["name"] == "__main__"
    assert told["session"]
    # standard streams, and the listing itself
    assert len(told["open"]) <= 4


async def test_jobs_share_nothing_but_imports(plane, tmp_path):
    told = []
    for name in "ab":
        _, log = await run(plane, spec(tmp_path, name, "tell"))
        told.append(json.loads(log.splitlines()[0]))
    assert told[0]["loaded_by"] == told[1]["loaded_by"]
    assert [t["jobs"] for t in told] == [1, 1]
    assert told[0]["random"] != told[1]["random"]


async def test_the_zygote_holds_no_identity(plane):
    pid = plane._warm._process.pid
    environment = psutil.Process(pid).environ()
    assert not [name for name in environment if name.startswith(("JUPYTERHUB_", "GAVIP_"))]


@pytest.mark.parametrize(
    ("what", "limits", "code", "reason", "text"),
    [
        pytest.param("raise", {}, 1, "", "RuntimeError: as I please", id="exception"),
        pytest.param("exit", {}, 7, "", "", id="exit code"),
        pytest.param("sleep", {"time_limit": 1}, -15, "time", "", id="over its time"),
        pytest.param(
            "eat",
            {"amount": ResourceAmount(memory=100 << 20, cpu=1)},
            -9,
            "memory",
            "",
            id="over its memory",
        ),
    ],
)
async def test_endings(plane, tmp_path, what, limits, code, reason, text):
    status, log = await run(plane, spec(tmp_path, "a", what, **limits))
    assert (status.exit_code, status.reason) == (code, reason)
    assert text in log
    assert "zygote" not in log.replace("gavip_spawner/zygote.py", "")


async def test_stopping_ends_the_whole_tree(plane, tmp_path):
    made = spec(tmp_path, "a", "tree")
    await plane.create(made)
    await plane.start("a")
    log = tmp_path / "plane/a/log"
    await until(lambda: log.exists() and log.read_bytes())
    supervisor = psutil.Process(json.loads((tmp_path / "plane/a/started").read_text())["pid"])
    tree = supervisor.children(recursive=True)
    assert len(tree) == 2
    status = await plane.stop("a", grace=1)
    assert status.reason == "stopped"
    psutil.wait_procs(tree, 5)
    assert not [p for p in tree if p.is_running() and p.status() != "zombie"]


async def test_a_job_dies_with_its_supervisor(plane, tmp_path):
    made = spec(tmp_path, "a", "sleep")
    await plane.create(made)
    await plane.start("a")
    # claimed first and written a moment later
    await until(lambda: (tmp_path / "plane/a/started").read_text())
    pid = json.loads((tmp_path / "plane/a/started").read_text())["pid"]
    supervisor = psutil.Process(pid)
    await until(supervisor.children)
    tree = supervisor.children()
    # in a session of its own: it has told the kernel that it dies with its parent, or is about to
    await until(lambda: os.getsid(tree[0].pid) == tree[0].pid)
    os.kill(pid, signal.SIGKILL)
    assert (await asyncio.wait_for(plane.wait("a"), 10)).phase is ProcessPhase.VANISHED
    _, left = psutil.wait_procs(tree, 5)
    assert not [p for p in left if p.status() != "zombie"]


async def test_jobs_outlive_plane_and_zygote(plane, tmp_path):
    made = spec(tmp_path, "a", "sleep")
    await plane.create(made)
    await plane.start("a")
    await plane.close()
    other = ProcessPlane(tmp_path / "plane")
    assert (await other.inspect("a")).phase is ProcessPhase.RUNNING
    await other.start("a")
    await other.stop("a", grace=1)


async def test_without_a_zygote_starts_are_cold(plane, tmp_path):
    os.kill(plane._warm._process.pid, signal.SIGKILL)
    environment = {"WHAT": "exit", "PYTHONPATH": str(tmp_path / "modules")}
    status, _ = await run(plane, spec(tmp_path, "a", "exit", environment=environment))
    assert status.exit_code == 7


async def test_starting_twice_at_once_runs_once(plane, tmp_path):
    made = spec(tmp_path, "a", "tell")
    await plane.create(made)
    await asyncio.gather(*(plane.start("a") for _ in range(5)))
    await plane.wait("a")
    log, _ = await plane.read_log("a")
    assert log.count(b"bye") == 1
