"""The single acts on a user's disk; :mod:`gavip_spawner.disks` decides which comes next.

Invariants: each may be interrupted anywhere; a file of a user's is removed only when the disk has it;
an image gets its name last.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from gavip_api.errors import LimitReached
from gavip_api.resources import human_size

from . import moving
from . import volumes as plan
from .disk_tools import REPAIRED, Tools, open_folder
from .volumes import Kind, Step, Volume

log = logging.getLogger("gavip.disks")


def make(volume: Volume, tools: Tools, bytes_per_inode: int) -> None:
    """Make an image with what is in the folder now, and put it in place at once.

    Until then the folder is as it was; from then on the folder has another name, from which
    :func:`clear_old` removes what the image has.

    Raises
    ------
    LimitReached
        If the folder holds more than the disk can.
    """
    before = _existing(volume.target)
    try:
        content = moving.Measure() if before is None else moving.measure(before)
        _check_fits(content, volume, bytes_per_inode)
        with open(volume.half, "xb") as image:
            os.fchmod(image.fileno(), 0o600)
            os.truncate(image.fileno(), plan.whole_blocks(volume.size))
        tools.run(plan.mkfs_argv(volume.half, bytes_per_inode))
        volume.staging.mkdir(mode=0o700, exist_ok=True)
        tools.mount(volume.half, volume.staging)
        try:
            with open_folder(volume.staging) as root:
                _dress_root(volume, root, before)
                if before is not None:
                    moving.copy(before, root)
            # a check must find it even on a full disk, so nobody may remove it from a HOME of theirs
            tools.run(plan.protect_argv(volume.staging / plan.LOST_AND_FOUND))
        finally:
            tools.umount(volume.staging)
        with open(volume.half, "rb") as image:
            os.fsync(image.fileno())
    except OSError as e:
        volume.half.unlink(missing_ok=True)
        raise _too_full(volume) if e.errno == errno.ENOSPC else e from None
    finally:
        if before is not None:
            os.close(before)
    if content.entries:
        volume.target.rename(volume.old)
    # a link, unlike a new name, never replaces an image
    volume.image.hardlink_to(volume.half)
    volume.half.unlink()
    with open_folder(volume.folder) as fd:
        os.fsync(fd)


def grow(volume: Volume, tools: Tools) -> None:
    """Give a mounted disk its wanted size."""
    _enlarge(volume)
    device = tools.device_of(volume.image)
    tools.run(plan.capacity_argv(device))
    tools.run(plan.resize_argv(device))


def grow_unmounted(volume: Volume, tools: Tools) -> None:
    """Give a disk its wanted size that nobody has mounted."""
    _enlarge(volume)
    tools.run(plan.fsck_argv(volume.image, whole=True), fine=REPAIRED)
    tools.run(plan.resize_argv(volume.image))


def _enlarge(volume: Volume) -> None:
    with open(volume.image, "r+b") as image:
        size = os.fstat(image.fileno()).st_size
        os.truncate(image.fileno(), max(size, plan.whole_blocks(volume.size)))


def mount(volume: Volume, tools: Tools) -> None:
    """Check and mount a disk; the folder it is mounted on is made, or taken over when it is empty."""
    target = volume.target
    target.parent.mkdir(mode=0o755, exist_ok=True)
    target.mkdir(mode=0o700, exist_ok=True)
    with open_folder(target) as fd:
        # whoever gets here without the mount can write nothing
        os.fchown(fd, 0, 0)
        os.fchmod(fd, 0o700)
    tools.mount(volume.image, target)


def restore(volume: Volume) -> None:
    """Give the former folder its name back: its copy had not been put in place."""
    with contextlib.suppress(FileNotFoundError):
        volume.target.rmdir()
    volume.old.rename(volume.target)


def set_aside(volume: Volume, folder: Path) -> None:
    """Keep the files of a folder that no disk has beside the images; folders without files just go."""
    with open_folder(folder) as fd:
        if moving.empty(fd):
            moving.remove_empty(fd)
            return
    kept = volume.kept(str(time.time_ns()))
    folder.rename(kept)
    log.warning("files that no disk has are kept in %s; an operator decides about them", kept)


def clear_old(volume: Volume) -> None:
    """Remove the former folder as far as the mounted disk has it."""
    with open_folder(volume.old) as old, open_folder(volume.target) as new:
        moving.remove_special(old)
        cleared = moving.clear_copied(old, new)
    if not cleared:
        set_aside(volume, volume.old)
    if os.path.lexists(volume.old):
        volume.old.rmdir()


def let_go(volume: Volume, tools: Tools) -> list[str]:
    """End mounts and devices that a crash left over; return them."""
    done = []
    facts = tools.facts(volume)
    if facts.staged:
        tools.umount(volume.staging)
        done.append(str(volume.staging))
    for _ in range(facts.layers - 1):
        tools.umount(volume.target)
        done.append(str(volume.target))
    if not facts.layers:
        for image in (volume.image, volume.half):
            for device in tools.devices_of(image):
                tools.run(plan.detach_argv(device))
                done.append(device)
    return done


def _existing(target: Path) -> int | None:
    try:
        with open_folder(target) as fd:
            return os.dup(fd)
    except FileNotFoundError:
        return None


def _too_full(volume: Volume) -> LimitReached:
    return LimitReached(
        f"The files in {volume.target.parent.name}/{volume.target.name} are more than the disk of"
        f" {human_size(volume.size)} that is to hold them.",
        hint="Delete some on the page Files, or ask an operator for a larger quota (UserDisks.quotas).",
    )


def _check_fits(content: moving.Measure, volume: Volume, bytes_per_inode: int) -> None:
    # the tables of inodes and blocks, and the journal, take their part
    if (
        content.size > volume.size * 0.9 - (8 << 20)
        or content.entries > volume.size // bytes_per_inode - 16
    ) and content.entries:
        raise _too_full(volume)


def _dress_root(volume: Volume, root: int, before: int | None) -> None:
    if volume.kind is Kind.USERSPACE:
        # as Owned in specs.py: what the platform makes here, users can neither rename nor replace
        os.fchmod(root, 0o1777)
        return
    if before is not None:
        about = os.fstat(before)
        os.fchown(root, about.st_uid, about.st_gid)
    os.fchmod(root, 0o700)


ACTS: Mapping[Step, Callable[[Volume, Tools], None]] = {
    Step.UNSTAGE: lambda volume, tools: tools.umount(volume.staging),
    Step.DISCARD: lambda volume, _: volume.half.unlink(),
    Step.RESTORE: lambda volume, _: restore(volume),
    Step.SET_ASIDE: lambda volume, _: set_aside(volume, volume.target),
    Step.MOUNT: mount,
    Step.UNSTACK: lambda volume, tools: tools.umount(volume.target),
    Step.GROW: grow,
    Step.GROW_UNMOUNTED: grow_unmounted,
    Step.CLEAR_OLD: lambda volume, _: clear_old(volume),
}
"""What is done for a step, but for making a disk, which needs more, and for unmounting, which may fail."""
