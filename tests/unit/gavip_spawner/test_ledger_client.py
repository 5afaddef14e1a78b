"""The spawners' client of the ledger: grants, reasons, patience."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from gavip_api.enums import ReservationKind, Role
from gavip_api.errors import LimitReached, Unavailable
from gavip_api.models import ReservationRequest, ResourceAmount
from gavip_spawner.ledger import LedgerClient

REQUEST = ReservationRequest(
    id="alice/",
    owner="alice",
    kind=ReservationKind.NOTEBOOK,
    amount=ResourceAmount(memory=1 << 30, cpu=1),
)


class Ledger(RequestHandler):
    """Answers as each test says, and remembers what it was asked."""

    asked: list[tuple[str, str, str]] = []
    answers: list[tuple[int, dict[str, Any]]] = []

    def answer(self, *_: str) -> None:
        assert self.request.method is not None
        self.asked.append(
            (self.request.method, self.request.path, self.request.headers["Authorization"])
        )
        status, body = self.answers.pop(0)
        self.set_status(status)
        if status != 204:
            self.finish(body)

    put = delete = get = answer  # type: ignore[assignment]


@pytest.fixture
async def client() -> AsyncIterator[LedgerClient]:
    Ledger.asked, Ledger.answers = [], []
    socket, port = bind_unused_port()
    server = HTTPServer(Application([("/api/v1/(reservations|pools)/.*", Ledger)]))
    server.add_socket(socket)
    yield LedgerClient(f"http://127.0.0.1:{port}/api/v1", "secret", patience=5)
    server.stop()
    await server.close_all_connections()


def reply(state: str, reason: str = "") -> dict[str, Any]:
    body = REQUEST.model_dump(mode="json")
    return body | {"state": state, "reason": reason, "created": "2026-11-21T00:00:00Z"}


async def test_a_grant(client: LedgerClient) -> None:
    Ledger.answers = [(200, reply("granted"))]
    assert (await client.reserve(REQUEST)).owner == "alice"
    assert Ledger.asked == [("PUT", "/api/v1/reservations/alice%2F", "token secret")]


async def test_a_refusal_carries_the_ledgers_reason(client: LedgerClient) -> None:
    Ledger.answers = [(200, reply("refused", "You hold 2 cores.")), (204, {})]
    with pytest.raises(LimitReached, match="You hold 2 cores"):
        await client.reserve(REQUEST)


async def test_what_never_fits_says_so(client: LedgerClient) -> None:
    Ledger.answers = [
        (422, {"detail": "Asks for more than the machine has.", "hint": "Ask for less."})
    ]
    with pytest.raises(LimitReached, match="more than the machine") as caught:
        await client.reserve(REQUEST)
    assert caught.value.hint == "Ask for less."


async def test_a_starting_queue_is_waited_for(client: LedgerClient) -> None:
    Ledger.answers = [(503, {}), (503, {}), (200, reply("granted"))]
    await client.reserve(REQUEST)
    assert len(Ledger.asked) == 3


async def test_a_queue_that_is_gone_does_not_hold_up_a_stop() -> None:
    socket, port = bind_unused_port()
    socket.close()
    client = LedgerClient(f"http://127.0.0.1:{port}/api/v1", "secret", patience=60)
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await client.release("alice/")
    assert time.monotonic() - begun < 10


async def test_the_pool_of_a_user_with_its_roles(client: LedgerClient) -> None:
    amount = {"memory": 1 << 30, "cpu": 1}
    Ledger.answers = [(200, {"owner": "a/b", "limit": amount, "used": amount, "free": amount})]
    pool = await client.pool("a/b", (Role.SCIENTIST, Role.OPERATOR))
    assert pool.free == ResourceAmount(**amount)
    assert Ledger.asked == [("GET", "/api/v1/pools/a%2Fb", "token secret")]


@pytest.mark.parametrize(
    "answer", [(503, {}), (200, {"surprise": 1})], ids=["away", "something-else"]
)
async def test_a_pool_that_is_not_told_is_not_waited_for(
    client: LedgerClient, answer: tuple[int, dict[str, Any]]
) -> None:
    Ledger.answers = [answer]
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await client.pool("alice", ())
    assert time.monotonic() - begun < 3
    assert len(Ledger.asked) == 1
