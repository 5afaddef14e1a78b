"""The Docker back-end of the execution plane, for jobs.

A name is a container, and a folder below ``plane/`` that outlives it: ``created.json`` (labels),
``started`` (written before the engine is asked to start), ``stopped`` (before it is asked to stop), and once
it has ended ``log`` and, last of all, ``exit.json``; only then is the container removed. Invariants: while there is
no ``exit.json`` the engine is believed, afterwards the file; a name with a ``started`` whose container is gone has
vanished and is never run again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from traitlets.config import Configurable

from gavip_api.errors import InvalidInput, NotFound, Unavailable

from .containers import (
    KILL_AFTER,
    LABEL_NAME,
    LABEL_PLATFORM,
    LABEL_TIME,
    TIME_IS_UP,
    Containers,
    ContainerSpec,
    container_name,
    container_spec,
)
from .disks import UserDisks
from .engine import APIError, Endings, Engine, NoSuchObject, explanation
from .folders import ready
from .plane import ExecutionPlane, ProcessPhase, ProcessStatus
from .specs import LaunchSpec

log = logging.getLogger("gavip.plane")

_NEVER = "0001-"
"""How the engine writes the time of something that has not happened."""

_ENGINE_AWAY_PAUSE = 2.0
_SLACK = 5.0
_LATE_START = 2.0
_KILLED = 137
_SIGNALLED = 128
_MAX_SIGNAL = 64


class DockerPlane(ExecutionPlane):
    """Runs specs in containers of one engine.

    Parameters
    ----------
    folder : Path
        ``StateLayout.plane``.
    parent : Configurable, optional
        Whose configuration holds the options of :class:`Containers` and :class:`UserDisks`.
    """

    def __init__(self, folder: Path, parent: Configurable | None = None) -> None:
        self._folder = folder
        self._containers = Containers(parent=parent)
        if not self._containers.state_dir:
            self._containers.state_dir = str(folder.parent)
        self._settings = self._containers.settings
        self._disks = UserDisks(parent=parent)
        if not self._disks.state_dir:
            self._disks.state_dir = str(folder.parent)
        self._engine = Engine()
        self._endings = Endings(f"{LABEL_PLATFORM}={self._settings.platform}", LABEL_NAME)
        # create, start, stop and remove of one name never overlap
        self._locks: dict[str, asyncio.Lock] = {}

    contained = True

    async def close(self) -> None:
        """See :meth:`ExecutionPlane.close`."""
        self._endings.close()
        self._engine.close()

    def _of(self, name: str) -> Path:
        if not name or "/" in name or name.startswith(".") or "\0" in name or len(name) > 200:
            raise InvalidInput(f"{name[:80]!r} cannot name a container.")
        return self._folder / name

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _called(self, name: str) -> str:
        return container_name(self._settings, name)

    # -- starting --

    async def create(self, spec: LaunchSpec) -> None:
        """See :meth:`ExecutionPlane.create`."""
        folder = self._of(spec.name)
        async with self._lock(spec.name):
            if (folder / "exit.json").exists():
                return
            built = container_spec(spec, self._settings)
            await asyncio.to_thread(_write, folder / "created.json", {"labels": dict(spec.labels)})
            async with ready(spec, self._settings, self._disks):
                await self._create(spec.name, built)

    async def _create(self, name: str, built: ContainerSpec) -> None:
        try:
            await self._engine.call(
                lambda client: client.create_container(
                    **built.create, host_config=client.create_host_config(**built.host)
                )
            )
        except APIError as e:
            # 409: it exists, which is what we want; its spec stands
            if e.status_code != 409:
                log.error("%s was not created: %s", name, explanation(e))
                raise _refused() from e

    async def start(self, name: str) -> ProcessStatus:
        """See :meth:`ExecutionPlane.start`."""
        async with self._lock(name):
            status = await self._status(name)
            if status.phase is ProcessPhase.ABSENT:
                raise NotFound(f"Nothing called {name!r} was created.")
            if status.phase is ProcessPhase.CREATED:
                status = await self._start(name)
            if status.phase is ProcessPhase.EXITED:
                # it was quick, or ended while nobody looked
                await self._settle(status)
            return status

    async def _start(self, name: str) -> ProcessStatus:
        await asyncio.to_thread(_write, self._of(name) / "started", {})
        try:
            await self._engine.call(lambda client: client.start(self._called(name)))
        except APIError as e:
            status = await self._status(name)
            # the engine may say no to something that did start, or never will: it is asked, not believed
            if status.phase is ProcessPhase.CREATED:
                log.error("%s was not started: %s", name, explanation(e))
                raise _refused() from e
        return await self._status(name)

    # -- looking --

    async def inspect(self, name: str) -> ProcessStatus:
        """See :meth:`ExecutionPlane.inspect`; what is found to have exited is recorded and removed."""
        status = await self._status(name)
        if status.phase is ProcessPhase.EXITED and not (self._of(name) / "exit.json").exists():
            async with self._lock(name):
                await self._settle(status)
        return status

    async def _status(self, name: str) -> ProcessStatus:
        folder = self._of(name)
        recorded = await asyncio.to_thread(_read, folder / "exit.json")
        if recorded is not None:
            return _recorded(name, recorded)
        try:
            found = await self._engine.call(
                lambda client: client.inspect_container(self._called(name))
            )
        except NoSuchObject:
            return await asyncio.to_thread(self._without_container, name)
        stopped = await asyncio.to_thread((folder / "stopped").exists)
        return status_of(name, found, stopped=stopped)

    def _without_container(self, name: str) -> ProcessStatus:
        folder = self._of(name)
        # another task may have recorded the end and removed the container since we looked for the record
        recorded = _read(folder / "exit.json")
        if recorded is not None:
            return _recorded(name, recorded)
        created = _read(folder / "created.json")
        if created is None or not (folder / "started").exists():
            return ProcessStatus(name, ProcessPhase.ABSENT)
        return ProcessStatus(name, ProcessPhase.VANISHED, labels=created["labels"])

    async def wait(self, name: str) -> ProcessStatus:
        """See :meth:`ExecutionPlane.wait`."""
        async with self._endings.watch(name) as pause:
            while True:
                try:
                    async with self._lock(name):
                        status = await self._status(name)
                        if _overdue(status):
                            status = await self._force(name)
                        if status.over:
                            await self._settle(status)
                            return status
                except Unavailable:
                    # an engine that restarts has ended nothing that runs
                    await asyncio.sleep(_ENGINE_AWAY_PAUSE)
                    continue
                await pause()

    async def _force(self, name: str) -> ProcessStatus:
        """End what should have ended itself: hostile code can stop the program that keeps its time."""
        log.warning("%s runs beyond its time and is killed", name)
        await self._ask(name, lambda c: c.kill(self._called(name)))
        return await self._status(name)

    async def find(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        """See :meth:`ExecutionPlane.find`."""
        names = await self._listed(labels)
        recorded = await asyncio.to_thread(self._recorded_with, labels)
        found = [await self._status(name) for name in sorted(names - recorded.keys())]
        return [s for s in found if s.phase is not ProcessPhase.ABSENT] + list(recorded.values())

    async def unfinished(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        """See :meth:`ExecutionPlane.unfinished`; containers of what is over, left by a crash, are removed."""
        found = [await self._status(name) for name in sorted(await self._listed(labels))]
        for status in found:
            if status.phase is ProcessPhase.EXITED:
                async with self._lock(status.name):
                    await self._settle(status)
        return [status for status in found if not status.over]

    async def _listed(self, labels: Mapping[str, str]) -> set[str]:
        """Return the names of the containers that there are."""
        wanted = [f"{LABEL_PLATFORM}={self._settings.platform}"]
        wanted += [f"{key}={value}" for key, value in labels.items()]
        listed = await self._engine.call(
            lambda client: client.containers(all=True, filters={"label": wanted})
        )
        return {entry["Labels"][LABEL_NAME] for entry in listed}

    def _recorded_with(self, labels: Mapping[str, str]) -> dict[str, ProcessStatus]:
        found = {}
        for file in self._folder.glob("*/exit.json"):
            recorded = _read(file)
            if recorded is None or "labels" not in recorded:
                continue
            if all(recorded["labels"].get(k) == v for k, v in labels.items()):
                found[file.parent.name] = _recorded(file.parent.name, recorded)
        return found

    # -- ending --

    async def stop(self, name: str, grace: float = 10.0) -> ProcessStatus:
        """See :meth:`ExecutionPlane.stop`."""
        async with self._lock(name):
            status = await self._status(name)
            if status.phase is ProcessPhase.CREATED:
                # the record first: with it nothing will ever start it
                status = ProcessStatus(
                    name, ProcessPhase.EXITED, reason="stopped", labels=status.labels
                )
                await self._settle(status)
            elif status.phase is ProcessPhase.RUNNING:
                await asyncio.to_thread(_write, self._of(name) / "stopped", {})
                # a paused container takes no signal; ours are never paused, operators may
                await self._ask(name, lambda c: c.stop(self._called(name), timeout=round(grace)))
                status = await self._status(name)
            if status.phase is ProcessPhase.EXITED:
                await self._settle(status)
            return status

    async def remove(self, name: str) -> None:
        """See :meth:`ExecutionPlane.remove`."""
        await self.stop(name, grace=2)
        async with self._lock(name):
            await self._ask(
                name, lambda c: c.remove_container(self._called(name), force=True, v=True)
            )
            await asyncio.to_thread(shutil.rmtree, self._of(name), ignore_errors=True)
        self._locks.pop(name, None)

    async def _ask(self, name: str, work: Any) -> None:
        """Have the engine end or remove something that may be gone already."""
        try:
            await self._engine.call(work)
        except NoSuchObject:
            return
        except APIError as e:
            # 304, 409: it has stopped, or somebody is removing it
            if e.status_code not in {304, 409}:
                log.error("%s: %s", name, explanation(e))
                raise _refused() from e

    async def _settle(self, status: ProcessStatus) -> None:
        """Keep log and outcome of what has exited, then remove its container."""
        folder = self._of(status.name)
        if status.phase is not ProcessPhase.EXITED:
            return
        if not await asyncio.to_thread((folder / "exit.json").exists):
            output = b"" if status.started is None else await self._output(status.name)
            await asyncio.to_thread(_write_bytes, folder / "log", output)
            await asyncio.to_thread(_write, folder / "exit.json", _record(status))
        await self._ask(
            status.name,
            lambda c: c.remove_container(self._called(status.name), force=True, v=True),
        )

    # -- output --

    async def read_log(self, name: str, offset: int = 0, limit: int = 1 << 16) -> tuple[bytes, int]:
        """See :meth:`ExecutionPlane.read_log`.

        Of a container that wrote more than ``Containers.log_size`` twice over, the beginning is gone.
        """
        file = self._of(name) / "log"
        kept = await asyncio.to_thread(_read_part, file, offset, limit)
        if kept is not None:
            return kept
        output = await self._output(name)
        return output[offset : offset + limit], len(output)

    async def _output(self, name: str) -> bytes:
        try:
            return bytes(
                await self._engine.call(
                    lambda client: client.logs(self._called(name), stdout=True, stderr=True)
                )
            )
        except APIError as e:
            # gone, or dead and without a log any more
            log.info("%s: no output: %s", name, explanation(e))
            return b""


def status_of(name: str, found: Mapping[str, Any], *, stopped: bool) -> ProcessStatus:
    """Return what the engine's description of a container means.

    Parameters
    ----------
    name : str
    found : mapping
        Answer of ``GET /containers/{id}/json`` (Engine API 1.41).
    stopped : bool
        Whether the plane asked it to stop.
    """
    state, labels = found["State"], found["Config"]["Labels"]
    started = _when(state.get("StartedAt"))
    if state["Running"] or state.get("Restarting"):
        return ProcessStatus(name, ProcessPhase.RUNNING, started=started, labels=labels)
    # an engine that could not start it says "created" again, with an error and an exit code
    if started is None:
        return ProcessStatus(name, ProcessPhase.CREATED, labels=labels)
    ended = _when(state.get("FinishedAt"))
    code = int(state["ExitCode"])
    return ProcessStatus(
        name,
        ProcessPhase.EXITED,
        exit_code=_SIGNALLED - code if _SIGNALLED < code <= _SIGNALLED + _MAX_SIGNAL else code,
        reason=_reason(state, labels, code, started, ended, stopped),
        started=started,
        ended=ended,
        labels=labels,
    )


def _overdue(status: ProcessStatus) -> bool:
    limit = status.labels.get(LABEL_TIME, "")
    if status.phase is not ProcessPhase.RUNNING or status.started is None or not limit.isdigit():
        return False
    late = (datetime.now(timezone.utc) - status.started).total_seconds() - int(limit)
    return late > KILL_AFTER + _SLACK


def _reason(
    state: Mapping[str, Any],
    labels: Mapping[str, str],
    code: int,
    started: datetime,
    ended: datetime | None,
    stopped: bool,
) -> str:
    if state.get("OOMKilled") and code:
        return "memory"
    limit = labels.get(LABEL_TIME, "")
    if limit.isdigit() and code in {TIME_IS_UP, _KILLED} and _used_up(started, ended, int(limit)):
        return "time"
    return "stopped" if stopped else ""


def _used_up(started: datetime, ended: datetime | None, limit: int) -> bool:
    """Whether it had all its time: a program may end with 124 by itself.

    The engine notes the start a little after it, on a busy machine by seconds.
    """
    if ended is None:
        return False
    return (ended - started).total_seconds() + min(_LATE_START, limit / 2) >= limit


def _when(stamp: str | None) -> datetime | None:
    if not stamp or stamp.startswith(_NEVER):
        return None
    # nine digits of a second, of which Python 3.10 reads six
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6].ljust(6, '0')}+00:00")


def _refused() -> Unavailable:
    return Unavailable(
        "The container engine refused to do it.",
        hint="Try again; an operator finds the reason in the platform's log.",
    )


def _record(status: ProcessStatus) -> dict[str, Any]:
    return {
        "exit_code": status.exit_code,
        "reason": status.reason,
        "started": status.started and status.started.isoformat(),
        "ended": status.ended and status.ended.isoformat(),
        "labels": dict(status.labels),
    }


def _recorded(name: str, record: Mapping[str, Any]) -> ProcessStatus:
    def when(key: str) -> datetime | None:
        return datetime.fromisoformat(record[key]) if record.get(key) else None

    return ProcessStatus(
        name,
        ProcessPhase.EXITED,
        exit_code=record["exit_code"],
        reason=record["reason"],
        started=when("started"),
        ended=when("ended"),
        labels=record.get("labels", {}),
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    _write_bytes(path, json.dumps(content).encode())


def _write_bytes(path: Path, content: bytes) -> None:
    """Write atomically and durably: what follows in time relies on it after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read_part(path: Path, offset: int, limit: int) -> tuple[bytes, int] | None:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(limit), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
