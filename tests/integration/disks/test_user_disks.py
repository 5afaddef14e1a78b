"""Disks of users on real loop devices: made, crashed, moved into, grown, let go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gavip_api.errors import Conflict, GavipError, LimitReached, Unavailable
from gavip_spawner import disk_tools
from gavip_spawner.disks import UserDisks
from gavip_spawner.volumes import Kind

MIB = 1 << 20
USER = 1000

pytestmark = pytest.mark.disks

Maker = Callable[..., UserDisks]


def mounts_on(target: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if line.split()[4] == str(target)]


def umount(target: Path) -> None:
    subprocess.run(["umount", str(target)], check=True)


# -- made and found again --


def test_made_mounted_and_ready_for_specs(disks: UserDisks) -> None:
    for _ in range(2):
        disks.ensure("alice")
    for folder in (disks.layout.userspace("alice"), disks.layout.home("alice")):
        (line,) = mounts_on(folder)
        assert {"nosuid", "nodev", "noatime"} <= set(line.split()[5].split(","))
        assert list(folder.iterdir()) == [folder / "lost+found"]
    about = disks.layout.userspace("alice").stat()
    assert (about.st_uid, about.st_mode & 0o7777) == (0, 0o1777)
    assert disks.layout.home("alice").stat().st_mode & 0o7777 == 0o700
    assert disks.layout.disks.stat().st_mode & 0o777 == 0o700
    usage = disks.usage("alice")
    assert usage is not None
    assert 50 * MIB < usage.limit <= 64 * MIB
    assert usage.used < MIB
    home = disks.usage("alice", Kind.HOME)
    assert home is not None
    assert home.limit <= 32 * MIB
    assert usage.inodes_limit == 2048
    found = disks.find()
    assert [(d.folder, d.kind, d.mounted) for d in found] == [
        ("alice", Kind.USERSPACE, True),
        ("alice", Kind.HOME, True),
    ]
    # sparse: what nobody wrote takes nothing of the host
    assert sum(d.allocated for d in found) < 16 * MIB


def test_mounted_again_after_a_reboot(disks: UserDisks) -> None:
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    (folder / "kept").write_text("kept")
    umount(folder)
    assert disks.usage("alice") is None
    assert folder.stat().st_mode & 0o7777 == 0o700, "nobody writes where the disk is missing"
    disks.ensure("alice")
    assert (folder / "kept").read_text() == "kept"


def test_journal_of_a_disk_that_was_not_unmounted_is_replayed(disks: UserDisks) -> None:
    """A copy of the image of a mounted disk is what a power cut leaves."""
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    (folder / "kept").write_text("kept")
    subprocess.run(["sync", "--file-system", str(folder)], check=True)
    image = disks.volumes("alice")[0].image
    subprocess.run(["cp", str(image), f"{image}.cut"], check=True)
    assert disks.release("alice")
    os.replace(f"{image}.cut", image)
    disks.ensure("alice")
    assert (folder / "kept").read_text() == "kept"


def test_a_disk_that_became_read_only_is_mounted_anew(disks: UserDisks) -> None:
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(OSError, match="Read-only"):
        (folder / "x").touch()
    disks.ensure("alice")
    (folder / "x").touch()


def test_a_damaged_disk_is_named_and_never_made_again(disks: UserDisks) -> None:
    disks.ensure("alice")
    assert disks.release("alice")
    image = disks.volumes("alice")[0].image
    with open(image, "r+b") as file:
        file.write(b"\xff" * (48 * MIB))
    damaged = image.read_bytes()
    with pytest.raises(Unavailable, match="damaged") as caught:
        disks.ensure("alice")
    assert "e2fsck" in str(caught.value.hint)
    assert image.read_bytes() == damaged


def test_eight_processes_at_once(disks: UserDisks, state: Path) -> None:
    before = disks.layout.userspace("alice")
    before.mkdir(parents=True)
    (before / "kept").write_text("kept")
    script = (
        "import sys; from gavip_spawner.disks import UserDisks\n"
        "disks = UserDisks(state_dir=sys.argv[1], enabled=True, quota='64M', home_quota='32M', reserve='1M')\n"
        "sys.stdin.read(1)\n"
        "with disks.held('alice'):\n"
        "    print(open(disks.layout.userspace('alice') / 'kept').read(), end='')\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(state)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(8)
    ]  # fmt: skip
    for process in running:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in running]
    assert said == [("kept", "")] * 8
    assert len(mounts_on(before)) == 1
    assert sorted(p.name for p in disks.volumes("alice")[0].folder.iterdir()) == [
        "held", "home.img", "home.staging", "lock", "userspace.img", "userspace.staging",
    ]  # fmt: skip


# -- crashes --

CRASHING = """
import os, signal, sys
from pathlib import Path
from gavip_spawner import moving
from gavip_spawner.disk_tools import Tools
from gavip_spawner.disks import UserDisks

