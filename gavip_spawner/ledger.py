"""Client of jobqueue's ledger for the spawners: reserve before start, release after the end.

Invariant: nothing is started without a granted reservation; releasing is idempotent and never keeps
a server from stopping.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import ValidationError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from gavip_api.enums import ReservationState, Role
from gavip_api.errors import LimitReached, Unavailable
from gavip_api.models import Pool, Reservation, ReservationRequest


class _Unreachable(Exception):
    """jobqueue did not answer (yet)."""


class LedgerClient:
    """Speaks to ``reservations`` and ``pools`` of jobqueue's internal API.

    Parameters
    ----------
    url : str
        Base of the internal API, ending in ``/api/v1``.
    token : str
        Hub token with scope ``custom:jobqueue:reserve``.
    patience : float
        Seconds to keep trying while jobqueue does not answer, as when the platform starts.
    """

    def __init__(self, url: str, token: str, patience: float = 15.0) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._patience = patience

    async def reserve(self, request: ReservationRequest) -> Reservation:
        """Reserve, or say why not.

        Raises
        ------
        LimitReached
            If the ledger refuses or makes the asker wait; the message is the ledger's reason.
        Unavailable
            If jobqueue does not answer.
        """
        answer = await self._call("PUT", _path(request.id), request.model_dump_json())
        reservation = Reservation.model_validate_json(answer.body)
        if reservation.state is not ReservationState.GRANTED:
            await self.release(request.id)
            raise LimitReached(
                reservation.reason or "The resources asked for are not free.",
                hint="Stop something you no longer need, or try again later.",
            )
        return reservation

    async def pool(self, owner: str, roles: Sequence[Role]) -> Pool:
        """Return what a user may hold, holds, and what is free for them now.

        Raises
        ------
        Unavailable
            If jobqueue does not answer at once: somebody waits for a page.
        LimitReached
            If it refuses to say.
        """
        path = f"pools/{quote(owner, safe='')}"
        query = urlencode([("role", role.value) for role in roles])
        answer = await self._call("GET", f"{path}?{query}" if query else path, None, 0, timeout=3)
        try:
            return Pool.model_validate_json(answer.body)
        except ValidationError:
            raise Unavailable("The job queue answered something else than a pool.") from None

    async def release(self, reservation_id: str) -> None:
        """Release; a reservation that is gone is no error.

        Raises
        ------
        Unavailable
            If jobqueue does not answer; its own reconciliation releases the line later.
        """
        # no patience: when the platform stops, jobqueue goes before the servers do
        await self._call("DELETE", _path(reservation_id), None, patience=0)

    async def _call(
        self,
        method: str,
        path: str,
        body: str | None,
        patience: float | None = None,
        timeout: float = 10,
    ) -> HTTPResponse:
        request = HTTPRequest(
            f"{self._url}/{path}",
            method=method,
            body=body,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            request_timeout=timeout,
        )
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Unreachable),
                stop=stop_after_delay(self._patience if patience is None else patience),
                wait=wait_exponential(0.1, max=2),
                reraise=True,
            ):
                with attempt:
                    return await self._once(request)
        except _Unreachable:
            raise Unavailable(
                "The job queue, which keeps the ledger of resources, does not answer.",
                hint="Try again in a minute; tell an operator if it stays so.",
            ) from None
        raise AssertionError("unreachable")

    async def _once(self, request: HTTPRequest) -> HTTPResponse:
        try:
            return await AsyncHTTPClient().fetch(request)
        except HTTPClientError as e:
            if e.code in {502, 503, 504, 599}:
                raise _Unreachable from e
            problem = _problem(e)
            raise LimitReached(
                problem.get("detail", "The ledger refused the reservation."),
                hint=problem.get("hint"),
            ) from None
        except OSError as e:
            raise _Unreachable from e


def _path(reservation_id: str) -> str:
    return f"reservations/{quote(reservation_id, safe='')}"


def _problem(error: HTTPClientError) -> dict[str, Any]:
    try:
        body = json.loads(error.response.body) if error.response else {}
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
