"""Who has had how much of the machine: current holdings plus a decaying memory of past ones.

Invariants: a user's share is the largest over the dimensions of (what is held + the exponentially
decaying mean of what was held) / capacity; users who hold nothing keep their order as time goes by,
for all of their shares decay by the same factor, which is why one sorted list does for them.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sortedcontainers import SortedList

from jobqueue.amounts import Amount

Means = tuple[float, float, float, float]

NOTHING: Means = (0.0, 0.0, 0.0, 0.0)
_NONE = Amount()
_FEW = 64
"""So few users are quicker sorted than found among all."""


def settle(means: Means, held: Amount, seconds: float, half_life: float) -> Means:
    """Return the decaying mean after `held` was held for `seconds`.

    The mean is exponentially weighted, ``m(t) = held + (m(0) - held) · 2^(-t / half_life)``: what
    was held one half-life ago counts half.
    """
    kept = 2.0 ** (-max(0.0, seconds) / half_life)
    return (
        held[0] + (means[0] - held[0]) * kept,
        held[1] + (means[1] - held[1]) * kept,
        held[2] + (means[2] - held[2]) * kept,
        held[3] + (means[3] - held[3]) * kept,
    )


@dataclass(slots=True)
class _Account:
    means: Means
    at: float
    held: Amount
    key: float


class ShareBook:
    """Shares of all users.

    Parameters
    ----------
    capacity : Amount
        What shares are shares of.
    half_life : float
        Seconds after which what was held counts half.

    Attributes
    ----------
    lock : RLock
        Held by each method; whoever goes through :meth:`ascending` while others change holdings
        must hold it meanwhile.
    """

    def __init__(self, capacity: Amount, half_life: float) -> None:
        self.lock = threading.RLock()
        self._weights = tuple(1.0 / n if n else 0.0 for n in capacity)
        self.half_life = half_life
        self._accounts: dict[str, _Account] = {}
        # shares of those who hold something change with time, each in its own way: they are kept
        # sorted as of a moment ago, a ten-thousandth of the half-life at most
        self._active: dict[str, float] = {}
        self._sorted: SortedList = SortedList()
        self._as_of = -math.inf
        self._idle: SortedList = SortedList()

    def know(self, owner: str) -> None:
        """Note a user who may never have held anything."""
        with self.lock:
            if owner not in self._accounts:
                self.put(owner, NOTHING, 0.0, _NONE)

    def hold(self, owner: str, held: Amount, now: float) -> None:
        """Note what `owner` holds from now on."""
        with self.lock:
            account = self._accounts.get(owner)
            means = NOTHING
            if account is not None:
                means = settle(account.means, account.held, now - account.at, self.half_life)
            self.put(owner, means, now, held)

    def put(self, owner: str, means: Means, at: float, held: Amount) -> None:
        """Set a user's account: the means at time `at`, and what is held since then."""
        with self.lock:
            self._put(owner, means, at, held)

    def _put(self, owner: str, means: Means, at: float, held: Amount) -> None:
        old = self._accounts.get(owner)
        if owner in self._active:
            self._sorted.remove((self._active.pop(owner), owner))
        elif old is not None:
            self._idle.remove((old.key, owner))
        largest = self._largest(means)
        # log2 of the share as it would have been at time 0: the same at every time
        key = math.log2(largest) + at / self.half_life if largest > 0 else -math.inf
        self._accounts[owner] = _Account(means, at, held, key)
        if held == _NONE:
            self._idle.add((key, owner))
        else:
            self._active[owner] = share = self.share(owner, at)
            self._sorted.add((share, owner))

    def share(self, owner: str, now: float) -> float:
        """Return the dominant share of `owner`, counting past holdings."""
        account = self._accounts.get(owner)
        if account is None:
            return 0.0
        means = settle(account.means, account.held, now - account.at, self.half_life)
        return self._largest(tuple(m + h for m, h in zip(means, account.held, strict=True)))

    def ascending(self, now: float, among: Collection[str]) -> Iterable[str]:
        """Return known users, the smallest dominant share first: all of `among`, and perhaps others."""
        if len(among) <= _FEW:
            return [owner for _, owner in sorted((self.share(o, now), o) for o in among)]
        if now - self._as_of > self.half_life * 1e-4:
            self._active = {owner: self.share(owner, now) for owner in self._active}
            self._sorted = SortedList((share, owner) for owner, share in self._active.items())
            self._as_of = now
        if not self._sorted:
            return (owner for _, owner in self._idle)
        # the keys are brought to the present lazily, for few of them are looked at
        shift = now / self.half_life
        idle = ((2.0 ** (key - shift), owner) for key, owner in self._idle)
        return (owner for _, owner in heapq.merge(self._sorted, idle))

    def copy(self) -> ShareBook:
        """Return an independent copy."""
        book = ShareBook(Amount(), self.half_life)
        book._weights = self._weights
        with self.lock:
            accounts = list(self._accounts.items())
        for owner, account in accounts:
            book.put(owner, account.means, account.at, account.held)
        return book

    def _largest(self, amounts: tuple[float, ...]) -> float:
        w = self._weights
        return max(amounts[0] * w[0], amounts[1] * w[1], amounts[2] * w[2], amounts[3] * w[3])
