"""What the engine says of a container, in the plane's words."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from gavip_spawner.docker_plane import status_of
from gavip_spawner.plane import ProcessPhase

NEVER = "0001-01-01T00:00:00Z"
START = "2026-11-24T10:00:00.123456789Z"
LATER = "2026-11-24T10:01:00.5Z"


def described(labels: dict[str, str] | None = None, **state: Any) -> dict[str, Any]:
    state = {"Running": False, "StartedAt": START, "FinishedAt": LATER, "ExitCode": 0} | state
    return {"State": state, "Config": {"Labels": labels or {}}}


@pytest.mark.parametrize(
    ("found", "stopped", "expected"),
    [
        pytest.param(
            described(StartedAt=NEVER, FinishedAt=NEVER), False,
            (ProcessPhase.CREATED, None, ""), id="created",
        ),
        pytest.param(
            described(StartedAt=NEVER, FinishedAt=NEVER, ExitCode=128), False,
            (ProcessPhase.CREATED, None, ""), id="the engine failed to start it",
        ),
        pytest.param(
            described(Running=True, FinishedAt=NEVER), False,
            (ProcessPhase.RUNNING, None, ""), id="running",
        ),
        pytest.param(
            described(Running=True, Paused=True, FinishedAt=NEVER), True,
            (ProcessPhase.RUNNING, None, ""), id="paused",
        ),
        pytest.param(described(), False, (ProcessPhase.EXITED, 0, ""), id="success"),
        pytest.param(described(ExitCode=3), False, (ProcessPhase.EXITED, 3, ""), id="failure"),
        pytest.param(
            described(ExitCode=137), False, (ProcessPhase.EXITED, -9, ""), id="killed from outside"
        ),
        pytest.param(
            described(ExitCode=139), False, (ProcessPhase.EXITED, -11, ""), id="crashed"
        ),
        pytest.param(
            described(ExitCode=255), False, (ProcessPhase.EXITED, 255, ""), id="255 is no signal"
        ),
        pytest.param(
            described(ExitCode=143), True, (ProcessPhase.EXITED, -15, "stopped"), id="stopped"
        ),
        pytest.param(
            described(ExitCode=137, OOMKilled=True), False,
            (ProcessPhase.EXITED, -9, "memory"), id="out of memory",
        ),
        pytest.param(
            described(ExitCode=0, OOMKilled=True), False,
            (ProcessPhase.EXITED, 0, ""), id="a child was out of memory, the program coped",
        ),
        pytest.param(
            described({"gavip.time": "60"}, ExitCode=124), False,
            (ProcessPhase.EXITED, 124, "time"), id="time",
        ),
        pytest.param(
            described({"gavip.time": "60"}, ExitCode=137), False,
            (ProcessPhase.EXITED, -9, "time"), id="time, and it did not listen",
        ),
        pytest.param(
            described({"gavip.time": "3600"}, ExitCode=137), True,
            (ProcessPhase.EXITED, -9, "stopped"), id="stopped by force, long before its time",
        ),
        pytest.param(
            described({"gavip.time": "62"}, ExitCode=124), False,
            (ProcessPhase.EXITED, 124, "time"), id="time, its start noted late",
        ),
        pytest.param(
            described({"gavip.time": "70"}, ExitCode=124), False,
            (ProcessPhase.EXITED, 124, ""), id="its own 124, too early for the limit",
        ),
    ],
)  # fmt: skip
def test_meaning(
    found: dict[str, Any], stopped: bool, expected: tuple[ProcessPhase, int | None, str]
) -> None:
    status = status_of("job-1.1", found, stopped=stopped)
    assert (status.phase, status.exit_code, status.reason) == expected


def test_times_are_utc() -> None:
    status = status_of("job-1.1", described(), stopped=False)
    assert status.started == datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=timezone.utc)
    assert status.ended == datetime(2026, 11, 24, 10, 1, 0, 500000, tzinfo=timezone.utc)
