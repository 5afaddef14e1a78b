"""Amounts of the platform as exact integers, and how people read them.

Invariant: rounding is always up, so that nothing is granted that was not counted.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from gavip_api.enums import ReservationKind
from gavip_api.models import ResourceAmount
from gavip_api.resources import human_size

PLENTY = 1_000_000_000
"""What a dimension without limit has."""


class Amount(NamedTuple):
    """What something takes, in the four dimensions of the ledger.

    A tuple and no dataclass, since schedulers make millions of them.

    Parameters
    ----------
    memory : int
        Bytes.
    millicpu : int
        Thousandths of a core.
    slots : int
        Things running at once: a notebook server, an AVI's interface and a job take one each.
    archive : int
        Queries of the archive at once.
    """

    memory: int = 0
    millicpu: int = 0
    slots: int = 0
    archive: int = 0

    @classmethod
    def of(cls, amount: ResourceAmount) -> Amount:
        """Return the exact form of a wire amount, rounded up."""
        # 1e-6 takes back what binary fractions add (0.1 * 1000 = 100.00000000000001)
        millicpu = math.ceil(amount.cpu * 1000 - 1e-6)
        return cls(amount.memory, millicpu, amount.slots, amount.archive)

    @classmethod
    def asked(cls, amount: ResourceAmount, kind: ReservationKind) -> Amount:
        """Return what a reservation of `kind` takes: servers and jobs a slot at least, queries one query."""
        exact = cls.of(amount)
        if kind is ReservationKind.ARCHIVE_QUERY:
            return exact._replace(archive=max(1, exact.archive))
        return exact._replace(slots=max(1, exact.slots))

    def wire(self) -> ResourceAmount:
        """Return the wire form."""
        return ResourceAmount(
            memory=max(0, self.memory),
            cpu=max(0, self.millicpu) / 1000,
            slots=max(0, self.slots),
            archive=max(0, self.archive),
        )

    def __add__(self, other: Amount) -> Amount:  # type: ignore[override]  # amounts are no sequences
        return Amount(
            self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3]
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            self[0] - other[0], self[1] - other[1], self[2] - other[2], self[3] - other[3]
        )

    def fits(self, room: Amount) -> bool:
        """Whether `room` holds this much."""
        return (
            self[0] <= room[0]
            and self[1] <= room[1]
            and self[2] <= room[2]
            # a job without queries runs however many are granted already
            and (self[3] <= room[3] or not self[3])
        )

    def least(self, other: Amount) -> Amount:
        """Return the smaller of the two in each dimension."""
        return Amount(*map(min, self, other))

    def __str__(self) -> str:
        cores = f"{self.millicpu / 1000:g}"
        text = f"{human_size(self.memory)} and {cores} core{'' if cores == '1' else 's'}"
        if 0 < self.archive < PLENTY:
            text += f" and {_queries(self.archive)}"
        return text

    def beyond(self, limit: Amount) -> str:
        """Say in which dimensions this is more than `limit`, for people."""
        parts = []
        if self.memory > limit.memory:
            parts.append(f"{human_size(self.memory)} of memory (of {human_size(limit.memory)})")
        if self.millicpu > limit.millicpu:
            parts.append(f"{self.millicpu / 1000:g} cores (of {limit.millicpu / 1000:g})")
        if self.slots > limit.slots:
            parts.append(f"{self.slots} things at once (of {limit.slots})")
        if self.archive > limit.archive:
            parts.append(f"{_queries(self.archive)} (of {limit.archive})")
        return " and ".join(parts)


def _queries(number: int) -> str:
    return f"{number} archive quer{'y' if number == 1 else 'ies'} at once"
