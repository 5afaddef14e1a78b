"""Looks at disks and runs the programs that work on them; decides nothing.

Invariants: programs are started from argument lists in a bare environment and have a time limit; what
they complain of goes to the log, and a sentence with the next step to people.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gavip_api.errors import Unavailable

from . import volumes as plan
from .volumes import Facts, LoopDevice, MountPoint, Volume

log = logging.getLogger("gavip.disks")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
REPAIRED = {0, 1}
"""Exit status of e2fsck(8): no errors, or errors corrected."""


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """Give a descriptor of a folder that is no symbolic link."""
    fd = os.open(folder, _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def device_number(about: os.stat_result) -> tuple[int, str]:
    """Return inode and device of a file as :class:`LoopDevice` has them."""
    return about.st_ino, f"{os.major(about.st_dev)}:{os.minor(about.st_dev)}"


def probe(image: Path) -> int | None:
    """Return the size of the file system in an image: 0 when it has none, None when there is no image."""
    try:
        with open(image, "rb") as file:
            return plan.filesystem_bytes(file.read(plan.SUPERBLOCK_END)) or 0
    except FileNotFoundError:
        return None


class Tools:
    """What works on disks.

    Parameters
    ----------
    timeout : float
        Seconds that a program may take.
    keep : tuple of int
        Descriptors that programs inherit.
    """

    def __init__(self, timeout: float, keep: tuple[int, ...] = ()) -> None:
        self._timeout = timeout
        self._keep = keep

    # -- looking --

    def mounts(self) -> list[MountPoint]:
        """Return what is mounted in this process's namespace."""
        text = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        return plan.parse_mountinfo(text)

    def loops(self) -> list[LoopDevice]:
        """Return the loop devices that have a file."""
        return plan.parse_losetup(self.run(plan.losetup_argv()))

    def loops_of(self, image: Path) -> list[LoopDevice]:
        """Return the loop devices of an image."""
        try:
            about = image.stat(follow_symlinks=False)
        except FileNotFoundError:
            return []
        return [d for d in self.loops() if (d.inode, d.device) == device_number(about)]

    def devices_of(self, image: Path) -> list[str]:
        """Return the names of the loop devices of an image."""
        return [d.name for d in self.loops_of(image)]

    def device_of(self, image: Path) -> str:
        """Return the loop device of a mounted image."""
        found = self.devices_of(image)
        if not found:
            raise Unavailable(f"{image.name} has lost its loop device.", hint="Try again.")
        return found[0]

    def facts(self, volume: Volume) -> Facts:
        """Return what there is of a volume."""
        mounts = self.mounts()
        here = [m for m in mounts if m.target == str(volume.target)]
        at_target = [m.device for m in here]
        devices = self.loops_of(volume.image)
        ours = {d.number for d in devices}
        content, odd = (False, False) if at_target else _content(volume.target)
        return Facts(
            size=probe(volume.image),
            half=os.path.lexists(volume.half),
            staged=any(m.target == str(volume.staging) for m in mounts),
            old=os.path.lexists(volume.old),
            layers=sum(d in ours for d in at_target),
            foreign=odd or any(d not in ours for d in at_target),
            content=content,
            attached=bool(devices),
            read_only=any(m.read_only for m in here),
            may_resize=plan.may_resize(Path("/proc/self/status").read_text()),
        )

    # -- acting --

    def mount(self, image: Path, target: Path) -> None:
        """Check and mount an image.

        One that is attached already, for a container still has it mounted, is in use: it is not checked,
        and mounted once more from the same device, so that the kernel has one file system and not two.
        """
        attached = self.devices_of(image)
        if attached:
            self.run(plan.mount_argv(attached[0], target, loop=False))
            return
        self.run(plan.fsck_argv(image), fine=REPAIRED)
        self.run(plan.mount_argv(image, target, loop=True))

    def umount(self, target: Path) -> None:
        """Take the topmost mount from `target`.

        Raises
        ------
        Unavailable
            If it is in use.
        """
        self.run(plan.umount_argv(target))

    def run(self, argv: tuple[str, ...], fine: set[int] | None = None) -> str:
        """Run a program and return what it prints.

        Raises
        ------
        Unavailable
            If it is missing, fails or takes too long.
        """
        program = shutil.which(argv[0], path=_PATH)
        if program is None:
            raise Unavailable(
                f"{argv[0]} is not installed.",
                hint="Operators: install e2fsprogs, mount and util-linux.",
            )
        try:
            done = subprocess.run(  # noqa: S603 - an argument list of volumes.py
                (program, *argv[1:]),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={"PATH": _PATH, "LC_ALL": "C"},
                timeout=self._timeout,
                pass_fds=self._keep,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"{argv[0]} took longer than {self._timeout:g} s.",
                hint="Operators: is the host's disk well? UserDisks.tool_timeout allows more.",
            ) from None
        if done.returncode not in (fine or {0}):
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            log.error("%s ended with %d: %s", " ".join(argv), done.returncode, said[-2000:])
            raise _explained(argv, said)
        return done.stdout.decode(errors="replace")


def _content(target: Path) -> tuple[bool, bool]:
    """Return whether a plain folder holds something, and whether something else is in its place."""
    try:
        with open_folder(target) as fd:
            return bool(os.listdir(fd)), False
    except FileNotFoundError:
        return False, False
    except NotADirectoryError:
        return False, True


def _explained(argv: tuple[str, ...], said: str) -> Unavailable:
    program = argv[0]
    if program == "mount" and ("loop device" in said or not os.path.exists("/dev/loop-control")):
        return Unavailable(
            "There is no free loop device for a user's disk.",
            hint="Operators: load the kernel module `loop` (its max_loop may be too small) and show the platform's"
            " container the host's /dev.",
        )
    if program == "e2fsck":
        return Unavailable(
            "A user's disk is damaged and was not mounted.",
            hint=f"Ask an operator, who runs `e2fsck -f {argv[-1]}`.",
        )
    if program == "umount":
        return Unavailable("A user's disk is in use.", hint="Try again when it is not.")
    return Unavailable(
        f"A user's disk could not be made ready: {program} failed.",
        hint="Try again; an operator finds the reason in the log.",
    )
