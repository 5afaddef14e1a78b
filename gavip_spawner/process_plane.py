"""The process back-end of the execution plane: needs nothing but Python, isolates nobody from anybody.

Each name is a folder below ``plane/``: ``spec.json`` (0600, it holds a token), ``started``,
``log``, ``exit.json``. All truth is in those files and in the process table, so the plane can be
restarted at any instant and several can look at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from gavip_api.errors import InvalidInput, NotFound, Unavailable
from gavip_api.slugs import new_id

from .plane import ExecutionPlane, NoRoom, ProcessPhase, ProcessStatus
from .specs import LaunchSpec
from .supervisor import claim, record_exit
from .zygote import WarmStart, fits

_START_DEADLINE = 20.0
_POLL = 0.05
_LEAST_ROOM = 1 << 16


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _time(stamp: float | None) -> datetime | None:
    return None if stamp is None else datetime.fromtimestamp(stamp, timezone.utc)


def _is_alive(pid: int, created: float) -> bool:
    """Whether the very process is there; pids are reused, creation times are not."""
    try:
        process = psutil.Process(pid)
        return (
            abs(process.create_time() - created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False


def _is_full(folder: Path) -> bool:
    """Whether the disk of `folder` takes no new file, or next to nothing in it."""
    disk = os.statvfs(folder)
    # some file systems count no inodes
    return disk.f_bavail * disk.f_frsize < _LEAST_ROOM or disk.f_favail == 0 < disk.f_files


def _environment() -> dict[str, str]:
    """Return the environment of supervisors: ours without identity."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTERHUB_", "GAVIP_"))} | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)
    }


