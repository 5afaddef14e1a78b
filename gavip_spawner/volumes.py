"""A user's disks as pure data: where they are, what was found, what to do next, and with which commands.

Owns every decision about a disk; nothing here touches one. Invariant: :func:`next_step` looks at what is
there and at nothing else, so that whoever comes after a crash, a reboot or somebody else's half of the
work goes on from any state to the same end.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .layout import StateLayout

BLOCK = 4096
MIN_BYTES = 32 << 20
_JOURNAL_MIB = 4
_RESERVED_PERCENT = 0.2
"""Blocks that only the platform may use: it makes an AVI's folder although the user has filled the disk."""

LOST_AND_FOUND = "lost+found"
"""Where e2fsck(8) puts what it finds; without it, a full disk cannot be checked."""

OPTIONS = "nosuid,nodev,noatime,discard,errors=remount-ro"
"""`discard`: what is deleted on the disk is given back to the host, for images are sparse."""


class Kind(str, Enum):
    """What a disk holds."""

    USERSPACE = "userspace"
    HOME = "home"


@dataclass(frozen=True)
class Volume:
    """One disk of one user.

    Parameters
    ----------
    kind : Kind
    folder : Path
        Of the user's images; belongs to the platform alone.
    target : Path
        Where it is mounted.
    size : int
        Wanted size, bytes.
    """

    kind: Kind
    folder: Path
    target: Path
    size: int

    def _beside(self, suffix: str) -> Path:
        return self.folder / f"{self.kind.value}.{suffix}"

    @property
    def image(self) -> Path:
        """The image, once it is complete."""
        return self._beside("img")

    @property
    def half(self) -> Path:
        """The image while it is made."""
        return self._beside("new")

    @property
    def staging(self) -> Path:
        """Where the image is mounted while it is made."""
        return self._beside("staging")

    @property
    def old(self) -> Path:
        """The folder that was there before, from the moment that its copy is complete."""
        return self._beside("old")

    def kept(self, stamp: str) -> Path:
        """Return where files are kept that no disk has: an operator decides about them."""
        return self._beside(f"kept-{stamp}")


def volumes(layout: StateLayout, user: str, userspace: int, home: int) -> tuple[Volume, Volume]:
    """Return a user's disks with their wanted sizes in bytes."""
    folder = layout.disk(user)
    return (
        Volume(Kind.USERSPACE, folder, layout.userspace(user), userspace),
        Volume(Kind.HOME, folder, layout.home(user), home),
    )


# -- what to do next --


@dataclass(frozen=True)
class Facts:
    """What was found of a volume.

    Parameters
    ----------
    size : int, optional
        Bytes of the file system in the complete image, 0 when it is damaged; None when there is no image.
    half, staged, old : bool
        Whether there is a half-made image, whether it is mounted, whether the former folder is left.
    layers : int
        How often the image is mounted on the target.
    foreign : bool
        Whether something else is mounted there.
    content : bool
        Whether the folder that is there without any mount holds something.
    attached : bool
        Whether a loop device has the image: then it may be in use where we do not see it, in a container.
    read_only : bool
        Whether the kernel takes no more writes, after an error such as a full host.
    may_resize : bool
        Whether a mounted file system can be enlarged (``CAP_SYS_RESOURCE``).
    """

    size: int | None = None
    half: bool = False
    staged: bool = False
    old: bool = False
    layers: int = 0
    foreign: bool = False
    content: bool = False
    attached: bool = False
    read_only: bool = False
    may_resize: bool = True


class Step(str, Enum):
    """One act; each may be interrupted anywhere and be done again."""

    REFUSE = "refuse"
    UNSTAGE = "unstage"
    DISCARD = "discard"
    RESTORE = "restore"
    SET_ASIDE = "set-aside"
    MAKE = "make"
    MOUNT = "mount"
    UNSTACK = "unstack"
    GROW = "grow"
    UNMOUNT = "unmount"
    GROW_UNMOUNTED = "grow-unmounted"
    CLEAR_OLD = "clear-old"


def next_step(facts: Facts, wanted: int) -> Step | None:
    """Return what brings a volume closer to being mounted with `wanted` bytes; None when it is."""
    if facts.foreign:
        return Step.REFUSE
    if facts.staged:
        return Step.UNSTAGE
    if facts.half:
        return Step.DISCARD
    if facts.layers:
        return _when_mounted(facts, wanted)
    if facts.size is None:
        if facts.old:
            # it had been moved away, and its copy was not yet in place: the copy is made again
            return Step.SET_ASIDE if facts.content else Step.RESTORE
        return Step.MAKE
    if facts.content:
        # written while the disk was not mounted: it would be hidden below the mount
        return Step.SET_ASIDE
    if _small(facts, wanted) and not facts.attached:
        return Step.GROW_UNMOUNTED
    return Step.MOUNT


def _small(facts: Facts, wanted: int) -> bool:
    # an image is never made smaller
    return facts.size is not None and facts.size < whole_blocks(wanted)


def _when_mounted(facts: Facts, wanted: int) -> Step | None:
    if facts.layers > 1:
        return Step.UNSTACK
    if facts.read_only:
        # checked and mounted anew, unless it is in use
        return Step.UNMOUNT
    if facts.old:
        return Step.CLEAR_OLD
    if _small(facts, wanted):
        return Step.GROW if facts.may_resize else Step.UNMOUNT
    return None


TRIED_ONCE = frozenset({Step.GROW, Step.UNMOUNT, Step.GROW_UNMOUNTED})
"""A file system can end a little smaller than what it is given, and one in use stays as it is."""


def whole_blocks(size: int) -> int:
    """Return `size` in bytes, rounded down to whole blocks."""
    return size // BLOCK * BLOCK


