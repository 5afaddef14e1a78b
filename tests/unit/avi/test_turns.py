"""Turns of a job's queries among themselves; those of applications need a platform (tests/integration/portal)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from avi.connectors.turns import turn
from avi.errors import QueryError
from avi.surroundings import Context
from gavip_api import environment as env
from gavip_api.enums import Mode

URL = "http://archive/tap"


def job(most: int) -> Context:
    environ = {env.ARCHIVE_URL: URL + "/", env.ARCHIVE_QUERIES: str(most)}
    return Context(Mode.PIPELINE, None, environ)


def quiet(words: str, seconds: float) -> None:
    pass


def test_no_more_queries_run_than_the_ledger_granted():
    lock, together, running = threading.Lock(), threading.Barrier(2, timeout=20), []
    most = 0

    def query(_: int) -> None:
        nonlocal most
        with turn(job(2), URL, quiet):
            with lock:
                running.append(1)
                most = max(most, len(running))
            together.wait()
            with lock:
                running.pop()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(query, range(6)))
    assert most == 2


def test_a_turn_is_given_back_when_the_query_fails():
    for _ in range(3):
        with pytest.raises(ValueError, match="no"), turn(job(1), URL, quiet):
            raise ValueError("no")


def test_waiting_is_said_and_can_be_stopped():
    told = []
    with (
        turn(job(3), URL, quiet),
        turn(job(3), URL, quiet),
        turn(job(3), URL, quiet),
        turn(job(3), URL, lambda words, seconds: told.append(words), lambda: True) as mine,
    ):
        assert not mine
    assert told == ["Waiting for this job's other queries"]


def test_a_job_that_declares_no_queries_runs_none():
    with pytest.raises(QueryError, match="declares that it runs no archive queries") as caught:  # noqa: SIM117
        with turn(job(0), URL, quiet):
            pass
    assert "archive: 1" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "ctx",
    [
        pytest.param(Context(Mode.STANDALONE, None, {}), id="an author's laptop"),
        pytest.param(job(0), id="another archive"),
    ],
)
def test_what_is_not_the_platforms_is_not_counted(ctx):
    with turn(ctx, "http://elsewhere/tap", quiet) as mine:
        assert mine
