"""The ledger: the one record of what is allocated to whom.

Invariants: nothing is granted that would make the sum of what is granted exceed a user's pool or
the machine, in any of the four dimensions; every method takes the session of a *write* transaction
where it changes anything, and those are serial (see :class:`gavip_web.database.Database`), so check
and grant are one atomic step. Limits are read in that transaction too. What was granted stays
granted when an operator shrinks a pool; what has a lease outlives its asker by that lease at most.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gavip_api.enums import ReservationKind, ReservationState, Role, WaitingKind
from gavip_api.errors import Conflict, InvalidInput
from gavip_api.models import Pool, Reservation, ReservationRequest, utcnow
from jobqueue.amounts import Amount
from jobqueue.schedulers import Running, ShareBook
from jobqueue.schedulers.shares import Means, settle
from jobqueue.storage import jobs
from jobqueue.storage.hooks import on_commit
from jobqueue.storage.orm import OwnerRow, ReservationRow

from .occupancy import Occupancy, QuickRoom
from .pools import PoolRules

DEFAULT_HALF_LIFE = 7 * 86400.0
QUERY_LEASE = 60
"""Seconds after which an archive query that nobody asks for again is over: nothing else tells that its asker died."""

_SHOWN_HOLDERS = 5
_NONE = Amount()


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
    kind : WaitingKind
        What it waits for: the user's own pool, the machine or the archive.
    own : bool
        Whether the user's own things are in the way, rather than the platform being full.
    reason, hint : str
        For people.
    """

    kind: WaitingKind
    own: bool
    reason: str
    hint: str


