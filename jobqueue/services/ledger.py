"""The ledger: the one record of what is allocated to whom.

Invariants: the sum of what is granted never exceeds a user's pool or the machine; every method
takes the session of a *write* transaction where it changes anything, and those are serial (see
:class:`gavip_web.database.Database`), so check and grant are one atomic step.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gavip_api.enums import ReservationKind, ReservationState
from gavip_api.errors import Conflict, InvalidInput
from gavip_api.models import Pool, Reservation, ReservationRequest, utcnow
from jobqueue.amounts import Amount
from jobqueue.storage.orm import ReservationRow

_SHOWN_HOLDERS = 5


class NeverFits(InvalidInput):
    """More is asked for than the user's pool or the machine has in all.

    On the wire it is plain invalid input, a code that every client of ours knows.
    """

    title = "Asks for more than there is"


@dataclass(frozen=True)
class Refusal:
    """Why something is not granted now.

    Parameters
    ----------
    own : bool
        Whether the user's own things are in the way, rather than the machine being full.
    reason, hint : str
        For people.
    """

    own: bool
    reason: str
    hint: str


class Ledger:
    """Grants and releases.

    Parameters
    ----------
    capacity : Amount
        What the machine has to give.
    pool : Amount
        The most one user may hold at one instant.
    """

    def __init__(self, capacity: Amount, pool: Amount) -> None:
        self.capacity = capacity
        self.pool_limit = Amount(
            min(pool.memory, capacity.memory), min(pool.millicpu, capacity.millicpu)
        )

    # -- reading --

    def used(self, session: Session, owner: str | None = None) -> Amount:
        """Return what is granted, in total or to `owner`."""
        query = select(
            func.coalesce(func.sum(ReservationRow.memory), 0),
            func.coalesce(func.sum(ReservationRow.millicpu), 0),
        )
        if owner is not None:
            query = query.where(ReservationRow.owner == owner)
        memory, millicpu = session.execute(query).one()
        return Amount(int(memory), int(millicpu))

    def pool(self, session: Session, owner: str) -> Pool:
        """Return a user's pool with all that is held in it, oldest first."""
        rows = session.scalars(
            select(ReservationRow)
            .where(ReservationRow.owner == owner)
            .order_by(ReservationRow.created, ReservationRow.id)
        ).all()
        return Pool(
            owner=owner,
            limit=self.pool_limit.wire(),
            used=self.used(session, owner).wire(),
            holders=tuple(_model(row) for row in rows),
        )

    def check_ever(self, amount: Amount, what: str) -> None:
        """Refuse what could never be granted.

        Raises
        ------
        NeverFits
            With what is too much.
        """
        if not amount.fits(self.capacity):
            raise NeverFits(
                f"{what} asks for {amount.beyond(self.capacity)}; the machine has no more.",
                hint="Ask for less, or lower the parameters that its size follows from.",
            )
        if not amount.fits(self.pool_limit):
            raise NeverFits(
                f"{what} asks for {amount.beyond(self.pool_limit)}; a user may hold no more.",
                hint="Ask for less, or ask the operator for a larger pool.",
            )

    def refusal(
        self, session: Session, owner: str, amount: Amount, room: LedgerRoom | None = None
    ) -> Refusal | None:
        """Say why `amount` cannot be granted to `owner` now, or return None when it can.

        Parameters
        ----------
        room : LedgerRoom, optional
            What is free; give one when asking about many, for it reads each figure once.
        """
        room = room or LedgerRoom(self, session)
        left = room.in_pool(owner)
        if not amount.fits(left):
            return Refusal(
                own=True,
                reason=f"You hold {self.pool_limit - left} of the {self.pool_limit} that a user may"
                f" hold, and this needs {amount}. You hold: {room.holders(owner)}.",
                hint="Stop one of these, or wait until it ends.",
            )
        free = room.in_machine()
        if not amount.fits(free):
            return Refusal(
                own=False,
                reason=f"The machine is full: {free} are free, and this needs {amount}.",
                hint="It frees up as other jobs and applications end; try again in a while.",
            )
        return None

    # -- changing --

    def reserve(self, session: Session, request: ReservationRequest) -> Reservation:
        """Grant `request` or refuse it, at once; asking again with the same id changes nothing or replaces it.

        Returns
        -------
        Reservation
            ``granted``, or ``refused`` with the reason; a refused one is not kept, and leaves an
            earlier grant of the same id as it was.

        Raises
        ------
        NeverFits
            If no amount of waiting would help.
        Conflict
            If the id belongs to somebody else or to something else.
        """
        amount = Amount.of(request.amount)
        row = session.get(ReservationRow, request.id)
        if row is not None and (row.owner, row.kind) != (request.owner, request.kind.value):
            raise Conflict("This reservation's id is in use for something else.")
        self.check_ever(amount, request.title or str(request.kind))
        room = LedgerRoom(self, session, but=request.id)
        refusal = self.refusal(session, request.owner, amount, room)
        if refusal is not None:
            return Reservation(
                **request.model_dump(),
                state=ReservationState.REFUSED,
                reason=f"{refusal.reason} {refusal.hint}",
                created=utcnow(),
            )
        if row is None:
            row = ReservationRow(
                id=request.id, owner=request.owner, kind=request.kind.value, created=utcnow()
            )
            session.add(row)
        row.memory, row.millicpu, row.title = amount.memory, amount.millicpu, request.title
        session.flush()
        return _model(row)

    def release(self, session: Session, reservation_id: str) -> bool:
        """Let go; return whether there was anything to let go."""
        row = session.get(ReservationRow, reservation_id)
        if row is None:
            return False
        session.delete(row)
        session.flush()
        return True

    def outside(self, session: Session) -> list[str]:
        """Return the ids of reservations for hub servers, which only the hub knows the end of."""
        kinds = (ReservationKind.NOTEBOOK.value, ReservationKind.INTERFACE.value)
        return list(
            session.scalars(select(ReservationRow.id).where(ReservationRow.kind.in_(kinds)))
        )


