"""The state machine on a real database: every transition from every state."""

from __future__ import annotations

import pytest

from gavip_api.enums import JobState
from gavip_api.errors import Conflict, NotSignedIn
from gavip_api.models import JobError, Progress, UserProfile, utcnow
from gavip_api.slugs import new_id
from jobqueue.schedulers import Fifo
from jobqueue.services import tokens
from jobqueue.services.history import RunTimes
from jobqueue.services.machine import JobMachine
from jobqueue.services.outcome import Outcome
from jobqueue.services.tokens import Fenced
from jobqueue.services.waiting import Waitlist
from jobqueue.storage import events
from jobqueue.storage.orm import JobRow


def make(owner="alice", memory=1 << 30, millicpu=1000):
    return JobRow(
        id=new_id(),
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
        millicpu=millicpu,
        time_limit=60,
        attempt=0,
        losses=0,
        cancel_requested=False,
        progress=Progress().model_dump(),
        outputs={"files": []},
        created=utcnow(),
    )


@pytest.fixture
def machine(ledger):
    history = RunTimes()
    return JobMachine(ledger, Waitlist(Fifo(), history, ledger.shares), history)


def ended(state):
    error = None if state is JobState.SUCCEEDED else JobError(code="x", message="why")
    return Outcome(state, error)


def bring_to(session, machine, state):
    job = make()
    machine.submit(session, job)
    if state in (JobState.STARTING, JobState.RUNNING) or state.is_final:
        if state is JobState.CANCELLED:
            machine.request_cancel(session, job)
            return job
        assert machine.begin(session, job, "product")
    if state is JobState.RUNNING:
        machine.run(session, job)
    if state is JobState.LOST:
        machine.end(session, job, ended(state))
        machine.begin(session, job, "product-2")
    if state.is_final:
        machine.end(session, job, ended(state))
    assert job.state == state.value
    return job


TRANSITIONS = {
    "begin": lambda m, s, j: m.begin(s, j, "p"),
    "run": lambda m, s, j: m.run(s, j),
    "progress": lambda m, s, j: m.progress(s, j, Progress(done=1, total=2)),
    "cancel": lambda m, s, j: m.request_cancel(s, j),
    "refuse": lambda m, s, j: m.refuse(s, j, JobError(code="x", message="why")),
    "succeed": lambda m, s, j: m.end(s, j, ended(JobState.SUCCEEDED)),
    "fail": lambda m, s, j: m.end(s, j, ended(JobState.FAILED)),
    "time out": lambda m, s, j: m.end(s, j, ended(JobState.TIMED_OUT)),
    "be cancelled": lambda m, s, j: m.end(s, j, ended(JobState.CANCELLED)),
    "lose": lambda m, s, j: m.end(s, j, ended(JobState.LOST)),
}
ENDS = {
    "succeed": "succeeded",
    "fail": "failed",
    "time out": "timed-out",
    "be cancelled": "cancelled",
    "lose": "queued",
}
LEADS_TO = {
    ("queued", "begin"): "starting",
    ("queued", "cancel"): "cancelled",
    ("queued", "refuse"): "failed",
    ("starting", "run"): "running",
    ("starting", "progress"): "running",
    ("starting", "cancel"): "starting",
    ("running", "run"): "running",
    ("running", "progress"): "running",
    ("running", "cancel"): "running",
    **{(s, e): to for s in ("starting", "running") for e, to in ENDS.items()},
    **{(s.value, "cancel"): s.value for s in JobState if s.is_final},
}


@pytest.mark.parametrize("transition", TRANSITIONS)
@pytest.mark.parametrize("state", list(JobState), ids=str)
def test_transition(session, machine, ledger, state, transition):
    job = bring_to(session, machine, state)
    before = events.latest(session)
    expected = LEADS_TO.get((state.value, transition))
    if expected is None:
        with pytest.raises(Conflict):
            TRANSITIONS[transition](machine, session, job)
        assert job.state == state.value
        assert events.latest(session) == before
    else:
        TRANSITIONS[transition](machine, session, job)
        assert job.state == expected
    holds = JobState(job.state).holds_resources
    assert (ledger.used(session).memory > 0) is holds
    history = events.of_job(session, job.id, 0)
    assert [e.seq for e in history] == sorted({e.seq for e in history})
    assert history[-1].state is JobState(job.state)


def test_a_job_is_lost_for_good_the_second_time(session, machine):
    job = bring_to(session, machine, JobState.LOST)
    assert (job.attempt, job.losses) == (2, 2)
    assert job.ended
    states = [e.state.value for e in events.of_job(session, job.id, 0)]
    assert states == ["queued", "starting", "lost", "queued", "starting", "lost"]


def test_a_lost_job_that_was_cancelled_is_not_tried_again(session, machine):
    job = bring_to(session, machine, JobState.RUNNING)
    machine.request_cancel(session, job)
    machine.end(session, job, ended(JobState.LOST))
    assert job.state == "lost"
    assert job.ended


def test_begin_waits_when_the_ledger_refuses(session, machine):
    for _ in range(3):
        job = make()
        machine.submit(session, job)
        assert machine.begin(session, job, "p")
    fourth = make()
    machine.submit(session, fourth)
    assert not machine.begin(session, fourth, "p")
    assert (fourth.state, fourth.attempt) == ("queued", 0)


def test_tokens_are_fenced_and_never_stored(session, machine):
    job = bring_to(session, machine, JobState.STARTING)
    first = tokens.issue(session, job)
    tokens.check(session, job.id, 1, first)
    machine.end(session, job, ended(JobState.LOST))
    machine.begin(session, job, "p-2")
    second = tokens.issue(session, job)
    tokens.check(session, job.id, 2, second)
    with pytest.raises(Fenced):
        tokens.check(session, job.id, 1, first)
    for wrong in [(job.id, 2, first), (job.id, 3, second), (new_id(), 1, first), (job.id, 2, "")]:
        with pytest.raises(NotSignedIn):
            tokens.check(session, *wrong)
    machine.end(session, job, ended(JobState.SUCCEEDED))
    with pytest.raises(Fenced):
        tokens.check(session, job.id, 2, second)
    session.flush()
    dump = str(session.connection().exec_driver_sql("SELECT * FROM attempts").all())
    assert first not in dump
    assert second not in dump


def test_an_attempt_without_token_accepts_none(session, machine):
    job = bring_to(session, machine, JobState.STARTING)
    with pytest.raises(NotSignedIn):
        tokens.check(session, job.id, 1, "")
