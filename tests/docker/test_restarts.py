"""Every part of the platform, and the engine itself, is killed again and again while people work.

The engine is the test's own. ``GAVIP_SOAK=1`` (``make soak``) kills each part 20 times, otherwise a few times.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import psutil
import pytest
from docker import APIClient

from gavip_api import __version__
from tests.support.contained import LIGHT, contained_platform
from tests.support.engine import need_images
from tests.support.own_engine import OwnEngine, own_engine
from tests.support.person import Person, until
from tests.support.running import RunningPlatform

PLATFORM = "trest"
KILLS = 20 if os.environ.get("GAVIP_SOAK") else 3
RECOVERED_WITHIN = 60
# each part is killed once in 10 s at most
pytestmark = pytest.mark.timeout(300 + KILLS * 90)

PARTS = {
    "hub": ("-m", "hub_config.hub"),
    "proxy": ("configurable-http-proxy",),
    "portal": ("-m", "gavip_portal"),
    "job queue": ("-m", "jobqueue"),
    "gateway": ("-m", "gavip_spawner.gateway"),
}

MANIFEST = """\
avi: 1
name: steady
title: Steady
interface: app.ipynb
permissions: {archive: false}
pipelines:
  count:
    title: Counts
    notebook: count.ipynb
    parameters:
      seconds: {type: integer, minimum: 1, maximum: 3600, default: 2}
    resources: {memory: 300M, cpu: 0.2, time: 2h}
"""
COUNT = """\
import os, pathlib, time
with open("runs", "a") as runs:
    runs.write(os.environ.get("GAVIP_JOB_ATTEMPT", "?") + "\\n")
end = time.monotonic() + seconds
while time.monotonic() < end:
    time.sleep(0.1)
