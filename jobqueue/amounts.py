"""Amounts of the machine as exact integers, and how people read them.

Invariant: rounding is always up, so that nothing is granted that was not counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gavip_api.models import ResourceAmount
from gavip_api.resources import human_size


@dataclass(frozen=True)
class Amount:
    """Memory and processors.

    Parameters
    ----------
    memory : int
        Bytes.
    millicpu : int
        Thousandths of a core.
    """

    memory: int = 0
    millicpu: int = 0

    @classmethod
    def of(cls, amount: ResourceAmount) -> Amount:
        """Return the exact form of a wire amount, rounded up."""
        # 1e-6 takes back what binary fractions add (0.1 * 1000 = 100.00000000000001)
        return cls(amount.memory, math.ceil(amount.cpu * 1000 - 1e-6))

    def wire(self) -> ResourceAmount:
        """Return the wire form."""
        return ResourceAmount(memory=self.memory, cpu=self.millicpu / 1000)

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.memory + other.memory, self.millicpu + other.millicpu)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.memory - other.memory, self.millicpu - other.millicpu)

    def fits(self, room: Amount) -> bool:
        """Whether `room` holds this much."""
        return self.memory <= room.memory and self.millicpu <= room.millicpu

    def __str__(self) -> str:
        cores = f"{self.millicpu / 1000:g}"
        return f"{human_size(self.memory)} and {cores} core{'' if cores == '1' else 's'}"

    def beyond(self, limit: Amount) -> str:
        """Say in which dimensions this is more than `limit`, for people."""
        parts = []
        if self.memory > limit.memory:
            parts.append(f"{human_size(self.memory)} of memory (of {human_size(limit.memory)})")
        if self.millicpu > limit.millicpu:
            parts.append(f"{self.millicpu / 1000:g} cores (of {limit.millicpu / 1000:g})")
        return " and ".join(parts)
