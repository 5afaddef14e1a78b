"""The platform's own image: its rights in the compose file suffice, and `gavip up` serves from it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from images.catalogue import ROOT
from tests.support.containers import need_image

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Make a state folder whose mounts are shared, as systemd makes all."""
    if os.geteuid():
        pytest.skip("mounting takes root")
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    subprocess.run(["mount", "--make-rshared", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--recursive", tmp_path], check=True)


def as_composed(state: Path) -> list[str]:
    """Return the options of `docker run` that say what compose.yaml says, but on a network of its own."""
    service: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"][
        "platform"
    ]
    options = ["--rm", "--network", "none", "--read-only"]
    for key, option in (
        ("cap_drop", "--cap-drop"),
        ("cap_add", "--cap-add"),
        ("security_opt", "--security-opt"),
        ("device_cgroup_rules", "--device-cgroup-rule"),
        ("tmpfs", "--tmpfs"),
    ):
        options += [part for value in service[key] for part in (option, value)]
    for mount in service["volumes"]:
        source = mount["source"].replace("${GAVIP_STATE:-/srv/gavip}", str(state))
        propagation = mount.get("bind", {}).get("propagation", "rprivate")
        options += [
            "--mount", f"type=bind,source={source},target={source},bind-propagation={propagation}",
        ]  # fmt: skip
    return options


RIGHTS = """
import subprocess, sys
from gavip_spawner.disks import UserDisks
disks = UserDisks(
    state_dir=sys.argv[1], enabled=True, quota="64M", home_quota="32M", reserve="1M", require_shared=True
)
disks.ensure("alice")
print("mounted", flush=True)
sys.stdin.readline()
assert disks.unmount_all() == []
for rule in (["-N", "GAVIP-TEST"], ["-A", "GAVIP-TEST", "-j", "REJECT"], ["-S", "GAVIP-TEST"]):
    subprocess.run(["iptables", "-w", *rule], check=True)
"""


def test_its_rights_suffice_for_quota_disks_and_firewall_rules(state: Path) -> None:
    argv = [
        "docker", "run", "--interactive", *as_composed(state),
        "--entrypoint", "/opt/gavip/bin/python", need_image("platform"), "-c", RIGHTS, str(state),
    ]  # fmt: skip
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        # what it mounted below the state folder is there for the engine, and so for user code
        seen = os.path.ismount(state / "userspace" / "alice")
        told, errors = running.communicate("go on\n", timeout=120)
    assert (first, running.returncode) == ("mounted\n", 0), errors
    assert seen
    assert told.splitlines()[-1].startswith("-A GAVIP-TEST -j REJECT")
    assert not os.path.ismount(state / "userspace" / "alice")


HEALTH = """
import urllib.request
request = urllib.request.Request("http://127.0.0.1:8000/hub/health", headers={"Host": "gavip.localhost:8000"})
print(urllib.request.urlopen(request, timeout=5).status)
"""


def test_the_platform_serves_from_its_image() -> None:
    name = f"gavip-test-up-{os.getpid()}"
    subprocess.run(
        ["docker", "run", "--detach", "--name", name, "--network", "none", "--read-only",
         "--tmpfs", "/tmp", "--tmpfs", "/root", "--tmpfs", "/srv/gavip", need_image("platform"),
         "up", "--state", "/srv/gavip", "--archive", "http://tap.invalid/tap",
         "--examples", "/usr/share/gavip/examples"],
        check=True, capture_output=True,
    )  # fmt: skip
    try:
        log = ""
        deadline = time.monotonic() + 300
        while "GAVIP is ready" not in log and time.monotonic() < deadline:
            asked = subprocess.run(
                ["docker", "logs", name], capture_output=True, text=True, check=True
            )
            log = asked.stdout + asked.stderr
            running = subprocess.run(
                ["docker", "inspect", "--format", "{{.State.Running}}", name],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert running.stdout == "true\n", log
            time.sleep(1)
        assert "GAVIP is ready" in log
        health = subprocess.run(
            ["docker", "exec", name, "python", "-c", HEALTH],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert health.stdout == "200\n"
        begun = time.monotonic()
        subprocess.run(["docker", "stop", "--time", "60", name], check=True, capture_output=True)
        assert time.monotonic() - begun < 45, "it stops when it is told to"
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)