# -- the commands: argument lists, never a shell --


def mkfs_argv(image: Path, bytes_per_inode: int) -> tuple[str, ...]:
    """Return how a file system is made in an image.

    A short journal, so that a power cut needs no repair by hand; a bounded number of inodes, so that many
    small files fill the user's disk and nothing else. The image stays sparse.
    """
    return (
        "mkfs.ext4", "-q", "-F", "-b", str(BLOCK), "-I", "256", "-i", str(bytes_per_inode),
        "-m", str(_RESERVED_PERCENT), "-J", f"size={_JOURNAL_MIB}", "-e", "remount-ro", str(image),
    )  # fmt: skip


def protect_argv(folder: Path) -> tuple[str, ...]:
    """Return how a folder is kept from being removed or filled by whoever owns the one around it."""
    return ("chattr", "+i", str(folder))


def mount_argv(source: Path | str, target: Path, *, loop: bool) -> tuple[str, ...]:
    """Return how an image, or the loop device that has it, is mounted.

    The kernel lets go of the loop device with its last mount (``loop`` sets ``LO_FLAGS_AUTOCLEAR``).
    """
    options = f"loop,{OPTIONS}" if loop else OPTIONS
    return ("mount", "-t", "ext4", "-o", options, "--", str(source), str(target))


def umount_argv(target: Path) -> tuple[str, ...]:
    """Return how the topmost mount is taken from `target`, unless it is in use."""
    return ("umount", "--", str(target))


def fsck_argv(image: Path, *, whole: bool = False) -> tuple[str, ...]:
    """Return how an image is checked before it is mounted: at once done when it was left clean, unless `whole`."""
    return ("e2fsck", "-f", "-p", str(image)) if whole else ("e2fsck", "-p", str(image))


def losetup_argv() -> tuple[str, ...]:
    """Return how loop devices are listed."""
    return (
        "losetup",
        "--list",
        "--json",
        "--output",
        "NAME,MAJ:MIN,BACK-INO,BACK-MAJ:MIN,BACK-FILE",
    )


def detach_argv(device: str) -> tuple[str, ...]:
    """Return how a loop device is let go; one that is mounted anywhere goes when that ends."""
    return ("losetup", "--detach", device)


def capacity_argv(device: str) -> tuple[str, ...]:
    """Return how a loop device takes up the new size of its image."""
    return ("losetup", "--set-capacity", device)


def resize_argv(where: Path | str) -> tuple[str, ...]:
    """Return how a file system takes up the new size of its image or device."""
    return ("resize2fs", str(where))


# -- what the kernel and the tools say --


@dataclass(frozen=True)
class MountPoint:
    """A line of mountinfo.

    Parameters
    ----------
    device : str
        ``major:minor``.
    target : str
    shared : bool
        Whether mounts below it propagate to other mount namespaces.
    read_only : bool
        Whether the file system itself takes no writes.
    """

    device: str
    target: str
    shared: bool
    read_only: bool = False


@dataclass(frozen=True)
class LoopDevice:
    """An attached loop device.

    Parameters
    ----------
    name : str
        Path of its node.
    number : str
        ``major:minor``.
    inode, device : int, str
        Inode and device (``major:minor``) of the file behind it; its path alone does not tell which file that was.
    file : str
        Path of that file as the kernel knows it.
    """

    name: str
    number: str
    inode: int
    device: str
    file: str


_CAP_SYS_RESOURCE = 24
_EFFECTIVE = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)


def may_resize(status: str) -> bool:
    """Whether ``/proc/self/status`` grants what the kernel asks for to enlarge a mounted ext4 (capabilities(7))."""
    found = _EFFECTIVE.search(status)
    return found is not None and bool(int(found[1], 16) >> _CAP_SYS_RESOURCE & 1)


_OCTAL = re.compile(r"\\([0-7]{3})")


def parse_mountinfo(text: str) -> list[MountPoint]:
    """Read ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)), lowest mount first."""
    found = []
    for line in text.splitlines():
        fields = line.split()
        end = fields.index("-")
        optional = fields[6:end]
        target = _OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4])
        shared = any(o.startswith("shared:") for o in optional)
        found.append(MountPoint(fields[2], target, shared, "ro" in fields[end + 3].split(",")))
    return found


def parse_losetup(text: str) -> list[LoopDevice]:
    """Read the JSON of :func:`losetup_argv`; it is empty when nothing is attached."""
    listed: list[dict[str, Any]] = json.loads(text)["loopdevices"] if text.strip() else []
    return [
        LoopDevice(
            str(d["name"]),
            str(d["maj:min"]).strip(),
            int(d["back-ino"]),
            str(d["back-maj:min"]).strip(),
            str(d["back-file"]),
        )
        for d in listed
        if d["back-ino"] is not None
    ]


def innermost(mounts: Iterable[MountPoint], path: Path) -> MountPoint | None:
    """Return the mount that `path` is on."""
    covering = [m for m in mounts if path.is_relative_to(m.target)]
    return max(covering, key=lambda m: len(m.target), default=None)


SUPERBLOCK_END = 1024 + 1024


def filesystem_bytes(head: bytes) -> int | None:
    """Return the size of an ext4 file system from the first bytes of its image, None when there is none.

    Offsets are those of ``struct ext4_super_block`` (Linux, fs/ext4/ext4.h), which begins at 1024.
    """
    block = head[1024:SUPERBLOCK_END]
    if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != 0xEF53:
        return None
    low, shift, high = (struct.unpack_from("<I", block, at)[0] for at in (0x04, 0x18, 0x150))
    return int((high << 32 | low) << (10 + shift))
