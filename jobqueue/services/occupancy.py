"""What is granted, in memory, for schedulers and explanations: no query per decision.

Invariant: follows each commit (see :mod:`jobqueue.storage.hooks`); grants are never decided from it,
for only the ledger's own transaction knows for certain. Every method may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from jobqueue.amounts import Amount
from jobqueue.schedulers import Running, ShareBook

from .pools import PoolRules

_NONE = Amount()


class Occupancy:
    """The lines of the ledger by id, with their sums."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, Running] = {}
        self._held: dict[str, Amount] = {}
        self._total = _NONE

    def replace(self, lines: Mapping[str, Running]) -> None:
        """Set all lines."""
        with self._lock:
            self._lines, self._held, self._total = {}, {}, _NONE
            for name, line in lines.items():
                self._put(name, line)

    def put(self, name: str, line: Running) -> None:
        """Set one line."""
        with self._lock:
            self._drop(name)
            self._put(name, line)

    def end(self, name: str, end: float) -> None:
        """Say when a line will be over at the latest."""
        with self._lock:
            if name in self._lines:
                self._lines[name] = self._lines[name]._replace(end=end)

    def drop(self, name: str) -> None:
        """Take a line away."""
        with self._lock:
            self._drop(name)

    def _put(self, name: str, line: Running) -> None:
        self._lines[name] = line
        self._held[line.owner] = self._held.get(line.owner, _NONE) + line.amount
        self._total = self._total + line.amount

    def _drop(self, name: str) -> None:
        line = self._lines.pop(name, None)
        if line is None:
            return
        self._total = self._total - line.amount
        held = self._held[line.owner] - line.amount
        if held == _NONE:
            del self._held[line.owner]
        else:
            self._held[line.owner] = held

    def held(self, owner: str) -> Amount:
        """Return what `owner` holds."""
        return self._held.get(owner, _NONE)

    def holdings(self) -> dict[str, Amount]:
        """Return what everybody holds who holds anything."""
        with self._lock:
            return dict(self._held)

    @property
    def total(self) -> Amount:
        """What is granted in all."""
        return self._total

    def lines(self) -> list[Running]:
        """Return all lines."""
        with self._lock:
            return list(self._lines.values())


class QuickRoom:
    """What is free, from memory.

    Parameters
    ----------
    capacity : Amount
        Of the machine.
    occupancy, rules, shares
        Where it looks.
    """

    def __init__(
        self, capacity: Amount, occupancy: Occupancy, rules: PoolRules, shares: ShareBook
    ) -> None:
        self.now = time.time()
        self.shares = shares
        self._occupancy = occupancy
        self._rules = rules
        self._machine = capacity - occupancy.total

    def limit(self, owner: str) -> Amount:
        """Return the limit of `owner`."""
        return self._rules.known(owner)

    def in_pool(self, owner: str) -> Amount:
        """Return what `owner` may still take."""
        return self._rules.known(owner) - self._occupancy.held(owner)

    def in_machine(self) -> Amount:
        """Return what is free in total."""
        return self._machine

    def running(self) -> list[Running]:
        """Return all that holds resources; servers have no end."""
        return self._occupancy.lines()
