"""Notifications of ended jobs on their way out.

Level-triggered like the reconciler: each look finds what waits for a job that is over by now and
what is not delivered yet, so a crash at any instant only delays. Invariants: a notification is
delivered at least once or given up visibly, after at most :attr:`Limits.tries` tries, counted
across restarts; a redirect is an answer like any other and is not followed; what a receiver
answers is not read.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import httpx
from sqlalchemy.orm import Session
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from gavip_api.enums import DeliveryState, JobState
from gavip_api.errors import GavipError
from gavip_api.models import utcnow
from gavip_api.schedules import Delivery, DeliveryList, Notification
from gavip_web import tasks
from gavip_web.database import Database
from jobqueue.storage import deliveries, jobs
from jobqueue.storage.orm import DeliveryRow, JobRow

from .signing import Signer
from .targets import TargetRefused, Targets

log = logging.getLogger("jobqueue.hooks")

_AT_ONCE = 100
_PERIOD = 60.0
_LEAST_PAUSE = 0.25


@dataclass(frozen=True)
class Limits:
    """How hard it tries.

    Parameters
    ----------
    tries : int
        Most tries of one notification.
    first, longest : float
        Seconds before the second try, and the most between two; doubling, with jitter.
    timeout : float
        Seconds for one try.
    """

    tries: int = 8
    first: float = 2.0
    longest: float = 3600.0
    timeout: float = 10.0


@dataclass(frozen=True)
class _Message:
    id: str
    owner: str
    url: str
    tries: int
    next_try: datetime
    body: bytes


class Deliveries:
    """Delivers notifications, and shows them.

    Parameters
    ----------
    database, targets, signer
        Parts it uses.
    limits : Limits
        How hard it tries.
    """

    def __init__(
        self, database: Database, targets: Targets, signer: Signer, limits: Limits | None = None
    ) -> None:
        self._database = database
        self._targets = targets
        self._signer = signer
        self._limits = limits or Limits()
        self._awake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        # by default it follows no redirects
        self._client = httpx.AsyncClient(timeout=self._limits.timeout, trust_env=False)

    def wake(self) -> None:
        """Ask for a look now."""
        self._awake.set()

    def secret(self, owner: str) -> str:
        """Return what a user's receivers check signatures with."""
        return self._signer.secret(owner)

    async def of_job(self, job_id: str) -> DeliveryList:
        """Return the notifications of a job.

        Raises
        ------
        NotFound
            If there is no such job.
        """

        def read(session: Session) -> DeliveryList:
            jobs.get(session, job_id)
            return DeliveryList(
                items=tuple(_model(row) for row in deliveries.of_job(session, job_id))
            )

        return await self._database.read(read)

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                self._awake.clear()
                try:
                    await self._look()
                except GavipError as e:
                    log.warning("notifications not looked at now: %s", e.message)
                except Exception:
                    # one defect must not end everybody's notifications
                    log.exception("notifications not looked at")
                # every report of every job wakes this, and most end no job
                await asyncio.sleep(_LEAST_PAUSE)
                await tasks.woken(self._awake, _PERIOD)
        finally:
            await tasks.end(*self._running.values())
            await self._client.aclose()

    async def _look(self) -> None:
        if await self._database.read(deliveries.ripe, 1):
            while await self._database.write(_ripen):
                pass
        for message_id in await self._database.read(deliveries.pending, _AT_ONCE):
            if message_id not in self._running:
                self._begin(message_id)

    def _begin(self, message_id: str) -> None:
        task = asyncio.ensure_future(self._deliver(message_id))
        self._running[message_id] = task

        def done(_: asyncio.Task[None]) -> None:
            del self._running[message_id]
            # there may be more than were begun at once
            self.wake()

        task.add_done_callback(done)

    async def _deliver(self, message_id: str) -> None:
        """Try until it is delivered or given up; what is learnt is stored after each try."""
        try:
            message = await self._database.read(_message, message_id)
            if message is None:
                return
            await asyncio.sleep(max(0.0, (message.next_try - utcnow()).total_seconds()))

            async def note(state: RetryCallState) -> None:
                fault = state.outcome.exception() if state.outcome else None
                if isinstance(fault, _NotDelivered) and state.next_action is not None:
                    later = utcnow() + timedelta(seconds=state.next_action.sleep)
                    await self._database.write(_note, message_id, fault, later)

            retrying = AsyncRetrying(
                retry=retry_if_exception(lambda e: isinstance(e, _NotDelivered) and not e.gone),
                # tries before a restart count
                stop=stop_after_attempt(max(1, self._limits.tries - message.tries)),
                wait=wait_exponential(multiplier=self._limits.first, max=self._limits.longest)
                + wait_random(0, self._limits.first),
                before_sleep=note,
                reraise=True,
            )
            try:
                status: int = await retrying(self._send, message)
            except _NotDelivered as e:
                log.warning("notification %s given up: %s", message_id, e)
                await self._database.write(_note, message_id, e, None)
            else:
                await self._database.write(_delivered, message_id, status)
        except GavipError as e:
            log.warning("notification %s: %s", message_id, e.message)
            # slows what `done` asks for
            await asyncio.sleep(self._limits.first)
        except Exception:
            log.exception("notification %s failed", message_id)
            await asyncio.sleep(self._limits.longest)

    async def _send(self, message: _Message) -> int:
        """Send once and return the status of the answer."""
        try:
            address = await self._targets.address(message.url)
        except TargetRefused as e:
            raise _NotDelivered(str(e)) from None
        host = urlsplit(message.url).hostname or ""
        try:
            status = await asyncio.wait_for(self._post(message, address), self._limits.timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise _NotDelivered(f"{host} does not answer ({type(e).__name__}).") from None
        except asyncio.TimeoutError:
            raise _NotDelivered(f"{host} did not answer in {self._limits.timeout:g} s.") from None
        if 200 <= status < 300:
            return status
        if 300 <= status < 400:
            raise _NotDelivered("The receiver redirects, which is not followed.", status)
        raise _NotDelivered(f"The receiver answered {status}.", status)

    async def _post(self, message: _Message, address: str) -> int:
        parts = urlsplit(message.url)
        # to the address that was judged, under the name that the certificate must hold
        at = f"[{address}]" if ":" in address else address
        pinned = urlunsplit(parts._replace(netloc=at + (f":{parts.port}" if parts.port else "")))
        headers = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "User-Agent": "GAVIP-jobqueue",
        } | self._signer.headers(message.owner, message.id, utcnow(), message.body)
        request = self._client.build_request("POST", pinned, content=message.body, headers=headers)
        request.extensions["sni_hostname"] = parts.hostname or ""
        answer = await self._client.send(request, stream=True)
        await answer.aclose()
        return answer.status_code


