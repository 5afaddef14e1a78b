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
        self, session: Session, owner: str, amount: Amount, but: str = ""
    ) -> Refusal | None:
        """Say why `amount` cannot be granted to `owner` now, or return None when it can.

        Parameters
        ----------
        but : str
            Id of a reservation that does not count, as it is about to be replaced.
        """
        freed = Amount()
        if but and (row := session.get(ReservationRow, but)) is not None:
            freed = Amount(row.memory, row.millicpu)
        held = self.used(session, owner) - freed
        if not amount.fits(self.pool_limit - held):
            return Refusal(
                own=True,
                reason=f"You hold {held} of the {self.pool_limit} that a user may hold, and this"
                f" needs {amount}. You hold: {self._holders(session, owner, but)}.",
                hint="Stop one of these, or wait until it ends.",
            )
        free = self.capacity - (self.used(session) - freed)
        if not amount.fits(free):
            return Refusal(
                own=False,
                reason=f"The machine is full: {free} are free, and this needs {amount}.",
                hint="It frees up as other jobs and applications end; try again in a while.",
            )
        return None

    def _holders(self, session: Session, owner: str, but: str) -> str:
        rows = session.scalars(
            select(ReservationRow)
            .where(ReservationRow.owner == owner, ReservationRow.id != but)
            .order_by(ReservationRow.memory.desc())
            .limit(_SHOWN_HOLDERS + 1)
        ).all()
        shown = [
            f"{row.title or row.kind} ({Amount(row.memory, row.millicpu)})"
            for row in rows[:_SHOWN_HOLDERS]
        ]
        return ", ".join(shown) + (" and more" if len(rows) > _SHOWN_HOLDERS else "")

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
        refusal = self.refusal(session, request.owner, amount, but=request.id)
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
    """What is free, for schedulers; reads each figure once (the transaction sees one state).

    Parameters
    ----------
    ledger : Ledger
    session : Session
        Of the transaction in which the decision is taken.
    """

    def __init__(self, ledger: Ledger, session: Session) -> None:
        self._ledger = ledger
        self._session = session
        self._pools: dict[str, Amount] = {}
        self._machine: Amount | None = None

    def in_pool(self, owner: str) -> Amount:
        """Return what `owner` may still take."""
        if owner not in self._pools:
            self._pools[owner] = self._ledger.pool_limit - self._ledger.used(self._session, owner)
        return self._pools[owner]

    def in_machine(self) -> Amount:
        """Return what is free in total."""
        if self._machine is None:
            self._machine = self._ledger.capacity - self._ledger.used(self._session)
        return self._machine


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
