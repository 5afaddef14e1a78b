"""The Docker plane on a real engine: exactly-once start, limits, recovery, restrictions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from docker import APIClient
from traitlets.config import Config, Configurable

from gavip_api import __version__
from gavip_api.errors import InvalidInput, NotFound
from gavip_api.models import ResourceAmount
from gavip_spawner.containers import Containers, container_name
from gavip_spawner.docker_plane import DockerPlane
from gavip_spawner.network import ensure_network, remove_network
from gavip_spawner.placement import USER_SPACE, InContainer, Mount, Owned
from gavip_spawner.plane import ProcessPhase
from gavip_spawner.specs import LaunchSpec
from tests.support.engine import engine, need_images, swept

MIB = 1 << 20
PLATFORM = "tplane"
SUBNET = "10.214.0.0/24"


@pytest.fixture(scope="module")
def client() -> Iterator[APIClient]:
    client = engine()
    need_images("base")
    settings = Containers(platform=PLATFORM, subnet=SUBNET).network_settings
    with swept(client, PLATFORM):
        asyncio.run(ensure_network(client, settings))
        yield client
    asyncio.run(remove_network(client, settings))


def make_plane(state: Path) -> DockerPlane:
    config = Config()
    config.Containers.platform = PLATFORM
    config.Containers.subnet = SUBNET
    config.Containers.images = {"python": f"gavip/base:{__version__}"}
    return DockerPlane(state / "plane", parent=Configurable(config=config))


@pytest.fixture
async def plane(client: APIClient, tmp_path: Path) -> AsyncIterator[DockerPlane]:
    # pytest's folders are 0700, as a state folder may be: the engine looks into it as root
    plane = make_plane(tmp_path)
    yield plane
    for status in await plane.find({}):
        await plane.remove(status.name)
    await plane.close()


def spec(
    tmp_path: Path,
    code: str,
    *,
    name: str = "p1",
    memory: int = 256 * MIB,
    time_limit: int | None = None,
) -> LaunchSpec:
    own = tmp_path / "userspace"
    return LaunchSpec(
        name=name,
        argv=(InContainer.python, "-c", code),
        environment={"SECRET": "s3cret"},
        cwd=USER_SPACE,
        amount=ResourceAmount(memory=memory, cpu=1),
        time_limit=time_limit,
        labels={"gavip.kind": "test", "gavip.owner": "alice", "n": name},
        mounts=(Mount(str(own), USER_SPACE, read_only=False),),
        owned=(Owned(str(own), user=True, mode=0o755),),
        image="python",
    )


async def ended(plane: DockerPlane, name: str = "p1", seconds: float = 60):
    return await asyncio.wait_for(plane.wait(name), seconds)


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        pytest.param("print('hello')", 0, id="success"),
        pytest.param("raise SystemExit(3)", 3, id="exit-code"),
        pytest.param("import os; os.kill(os.getpid(), 11)", -11, id="crashed"),
    ],
)
async def test_outcome_outlives_the_container(
    plane: DockerPlane, client: APIClient, tmp_path: Path, code: str, exit_code: int
) -> None:
    await plane.create(spec(tmp_path, code))
    assert (await plane.inspect("p1")).phase is ProcessPhase.CREATED
    await plane.start("p1")
    status = await ended(plane)
    assert (status.phase, status.exit_code, status.reason) == (ProcessPhase.EXITED, exit_code, "")
    assert status.started is not None
    assert status.ended is not None
    assert not client.containers(all=True, filters={"label": [f"gavip.platform={PLATFORM}"]})
    another = make_plane(tmp_path)
    again = await another.inspect("p1")
    assert again.phase is ProcessPhase.EXITED
    assert (again.exit_code, again.started, again.ended) == (
        exit_code,
        status.started,
        status.ended,
    )
    assert [s.name for s in await another.find({"n": "p1"})] == ["p1"]
    await another.close()


@pytest.mark.parametrize("recorded", [False, True], ids=["before its record", "after it"])
async def test_a_crash_at_the_end_leaves_no_container(
    plane: DockerPlane, client: APIClient, tmp_path: Path, recorded: bool
) -> None:
    """Whoever looks next finishes what a crash left: the record, or only the container."""
    await plane.create(spec(tmp_path, "import time; time.sleep(1); raise SystemExit(5)"))
    await plane.start("p1")
    assert client.wait(f"gavip-{PLATFORM}-p1")["StatusCode"] == 5
    if recorded:
        written = '{"exit_code": 5, "reason": "", "labels": {"gavip.kind": "test", "n": "p1"}}'
        (tmp_path / "plane" / "p1" / "exit.json").write_text(written)
        assert await make_plane(tmp_path).unfinished({}) == []
    assert (await make_plane(tmp_path).inspect("p1")).exit_code == 5
    assert not client.containers(all=True, filters={"name": f"gavip-{PLATFORM}-p1"})
    assert (tmp_path / "plane" / "p1" / "exit.json").exists()


async def test_what_it_prints_is_kept(plane: DockerPlane, tmp_path: Path) -> None:
    code = "import sys, time; print('é' * 3); sys.stdout.flush(); print('x', file=sys.stderr)"
    await plane.create(spec(tmp_path, code))
    await plane.start("p1")
    await ended(plane)
    text, size = await plane.read_log("p1")
    assert sorted(text.decode().split()) == ["x", "ééé"]
    assert await plane.read_log("p1", offset=size) == (b"", size)


async def test_starting_again_does_not_run_again(plane: DockerPlane, tmp_path: Path) -> None:
    code = "open('marker', 'a').write('x')"
    await plane.create(spec(tmp_path, code))
    await asyncio.gather(*(plane.start("p1") for _ in range(5)))
    await ended(plane)
    await plane.create(spec(tmp_path, code))
    await plane.start("p1")
    await make_plane(tmp_path).start("p1")
    assert (tmp_path / "userspace" / "marker").read_text() == "x"


async def test_a_container_taken_away_has_vanished_and_never_runs_again(
    plane: DockerPlane, client: APIClient, tmp_path: Path
) -> None:
    await plane.create(spec(tmp_path, "open('m', 'a').write('x'); import time; time.sleep(60)"))
    await plane.start("p1")
    waiting = asyncio.ensure_future(ended(plane))
    client.remove_container(f"gavip-{PLATFORM}-p1", force=True)
    assert (await waiting).phase is ProcessPhase.VANISHED
    assert (await plane.start("p1")).phase is ProcessPhase.VANISHED
    assert (tmp_path / "userspace" / "m").read_text() == "x"


async def test_what_was_stopped_before_its_start_never_starts(
    plane: DockerPlane, tmp_path: Path
) -> None:
    await plane.create(spec(tmp_path, "open('m', 'a').write('x')"))
    status = await plane.stop("p1")
    assert (status.phase, status.exit_code, status.reason) == (ProcessPhase.EXITED, None, "stopped")
    await plane.create(spec(tmp_path, "open('m', 'a').write('x')"))
    assert (await plane.start("p1")).phase is ProcessPhase.EXITED
    assert not (tmp_path / "userspace" / "m").exists()


async def test_stopping_is_asked_first_and_forced_later(plane: DockerPlane, tmp_path: Path) -> None:
    polite = "import signal,sys,time\nsignal.signal(15, lambda *_: sys.exit(7))\ntime.sleep(60)"
    deaf = "import signal,time\nsignal.signal(15, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(60)"
    await plane.create(spec(tmp_path, polite, name="polite"))
    await plane.create(spec(tmp_path, deaf, name="deaf"))
    for name in ("polite", "deaf"):
        await plane.start(name)

    deadline = time.monotonic() + 30
    while b"deaf" not in (await plane.read_log("deaf"))[0]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    first, second = await asyncio.gather(plane.stop("polite", 20), plane.stop("deaf", 1))
    assert (first.exit_code, first.reason) == (7, "stopped")
    assert (second.exit_code, second.reason) == (-9, "stopped")
    assert await plane.stop("deaf", 1) == second


@pytest.mark.parametrize(
    ("code", "memory", "seconds", "reason"),
    [
        pytest.param("x = bytearray(200 << 20)", 96 * MIB, None, "memory", id="memory"),
        pytest.param("import time; time.sleep(60)", 96 * MIB, 1, "time", id="time"),
    ],
)
async def test_limits_are_told_apart(
    plane: DockerPlane, tmp_path: Path, code: str, memory: int, seconds: int | None, reason: str
) -> None:
    await plane.create(spec(tmp_path, code, memory=memory, time_limit=seconds))
    await plane.start("p1")
    assert (await ended(plane)).reason == reason


async def test_a_missing_image_is_our_error(client: APIClient, tmp_path: Path) -> None:
    plane = make_plane(tmp_path)
    plane._settings.images["python"] = "gavip/none:0"
    with pytest.raises(Exception, match="refused") as caught:
        await plane.create(spec(tmp_path, "1"))
    assert caught.value.hint
    await plane.close()


async def test_names(plane: DockerPlane) -> None:
    for name in ("", "../x", ".x", "a/b"):
        with pytest.raises(InvalidInput):
            await plane.inspect(name)
    with pytest.raises(NotFound):
        await plane.start("nothing")
    assert (await plane.inspect("nothing")).phase is ProcessPhase.ABSENT
    assert container_name(plane._settings, "x") == f"gavip-{PLATFORM}-x"


async def test_removing_is_complete_and_repeatable(
    plane: DockerPlane, client: APIClient, tmp_path: Path
) -> None:
    await plane.create(spec(tmp_path, "import time; time.sleep(60)"))
    await plane.start("p1")
    await plane.remove("p1")
    await plane.remove("p1")
    assert (await plane.inspect("p1")).phase is ProcessPhase.ABSENT
    assert not (tmp_path / "plane" / "p1").exists()
    assert await plane.find({}) == []
