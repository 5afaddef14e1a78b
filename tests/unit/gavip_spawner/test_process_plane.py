"""The process back-end with real processes: exactly-once start, limits, recovery."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from gavip_api.errors import InvalidInput, NotFound
from gavip_api.models import ResourceAmount
from gavip_spawner.plane import NoRoom, ProcessPhase
from gavip_spawner.process_plane import ProcessPlane
from gavip_spawner.specs import LaunchSpec, base_environment

MIB = 1 << 20


@pytest.fixture
def plane(tmp_path: Path) -> ProcessPlane:
    return ProcessPlane(tmp_path / "plane")


def spec(
    tmp_path: Path,
    code: str,
    *,
    name: str = "p1",
    memory: int = 512 * MIB,
    time_limit: int | None = None,
) -> LaunchSpec:
    return LaunchSpec(
        name=name,
        argv=(sys.executable, "-c", code),
        environment=base_environment() | {"SECRET": "s3cret"},
        cwd=str(tmp_path / "work"),
        amount=ResourceAmount(memory=memory, cpu=1),
        time_limit=time_limit,
        labels={"gavip.kind": "test", "n": name},
    )


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        pytest.param("print('hello')", 0, id="success"),
        pytest.param("raise SystemExit(3)", 3, id="exit-code"),
        pytest.param("import os; os.kill(os.getpid(), 9)", -9, id="killed"),
    ],
)
async def test_outcome_is_recorded(
    plane: ProcessPlane, tmp_path: Path, code: str, exit_code: int
) -> None:
    await plane.create(spec(tmp_path, code))
    assert (await plane.inspect("p1")).phase is ProcessPhase.CREATED
    await plane.start("p1")
    status = await asyncio.wait_for(plane.wait("p1"), 15)
    assert (status.phase, status.exit_code, status.reason) == (ProcessPhase.EXITED, exit_code, "")
    assert status.started is not None
    assert status.ended is not None


async def test_starting_again_does_not_run_again(plane: ProcessPlane, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'a').write('x')"
    await plane.create(spec(tmp_path, code))
    await asyncio.gather(*(plane.start("p1") for _ in range(5)))
    await asyncio.wait_for(plane.wait("p1"), 15)
    await plane.start("p1")
    await ProcessPlane(tmp_path / "plane").start("p1")
    assert marker.read_text() == "x"


async def test_creating_again_keeps_the_first_spec(plane: ProcessPlane, tmp_path: Path) -> None:
    await plane.create(spec(tmp_path, "print('first')"))
    await plane.create(spec(tmp_path, "print('second')"))
    await plane.start("p1")
    await asyncio.wait_for(plane.wait("p1"), 15)
    assert await plane.read_log("p1") == (b"first\n", 6)
    assert await plane.read_log("p1", offset=2, limit=3) == (b"rst", 6)


async def test_memory_over_the_limit_is_ended_and_named(
    plane: ProcessPlane, tmp_path: Path
) -> None:
    code = (
        "x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096]); import time; time.sleep(60)"
    )
    await plane.create(spec(tmp_path, code, memory=100 * MIB))
    await plane.start("p1")
    status = await asyncio.wait_for(plane.wait("p1"), 15)
    assert (status.phase, status.reason) == (ProcessPhase.EXITED, "memory")


async def test_what_is_over_is_no_longer_unfinished(plane: ProcessPlane, tmp_path: Path) -> None:
    for name, code in (("p1", "pass"), ("p2", "import time; time.sleep(60)"), ("p3", "pass")):
        await plane.create(spec(tmp_path, code, name=name))
    for name in ("p1", "p2"):
        await plane.start(name)
    await asyncio.wait_for(plane.wait("p1"), 15)
    labels = {"gavip.kind": "test"}
    assert [s.name for s in await plane.find(labels)] == ["p1", "p2", "p3"]
    assert [s.name for s in await plane.unfinished(labels)] == ["p2", "p3"]
    assert await plane.unfinished({"gavip.kind": "other"}) == []
    await plane.stop("p2", 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount).returncode:
        pytest.skip("this machine lets us mount no small disk")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


async def test_a_full_disk_delays_the_record_of_the_end_and_loses_output_only(
    small_disk: Path,
) -> None:
    plane = ProcessPlane(small_disk / "plane")
    code = "import time\nfor _ in range(20): print('x' * 32768, flush=True); time.sleep(0.1)"
    await plane.create(spec(small_disk, code))
    await plane.create(spec(small_disk, "print('second')", name="p2"))
    await plane.start("p1")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    with pytest.raises(NoRoom):
        await plane.start("p2")
    started = psutil.Process(json.loads((small_disk / "plane/p1/started").read_text())["pid"])
    await until(lambda: not started.children(), 20)
    assert (await plane.inspect("p1")).phase is ProcessPhase.RUNNING
    filler.unlink()
    status = await asyncio.wait_for(plane.wait("p1"), 15)
    assert (status.phase, status.exit_code) == (ProcessPhase.EXITED, 0)
    assert (await plane.read_log("p1", 0, 1 << 20))[0].endswith(b"the disk was full]\n")
    await plane.start("p2")
    assert (await asyncio.wait_for(plane.wait("p2"), 15)).exit_code == 0


async def test_time_limit_ends_the_whole_tree(plane: ProcessPlane, tmp_path: Path) -> None:
    pid_file = tmp_path / "grandchild"
    code = (
        "import subprocess,sys,time;"
        "p=subprocess.Popen([sys.executable,'-c','import time;time.sleep(60)'],start_new_session=True);"
        f"open({str(pid_file)!r},'w').write(str(p.pid));time.sleep(60)"
    )
    await plane.create(spec(tmp_path, code, time_limit=1))
    await plane.start("p1")
    status = await asyncio.wait_for(plane.wait("p1"), 20)
    assert status.reason == "time"
    assert not psutil.pid_exists(int(pid_file.read_text()))


async def test_stop_is_idempotent_and_ends_a_deaf_process(
    plane: ProcessPlane, tmp_path: Path
) -> None:
    code = "import signal,time;signal.signal(15,signal.SIG_IGN);print('deaf',flush=True);time.sleep(60)"
    await plane.create(spec(tmp_path, code))
    await plane.start("p1")
    log = tmp_path / "plane/p1/log"
    await until(lambda: log.exists() and log.read_bytes() == b"deaf\n")
    first = await plane.stop("p1", grace=0.5)
    assert first.phase is ProcessPhase.EXITED
    assert first.exit_code == -signal.SIGKILL
    assert await plane.stop("p1") == first


async def test_stopped_before_start_never_starts(plane: ProcessPlane, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    await plane.create(spec(tmp_path, f"open({str(marker)!r}, 'w')"))
    await plane.stop("p1")
    assert (await plane.start("p1")).phase is ProcessPhase.EXITED
    assert not marker.exists()


async def test_another_plane_finds_a_running_process(plane: ProcessPlane, tmp_path: Path) -> None:
    await plane.create(spec(tmp_path, "import time; time.sleep(60)"))
    await plane.start("p1")
    other = ProcessPlane(tmp_path / "plane")
    found = await other.find({"gavip.kind": "test"})
    assert [(s.name, s.phase) for s in found] == [("p1", ProcessPhase.RUNNING)]
    assert await other.find({"gavip.kind": "nothing"}) == []
    await other.remove("p1")
    assert (await plane.inspect("p1")).phase is ProcessPhase.ABSENT
    await plane.remove("p1")


async def test_killed_supervisor_shows_as_vanished(plane: ProcessPlane, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"import os,time;open({str(pid_file)!r},'w').write(str(os.getpid()));time.sleep(60)"
    await plane.create(spec(tmp_path, code))
    await plane.start("p1")
    await until(lambda: pid_file.exists() and pid_file.read_text() != "")
    child = psutil.Process(int(pid_file.read_text()))
    os.kill(child.ppid(), signal.SIGKILL)
    status = await asyncio.wait_for(plane.wait("p1"), 10)
    assert status.phase is ProcessPhase.VANISHED
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_missing_program_is_an_exit_not_a_hang(plane: ProcessPlane, tmp_path: Path) -> None:
    broken = spec(tmp_path, "")
    broken = LaunchSpec(**(vars(broken) | {"argv": ("/nonexistent/program",)}))
    await plane.create(broken)
    await plane.start("p1")
    status = await asyncio.wait_for(plane.wait("p1"), 10)
    assert status.exit_code == 127
    assert b"cannot start" in (await plane.read_log("p1"))[0]


async def test_the_spec_is_private(plane: ProcessPlane, tmp_path: Path) -> None:
    await plane.create(spec(tmp_path, ""))
    assert (tmp_path / "plane/p1/spec.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="empty"),
        pytest.param("../x", id="parent"),
        pytest.param(".hidden", id="hidden"),
        pytest.param("a/b", id="slash"),
        pytest.param("a\0b", id="nul"),
    ],
)
async def test_names_stay_below_the_folder(plane: ProcessPlane, name: str) -> None:
    with pytest.raises(InvalidInput):
        await plane.inspect(name)


async def test_unknown_names(plane: ProcessPlane) -> None:
    assert (await plane.inspect("never")).phase is ProcessPhase.ABSENT
    with pytest.raises(NotFound):
        await plane.start("never")
