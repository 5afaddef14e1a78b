"""The limits of the service as one immutable value, so that every layer sees the same ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one query, one client and the whole service may use.

    Attributes
    ----------
    max_rows : int
        Most rows of one result, and the default of MAXREC.
    query_memory : int
        Most memory one query may use in the database, bytes.
    threads : int
        Processor threads per query.
    sync_timeout : float
        Longest synchronous query, waiting included, seconds.
    execution_default, execution_max : int
        Execution duration of a job when not asked for, and the most that can be asked for, seconds.
    retention_default, retention_max : int
        How long a job is kept when not asked for, and the most that can be asked for, seconds.
    workers : int
        Queries that run at once.
    queue_length : int
        Queries that may wait for a worker.
    upload_bytes, upload_rows : int
        Largest uploaded table.
    max_jobs : int
        Jobs kept at once, finished ones included.
    """

    max_rows: int = 1_000_000
    query_memory: int = 512 * 2**20
    threads: int = 2
    sync_timeout: float = 60.0
    execution_default: int = 600
    execution_max: int = 3600
    retention_default: int = 86_400
    retention_max: int = 7 * 86_400
    workers: int = 3
    queue_length: int = 64
    upload_bytes: int = 32 * 2**20
    upload_rows: int = 500_000
    max_jobs: int = 5_000