class _NotDelivered(Exception):
    """One try failed."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status

    @property
    def gone(self) -> bool:
        """Whether the receiver asks for no more (410; Standard Webhooks, operational considerations)."""
        return self.status == 410


def _ripen(session: Session) -> bool:
    """Make those whose job is over pending; return whether there may be more."""
    found = deliveries.ripe(session, _AT_ONCE)
    for row, job in found:
        only = row.states["only"]
        wanted = not only or job.state in only
        row.state = (DeliveryState.PENDING if wanted else DeliveryState.NOT_WANTED).value
        row.next_try = utcnow() if wanted else None
    return len(found) == _AT_ONCE


def _message(session: Session, message_id: str) -> _Message | None:
    row = session.get(DeliveryRow, message_id)
    if row is None or row.state != DeliveryState.PENDING.value:
        return None
    job = jobs.get(session, row.job_id)
    return _Message(
        row.id, job.owner, row.url, row.tries, row.next_try or utcnow(), notification(job)
    )


def _note(session: Session, message_id: str, fault: _NotDelivered, later: datetime | None) -> None:
    row = session.get(DeliveryRow, message_id)
    if row is None:
        return  # the job was removed meanwhile
    row.tries += 1
    row.status, row.message, row.next_try = fault.status, str(fault)[:500], later
    if later is None:
        row.state = DeliveryState.FAILED.value


def _delivered(session: Session, message_id: str, status: int) -> None:
    row = session.get(DeliveryRow, message_id)
    if row is not None:
        row.tries += 1
        row.status, row.message, row.next_try = status, "", None
        row.state, row.delivered = DeliveryState.DELIVERED.value, utcnow()


def notification(job: JobRow) -> bytes:
    """Return the body of a job's notification."""
    kind, _, origin = (job.origin or "").partition(":")
    body = Notification(
        type=f"job.{job.state}",
        timestamp=job.ended or utcnow(),
        data={
            "id": job.id,
            "state": job.state,
            "avi": job.avi,
            "release": job.release,
            "pipeline": job.pipeline,
            "title": job.title,
            "origin": {"kind": kind, "id": origin} if kind else None,
            "error": job.error,
            "product": job.product,
            "outputs": job.outputs["files"],
        },
    )
    return body.model_dump_json().encode()


def _model(row: DeliveryRow) -> Delivery:
    return Delivery(
        id=row.id,
        job=row.job_id,
        url=row.url,
        states=tuple(JobState(state) for state in row.states["only"]),
        state=DeliveryState(row.state),
        tries=row.tries,
        status=row.status,
        message=row.message,
        next_try=row.next_try,
        delivered=row.delivered,
    )