class Ledger:
    """Grants and releases.

    Parameters
    ----------
    capacity : Amount
        What the platform has to give.
    pool : Amount
        The most one user may hold at one instant, unless an operator says otherwise.
    half_life : float
        Seconds after which what users held counts half in their shares.
    """

    def __init__(
        self, capacity: Amount, pool: Amount, half_life: float = DEFAULT_HALF_LIFE
    ) -> None:
        self.capacity = capacity
        self.rules = PoolRules(capacity, pool)
        self.shares = ShareBook(capacity, half_life)
        self.occupancy = Occupancy()
        self._leases: dict[str, float] = {}

    def load(self, session: Session) -> None:
        """Read into memory what schedulers and explanations need: pools, and what users had."""
        self.rules.load(session)
        rows = list(session.scalars(select(ReservationRow)))
        self._leases = {row.id: row.expires.timestamp() for row in rows if row.expires is not None}
        ends = jobs.ends(session) | self._leases
        self.occupancy.replace(
            {row.id: Running(ends.get(row.id, math.inf), row.owner, _amount(row)) for row in rows}
        )
        held = self.occupancy.holdings()
        now = time.time()
        for row in session.scalars(select(OwnerRow)):
            at = row.used_at.timestamp() if row.used_at else now
            self.shares.put(row.name, _means(row), at, held.pop(row.name, _NONE))
        for owner, amount in held.items():
            self.shares.hold(owner, amount, now)

    def check(self, session: Session) -> bool:
        """Compare memory with the database and read anew when they differ; return whether they agreed."""
        if self.occupancy.holdings() == self.held(session):
            return True
        self.load(session)
        return False

    # -- reading --

    def used(self, session: Session, owner: str | None = None) -> Amount:
        """Return what is granted, in total or to `owner`."""
        query = select(*_SUMS)
        if owner is not None:
            query = query.where(ReservationRow.owner == owner)
        return _total(session.execute(query).one())

    def held(self, session: Session) -> dict[str, Amount]:
        """Return what is granted to each user who holds anything."""
        query = select(*_SUMS, ReservationRow.owner).group_by(ReservationRow.owner)
        return {row.owner: _total(row) for row in session.execute(query)}

    def lines(self, session: Session, owner: str | None = None) -> tuple[Reservation, ...]:
        """Return the lines of the ledger, or those of `owner`, oldest first."""
        query = select(ReservationRow).order_by(ReservationRow.created, ReservationRow.id)
        if owner is not None:
            query = query.where(ReservationRow.owner == owner)
        return tuple(_model(row) for row in session.scalars(query))

    def holders(self, session: Session, owner: str, but: str = "") -> list[Reservation]:
        """Return what `owner` holds, the largest first, at most a few and one more.

        Parameters
        ----------
        but : str
            Id of a reservation that does not count.
        """
        rows = session.scalars(
            select(ReservationRow)
            .where(ReservationRow.owner == owner, ReservationRow.id != but)
            .order_by(ReservationRow.memory.desc(), ReservationRow.id)
            .limit(_SHOWN_HOLDERS + 1)
        )
        return [_model(row) for row in rows]

    def room(self) -> QuickRoom:
        """Return what is free, from memory: for schedulers and explanations."""
        return QuickRoom(self.capacity, self.occupancy, self.rules, self.shares)

    def pool(self, session: Session, owner: str, roles: Sequence[Role] | None = None) -> Pool:
        """Return a user's pool with all that is held in it, oldest first.

        Parameters
        ----------
        roles : sequence of Role, optional
            The user's, if the asker knows them; default: the last known.
        """
        limit = self.rules.known(owner, roles) if roles else self.rules.limit(session, owner)
        used = self.used(session, owner)
        return Pool(
            owner=owner,
            limit=limit.wire(),
            used=used.wire(),
            free=(limit - used).least(self.capacity - self.used(session)).wire(),
            holders=self.lines(session, owner),
        )

    def check_ever(self, amount: Amount, what: str, pool: Amount) -> None:
        """Refuse what could never be granted.

        Parameters
        ----------
        pool : Amount
            The limit of the user who asks.

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
        if not amount.fits(pool):
            raise NeverFits(
                f"{what} asks for {amount.beyond(pool)}; a user may hold no more.",
                hint="Ask for less, or ask the operator for a larger pool.",
            )

    def refusal(
        self,
        owner: str,
        amount: Amount,
        room: _Room,
        holders: Callable[[], Sequence[Reservation]],
    ) -> Refusal | None:
        """Say why `amount` cannot be granted to `owner` now, or return None when it can.

        Parameters
        ----------
        holders : callable
            Returns what `owner` holds, to be named.
        """
        left = room.in_pool(owner)
        if not amount.fits(left):
            limit = room.limit(owner)
            # archive queries are named where they are what lacks, and only there
            archive = amount._replace(archive=0).fits(left)
            held = _lacking(amount, left, limit)
            return Refusal(
                kind=_kind(amount, left, WaitingKind.POOL),
                own=True,
                reason=f"You hold {held}. You hold: {_names(holders(), archive)}.",
                hint="Stop one of these, or wait until it ends.",
            )
        free = room.in_machine()
        if not amount.fits(free):
            kind = _kind(amount, free, WaitingKind.MACHINE)
            if kind is WaitingKind.ARCHIVE:
                reason = (
                    f"The archive is busy: {max(0, free.archive)} of {self.capacity.archive} queries at"
                    f" once are free, and this needs {amount.archive}."
                )
            elif amount.slots > free.slots:
                reason = f"The platform runs {self.capacity.slots} things at once, and no more."
            else:
                reason = (
                    f"The machine is full: {free._replace(archive=0)} are free,"
                    f" and this needs {amount._replace(archive=0)}."
                )
            return Refusal(
                kind=kind,
                own=False,
                reason=reason,
                hint="It frees up as other jobs and applications end; try again in a while.",
            )
        return None

    # -- changing --

    def reserve(
        self, session: Session, request: ReservationRequest, end: float = math.inf
    ) -> Reservation:
        """Grant `request` or refuse it, at once; asking again with the same id changes nothing or replaces it.

        Parameters
        ----------
        end : float
            When it will be over at the latest, seconds since the epoch, for backfilling.

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
        amount = Amount.asked(request.amount, request.kind)
        row = session.get(ReservationRow, request.id)
        if row is not None and (row.owner, row.kind) != (request.owner, request.kind.value):
            raise Conflict("This reservation's id is in use for something else.")
        if request.roles is not None:
            self.rules.note_roles(session, request.owner, request.roles)
        room = LedgerRoom(self, session, request.owner, but=row)
        pool = room.limit(request.owner)
        self.check_ever(amount, request.title or str(request.kind), pool)
        refusal = self.refusal(
            request.owner,
            amount,
            room,
            # who holds what is read only when it must be told
            lambda: self.holders(session, request.owner, but=request.id),
        )
        if refusal is not None:
            return Reservation(
                **request.model_dump(),
                state=ReservationState.REFUSED,
                reason=f"{refusal.reason} {refusal.hint}",
                created=utcnow(),
            )
        self._settle(session, request.owner)
        if row is None:
            row = ReservationRow(
                id=request.id, owner=request.owner, kind=request.kind.value, created=utcnow()
            )
            session.add(row)
        row.memory, row.millicpu, row.slots, row.archive = amount
        row.title = request.title
        lease = request.lease
        if lease is None and request.kind is ReservationKind.ARCHIVE_QUERY:
            lease = QUERY_LEASE
        row.expires = utcnow() + timedelta(seconds=lease) if lease is not None else None
        session.flush()
        self._remember(session, request.owner)
        expires = row.expires.timestamp() if row.expires is not None else math.inf
        line = Running(min(end, expires), request.owner, amount)

        def committed() -> None:
            self.occupancy.put(request.id, line)
            if expires < math.inf:
                self._leases[request.id] = expires
            else:
                self._leases.pop(request.id, None)

        on_commit(session, committed)
        return _model(row)

    def release(self, session: Session, reservation_id: str) -> bool:
        """Let go; return whether there was anything to let go."""
        row = session.get(ReservationRow, reservation_id)
        if row is None:
            return False
        self._settle(session, row.owner)
        session.delete(row)
        session.flush()
        self._remember(session, row.owner)

        def committed() -> None:
            self.occupancy.drop(reservation_id)
            self._leases.pop(reservation_id, None)

        on_commit(session, committed)
        return True

    def next_expiry(self) -> float:
        """Return when the next lease ends, seconds since the epoch, from memory; infinite when there is none."""
        return min(self._leases.copy().values(), default=math.inf)

    def release_expired(self, session: Session) -> list[str]:
        """Release what nobody asked for again in time; return the ids."""
        query = select(ReservationRow.id).where(ReservationRow.expires <= utcnow())
        found = list(session.scalars(query))
        for reservation_id in found:
            self.release(session, reservation_id)
        return found

    def expect_end(self, session: Session, reservation_id: str, end: float) -> None:
        """Note when something that was granted will be over at the latest, seconds since the epoch."""
        on_commit(session, lambda: self.occupancy.end(reservation_id, end))

    def outside(self, session: Session) -> list[str]:
        """Return the ids of reservations for hub servers, which only the hub knows the end of."""
        kinds = (ReservationKind.NOTEBOOK.value, ReservationKind.INTERFACE.value)
        return list(
            session.scalars(select(ReservationRow.id).where(ReservationRow.kind.in_(kinds)))
        )

    # -- what users have had --

    def _settle(self, session: Session, owner: str) -> None:
        """Account for what `owner` has held up to now, before that changes."""
        row = session.get(OwnerRow, owner)
        if row is None:
            row = OwnerRow(name=owner, roles={"names": []}, used_at=None)
            row.mean_memory = row.mean_millicpu = row.mean_slots = row.mean_archive = 0.0
            session.add(row)
        now = utcnow()
        if row.used_at is not None:
            seconds = (now - row.used_at).total_seconds()
            means = settle(_means(row), self.used(session, owner), seconds, self.shares.half_life)
            row.mean_memory, row.mean_millicpu, row.mean_slots, row.mean_archive = means
        row.used_at = now

    def _remember(self, session: Session, owner: str) -> None:
        row = session.get(OwnerRow, owner)
        if row is None or row.used_at is None:
            raise RuntimeError("remembered before it was settled")
        means, at, held = _means(row), row.used_at.timestamp(), self.used(session, owner)
        on_commit(session, lambda: self.shares.put(owner, means, at, held))


