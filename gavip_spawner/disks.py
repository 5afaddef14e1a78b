"""A disk of fixed size for each user's user-space, and another for the HOME of their JupyterLab.

Owns the images below ``disks/`` and what is mounted from them. Invariants: one process at a time works
on a user's disks (a lock that the kernel releases); an image has its name only when it is complete; what
is there decides what is done next (:func:`gavip_spawner.volumes.next_step`), so any crash is gone on
from; nothing of a user's is deleted here but what has been copied. A full disk of one kind leaves the
other and the host as they are.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from traitlets import Bool, Dict, Integer, TraitError, Unicode, validate
from traitlets.config import Configurable

from gavip_api.errors import Conflict, GavipError, InvalidInput, Unavailable
from gavip_api.resources import human_size, memory_bytes

from . import disk_work as work
from . import volumes as plan
from .disk_tools import Tools, device_number, open_folder, probe
from .layout import StateLayout
from .volumes import LOST_AND_FOUND as LOST_AND_FOUND
from .volumes import Kind, Step, Volume

log = logging.getLogger("gavip.disks")

_MOST_STEPS = 16


@dataclass(frozen=True)
class DiskUsage:
    """How full a disk is.

    Attributes
    ----------
    used, limit : int
        Bytes: used, and used at most; what the file system keeps for itself counts as neither.
    inodes_used, inodes_limit : int
        Files, folders and links.
    """

    used: int
    limit: int
    inodes_used: int
    inodes_limit: int


@dataclass(frozen=True)
class Disk:
    """One image below ``disks/``.

    Attributes
    ----------
    folder : str
        Folder name of the user.
    kind : Kind
    image : Path
    size, allocated : int
        Bytes that the file system has, and that the image takes of the host.
    mounted : bool
    device : str
        Loop device; empty when none is attached.
    """

    folder: str
    kind: Kind
    image: Path
    size: int
    allocated: int
    mounted: bool
    device: str


def disk_usage(folder: Path) -> DiskUsage | None:
    """Return how full the disk is that is mounted on `folder`; None when none is."""
    try:
        with open_folder(folder) as fd, open_folder(folder.parent) as parent:
            if os.fstat(fd).st_dev == os.fstat(parent).st_dev:
                return None
            found = os.fstatvfs(fd)
    except OSError:
        return None
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    return DiskUsage(
        used,
        used + found.f_bavail * found.f_frsize,
        found.f_files - found.f_ffree,
        found.f_files - found.f_ffree + found.f_favail,
    )


class UserDisks(Configurable):
    """Disks of users on the container back-ends. Needs root; everything blocks, so call it in a thread."""

    state_dir = Unicode(
        help="Absolute path of the state folder. No default: must be set, and is by the platform's own parts."
    ).tag(config=True)
    enabled = Bool(
        False,
        help="Whether each user has disks of a fixed size. Needs root, loop devices and e2fsprogs; the container"
        " back-ends turn it on. Default: False, which lets users fill the host.",
    ).tag(config=True)
    quota = Unicode(
        "10G",
        help="Size of a user's user-space. A larger one is given at the next start, a smaller one only to new"
        " users. Default: 10G.",
    ).tag(config=True)
    home_quota = Unicode(
        "1G", help="Size of the HOME of a user's JupyterLab, as `quota`. Default: 1G."
    ).tag(config=True)
    quotas: Any = Dict(
        value_trait=Unicode(),
        help="Sizes of single users' user-spaces, by user name, as `{'alice': '50G'}`. Default: none, `quota` holds.",
    ).tag(config=True)
    reserve = Unicode(
        "5G",
        help="Space on the host below which no disk is made or made larger. Disks take only what is written to"
        " them, so that all together may promise more than the host has. Default: 5G.",
    ).tag(config=True)
    bytes_per_inode = Integer(
        32768,
        min=4096,
        max=1 << 26,
        help="Bytes of a new disk for each file it can hold: less allows more and smaller files. Default: 32768,"
        " which is 327,680 files on 10G.",
    ).tag(config=True)
    require_shared = Bool(
        False,
        help="Refuse to mount disks where the engine would not see them: for a platform that runs in a container"
        " itself, whose state folder must be bound with `rshared`. Default: False.",
    ).tag(config=True)
    tool_timeout = Integer(
        300, min=10, help="Seconds that making or checking one disk may take. Default: 300."
    ).tag(config=True)

    @validate("quota", "home_quota", "reserve")
    def _check_size(self, proposal: Any) -> str:
        name, value = proposal["trait"].name, str(proposal["value"])
        _checked(name, value, 1 if name == "reserve" else plan.MIN_BYTES)
        return value

    @validate("quotas")
    def _check_quotas(self, proposal: Any) -> Any:
        for user, value in proposal["value"].items():
            _checked(f"quotas[{user!r}]", value, plan.MIN_BYTES)
        return proposal["value"]

    @property
    def layout(self) -> StateLayout:
        """Where things are."""
        # as the kernel lists mounts
        return StateLayout(Path(self.state_dir).resolve())

    def volumes(self, user: str) -> tuple[Volume, Volume]:
        """Return a user's volumes with the sizes that are wanted now."""
        size = memory_bytes(self.quotas.get(user, self.quota))
        return plan.volumes(self.layout, user, size, memory_bytes(self.home_quota))

    # -- what callers do --

    def ensure(self, user: str) -> None:
        """Make, check, mount and enlarge a user's disks as far as needed; safe to repeat and to interrupt.

        Raises
        ------
        Unavailable
            Without root, loop devices or programs; when the host has too little space left; or when a disk
            is damaged.
        LimitReached
            If a folder from before is larger than the disk that is to hold it.
        Conflict
            If something else is where a disk belongs.
        """
        if not self.enabled:
            return
        self._ensure(user, self.volumes(user))

    @contextlib.contextmanager
    def held(self, user: str) -> Iterator[None]:
        """:meth:`ensure`, and keep :meth:`release` away while a container is made that needs the disks.

        Raises
        ------
        Unavailable, LimitReached, Conflict
            As :meth:`ensure`.
        """
        if not self.enabled:
            yield
            return
        self._prepare(user)
        with _lock(self.layout.disk(user) / "held", fcntl.LOCK_SH):
            self.ensure(user)
            yield

    def grow(self, user: str, size: int) -> None:
        """Give a user a user-space of at least `size` bytes, at once; it is never made smaller.

        Raises
        ------
        InvalidInput
            If `size` is no size of a disk.
        Unavailable, LimitReached, Conflict
            As :meth:`ensure`.
        """
        if size < plan.MIN_BYTES:
            raise InvalidInput(f"A disk has at least {human_size(plan.MIN_BYTES)}.")
        home = memory_bytes(self.home_quota)
        self._ensure(user, plan.volumes(self.layout, user, size, home))
        found = self.usage(user)
        # the file system keeps a part of it for itself
        if found is None or found.limit < size * 0.95 - (8 << 20):
            raise Conflict(
                f"The disk of {user} is in use and stays as it is.",
                hint="Do it again while nothing of this user's runs, or give the platform CAP_SYS_RESOURCE.",
            )

    def usage(self, user: str, kind: Kind = Kind.USERSPACE) -> DiskUsage | None:
        """Return how full a user's disk is; None when it is not mounted."""
        return disk_usage(next(v.target for v in self.volumes(user) if v.kind is kind))

    def release(self, user: str) -> bool:
        """Unmount a user's disks unless they are in use; return whether none is mounted any more."""
        volumes = self.volumes(user)
        if not volumes[0].folder.is_dir():
            return True
        with self._alone(user, volumes[0].folder) as tools:
            try:
                with _lock(volumes[0].folder / "held", fcntl.LOCK_EX | fcntl.LOCK_NB):
                    pass
            except BlockingIOError:
                return False
            return all([self._unmount(v, tools) for v in volumes])  # noqa: C419 - each is tried

    def find(self) -> list[Disk]:
        """Return all disks."""
        tools = Tools(self.tool_timeout)
        mounts, loops = tools.mounts(), tools.loops()
        found = []
        for volume in self._all():
            try:
                about = volume.image.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            attached = [d for d in loops if (d.inode, d.device) == device_number(about)]
            numbers = {d.number for d in attached}
            found.append(
                Disk(
                    volume.folder.name,
                    volume.kind,
                    volume.image,
                    probe(volume.image) or 0,
                    about.st_blocks * 512,
                    any(m.target == str(volume.target) and m.device in numbers for m in mounts),
                    attached[0].name if attached else "",
                )
            )
        return found

    def unmount_all(self) -> list[Path]:
        """Unmount all disks and let go of what was left over; return the folders that are in use."""
        busy = []
        for folder in self._folders():
            with self._alone(folder.name, folder) as tools:
                busy += [v.target for v in self._volumes_in(folder) if not self._unmount(v, tools)]
        self.clean()
        return busy

    def clean(self) -> list[str]:
        """Let go of mounts and loop devices that a crash left over; return what was let go.

        Disks that are mounted where they belong stay. A device that a container still has mounted goes
        when the container does.
        """
        done = []
        for folder in self._folders():
            with self._alone(folder.name, folder) as tools:
                for volume in self._volumes_in(folder):
                    done += work.let_go(volume, tools)
        return done

    # -- how --

    def _folders(self) -> list[Path]:
        try:
            with os.scandir(self.layout.disks) as found:
                return sorted(Path(e.path) for e in found if e.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []

    def _volumes_in(self, folder: Path) -> tuple[Volume, ...]:
        targets = {Kind.USERSPACE: self.layout.userspaces, Kind.HOME: self.layout.homes}
        return tuple(Volume(k, folder, t / folder.name, 0) for k, t in targets.items())

    def _all(self) -> Iterator[Volume]:
        for folder in self._folders():
            yield from self._volumes_in(folder)

    @contextlib.contextmanager
    def _alone(self, user: str, folder: Path) -> Iterator[Tools]:
        """Keep everybody else from a user's disks, in whatever process they are."""
        try:
            with _lock(folder / "lock", fcntl.LOCK_EX) as lock:
                # programs we start hold it as well: none of them still works on an image when the next begins
                yield Tools(self.tool_timeout, (lock,))
        except OSError as e:
            log.exception("disks of %s", user)
            raise Unavailable(
                f"The disks of {user} cannot be used: {e.strerror}.",
                hint="Try again; an operator finds the reason in the log.",
            ) from e

    def _prepare(self, user: str) -> None:
        if os.geteuid() != 0:
            raise Unavailable(
                "Disks of users need the platform to run as root.",
                hint="Run it as root or in its own container, or set UserDisks.enabled to False.",
            )
        for path in (self.layout.disks, self.layout.disk(user)):
            path.mkdir(mode=0o700, exist_ok=True)

    def _ensure(self, user: str, volumes: tuple[Volume, ...]) -> None:
        self._prepare(user)
        with self._alone(user, volumes[0].folder) as tools:
            for volume in volumes:
                self._bring(volume, tools)

    def _bring(self, volume: Volume, tools: Tools) -> None:
        tried: set[Step] = set()
        for _ in range(_MOST_STEPS):
            facts = tools.facts(volume)
            step = plan.next_step(facts, volume.size)
            if step in tried and step in plan.TRIED_ONCE:
                step = plan.next_step(replace(facts, read_only=False), 0)
            if step is None:
                return
            log.debug("%s: %s", volume.image, step.value)
            tried.add(step)
            if step is Step.UNMOUNT:
                if not self._unmount(volume, tools):
                    return
            elif step in plan.TRIED_ONCE:
                self._try(step, volume, tools)
            else:
                self._do(step, volume, tools)
        raise Unavailable(
            f"The disk on {volume.target} does not become ready.",
            hint="An operator looks into the log and calls UserDisks.clean().",
        )

    def _try(self, step: Step, volume: Volume, tools: Tools) -> None:
        """Enlarge a disk; where that fails, it is mounted as it is, so that its user can sign in."""
        try:
            self._do(step, volume, tools)
        except Unavailable as e:
            log.warning("%s stays as large as it is: %s", volume.image, e.message)

    def _do(self, step: Step, volume: Volume, tools: Tools) -> None:
        if step is Step.REFUSE:
            raise Conflict(
                f"Something else is mounted on {volume.target}, or a link or file is there.",
                hint="An operator unmounts it or moves it away.",
            )
        if step in {Step.MAKE, Step.GROW, Step.GROW_UNMOUNTED}:
            self._check_space()
        if step is Step.MOUNT:
            self._check_shared(tools)
        if step is Step.MAKE:
            work.make(volume, tools, self.bytes_per_inode)
        else:
            work.ACTS[step](volume, tools)

    def _check_shared(self, tools: Tools) -> None:
        state = plan.innermost(tools.mounts(), self.layout.root)
        if self.require_shared and not (state and state.shared):
            raise Unavailable(
                "Disks mounted here would not be seen by the container engine.",
                hint="Operators: bind the state folder into the platform's container with propagation `rshared`.",
            )

    def _check_space(self) -> None:
        found = os.statvfs(self.layout.disks)
        if found.f_bavail * found.f_frsize < memory_bytes(self.reserve):
            raise Unavailable(
                "The platform has too little space left to make a disk.",
                hint="Ask an operator, who frees space below the state folder or lowers UserDisks.reserve.",
            )

    def _unmount(self, volume: Volume, tools: Tools) -> bool:
        try:
            while tools.facts(volume).layers:
                tools.umount(volume.target)
        except GavipError as e:
            log.info("%s stays mounted: %s", volume.target, e.message)
            return False
        return True


def _checked(name: str, value: str, least: int) -> None:
    try:
        size = memory_bytes(value)
    except InvalidInput as e:
        raise TraitError(f"{name}: {e.message}") from None
    if size < least:
        raise TraitError(f"{name}: at least {human_size(least)}, not {value}")


@contextlib.contextmanager
def _lock(path: Path, how: int) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, how)
        yield fd
    finally:
        os.close(fd)
