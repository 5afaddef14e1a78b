from __future__ import annotations

import pytest
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from avi.errors import ArchiveUnavailable, explain, explain_name
from avi.runner.failures import job_error


def raised(ename, evalue):
    return PapermillExecutionError(3, 2, "source", ename, evalue, ["Traceback", "secret path /x/y"])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        pytest.param(
            raised("ValueError", "no good"),
            "notebook-error",
            "ValueError: no good",
            id="raising-cell",
        ),
        pytest.param(raised("MemoryError", ""), "out-of-memory", "MemoryError", id="memory"),
        pytest.param(
            raised("ModuleNotFoundError", "No module named 'q'"),
            "missing-module",
            "'q'",
            id="module",
        ),
        pytest.param(
            raised("ArchiveUnavailable", "It is down."),
            "archive-unavailable",
            "It is down.",
            id="archive",
        ),
        pytest.param(raised("QueryError", "bad ADQL"), "query-error", "bad ADQL", id="adql"),
        pytest.param(
            raised("KeyboardInterrupt", ""), "cancelled", "KeyboardInterrupt", id="interrupt"
        ),
        pytest.param(DeadKernelError("Kernel died"), "kernel-died", "cell 2", id="kernel"),
        pytest.param(
            ArchiveUnavailable("down", hint="later"), "archive-unavailable", "down", id="ours"
        ),
        pytest.param(RuntimeError("odd"), "runner-error", "odd", id="unknown"),
    ],
)
def test_every_failure_has_code_cause_hint_and_cell(error, code, words):
    told = job_error(error, cell=2)
    assert told.code == code
    assert words in told.message
    assert told.hint
    assert told.cell == 2
    assert "Traceback" not in told.message
    assert "secret path" not in told.model_dump_json()


def test_what_the_kernel_explained_wins_when_it_is_about_this_error():
    explained = {
        "name": "EmptyResult",
        "code": "empty-result",
        "message": "No stars.",
        "hint": "Widen.",
    }
    told = job_error(raised("EmptyResult", "No stars."), cell=1, explained=explained)
    assert (told.code, told.message, told.hint) == ("empty-result", "No stars.", "Widen.")


def test_an_explanation_of_an_earlier_caught_error_is_not_used():
    explained = {
        "name": "EmptyResult",
        "code": "empty-result",
        "message": "No stars.",
        "hint": "Widen.",
    }
    assert (
        job_error(raised("ValueError", "x"), cell=1, explained=explained).code == "notebook-error"
    )


@pytest.mark.parametrize("why", ["cancelled", "fenced"])
def test_a_stop_wins_over_what_it_broke(why):
    assert job_error(DeadKernelError("x"), stopped=why, cell=3).code == why


def test_explanations_are_one_bounded_line():
    told = explain_name("ValueError", "a\n" * 5000)
    assert "\n" not in told.message
    assert len(told.message) < 600


def test_our_errors_keep_their_own_hint():
    assert explain(ArchiveUnavailable("x", hint="my hint")).hint == "my hint"
    assert explain(ArchiveUnavailable("x")).hint
