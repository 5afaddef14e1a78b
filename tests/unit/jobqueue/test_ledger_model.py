"""Whatever happens in whatever order, nothing is granted that exceeds a pool or the machine."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from gavip_api.enums import JobState, ReservationKind, Role
from gavip_api.models import (
    JobError,
    PoolLimits,
    Progress,
    ReservationRequest,
    ResourceAmount,
    UserProfile,
    utcnow,
)
from gavip_api.slugs import new_id
from jobqueue.amounts import Amount
from jobqueue.schedulers import Fifo
from jobqueue.services.history import RunTimes
from jobqueue.services.ledger import Ledger, NeverFits
from jobqueue.services.machine import JobMachine
from jobqueue.services.outcome import Outcome
from jobqueue.services.waiting import Waitlist
from jobqueue.storage import jobs
from jobqueue.storage.orm import Base, JobRow, ReservationRow

CAPACITY = Amount(10, 10_000, 6, 4)
POOL = Amount(6, 6_000, 4, 2)
OWNERS = ("ann", "bob", "cid")
ROLES = {"ann": (Role.SCIENTIST,), "bob": (Role.SCIENTIST, Role.DEVELOPER), "cid": ()}
NONE = Amount()

owners = st.sampled_from(OWNERS)
amounts = st.builds(
    ResourceAmount,
    memory=st.integers(0, 11),
    cpu=st.sampled_from([0.001, 0.1, 1, 2.5, 7]),
    archive=st.integers(0, 3),
)
some = st.none() | st.integers(0, 8)
limits = st.builds(
    PoolLimits,
    memory=some,
    cpu=st.none() | st.sampled_from([0.0, 0.5, 3.0, 9.0]),
    slots=some,
    archive=some,
)


class LedgerMachine(RuleBasedStateMachine):
    """The ledger and the job machine beside a plain dictionary of what should be held."""

    def __init__(self):
        super().__init__()
        self.engine = create_engine("sqlite://")
        Base.metadata.create_all(self.engine)
        self.rules = {}
        self.held = {}
        self.jobs = {}
        self.start()

    def start(self):
        """What a start of the service does: all memory comes from the database."""
        self.ledger = Ledger(CAPACITY, POOL)
        self.history = RunTimes()
        self.waitlist = Waitlist(Fifo(), self.history, self.ledger.shares)
        self.machine = JobMachine(self.ledger, self.waitlist, self.history)
        with Session(self.engine) as session:
            self.ledger.load(session)
            self.waitlist.load(session)

    def write(self, work):
        with Session(self.engine) as session, session.begin():
            return work(session)

    # -- the model --

    def limit(self, owner):
        own = self.rules.get(("user", owner))
        roles = [self.rules[k] for r in ROLES[owner] if (k := ("role", r.value)) in self.rules]
        values = []
        for n, name in enumerate(("memory", "cpu", "slots", "archive")):
            value = getattr(own, name) if own else None
            if value is None:
                said = [v for r in roles if (v := getattr(r, name)) is not None]
                value = max(said) if said else None
            if value is not None and name == "cpu":
                value = int(value * 1000)
            values.append(POOL[n] if value is None else value)
        return Amount(*(min(v, c) for v, c in zip(values, CAPACITY, strict=True)))

    def own(self, owner, but=None):
        return sum((a for k, (o, a) in self.held.items() if o == owner and k != but), NONE)

    def total(self, but=None):
        return sum((a for k, (_, a) in self.held.items() if k != but), NONE)

    def allowed(self, owner, need, but=None):
        room = self.limit(owner) - self.own(owner, but)
        return need.fits(room) and need.fits(CAPACITY - self.total(but))

    # -- servers and queries --

    @rule(owner=owners, n=st.integers(0, 3), amount=amounts, query=st.booleans())
    def reserve(self, owner, n, amount, query):
        kind = ReservationKind.ARCHIVE_QUERY if query else ReservationKind.NOTEBOOK
        name = f"{owner}/{kind}{n}"
        need = Amount.asked(amount, kind)
        request = ReservationRequest(
            id=name, owner=owner, kind=kind, amount=amount, roles=ROLES[owner]
        )
        try:
            answer = self.write(lambda s: self.ledger.reserve(s, request)).state.value
        except NeverFits:
            assert not need.fits(self.limit(owner))
            return
        assert (answer == "granted") is self.allowed(owner, need, but=name)
        if answer == "granted":
            self.held[name] = (owner, need)

    @precondition(lambda self: any("/" in k for k in self.held))
    @rule(data=st.data())
    def release(self, data):
        name = data.draw(st.sampled_from(sorted(k for k in self.held if "/" in k)))
        assert self.write(lambda s: self.ledger.release(s, name))
        assert not self.write(lambda s: self.ledger.release(s, name))
        del self.held[name]

    @rule(owner=owners, amount=amounts)
    def crash_before_the_commit(self, owner, amount):
        request = ReservationRequest(
            id=f"{owner}/crash",
            owner=owner,
            kind=ReservationKind.INTERFACE,
            amount=amount,
            roles=ROLES[owner],
        )
        with Session(self.engine) as session:
            with suppress(NeverFits):
                self.ledger.reserve(session, request)
            session.rollback()

    @precondition(lambda self: any("/archive-query" in k for k in self.held))
    @rule(data=st.data())
    def the_asker_of_a_query_dies(self, data):
        queries = sorted(k for k in self.held if "/archive-query" in k)
        name = data.draw(st.sampled_from(queries))

        def work(session):
            session.get(ReservationRow, name).expires = utcnow()
            session.flush()
            return self.ledger.release_expired(session)

        assert self.write(work) == [name]
        del self.held[name]

    @rule()
    def crash_before_a_start_is_committed(self):
        with Session(self.engine) as session:
            choice = self.waitlist.pick(self.ledger.room())
            if choice is not None:
                assert self.machine.begin(session, jobs.get(session, choice.id), "product")
            session.rollback()

    @precondition(lambda self: "starting" in self.jobs.values())
    @rule(data=st.data())
    def crash_before_an_end_is_committed(self, data):
        active = sorted(k for k, v in self.jobs.items() if v == "starting")
        job_id = data.draw(st.sampled_from(active))
        with Session(self.engine) as session:
            self.machine.end(session, jobs.get(session, job_id), Outcome(JobState.SUCCEEDED))
            session.rollback()

    @rule()
    def restart(self):
        self.start()

    # -- jobs --

    @rule(owner=owners, memory=st.integers(1, 6), cores=st.sampled_from([1, 3, 6]))
    def submit(self, owner, memory, cores):
        job_id = new_id()
        row = JobRow(
            id=job_id,
            owner=owner,
            owner_profile=UserProfile(name=owner).model_dump(mode="json"),
            avi="gaia/demo",
            release="a" * 40,
            template="python",
            pipeline="work",
            title="Work",
            spec={},
            parameters={},
            memory=memory,
            millicpu=cores * 1000,
            archive=0,
            time_limit=60,
            attempt=0,
            losses=0,
            cancel_requested=False,
            progress=Progress().model_dump(),
            outputs={"files": []},
            created=utcnow(),
        )

        def work(session):
            self.ledger.rules.note_roles(session, owner, ROLES[owner])
            self.machine.submit(session, row)

        self.write(work)
        self.jobs[job_id] = "queued"

    @rule()
    def start_next(self):
        def work(session):
            choice = self.waitlist.pick(self.ledger.room())
            if choice is None:
                return None
            assert self.machine.begin(session, jobs.get(session, choice.id), "product")
            return choice

        choice = self.write(work)
        if choice is None:
            return
        assert self.jobs[choice.id] == "queued"
        assert self.allowed(choice.owner, choice.amount)
        self.jobs[choice.id] = "starting"
        self.held[f"job:{choice.id}"] = (choice.owner, choice.amount)

    @precondition(lambda self: "starting" in self.jobs.values())
    @rule(
        data=st.data(),
        state=st.sampled_from([JobState.SUCCEEDED, JobState.FAILED, JobState.LOST]),
    )
    def end(self, data, state):
        active = sorted(k for k, v in self.jobs.items() if v == "starting")
        job_id = data.draw(st.sampled_from(active))
        error = None if state is JobState.SUCCEEDED else JobError(code="x", message="why")

        def work(session):
            job = jobs.get(session, job_id)
            self.machine.end(session, job, Outcome(state, error))
            return job.state

        self.jobs[job_id] = self.write(work)
        del self.held[f"job:{job_id}"]

    @precondition(lambda self: {"queued", "starting"} & set(self.jobs.values()))
    @rule(data=st.data())
    def cancel(self, data):
        alive = sorted(k for k, v in self.jobs.items() if v in ("queued", "starting"))
        job_id = data.draw(st.sampled_from(alive))

        def work(session):
            job = jobs.get(session, job_id)
            self.machine.request_cancel(session, job)
            return job.state

        self.jobs[job_id] = self.write(work)

    # -- operators --

    @rule(owner=owners, new=st.none() | limits)
    def change_a_users_pool(self, owner, new):
        self.write(lambda s: self.ledger.rules.put(s, "user", owner, new))
        self.rules.pop(("user", owner), None)
        if new is not None:
            self.rules["user", owner] = new

    @rule(role=st.sampled_from([Role.SCIENTIST, Role.DEVELOPER]), new=st.none() | limits)
    def change_a_roles_pool(self, role, new):
        self.write(lambda s: self.ledger.rules.put(s, "role", role.value, new))
        self.rules.pop(("role", role.value), None)
        if new is not None:
            self.rules["role", role.value] = new

    # -- what always holds --

    @invariant()
    def the_ledger_is_what_was_granted(self):
        with Session(self.engine) as session:
            used = self.ledger.used(session)
            assert used == self.total()
            assert used.fits(CAPACITY)
            held = self.ledger.held(session)
            assert held == {
                o: self.own(o) for o in OWNERS if any(owner == o for owner, _ in self.held.values())
            }
            active = {f"job:{job.id}" for job in jobs.active(session)}
        assert active == {k for k in self.held if k.startswith("job:")}

    @invariant()
    def memory_is_in_step_with_the_database(self):
        queued = {k for k, v in self.jobs.items() if v == "queued"}
        assert {c.id for c in self.waitlist.excerpt(1000, 1000)} == queued
        with Session(self.engine) as session:
            assert self.waitlist.check(session)
            assert self.ledger.occupancy.total == self.total()
            for owner in OWNERS:
                assert self.ledger.occupancy.held(owner) == self.own(owner)
                stored = self.ledger.rules.limit(session, owner)
                assert self.ledger.rules.known(owner) == stored

    def teardown(self):
        self.engine.dispose()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_a_pool_that_shrinks_takes_nothing_away_and_gives_no_more(session):
    ledger = Ledger(CAPACITY, POOL)
    one = ReservationRequest(
        id="ann/1",
        owner="ann",
        kind=ReservationKind.NOTEBOOK,
        amount=ResourceAmount(memory=5, cpu=1),
    )
    assert ledger.reserve(session, one).state.value == "granted"
    ledger.rules.put(session, "user", "ann", PoolLimits(memory=3))
    assert ledger.used(session, "ann").memory == 5
    small = one.model_copy(update={"id": "ann/2", "amount": ResourceAmount(memory=1, cpu=1)})
    refused = ledger.reserve(session, small)
    assert refused.state.value == "refused"
    ledger.release(session, "ann/1")
    assert ledger.reserve(session, small).state.value == "granted"


@pytest.mark.parametrize(
    ("kind", "given", "taken"),
    [
        pytest.param(ReservationKind.NOTEBOOK, {}, Amount(1, 1000, 1, 0), id="server"),
        pytest.param(ReservationKind.ARCHIVE_QUERY, {}, Amount(1, 1000, 0, 1), id="query"),
        pytest.param(ReservationKind.JOB, {"archive": 2}, Amount(1, 1000, 1, 2), id="job"),
    ],
)
def test_what_each_kind_takes(kind, given, taken):
    assert Amount.asked(ResourceAmount(memory=1, cpu=1, **given), kind) == taken