class LedgerRoom:
    """What is free as the transaction sees it; what grants are decided by.

    Parameters
    ----------
    ledger : Ledger
    session : Session
        Of the transaction in which the decision is taken.
    owner : str
        Who asks.
    but : ReservationRow, optional
        A reservation of the owner's that does not count, as it is about to be replaced.
    """

    def __init__(
        self, ledger: Ledger, session: Session, owner: str, but: ReservationRow | None
    ) -> None:
        self._limit = ledger.rules.limit(session, owner)
        freed = _amount(but) if but is not None else _NONE
        self._pool = self._limit - ledger.used(session, owner) + freed
        self._machine = ledger.capacity - ledger.used(session) + freed

    def limit(self, owner: str) -> Amount:
        """Return the limit of the owner."""
        return self._limit

    def in_pool(self, owner: str) -> Amount:
        """Return what the owner may still take."""
        return self._pool

    def in_machine(self) -> Amount:
        """Return what is free in total."""
        return self._machine


class _Room(Protocol):
    def limit(self, owner: str) -> Amount: ...

    def in_pool(self, owner: str) -> Amount: ...

    def in_machine(self) -> Amount: ...


def _names(held: Sequence[Reservation], archive: bool) -> str:
    amounts = [Amount.of(h.amount) for h in held]
    if not archive:
        amounts = [amount._replace(archive=0) for amount in amounts]
    each = list(zip(held, amounts, strict=True))[:_SHOWN_HOLDERS]
    shown = [f"{h.title or h.kind} ({amount})" for h, amount in each]
    more = " and more" if len(held) > _SHOWN_HOLDERS else ""
    return (", ".join(shown) or "nothing") + more


