"""The interface of the execution plane, which every back-end implements.

Invariants of an implementation:

* every method is idempotent; a name that is gone is :attr:`ProcessPhase.ABSENT`, not an error;
* a name is started at most once in its life, whatever crashes in between: ``start`` on something
  that ever ran does nothing;
* ``create`` and ``start`` have happened durably when they return; nothing is removed before ``remove``.

Callers choose names that are unique for ever (job id and attempt, technical user), persist their
intention first, and find everything again after a crash by label.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from gavip_api.errors import Unavailable

from .specs import LaunchSpec


class NoRoom(Unavailable):
    """The disk of the plane is full: a fault of the machine, which says nothing of what was to be started."""


class ProcessPhase(str, Enum):
    """What the plane knows of one name."""

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    VANISHED = "vanished"
    """It ran, it is gone, and nobody saw how it ended (power cut, killed supervisor)."""


@dataclass(frozen=True)
class ProcessStatus:
    """State of one name.

    Parameters
    ----------
    name : str
        As given in the spec.
    phase : ProcessPhase
    exit_code : int, optional
        Once exited; negative for a signal, as in :mod:`subprocess`.
    reason : str
        ``"memory"`` or ``"time"`` when the plane itself ended it for passing that limit, ``"stopped"`` when
        it was asked to, else empty.
    started, ended : datetime, optional
        UTC.
    labels : mapping
    """

    name: str
    phase: ProcessPhase
    exit_code: int | None = None
    reason: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether it will never run again."""
        return self.phase in {ProcessPhase.ABSENT, ProcessPhase.EXITED, ProcessPhase.VANISHED}


class ExecutionPlane(ABC):
    """Run processes or containers from launch specs.

    Attributes
    ----------
    contained : bool
        Whether what runs sees a container's fixed paths instead of the host's
        (:class:`gavip_spawner.placement.InContainer`).
    """

    contained = False

    async def prepare(self, modules: tuple[str, ...]) -> None:  # noqa: B027 - optional
        """Get ready to start quickly what runs `modules`; does nothing where there is nothing to gain."""

    async def close(self) -> None:  # noqa: B027 - optional
        """Let go of what :meth:`prepare` made; what runs goes on."""

    @abstractmethod
    async def create(self, spec: LaunchSpec) -> None:
        """Make `spec` known; does nothing when the name exists."""

    @abstractmethod
    async def start(self, name: str) -> ProcessStatus:
        """Start it unless it was ever started; return its status.

        Raises
        ------
        gavip_api.errors.NotFound
            If it was never created.
        NoRoom
            If it cannot be started until there is room on the disk again.
        gavip_api.errors.Unavailable
            If the back-end cannot start it now.
        """

    @abstractmethod
    async def inspect(self, name: str) -> ProcessStatus:
        """Return the present status."""

    @abstractmethod
    async def wait(self, name: str) -> ProcessStatus:
        """Return the status once :attr:`ProcessStatus.over`."""

    @abstractmethod
    async def stop(self, name: str, grace: float = 10.0) -> ProcessStatus:
        """End it: ask, and force after `grace` seconds. Something never started will never start afterwards."""

    @abstractmethod
    async def remove(self, name: str) -> None:
        """Forget it with its log, stopping it first if need be."""

    @abstractmethod
    async def find(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        """Return all that carry every one of `labels`."""

    async def unfinished(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        """Return those of :meth:`find` that are not over; back-ends that keep many that are can do it for less."""
        return [status for status in await self.find(labels) if not status.over]

    @abstractmethod
    async def read_log(self, name: str, offset: int = 0, limit: int = 1 << 16) -> tuple[bytes, int]:
        """Return at most `limit` bytes of combined output from `offset`, and the present size of the log."""