class LedgerRoom:
    """What is free, for schedulers and explanations; reads each figure once (the transaction sees one state).

    Parameters
    ----------
    ledger : Ledger
    session : Session
        Of the transaction in which the decision is taken.
    but : str
        Id of a reservation that does not count, as it is about to be replaced.
    """

    def __init__(self, ledger: Ledger, session: Session, but: str = "") -> None:
        self._ledger = ledger
        self._session = session
        self._but = but
        self._pools: dict[str, Amount] = {}
        self._holders: dict[str, str] = {}
        self._machine: Amount | None = None
        row = session.get(ReservationRow, but) if but else None
        self._freed = Amount(row.memory, row.millicpu) if row is not None else Amount()

    def in_pool(self, owner: str) -> Amount:
        """Return what `owner` may still take."""
        if owner not in self._pools:
            used = self._ledger.used(self._session, owner)
            self._pools[owner] = self._ledger.pool_limit - used + self._freed
        return self._pools[owner]

    def in_machine(self) -> Amount:
        """Return what is free in total."""
        if self._machine is None:
            used = self._ledger.used(self._session)
            self._machine = self._ledger.capacity - used + self._freed
        return self._machine

    def holders(self, owner: str) -> str:
        """Return what `owner` holds, the largest first, for people."""
        if owner not in self._holders:
            rows = self._session.scalars(
                select(ReservationRow)
                .where(ReservationRow.owner == owner, ReservationRow.id != self._but)
                .order_by(ReservationRow.memory.desc(), ReservationRow.id)
                .limit(_SHOWN_HOLDERS + 1)
            ).all()
            shown = [
                f"{row.title or row.kind} ({Amount(row.memory, row.millicpu)})"
                for row in rows[:_SHOWN_HOLDERS]
            ]
            more = " and more" if len(rows) > _SHOWN_HOLDERS else ""
            self._holders[owner] = ", ".join(shown) + more
        return self._holders[owner]


def _model(row: ReservationRow) -> Reservation:
    return Reservation(
        id=row.id,
        owner=row.owner,
        kind=ReservationKind(row.kind),
        amount=Amount(row.memory, row.millicpu).wire(),
        title=row.title,
        state=ReservationState.GRANTED,
        created=row.created,
    )