class ProcessPlane(ExecutionPlane):
    """Runs specs as supervised processes of the platform's own user.

    Parameters
    ----------
    folder : Path
        ``StateLayout.plane``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._supervisors: dict[str, int] = {}
        # forked by the zygote: not our children
        self._forked: dict[str, int] = {}
        self._warm: WarmStart | None = None
        self._asking = threading.Lock()

    async def prepare(self, modules: tuple[str, ...]) -> None:
        """Start a process that has imported `modules`; until it is there, and when it fails, starts are cold."""
        if modules and self._warm is None and hasattr(os, "fork"):
            self._warm = await asyncio.to_thread(WarmStart, modules, _environment())

    async def close(self) -> None:
        """See :meth:`ExecutionPlane.close`."""
        warm, self._warm = self._warm, None
        if warm is not None:
            await asyncio.to_thread(warm.close)

    def _of(self, name: str) -> Path:
        if not name or "/" in name or name.startswith(".") or "\0" in name or len(name) > 200:
            raise InvalidInput(f"{name[:80]!r} cannot name a process.")
        return self._folder / name

    async def create(self, spec: LaunchSpec) -> None:
        """See :meth:`ExecutionPlane.create`."""
        await asyncio.to_thread(self._create, spec)

    def _create(self, spec: LaunchSpec) -> None:
        folder = self._of(spec.name)
        if folder.exists():
            return
        temporary = self._folder / f".new-{new_id()}"
        temporary.mkdir(parents=True, mode=0o700)
        body = {
            "argv": list(spec.argv),
            "environment": dict(spec.environment),
            "cwd": spec.cwd,
            "memory": spec.amount.memory,
            "time_limit": spec.time_limit,
            "labels": dict(spec.labels),
            "folders": [owned.path for owned in spec.owned if not owned.file],
        }
        try:
            with (temporary / "spec.json").open("w") as file:
                os.fchmod(file.fileno(), 0o600)
                json.dump(body, file)
            temporary.rename(folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            # when it exists, another creator of the same name won the race; its spec stands
            if not folder.exists():
                raise

    async def start(self, name: str) -> ProcessStatus:
        """See :meth:`ExecutionPlane.start`."""
        folder = self._of(name)
        if not folder.exists():
            raise NotFound(f"Nothing called {name!r} was created.")
        if not (folder / "started").exists():
            await asyncio.to_thread(self._spawn, name, folder)
        deadline = time.monotonic() + _START_DEADLINE
        while True:
            status = await self.inspect(name)
            if status.phase is not ProcessPhase.CREATED:
                return status
            if self._gone(name) or time.monotonic() > deadline:
                status = await self.inspect(name)
                if status.phase is not ProcessPhase.CREATED:
                    return status
                if _is_full(folder):
                    raise NoRoom(
                        "The disk is full: nothing can be started.",
                        hint="It goes on by itself once there is room.",
                    )
                raise Unavailable(
                    "The process could not be started.", hint="Look at the platform's log."
                )
            await asyncio.sleep(_POLL)

    def _spawn(self, name: str, folder: Path) -> None:
        with self._asking:
            warm, spec = self._warm, _read(folder / "spec.json")
            if warm is not None and spec is not None and fits(spec["argv"]):
                pid = warm.spawn(folder)
                if pid is not None:
                    self._forked[name] = pid
                    return
        # posix_spawn rather than Popen: the supervisor is meant to outlive this object and process
        null = (os.POSIX_SPAWN_OPEN, os.devnull)
        self._supervisors[name] = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "gavip_spawner.supervisor", str(folder)],
            _environment(),
            file_actions=[(null[0], fd, null[1], os.O_RDWR, 0) for fd in (0, 1, 2)],
            setsid=True,
        )

    def _gone(self, name: str) -> bool:
        """Reap our own supervisor of `name`; return whether it is known to have gone."""
        forked = self._forked.get(name)
        if forked is not None:
            if psutil.pid_exists(forked):
                return False
            del self._forked[name]
            return True
        pid = self._supervisors.get(name)
        if pid is None:
            return False
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            ended = True
        if ended:
            del self._supervisors[name]
        return ended

    async def inspect(self, name: str) -> ProcessStatus:
        """See :meth:`ExecutionPlane.inspect`."""
        return self._inspect(name)

    def _inspect(self, name: str) -> ProcessStatus:
        folder = self._of(name)
        self._gone(name)
        spec = _read(folder / "spec.json")
        if spec is None:
            return ProcessStatus(name, ProcessPhase.ABSENT)
        labels = spec["labels"]
        # the supervisor writes exit.json before it goes: look at the process first, then at that file
        started = _read(folder / "started")
        alive = started is not None and _is_alive(started["pid"], started["created"])
        ended = _read(folder / "exit.json")
        begun = _time(started["time"]) if started else None
        if ended is not None:
            return ProcessStatus(
                name,
                ProcessPhase.EXITED,
                exit_code=ended["exit_code"],
                reason=ended["reason"],
                started=begun,
                ended=_time(ended["time"]),
                labels=labels,
            )
        if alive:
            return ProcessStatus(name, ProcessPhase.RUNNING, started=begun, labels=labels)
        try:
            age = time.time() - (folder / "started").stat().st_mtime
        except FileNotFoundError:
            return ProcessStatus(name, ProcessPhase.CREATED, labels=labels)
        if started is None and age < 5:
            return ProcessStatus(name, ProcessPhase.RUNNING, labels=labels)
        return ProcessStatus(name, ProcessPhase.VANISHED, started=begun, labels=labels)

    async def wait(self, name: str) -> ProcessStatus:
        """See :meth:`ExecutionPlane.wait`."""
        while not (status := await self.inspect(name)).over:
            started = _read(self._of(name) / "started")
            if started is None or not hasattr(os, "pidfd_open"):
                await asyncio.sleep(0.25)
                continue
            await _process_end(started["pid"])
        return status

    async def stop(self, name: str, grace: float = 10.0) -> ProcessStatus:
        """See :meth:`ExecutionPlane.stop`."""
        folder = self._of(name)
        status = await self.inspect(name)
        if status.phase is ProcessPhase.CREATED and claim(folder):
            # the claim is ours now, so no supervisor can ever start it
            record_exit(folder, None, "stopped")
            return await self.inspect(name)
        deadline = time.monotonic() + grace + 10
        asked = False
        while not (status := await self.inspect(name)).over:
            started = _read(folder / "started")
            if started is not None and not asked:
                # without it, as on a full disk, the supervisor gives the grace that it thinks right
                with contextlib.suppress(OSError):
                    (folder / "stop.json").write_text(json.dumps({"grace": grace}))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(started["pid"], 15)
                asked = True
            if started is not None and time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(started["pid"], 9)
            await asyncio.sleep(_POLL)
        return status

    async def remove(self, name: str) -> None:
        """See :meth:`ExecutionPlane.remove`."""
        await self.stop(name, grace=2)
        folder = self._of(name)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def find(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        """See :meth:`ExecutionPlane.find`."""
        return await asyncio.to_thread(self._find, labels)

    async def unfinished(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        """See :meth:`ExecutionPlane.unfinished`; what is over costs one look at the file system each."""
        found = await asyncio.to_thread(
            self._find, labels, lambda p: not (p / "exit.json").exists()
        )
        return [status for status in found if not status.over]

    def _find(
        self, labels: Mapping[str, str], wanted: Callable[[Path], bool] = lambda p: True
    ) -> list[ProcessStatus]:
        try:
            folders = sorted(p for p in self._folder.iterdir() if not p.name.startswith("."))
        except FileNotFoundError:
            return []
        found = [self._inspect(p.name) for p in folders if wanted(p)]
        return [s for s in found if all(s.labels.get(k) == v for k, v in labels.items())]

    async def read_log(self, name: str, offset: int = 0, limit: int = 1 << 16) -> tuple[bytes, int]:
        """See :meth:`ExecutionPlane.read_log`."""
        return await asyncio.to_thread(self._read_log, self._of(name) / "log", offset, limit)

    @staticmethod
    def _read_log(path: Path, offset: int, limit: int) -> tuple[bytes, int]:
        try:
            with path.open("rb") as log:
                log.seek(offset)
                chunk = log.read(limit)
                return chunk, os.fstat(log.fileno()).st_size
        except FileNotFoundError:
            return b"", 0


async def _process_end(pid: int) -> None:
    """Return when process `pid` ends, woken by the kernel rather than by a timer."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        await asyncio.sleep(_POLL)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        # a zombie of ours is readable at once; the pause keeps that from spinning
        await ended.wait()
        await asyncio.sleep(_POLL)
    finally:
        loop.remove_reader(fd)
        os.close(fd)