state, die_at = sys.argv[1], int(sys.argv[2])
count = 0

def deadly(owner, name):
    real = getattr(owner, name)
    def wrapped(*args, **kwargs):
        global count
        if name == 'run' and args[1][0] == 'losetup':
            return real(*args, **kwargs)
        count += 1
        mine = count
        result = real(*args, **kwargs)
        if mine == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, wrapped)

deadly(Tools, 'run')
for name in ('rename', 'unlink', 'mkdir', 'rmdir', 'hardlink_to'):
    deadly(Path, name)
for name in ('_copy_file', '_dress', '_rmdir'):
    deadly(moving, name)
UserDisks(state_dir=state, enabled=True, quota='64M', home_quota='32M', reserve='1M').ensure('alice')
"""


def test_killed_after_every_act(make: Maker, state: Path) -> None:
    """The next one goes on from wherever the last one was killed; no file is ever lost or doubled."""
    for point in range(1, 200):
        user_space = state / "userspace" / "alice"
        (user_space / "inner").mkdir(parents=True)
        for name in ("a", "inner/b"):
            (user_space / name).write_text(name)
        done = subprocess.run(
            [sys.executable, "-c", CRASHING, str(state), str(point)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
        disks = make()
        disks.ensure("alice")
        assert len(mounts_on(user_space)) == len(mounts_on(state / "homes" / "alice")) == 1
        assert {str(p.relative_to(user_space)) for p in user_space.rglob("*")} == {
            "a",
            "inner",
            "inner/b",
            "lost+found",
        }, point
        assert [(user_space / n).read_text() for n in ("a", "inner/b")] == ["a", "inner/b"]
        left = sorted(p.name for p in (state / "disks" / "alice").iterdir())
        assert [n for n in left if n.endswith((".new", ".old")) or "kept" in n] == [], point
        assert disks.unmount_all() == []
        subprocess.run(["rm", "-r", state / "disks", state / "userspace", state / "homes"])
        if done.returncode == 0:
            assert point > 15
            return
    pytest.fail("it never came to its end")


def test_what_a_crash_left_attached_is_let_go(disks: UserDisks) -> None:
    disks.ensure("alice")
    volume = disks.volumes("alice")[0]
    assert disks.release("alice")
    subprocess.run(["losetup", "--find", str(volume.image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(volume.image), str(volume.staging)], check=True)
    assert disks.find()[0].device
    done = disks.clean()
    assert str(volume.staging) in done
    assert disks.find()[0].device == ""
    disks.ensure("alice")
    subprocess.run(["mount", "--bind", str(volume.target), str(volume.target)], check=True)
    assert disks.clean() == [str(volume.target)]
    assert len(mounts_on(volume.target)) == 1


def test_a_disk_that_a_container_still_has_is_mounted_from_the_same_device(
    disks: UserDisks,
) -> None:
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    # a mount namespace of its own, as a container's
    other = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; read x"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        device = disks.find()[0].device
        assert disks.release("alice")
        assert disks.find()[0].device == device
        disks.clean()
        inside = Path(f"/proc/{other.pid}/root{folder}")
        (inside / "from-inside").write_text("x")
        disks.ensure("alice")
        assert (folder / "from-inside").read_text() == "x"
        assert disks.find()[0].device == device
    finally:
        other.communicate("\n", timeout=30)


# -- a folder from before --


def test_a_folder_from_before_is_moved_in(disks: UserDisks, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "s").write_text("secret")
    home = disks.layout.home("alice")
    (home / "deep" / "er").mkdir(parents=True)
    (home / "deep" / "er" / "f").write_text("f")
    (home / "deep" / "er" / "f").chmod(0o640)
    os.utime(home / "deep" / "er" / "f", ns=(5, 123_456_789))
    (home / "link").symlink_to(secret)
    os.link(home / "deep" / "er" / "f", home / "hard")
    os.mkfifo(home / "fifo")
    (home / b"\xff\xfe".decode(errors="surrogateescape")).write_text("odd")
    with open(home / "sparse", "wb") as file:
        os.truncate(file.fileno(), 1 << 30)
        os.pwrite(file.fileno(), b"end", 900 * MIB)
    for path in (home, *home.rglob("*")):
        os.chown(path, USER, USER, follow_symlinks=False)
    disks.ensure("alice")
    assert mounts_on(home)
    about = home.stat()
    assert (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (USER, USER, 0o700)
    file = (home / "deep" / "er" / "f").stat()
    assert (file.st_uid, file.st_mode & 0o7777, file.st_mtime_ns) == (USER, 0o640, 123_456_789)
    assert os.readlink(home / "link") == str(secret)
    assert (home / "link").lstat().st_uid == USER
    assert (home / "hard").read_text() == "f"
    sparse = (home / "sparse").stat()
    assert (sparse.st_size, sparse.st_blocks * 512 < MIB) == (1 << 30, True)
    assert not (home / "fifo").exists()
    assert os.path.exists(os.fsencode(home) + b"/\xff\xfe")
    assert (secret / "s").read_text() == "secret"
    left = {p.name for p in disks.volumes("alice")[0].folder.iterdir()}
    assert [n for n in left if "old" in n or "kept" in n] == []


@pytest.mark.parametrize("many", [pytest.param(False, id="large"), pytest.param(True, id="many")])
def test_a_folder_that_does_not_fit_stays(disks: UserDisks, many: bool) -> None:
    folder = disks.layout.userspace("alice")
    folder.mkdir(parents=True)
    if many:
        for i in range(2100):
            (folder / str(i)).touch()
    else:
        (folder / "big").write_bytes(b"x" * 60 * MIB)
    before = sorted(p.name for p in folder.iterdir())
    for _ in range(2):
        with pytest.raises(LimitReached, match=r"64\.0 MiB") as caught:
            disks.ensure("alice")
        assert "UserDisks.quotas" in str(caught.value.hint)
    assert sorted(p.name for p in folder.iterdir()) == before
    assert not disks.volumes("alice")[0].image.exists()
    # a larger quota is the way out
    disks.quotas = {"alice": "128M"}
    disks.ensure("alice")
    assert mounts_on(folder)
    assert sorted(p.name for p in folder.iterdir() if p.name != "lost+found") == before


def test_files_written_without_the_mount_are_kept(disks: UserDisks) -> None:
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    umount(folder)
    (folder / "avis").mkdir()
    disks.ensure("alice")
    umount(folder)
    (folder / "stray").write_text("stray")
    disks.ensure("alice")
    assert not (folder / "stray").exists()
    (kept,) = disks.volumes("alice")[0].folder.glob("userspace.kept-*")
    assert (kept / "stray").read_text() == "stray"


# -- refusals --


def test_something_else_in_the_place_is_refused(disks: UserDisks, tmp_path: Path) -> None:
    folder = disks.layout.userspace("alice")
    folder.parent.mkdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict):
        disks.ensure("alice")
    folder.unlink()
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
    try:
        with pytest.raises(Conflict, match="mounted"):
            disks.ensure("alice")
    finally:
        umount(folder)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_full_host_gets_no_more_disks(make: Maker) -> None:
    make().ensure("alice")
    poor = make(reserve="100T", quotas={"alice": "128M"})
    with pytest.raises(Unavailable, match="too little space"):
        poor.ensure("bob")
    # what is there is mounted all the same
    assert poor.release("alice")
    poor.ensure("alice")
    with pytest.raises(Conflict):
        poor.grow("alice", 128 * MIB)
    assert mounts_on(poor.layout.userspace("alice"))


def test_without_root(disks: UserDisks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    with pytest.raises(Unavailable, match="root"):
        disks.ensure("alice")


def test_without_programs(disks: UserDisks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_tools, "_PATH", "/nowhere")
    with pytest.raises(Unavailable, match="not installed") as caught:
        disks.ensure("alice")
    assert "e2fsprogs" in str(caught.value.hint)


def test_without_loop_devices(
    disks: UserDisks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a namespace of its own, /dev is empty."""
    script = 'mount -t tmpfs tmpfs /dev; mknod /dev/null c 1 3; exec "$@"'
    program = (
        "import sys; from gavip_spawner.disks import UserDisks\n"
        "from gavip_api.errors import Unavailable\n"
        "try: UserDisks(state_dir=sys.argv[1], enabled=True, quota='64M', reserve='1M').ensure('alice')\n"
        "except Unavailable as e: print(e.message, e.hint)\n"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh",
         sys.executable, "-c", program, disks.state_dir],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "no free loop device" in done.stdout, done.stderr
    assert "`loop`" in done.stdout


