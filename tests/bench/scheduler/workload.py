"""A synthetic workload of many users on one machine, fitted to published distributions.

What is from the literature: numbers of cores, run times, gaps between arrivals and the daily cycle
are the model of Lublin and Feitelson, "The workload on parallel supercomputers: modeling the
characteristics of rigid jobs", JPDC 63, 2003, with the constants that its authors publish for a
128-processor machine without distinction of job types (m_lublin99.c); time limits exceed run times
as in the "f-model" of Mu'alem and Feitelson, IEEE TPDS 12, 2001.

What is assumed, for want of published numbers on platforms like ours: users' activity follows
Zipf's law (exponent 1); a user's jobs take 1, 2, 4 or 8 GiB per core; every fifth job queries the
archive; predictions from past runs err by a log-normal factor (sigma 0.7). It is no trace of a real
machine, and says so wherever its results are shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobqueue.amounts import PLENTY, Amount

GIB = 1 << 30
CORES = 128
CAPACITY = Amount(512 * GIB, CORES * 1000, PLENTY, 32)
POOL = Amount(384 * GIB, CORES * 750, PLENTY, 8)

# Lublin and Feitelson 2003: sizes (two-stage uniform of log2), run times (hyper-gamma of ln)
SERIAL, POWER_OF_2 = 0.244, 0.576
LOW, MEDIUM, HIGH, FIRST_STAGE = 0.8, 4.5, 7.0, 0.86
A1, B1, A2, B2 = 4.2, 0.94, 312.0, 0.03
PA, PB = -0.0054, 0.78
LONGEST = 12.0
# gaps (gamma of ln, at rush hour) and the daily cycle (gamma over half-hours)
GAP_A, GAP_B = 10.2303 * 1.0225, 0.4871
LONGEST_GAP = 13.0
CYCLE_A, CYCLE_B = 8.1737, 3.9631
DAY_START, BUCKETS, BUCKET = 11, 48, 1800.0

OVERESTIMATE = 4.0
"""`f` of the f-model: limits are uniform between 1 and 1 + f times the run time."""


@dataclass(frozen=True)
class Workload:
    """Jobs in order of arrival, as columns.

    Parameters
    ----------
    arrival, seconds, limit, estimate : array of float
        Seconds.
    owner : array of int
        Number of the user, 0 the most active.
    cores, memory, archive : array of int
        Cores, bytes, archive queries.
    """

    arrival: NDArray[np.float64]
    seconds: NDArray[np.float64]
    limit: NDArray[np.float64]
    estimate: NDArray[np.float64]
    owner: NDArray[np.int64]
    cores: NDArray[np.int64]
    memory: NDArray[np.int64]
    archive: NDArray[np.int64]

    @property
    def dominant(self) -> NDArray[np.float64]:
        """Return the share of the machine that each job takes, in its dominant resource."""
        shares = [
            self.cores * 1000 / CAPACITY.millicpu,
            self.memory / CAPACITY.memory,
            self.archive / CAPACITY.archive,
        ]
        return np.max(shares, axis=0)


def mixed(jobs: int, users: int, load: float, seed: int = 1) -> Workload:
    """Return the mixed workload.

    Parameters
    ----------
    jobs, users : int
        How many.
    load : float
        Work offered per unit of time, over what the cores can do.
    seed : int
        Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    cores = np.minimum(_sizes(rng, jobs), POOL.millicpu // 1000)
    seconds = _run_times(rng, cores)
    activity = 1.0 / np.arange(1, users + 1)
    owner = rng.choice(users, size=jobs, p=activity / activity.sum())
    per_core = rng.choice([1, 2, 4, 8], size=users, p=[0.35, 0.35, 0.2, 0.1])
    memory = np.minimum(cores * per_core[owner] * GIB, POOL.memory)
    archive = (rng.random(jobs) < 0.2).astype(np.int64)
    limit = np.maximum(60.0, np.ceil(seconds * (1 + OVERESTIMATE * rng.random(jobs))))
    estimate = seconds * rng.lognormal(0.0, 0.7, jobs)
    arrival = _arrivals(rng, jobs, span=float((cores * seconds).sum()) / (CORES * load))
    return Workload(arrival, seconds, limit, estimate, owner, cores, memory, archive)


def _sizes(rng: np.random.Generator, jobs: int) -> NDArray[np.int64]:
    u = rng.random(jobs)
    first = rng.random(jobs) <= FIRST_STAGE
    log2 = np.where(first, rng.uniform(LOW, MEDIUM, jobs), rng.uniform(MEDIUM, HIGH, jobs))
    log2 = np.where(u <= SERIAL + POWER_OF_2, np.floor(log2 + 0.5), log2)
    sizes = np.floor(np.exp2(log2) + 0.5).astype(np.int64)
    return np.where(u <= SERIAL, 1, sizes)


def _run_times(rng: np.random.Generator, cores: NDArray[np.int64]) -> NDArray[np.float64]:
    p = np.clip(PA * cores + PB, 0.0, 1.0)
    ln = np.full(len(cores), np.inf)
    while (todo := np.flatnonzero(ln > LONGEST)).size:
        short = rng.random(todo.size) <= p[todo]
        ln[todo] = np.where(short, rng.gamma(A1, B1, todo.size), rng.gamma(A2, B2, todo.size))
    return np.maximum(1.0, np.floor(np.exp(ln)))


def _arrivals(rng: np.random.Generator, jobs: int, span: float) -> NDArray[np.float64]:
    ln = np.full(jobs, np.inf)
    while (todo := np.flatnonzero(ln > LONGEST_GAP)).size:
        ln[todo] = rng.gamma(GAP_A, GAP_B, todo.size)
    points = np.cumsum(np.exp(ln))
    # gaps are scaled to the load that is wanted; the cycle of the day is not
    points *= span / points[-1]
    half_hours = np.arange(DAY_START, BUCKETS + DAY_START)
    density = half_hours ** (CYCLE_A - 1) * np.exp(-half_hours / CYCLE_B) / math.gamma(CYCLE_A)
    weights = np.empty(BUCKETS)
    weights[(half_hours - 1) % BUCKETS] = density / density.mean()
    edges = np.concatenate([[0.0], np.cumsum(weights)]) * BUCKET
    days, rest = np.divmod(points, edges[-1])
    arrivals: NDArray[np.float64] = days * 86400.0 + np.interp(
        rest, edges, np.arange(BUCKETS + 1) * BUCKET
    )
    return arrivals