pathlib.Path("done").write_text("done")"""


def make_avi(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "avi.yaml").write_text(MANIFEST)
    app = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('steady as she goes')")])
    nbformat.write(app, folder / "app.ipynb")
    parameters = nbformat.v4.new_code_cell("seconds = 2", metadata={"tags": ["parameters"]})
    nbformat.write(
        nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(COUNT)]),
        folder / "count.ipynb",
    )
    return folder


@pytest.fixture(scope="module")
def engine_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    # left by a run that was killed
    subprocess.run(["ip", "link", "delete", f"gv-{PLATFORM}"], check=False, capture_output=True)
    with own_engine(tmp_path_factory.mktemp("engine") / "own") as own:
        need_images("avi-light")
        own.load(f"gavip/avi-light:{__version__}")
        yield own


@pytest.fixture(name="client")
def engine_client(engine_of_its_own: OwnEngine) -> Iterator[APIClient]:
    with contextlib.closing(engine_of_its_own.client()) as client:
        yield client


@pytest.fixture(scope="module")
def platform(
    engine_of_its_own: OwnEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("restarts")
    with (
        pytest.MonkeyPatch.context() as patch,
        contained_platform(
            folder,
            [make_avi(folder / "made" / "steady")],
            name=PLATFORM,
            subnet="10.217.0.0/24",
            images={"python": LIGHT, "lab": LIGHT},
            config=(
                "c.UserDisks.quota = '64M'",
                "c.UserDisks.home_quota = '64M'",
                "c.JobQueueApp.hub_seconds = 5",
                "c.JobQueueApp.orphan_grace = 10",
                "c.PortalApp.reconcile_seconds = 5",
            ),
            archive="http://127.0.0.1:9/tap",
            environment={"DOCKER_HOST": engine_of_its_own.url},
        ) as running,
    ):
        patch.setenv("DOCKER_HOST", engine_of_its_own.url)
        yield running


def processes(platform: RunningPlatform, part: str) -> list[psutil.Process]:
    assert platform.process is not None
    found = []
    for child in psutil.Process(platform.process.pid).children():
        try:
            command = " ".join(child.cmdline())
        except psutil.ZombieProcess:
            # killed a moment ago
            continue
        if all(word in command for word in PARTS[part]):
            found.append(child)
    return found


def kill(platform: RunningPlatform, own: OwnEngine, part: str) -> None:
    if part == "engine":
        own.kill()
        own.start()
        return
    for process in processes(platform, part):
        process.send_signal(signal.SIGKILL)


def answers(look: Callable[[], bool], seconds: float, what: str) -> float:
    begun = time.monotonic()
    while True:
        try:
            if look():
                return time.monotonic() - begun
        except Exception as e:  # noqa: BLE001 - whatever goes wrong while parts are down
            fault: object = e
        else:
            fault = "not yet"
        assert time.monotonic() - begun < seconds, f"{what}: {fault}"
        time.sleep(0.25)


def test_nothing_that_runs_is_lost(
    platform: RunningPlatform, engine_of_its_own: OwnEngine, client: APIClient
) -> None:
    alice = Person(platform).sign_in()
    instance = alice.open("gavip/steady")
    mounts = open_mounts(platform)
    job = alice.run("gavip/steady", "count", seconds=KILLS * 14 + 20)
    until(lambda: True if alice.show(f"jobs/{job}")["state"] == "running" else None, 60)
    before = {c["Names"][0]: c["Created"] for c in client.containers()}
    assert len(before) == 2
    slowest: dict[str, float] = {}
    order = [part for part in (*PARTS, "engine") for _ in range(KILLS)]
    random.Random(4).shuffle(order)
    lives = {part: time.monotonic() for part in PARTS}
    for part in order:
        # one that ends within 10 s of its start is started again later and later
        pause = lives.get(part, 0) + 10.5 - time.monotonic()
        time.sleep(max(pause, 0))
        kill(platform, engine_of_its_own, part)
        begun = time.monotonic()

        def whole() -> bool:
            page = alice.get(instance["url"])
            return (
                page.status_code == 200
                and "steady as she goes" in page.text
                and alice.show(f"instances/{instance['id']}")["state"] == "ready"
                and alice.show(f"jobs/{job}")["state"] in {"running", "succeeded"}
            )

        answers(whole, RECOVERED_WITHIN, f"after the {part} was killed")
        slowest[part] = max(slowest.get(part, 0), time.monotonic() - begun)
        lives[part] = time.monotonic()
    print("slowest recovery, s:", {k: round(v, 1) for k, v in slowest.items()})
    after = {c["Names"][0]: c["Created"] for c in client.containers()}
    assert {k: after[k] for k in after if k in before} == after, "a container was made again"
    over = alice.job(job, KILLS * 30 + 120)
    assert over["state"] == "succeeded", over
    (product,) = platform.userspace("alice").glob("avis/gavip.steady/count-*")
    assert (product / "runs").read_text() == "1\n"
    assert alice.api("DELETE", f"instances/{instance['id']}").status_code < 300
    answers(lambda: not client.containers(all=True), RECOVERED_WITHIN, "containers are left")
    assert open_mounts(platform) <= mounts
    assert alice.show("pools/me")["used"]["memory"] == 0


def test_what_ends_unseen_is_marked(
    platform: RunningPlatform, engine_of_its_own: OwnEngine, client: APIClient
) -> None:
    """While hub and queue are down a server and a job are killed: both are told as they are."""
    bob = Person(platform, "bob").sign_in()
    instance = bob.open("gavip/steady")
    job = bob.run("gavip/steady", "count", seconds=300)
    until(lambda: True if bob.show(f"jobs/{job}")["state"] == "running" else None, 60)
    for part in ("hub", "job queue"):
        kill(platform, engine_of_its_own, part)
    for entry in client.containers():
        client.remove_container(entry["Id"], force=True)

    def marked() -> bool:
        shown = bob.show(f"jobs/{job}")
        return bob.show(f"instances/{instance['id']}")["state"] == "stopped" and (
            shown["state"],
            shown["attempt"],
        ) != ("running", 1)

    answers(marked, RECOVERED_WITHIN, "not marked")
    # tried again once, visibly, or told as lost
    shown = bob.show(f"jobs/{job}")
    assert (shown["attempt"], shown["state"]) == (2, shown["state"]) or shown["state"] == "lost"
    assert bob.api("POST", f"jobs/{job}/cancel").status_code == 200
    assert bob.job(job, 60)["state"] in {"cancelled", "lost"}
    answers(lambda: not client.containers(all=True), RECOVERED_WITHIN, "containers are left")


@pytest.mark.usefixtures("platform")
def test_a_server_that_the_hub_forgot_is_removed(client: APIClient) -> None:
    image = f"gavip/avi-light:{__version__}"
    made = client.create_container(
        image,
        ["/opt/gavip/bin/python", "-c", "import time; time.sleep(600)"],
        labels={
            "gavip.platform": PLATFORM,
            "gavip.name": "avi-gone.1",
            "gavip.kind": "interface",
            "gavip.owner": "alice",
            "gavip.server": "avi-gone/",
        },
        name=f"gavip-{PLATFORM}-avi-gone.1",
        host_config=client.create_host_config(network_mode="none"),
    )
    client.start(made["Id"])
    gone = {"label": ["gavip.server=avi-gone/"]}
    answers(
        lambda: not client.containers(all=True, filters=gone),
        RECOVERED_WITHIN,
        "the orphan is left",
    )


def open_mounts(platform: RunningPlatform) -> set[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return {line.split()[1] for line in lines if str(platform.state) in line}