def test_mounts_must_reach_the_engine(make: Maker) -> None:
    script = (
        "import sys; from gavip_spawner.disks import UserDisks\n"
        "from gavip_api.errors import Unavailable\n"
        "disks = UserDisks(state_dir=sys.argv[1], enabled=True, quota='64M', reserve='1M', require_shared=True)\n"
        "try: disks.ensure('alice'); print('mounted')\n"
        "except Unavailable as e: print(e.hint)\n"
    )
    said = [
        subprocess.run(
            ["unshare", "--mount", "--propagation", how,
             sys.executable, "-c", script, make().state_dir],
            capture_output=True, text=True, timeout=60, check=False,
        ).stdout
        for how in ("private", "shared")
    ]  # fmt: skip
    assert "rshared" in said[0]
    assert said[1] == "mounted\n"


# -- growing and letting go --


@pytest.mark.parametrize(
    "mounted", [pytest.param(True, id="mounted"), pytest.param(False, id="unmounted")]
)
def test_grown_and_never_made_smaller(make: Maker, mounted: bool) -> None:
    disks = make()
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    (folder / "kept").write_text("kept")
    if not mounted:
        assert disks.release("alice")
    disks.grow("alice", 160 * MIB)
    usage = disks.usage("alice")
    assert usage is not None
    assert 140 * MIB < usage.limit <= 160 * MIB
    assert (folder / "kept").read_text() == "kept"
    disks.ensure("alice")
    assert disks.usage("alice") == usage
    make(quota="320M").ensure("alice")
    usage = disks.usage("alice")
    assert usage is not None
    assert usage.limit > 290 * MIB


def test_in_use_and_not_allowed_to_grow(disks: UserDisks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_tools.plan, "may_resize", lambda status: False)
    disks.ensure("alice")
    with open(disks.layout.userspace("alice") / "open", "w"):
        with pytest.raises(Conflict, match="in use"):
            disks.grow("alice", 160 * MIB)
        disks.quotas = {"alice": "160M"}
        disks.ensure("alice")
        assert mounts_on(disks.layout.userspace("alice"))


def test_a_disk_in_use_is_not_let_go(disks: UserDisks) -> None:
    with disks.held("alice"):
        assert not disks.release("alice")
        assert mounts_on(disks.layout.home("alice"))
    with open(disks.layout.userspace("alice") / "open", "w"):
        assert not disks.release("alice")
        assert disks.unmount_all() == [disks.layout.userspace("alice")]
    assert disks.release("alice")
    assert disks.release("alice")
    assert disks.release("nobody")
    assert not mounts_on(disks.layout.userspace("alice"))


def test_grow_refuses_what_is_no_disk(disks: UserDisks) -> None:
    with pytest.raises(GavipError):
        disks.grow("alice", 5)
