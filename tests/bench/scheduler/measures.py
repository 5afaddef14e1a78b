"""What a schedule is judged by.

Utilisation and Jain's index look at the time of arrivals only, without its first twentieth: while
the queue drains at the end nobody competes (Feitelson and Rudolph, "Metrics and benchmarking for
parallel job scheduling", JSSPP 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from workload import CORES, Workload

SHORT = 10.0
"""Seconds below which run times do not count in slowdowns."""


@dataclass(frozen=True)
class Figures:
    """Of one schedule.

    Parameters
    ----------
    utilisation : float
        Share of the cores' time that ran jobs.
    slowdown, slowdown_median, slowdown_p95 : float
        Mean, median and 95th percentile of the bounded slowdown.
    jain : float
        Fairness over users, 0 to 1.
    longest_wait : float
        Days that the big jobs (half the machine and more) waited at most.
    seconds, decisions : float, int
        Processor time of the simulation, and how often it asked the scheduler.
    """

    utilisation: float
    slowdown: float
    slowdown_median: float
    slowdown_p95: float
    jain: float
    longest_wait: float
    seconds: float
    decisions: int


def judge(w: Workload, started: NDArray[np.float64], seconds: float, decisions: int) -> Figures:
    """Return the figures of a schedule, given when each job started."""
    begin, end = w.arrival[-1] / 20, w.arrival[-1]
    run = np.minimum(w.seconds, w.limit)
    slow = np.maximum(1.0, (started - w.arrival + run) / np.maximum(run, SHORT))
    inside = np.clip(np.minimum(started + run, end) - np.maximum(started, begin), 0, None)
    waits = (started - w.arrival)[w.cores >= CORES // 2]
    return Figures(
        utilisation=float((inside * w.cores).sum() / (CORES * (end - begin))),
        slowdown=float(slow.mean()),
        slowdown_median=float(np.median(slow)),
        slowdown_p95=float(np.quantile(slow, 0.95)),
        jain=fairness(w, started, run, end),
        longest_wait=float(waits.max(initial=0.0)) / 86400,
        seconds=seconds,
        decisions=decisions,
    )


def fairness(
    w: Workload, started: NDArray[np.float64], run: NDArray[np.float64], end: float
) -> float:
    """Return Jain's index of what users got over what they were entitled to.

    The index is ``(Σx)² / (n Σx²)`` with ``x`` = allocation / fair allocation (Jain, Chiu and Hawe,
    "A quantitative measure of fairness and discrimination for resource allocation in shared
    computer systems", DEC TR-301, 1984). Allocations are dominant shares times seconds up to `end`;
    fair is the max-min fair division of the very work that this schedule did: everybody gets what
    they asked for, up to a common level that is the same for all who asked for more.
    """
    users = int(w.owner.max()) + 1
    served = np.clip(np.minimum(started + run, end) - started, 0, None) * w.dominant
    got = np.bincount(w.owner, served, users)
    asked = np.bincount(w.owner, run * w.dominant, users)
    fair = np.minimum(asked, water_level(asked, float(got.sum())))
    x = got[fair > 0] / fair[fair > 0]
    return float(x.sum() ** 2 / (len(x) * (x**2).sum()))


def water_level(asked: NDArray[np.float64], total: float) -> float:
    """Return the level at which ``Σ min(asked, level) = total``."""
    rising = np.sort(asked)
    left = len(rising)
    for amount in rising:
        if amount * left >= total:
            return total / left
        total -= amount
        left -= 1
    return float(rising[-1])