_SUMS = tuple(
    func.coalesce(func.sum(column), 0).label(column.key)
    for column in (
        ReservationRow.memory,
        ReservationRow.millicpu,
        ReservationRow.slots,
        ReservationRow.archive,
    )
)


def _total(row: Any) -> Amount:
    # PostgreSQL sums big integers as decimals
    return Amount(int(row[0]), int(row[1]), int(row[2]), int(row[3]))


def _amount(row: ReservationRow) -> Amount:
    return Amount(row.memory, row.millicpu, row.slots, row.archive)


def _means(row: OwnerRow) -> Means:
    return (row.mean_memory, row.mean_millicpu, row.mean_slots, row.mean_archive)


def _kind(amount: Amount, room: Amount, otherwise: WaitingKind) -> WaitingKind:
    return WaitingKind.ARCHIVE if amount._replace(archive=0).fits(room) else otherwise


def _lacking(amount: Amount, left: Amount, limit: Amount) -> str:
    held = limit - left
    if not amount._replace(archive=0, slots=0).fits(left):
        held, limit, amount = (a._replace(archive=0) for a in (held, limit, amount))
        return f"{held} of the {limit} that a user may hold, and this needs {amount}"
    if amount.slots > left.slots:
        return f"{held.slots} of the {limit.slots} things that a user may run at once"
    return (
        f"{held.archive} of the {limit.archive} archive queries that a user may have at once,"
        f" and this needs {amount.archive}"
    )


def _model(row: ReservationRow) -> Reservation:
    return Reservation(
        id=row.id,
        owner=row.owner,
        kind=ReservationKind(row.kind),
        amount=_amount(row).wire(),
        title=row.title,
        state=ReservationState.GRANTED,
        created=row.created,
    )
