"""Rules without a database: amounts, schedulers, outcomes, what a job leaves behind."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gavip_api.enums import JobState
from gavip_api.models import JobError, ResourceAmount, RunResult
from gavip_spawner.plane import ProcessPhase, ProcessStatus
from jobqueue.amounts import Amount
from jobqueue.backends import read_inside
from jobqueue.services.outcome import outcome


@given(st.floats(0, 1024), st.integers(0, 1 << 50))
def test_amounts_round_up_and_come_back(cpu, memory):
    amount = Amount.of(ResourceAmount(memory=memory, cpu=cpu))
    assert amount.memory == memory
    assert -1e-5 < amount.millicpu - cpu * 1000 < 1
    assert Amount.of(amount.wire()) == amount


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        pytest.param(Amount(3 << 30, 1), "3.0 GiB of memory (of 2.0 GiB)", id="memory"),
        pytest.param(Amount(1, 3500), "3.5 cores (of 2)", id="cores"),
        pytest.param(Amount(1, 1, 3), "3 things at once (of 2)", id="slots"),
        pytest.param(Amount(1, 1, 1, 2), "2 archive queries at once (of 1)", id="archive"),
        pytest.param(Amount(1, 1), "", id="neither"),
    ],
)
def test_amounts_say_what_is_too_much(asked, text):
    assert asked.beyond(Amount(2 << 30, 2000, 2, 1)) == text


def exited(code=0, reason=""):
    return ProcessStatus("x", ProcessPhase.EXITED, exit_code=code, reason=reason)


OK = RunResult(ok=True, outputs=("a.fits",))
BAD = RunResult(ok=False, error=JobError(code="cell-error", message="Cell 2 raised.", cell=2))
GONE = ProcessStatus("x", ProcessPhase.VANISHED)


@pytest.mark.parametrize(
    ("status", "result", "cancelled", "state", "code"),
    [
        pytest.param(exited(), OK, False, "succeeded", None, id="ok"),
        pytest.param(exited(), OK, True, "succeeded", None, id="done before the cancellation"),
        pytest.param(GONE, OK, False, "succeeded", None, id="vanished after its last act"),
        pytest.param(exited(1), BAD, False, "failed", "cell-error", id="notebook raised"),
        pytest.param(exited(1), BAD, True, "cancelled", "cancelled", id="cancelled"),
        pytest.param(exited(-15), None, True, "cancelled", "cancelled", id="cancelled hard"),
        pytest.param(exited(-9, "time"), None, False, "timed-out", "timed-out", id="time"),
        pytest.param(exited(-9, "memory"), None, False, "failed", "out-of-memory", id="memory"),
        pytest.param(exited(-9), None, False, "failed", "killed", id="killed"),
        pytest.param(exited(137), None, False, "failed", "killed", id="killed in a container"),
        pytest.param(exited(-11), None, False, "failed", "crashed", id="crashed"),
        pytest.param(exited(127), None, False, "failed", "not-startable", id="no interpreter"),
        pytest.param(exited(0), None, False, "failed", "no-result", id="left nothing"),
        pytest.param(exited(None, "gave-up"), None, False, "failed", "not-startable", id="gave up"),
        pytest.param(exited(-15, "stopped"), None, False, "lost", "lost", id="platform shut down"),
        pytest.param(
            exited(None, "stopped"), None, False, "lost", "lost", id="shut down before it began"
        ),
        pytest.param(
            exited(-15, "stopped"),
            RunResult(ok=False, error=JobError(code="cancelled", message="stopped")),
            False,
            "lost",
            "lost",
            id="shut down, and the runner said so",
        ),
        pytest.param(
            exited(-15, "stopped"), None, True, "cancelled", "cancelled", id="stopped by us"
        ),
        pytest.param(GONE, None, False, "lost", "lost", id="vanished"),
        pytest.param(GONE, None, True, "cancelled", "cancelled", id="vanished when cancelled"),
    ],
)
def test_outcome(status, result, cancelled, state, code):
    ended = outcome(status, result, cancelled=cancelled, memory=1 << 30, time_limit=5400)
    assert ended.state is JobState(state)
    assert (ended.error.code if ended.error else None) == code
    if code and code not in ("cancelled", "cell-error"):
        assert ended.error.hint


def test_outcome_names_the_limit():
    ended = outcome(exited(-9, "time"), None, cancelled=False, memory=1, time_limit=5400)
    assert "1 h 30 min" in ended.error.message


@pytest.fixture
def planted(tmp_path):
    root = tmp_path / "space"
    (root / "in").mkdir(parents=True)
    (root / "in/good").write_text("x")
    (tmp_path / "secret").write_text("secret")
    (root / "in/link").symlink_to(tmp_path / "secret")
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "in/fifo")
    (root / "in/large").write_bytes(b"x" * ((1 << 20) + 1))
    return root


def test_reads_a_regular_file(planted):
    assert read_inside(planted, PurePosixPath("in/good")) == b"x"


@pytest.mark.parametrize("path", ["in/link", "linked/secret", "in/fifo", "in/large", "in/missing"])
def test_reads_nothing_else(planted, path):
    with pytest.raises(OSError, match=r".+"):
        read_inside(planted, PurePosixPath(path))
