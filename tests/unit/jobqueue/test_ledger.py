"""The ledger never gives away more than there is, under any interleaving."""

from __future__ import annotations

import asyncio

import pytest

from gavip_api.enums import ReservationKind, ReservationState
from gavip_api.errors import Conflict
from gavip_api.models import ReservationRequest, ResourceAmount
from gavip_web.database import Database, make_engine
from jobqueue.amounts import Amount
from jobqueue.services.ledger import NeverFits

GIB = 1 << 30


def request(name, owner="alice", memory=GIB, cpu=1.0, kind=ReservationKind.NOTEBOOK, title="Lab"):
    return ReservationRequest(
        id=name,
        owner=owner,
        kind=kind,
        amount=ResourceAmount(memory=memory, cpu=cpu),
        title=title,
    )


def test_asking_again_changes_nothing(session, ledger):
    first = ledger.reserve(session, request("alice/"))
    assert first.state is ReservationState.GRANTED
    assert ledger.reserve(session, request("alice/")) == first
    assert ledger.used(session) == Amount(GIB, 1000, 1)


def test_asking_for_another_amount_replaces_the_first(session, ledger):
    ledger.reserve(session, request("alice/", memory=3 * GIB))
    smaller = ledger.reserve(session, request("alice/", memory=2 * GIB))
    assert smaller.state is ReservationState.GRANTED
    assert ledger.used(session).memory == 2 * GIB


def test_a_refused_change_leaves_the_grant(session, ledger):
    ledger.reserve(session, request("alice/a", memory=2 * GIB))
    ledger.reserve(session, request("alice/b", memory=GIB))
    assert ledger.reserve(session, request("alice/b", memory=2 * GIB)).state.value == "refused"
    assert ledger.used(session).memory == 3 * GIB


def test_another_ones_id_is_a_conflict(session, ledger):
    ledger.reserve(session, request("alice/"))
    with pytest.raises(Conflict):
        ledger.reserve(session, request("alice/", owner="bob"))


def test_a_refusal_names_the_holders_and_what_to_do(session, ledger):
    ledger.reserve(session, request("alice/", memory=2 * GIB, title="JupyterLab"))
    refused = ledger.reserve(session, request("alice/x", memory=2 * GIB))
    assert refused.state is ReservationState.REFUSED
    assert "JupyterLab (2.0 GiB and 1 core)" in refused.reason
    assert "Stop one of these" in refused.reason


def test_a_full_machine_names_nobody(session, ledger):
    ledger.reserve(session, request("bob/", owner="bob", memory=3 * GIB, title="Bob's secret"))
    refused = ledger.reserve(session, request("alice/", memory=2 * GIB))
    assert "The machine is full" in refused.reason
    assert "Bob" not in refused.reason


@pytest.mark.parametrize(
    ("memory", "cpu", "text"),
    [
        pytest.param(5 * GIB, 1, "the machine has no more", id="machine"),
        pytest.param(1, 4.5, "4.5 cores (of 4)", id="machine cores"),
        pytest.param(int(3.5 * GIB), 1, "a user may hold no more", id="pool"),
    ],
)
def test_what_never_fits_is_said_so(session, ledger, memory, cpu, text):
    with pytest.raises(NeverFits, match=text.replace("(", r"\(").replace(")", r"\)")):
        ledger.reserve(session, request("a", memory=memory, cpu=cpu))


def test_releasing_twice_is_fine(session, ledger):
    ledger.reserve(session, request("a"))
    assert ledger.release(session, "a")
    assert not ledger.release(session, "a")
    assert ledger.used(session) == Amount()


async def test_concurrent_reservations_never_exceed_the_machine(tmp_path, database, ledger):
    """Two connections to one database, as two processes would have during a restart."""
    other = Database(make_engine(str(database.url)))
    answers = await asyncio.gather(
        *(
            db.write(ledger.reserve, request(f"{owner}/{n}", owner=owner))
            for n in range(10)
            for db, owner in ((database, "alice"), (other, "bob"), (database, "cid"))
        )
    )
    granted = [a for a in answers if a.state is ReservationState.GRANTED]
    assert len(granted) == 4
    used = await other.read(ledger.used)
    assert used == Amount(4 * GIB, 4000, 4)
    other.close()
