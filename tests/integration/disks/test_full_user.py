"""A user who has filled everything: the host and the others do not notice, and there is a way out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gavip_api.errors import LimitReached
from gavip_spawner.disks import UserDisks
from gavip_spawner.folders import ensure_owned
from gavip_spawner.placement import Owned
from gavip_spawner.volumes import Kind

from .conftest import MIB, USER, as_user

pytestmark = pytest.mark.disks

FILL_BYTES = """
import os, sys
os.chdir(sys.argv[1])
written = 0
with open("fill", "wb", buffering=0) as file:
    for size in (1 << 20, 4096, 1):
        try:
            while True: written += file.write(b"x" * size)
        except OSError as e: assert e.errno == 28, e
print(written)
"""

FILL_INODES = """
import os, sys
os.chdir(sys.argv[1])
made = 0
try:
    while True:
        os.close(os.open(f"n{made}", os.O_CREAT)); made += 1
except OSError as e: assert e.errno == 28, e
print(made)
"""

WRITE = "import sys; open(sys.argv[1] + '/new', 'w').write('new')"


def host_free(path: Path) -> tuple[int, int]:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_favail


def handed_over(disks: UserDisks, user: str) -> Path:
    """What the spawner does before a container is made."""
    home = disks.layout.home(user)
    ensure_owned((Owned(str(home), user=True, mode=0o700),), disks.layout.root, USER, USER)
    return disks.layout.userspace(user)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_to_the_last_byte(disks: UserDisks, state: Path) -> None:
    for user in ("alice", "bob"):
        disks.ensure(user)
        handed_over(disks, user)
    folder = disks.layout.userspace("alice")
    done = as_user(FILL_BYTES, folder)
    assert done.returncode == 0, done.stderr
    usage = disks.usage("alice")
    assert usage is not None
    # to the last byte: reached exactly, and no further
    assert usage.used == usage.limit
    assert int(done.stdout) <= usage.limit <= 64 * MIB
    os.sync()
    taken = disks.find()[0].allocated
    assert taken <= 64 * MIB, "never more of the host than the quota"
    # the HOME that signing in needs, and everybody else, go on
    for other in (disks.layout.home("alice"), disks.layout.userspace("bob")):
        done = as_user(WRITE, other)
        assert done.returncode == 0, done.stderr
    # the platform still makes the folder of an AVI
    avis = (
        Owned(str(folder / "avis"), user=False, mode=0o755),
        Owned(str(folder / "avis" / "gaia.demo"), user=True, mode=0o755),
    )
    ensure_owned(avis, disks.layout.root, USER, USER)
    # one deletes and writes again, and the host has its space back
    done = as_user("import os, sys; os.remove(sys.argv[1] + '/fill')", folder)
    assert done.returncode == 0, done.stderr
    assert as_user(WRITE, folder).returncode == 0

    def given_back() -> bool:
        os.sync()
        return disks.find()[0].allocated < 16 * MIB

    until(given_back)


def test_to_the_last_inode(disks: UserDisks, state: Path) -> None:
    disks.ensure("alice")
    handed_over(disks, "alice")
    folder = disks.layout.userspace("alice")
    _, inodes_before = host_free(state)
    done = as_user(FILL_INODES, folder)
    assert done.returncode == 0, done.stderr
    usage = disks.usage("alice")
    assert usage is not None
    assert usage.inodes_used == usage.inodes_limit
    assert int(done.stdout) > 1900
    _, inodes_after = host_free(state)
    # others work on this machine, too
    assert inodes_before - inodes_after < 1000
    assert as_user(WRITE, disks.layout.home("alice")).returncode == 0
    avis = (Owned(str(folder / "avis"), user=False, mode=0o755),)
    with pytest.raises(LimitReached, match="full") as caught:
        ensure_owned(avis, disks.layout.root, USER, USER)
    assert "Files" in str(caught.value.hint)
    assert as_user("import os, sys; os.remove(sys.argv[1] + '/n0')", folder).returncode == 0
    assert as_user(WRITE, folder).returncode == 0


def test_a_full_disk_is_checked_and_mounted_again(disks: UserDisks) -> None:
    disks.ensure("alice")
    handed_over(disks, "alice")
    for folder in (disks.layout.userspace("alice"), disks.layout.home("alice")):
        assert as_user(FILL_INODES, folder).returncode == 0
        assert as_user("import os, sys; os.remove(sys.argv[1] + '/n0')", folder).returncode == 0
        assert as_user(FILL_BYTES, folder).returncode == 0
    assert disks.release("alice")
    disks.ensure("alice")
    usage = disks.usage("alice", Kind.HOME)
    assert usage is not None
    assert usage.limit - usage.used < MIB
    # nobody can take away what a check of a full disk needs
    lost = disks.layout.home("alice") / "lost+found"
    assert as_user("import os, sys; os.rmdir(sys.argv[1])", lost).returncode != 0
    # more space is the other way out
    disks.grow("alice", 256 * MIB)
    assert as_user(WRITE, disks.layout.userspace("alice")).returncode == 0


def test_no_set_user_id_and_no_devices(disks: UserDisks) -> None:
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    os.mknod(folder / "device", 0o666 | 0o020000, os.makedev(1, 3))
    os.chmod(folder / "device", 0o666)
    done = as_user("import sys; open(sys.argv[1] + '/device', 'w')", folder)
    assert "Permission denied" in done.stderr
