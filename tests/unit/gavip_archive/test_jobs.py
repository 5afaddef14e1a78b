"""The phases of a job, and its store."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gavip_archive.errors import WrongPhase
from gavip_archive.uws.model import MAX_ATTEMPTS, Job, Phase
from gavip_archive.uws.storage import JobStore
from gavip_archive.uws.xml import job_document, jobs_document, timestamp

NOW = datetime(2026, 11, 21, 20, 0, 0, 123456, tzinfo=timezone.utc)


def job(phase=Phase.PENDING, **values):
    return Job(
        id="0190",
        created=NOW,
        destruction=NOW + timedelta(days=1),
        execution_duration=60,
        phase=phase,
        **values,
    )


ACTIONS = {
    "queue": lambda each: each.queue(),
    "start": lambda each: each.start(NOW),
    "complete": lambda each: each.complete(NOW, "text/csv", "csv", 1, False),
    "fail": lambda each: each.fail(NOW, "why"),
    "abort": lambda each: each.abort(NOW),
    "recover": lambda each: each.recover(NOW),
    "requeue": lambda each: each.requeue(),
}
# phase → action → phase; what is missing is refused
ALLOWED = {
    Phase.PENDING: {"queue": Phase.QUEUED, "abort": Phase.ABORTED},
    Phase.QUEUED: {
        "start": Phase.EXECUTING,
        "fail": Phase.ERROR,
        "abort": Phase.ABORTED,
        "queue": Phase.QUEUED,
    },
    Phase.EXECUTING: {
        "complete": Phase.COMPLETED,
        "fail": Phase.ERROR,
        "abort": Phase.ABORTED,
        "recover": Phase.QUEUED,
        "requeue": Phase.QUEUED,
        "queue": Phase.EXECUTING,
    },
    Phase.COMPLETED: {"queue": Phase.COMPLETED, "abort": Phase.COMPLETED},
    Phase.ERROR: {"queue": Phase.ERROR, "abort": Phase.ERROR},
    Phase.ABORTED: {"queue": Phase.ABORTED, "abort": Phase.ABORTED},
}


@pytest.mark.parametrize("action", sorted(ACTIONS))
@pytest.mark.parametrize("phase", list(Phase), ids=lambda phase: phase.value)
def test_every_action_in_every_phase(phase, action):
    each = job(phase, attempts=1)
    expected = ALLOWED[phase].get(action)
    if expected is None:
        with pytest.raises(WrongPhase):
            ACTIONS[action](each)
        assert each.phase is phase
    else:
        ACTIONS[action](each)
        assert each.phase is expected


@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=30))
def test_a_finished_job_never_changes(actions):
    each, ended = job(), None
    for action in actions:
        try:
            ACTIONS[action](each)
        except WrongPhase:
            continue
        if ended is not None:
            assert (each.phase, each.ended) == ended
        elif not each.phase.active:
            ended = (each.phase, each.ended)
            assert each.ended is not None


def test_an_interrupted_job_is_tried_again_but_not_for_ever():
    each = job(Phase.QUEUED)
    for _ in range(MAX_ATTEMPTS):
        each.start(NOW)
        each.recover(NOW)
    assert each.phase is Phase.ERROR
    assert "twice" in each.error


def test_an_orderly_shutdown_does_not_count():
    each = job(Phase.QUEUED)
    for _ in range(5):
        each.start(NOW)
        each.requeue()
    each.start(NOW)
    each.recover(NOW)
    assert each.phase is Phase.QUEUED


def test_store_keeps_jobs_over_a_restart(tmp_path):
    first = job(
        parameters=[("QUERY", "SELECT 'ü'"), ("RUNID", "r")], overflow=True, rows=3, error="e"
    )
    store = JobStore(tmp_path)
    store.create(first, {"Table": b"<VOTABLE/>"})
    store.close()
    again = JobStore(tmp_path)
    assert again.get("0190") == first
    assert [path.read_bytes() for path in again.uploads("0190").values()] == [b"<VOTABLE/>"]
    assert again.count() == 1
    again.delete("0190")
    again.delete("0190")
    assert (again.get("0190"), again.folder("0190").exists()) == (None, False)
    again.close()


def test_a_folder_without_a_job_is_removed(tmp_path):
    store = JobStore(tmp_path)
    store.create(job(), {})
    (tmp_path / "jobs" / "orphan").mkdir()
    store.prune()
    assert [path.name for path in (tmp_path / "jobs").iterdir()] == ["0190"]
    store.close()


def test_store_finds(tmp_path):
    store = JobStore(tmp_path)
    for number, phase in enumerate((Phase.PENDING, Phase.COMPLETED, Phase.COMPLETED)):
        each = job(phase)
        each.id, each.created = str(number), NOW + timedelta(seconds=number)
        each.destruction = NOW + timedelta(hours=number)
        store.create(each, {})

    def ids(**which):
        return [each.id for each in store.find(**which)]

    assert ids() == ["2", "1", "0"]
    assert ids(phases=[Phase.COMPLETED]) == ["2", "1"]
    assert ids(last=1) == ["2"]
    assert ids(after=NOW) == ["2", "1"]
    assert ids(expired=NOW + timedelta(minutes=61)) == ["1", "0"]
    store.close()


def test_documents_escape_and_time_is_dali():
    each = job(
        Phase.ERROR, parameters=[("QUERY", "a < b & c")], error="no <x>", started=NOW, ended=NOW
    )
    text = job_document(each, "http://h/tap").decode()
    assert "a &lt; b &amp; c" in text
    assert "no &lt;x&gt;" in text
    assert timestamp(NOW) == "2026-11-21T20:00:00.123Z"
    assert 'href="http://h/tap/async/0190"' in jobs_document([each], "http://h/tap").decode()
