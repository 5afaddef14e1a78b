"""Real disks: they need root, loop devices and e2fsprogs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gavip_spawner.disks import UserDisks

USER = 1000
MIB = 1 << 20


def why_no_disks() -> str:
    """Return why no disk can be mounted here; empty where one can."""
    missing = [p for p in ("mkfs.ext4", "e2fsck", "resize2fs", "losetup") if not _found(p)]
    if os.geteuid() != 0:
        return "disks need root"
    if missing:
        return f"{', '.join(missing)} not installed"
    return "" if Path("/dev/loop-control").exists() else "no loop devices"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, where no disk can be mounted."""
    reason = why_no_disks()
    for item in items:
        if reason and item.get_closest_marker("disks"):
            item.add_marker(pytest.mark.skip(reason=reason))


def _found(program: str) -> str | None:
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder in which everything is unmounted afterwards."""
    # pytest keeps its folders to their owner; user code has to get in
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    yield state
    left = UserDisks(state_dir=str(state), enabled=True).unmount_all()
    assert left == []
    mounted = Path("/proc/self/mountinfo").read_text()
    assert str(state) not in mounted
    # the kernel lets go of a device a moment after its last mount
    deadline = time.monotonic() + 10
    while str(state) in subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout:
        assert time.monotonic() < deadline, "a loop device leaked"
        time.sleep(0.1)


@pytest.fixture
def make(state: Path) -> Callable[..., UserDisks]:
    """Make the disks of a platform, small ones."""

    def made(**options: object) -> UserDisks:
        small: dict[str, object] = {"quota": "64M", "home_quota": "32M", "reserve": "1M"}
        return UserDisks(state_dir=str(state), enabled=True, **(small | options))

    return made


@pytest.fixture
def disks(make: Callable[..., UserDisks]) -> UserDisks:
    return make()


# the interpreter may be where only root can read; this capability opens it, and lets nobody write more
AS_USER = (
    "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
    "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
)  # fmt: skip


def as_user(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run Python as the account of user code."""
    return subprocess.run(
        [*AS_USER, sys.executable, "-I", "-c", script, *map(str, args)],
        cwd="/", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
