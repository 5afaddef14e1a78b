"""One-job tokens: what a runner proves its identity with.

Invariants: a token is random and valid for one attempt while that lives; only its hash is stored;
comparing takes the same time whatever is wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy.orm import Session

from gavip_api.enums import JobState
from gavip_api.errors import Conflict, NotSignedIn
from jobqueue.storage import jobs
from jobqueue.storage.orm import AttemptRow, JobRow

_NOBODY = "0" * 64


class Fenced(Conflict):
    """The report comes from an attempt that no longer counts; its runner should stop."""

    code = "fenced"
    title = "Another attempt has taken over"


def hash_token(token: str) -> str:
    """Return what is stored of a token. A plain hash will do: the token itself has 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


def issue(session: Session, job: JobRow) -> str:
    """Make the token of the present attempt, replacing one that never reached a process."""
    token = secrets.token_urlsafe(32)
    jobs.attempt(session, job).token_hash = hash_token(token)
    return token


def check(session: Session, job_id: str, attempt: int, token: str) -> None:
    """Check the token of an attempt.

    Raises
    ------
    NotSignedIn
        If it is not the token of this attempt of this job, or there is no such job.
    Fenced
        If it is, but the attempt is over or superseded.
    """
    row = session.get(AttemptRow, (job_id, attempt))
    stored = row.token_hash if row is not None and row.token_hash else _NOBODY
    if not hmac.compare_digest(stored, hash_token(token)) or row is None:
        raise NotSignedIn("This is not the token of this attempt.")
    job = jobs.get(session, job_id)
    if job.attempt != attempt or not JobState(job.state).holds_resources or row.ended is not None:
        raise Fenced("This attempt is over.", hint="Stop: nothing it reports counts any more.")
