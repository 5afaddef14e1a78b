"""How an attempt ended: a pure function of what the plane saw, what the runner left, and what the user asked.

Invariant: every way a process can end maps to exactly one final state with words for people, or to
``lost`` when nobody knows.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

from gavip_api.enums import JobState
from gavip_api.models import JobError, RunResult
from gavip_api.resources import human_size
from gavip_spawner.plane import ProcessPhase, ProcessStatus

GAVE_UP = "gave-up"
"""Reason of an attempt that the queue could not start, and made sure that it never will."""


@dataclass(frozen=True)
class Outcome:
    """A final state.

    Parameters
    ----------
    state : JobState
        The state.
    error : JobError, optional
        Why, unless it succeeded.
    outputs : tuple of str
        Files of the product.
    """

    state: JobState
    error: JobError | None = None
    outputs: tuple[str, ...] = ()


def outcome(
    status: ProcessStatus,
    result: RunResult | None,
    *,
    cancelled: bool,
    memory: int,
    time_limit: int,
) -> Outcome:
    """Return how an attempt ended.

    Parameters
    ----------
    status : ProcessStatus
        What the plane says; it is over.
    result : RunResult, optional
        What the runner left, if anything.
    cancelled : bool
        Whether the user asked to cancel.
    memory, time_limit : int
        Limits of the job, bytes and seconds.
    """
    if result is not None and result.ok:
        # the result is the runner's last act: the product is complete, whatever came afterwards
        return Outcome(JobState.SUCCEEDED, outputs=result.outputs)
    outputs = result.outputs if result else ()
    if cancelled:
        return Outcome(JobState.CANCELLED, _CANCELLED, outputs)
    if status.reason == GAVE_UP:
        return Outcome(JobState.FAILED, _NOT_STARTABLE)
    if status.reason == "stopped":
        # the plane was told to end it, and not by us: the platform was shut down around it
        return Outcome(JobState.LOST, _SHUT_DOWN, outputs)
    if status.reason == "time":
        return Outcome(JobState.TIMED_OUT, timed_out(time_limit), outputs)
    if status.reason == "memory":
        return Outcome(JobState.FAILED, _out_of_memory(memory), outputs)
    if result is not None and result.error is not None:
        return Outcome(JobState.FAILED, result.error, outputs)
    if status.phase in (ProcessPhase.VANISHED, ProcessPhase.ABSENT):
        return Outcome(JobState.LOST, LOST, outputs)
    return Outcome(JobState.FAILED, _no_result(status.exit_code, memory), outputs)


_CANCELLED = JobError(code="cancelled", message="The job was cancelled.")

_NOT_STARTABLE = JobError(
    code="not-startable",
    message="The program that runs jobs could not be started.",
    hint="Tell the operator; the job's log and the platform's log say more.",
)

LOST = JobError(
    code="lost",
    message="The job's process vanished, for example because the machine was restarted.",
    hint="Submit it again; if that happens again, tell the operator.",
)


_SHUT_DOWN = JobError(
    code="lost",
    message="The job was stopped because the platform was shut down.",
    hint="Try it again.",
)


def timed_out(time_limit: int) -> JobError:
    """Return the error of a job that ran out of time."""
    return JobError(
        code="timed-out",
        message=f"The job ran longer than its limit of {_duration(time_limit)} and was stopped.",
        hint="Let it do less, or ask the author of the AVI to raise `resources.time`.",
    )


def _out_of_memory(memory: int) -> JobError:
    return JobError(
        code="out-of-memory",
        message=f"The job needed more memory than its limit of {human_size(memory)}"
        " and was stopped.",
        hint="Let it load less (fewer rows, a smaller field), or ask the author of the AVI to"
        " raise `resources.memory`.",
    )


def _no_result(exit_code: int | None, memory: int) -> JobError:
    if exit_code == 127:
        return _NOT_STARTABLE
    killed = -exit_code if exit_code is not None and exit_code < 0 else (exit_code or 0) - 128
    if killed == signal.SIGKILL:
        return JobError(
            code="killed",
            message="The job's process was killed from outside before it could say why.",
            hint=f"Most often the machine ran out of memory (this job may use {human_size(memory)}):"
            " try with less data, else look at the log.",
        )
    if 0 < killed < signal.NSIG:
        try:
            name = signal.Signals(killed).name
        except ValueError:
            name = str(killed)
        return JobError(
            code="crashed",
            message=f"The job's process ended on signal {name}.",
            hint="A compiled library may have crashed: look at the end of the log.",
        )
    return JobError(
        code="no-result",
        message=f"The job's process ended with code {exit_code} without leaving a result.",
        hint="Look at the end of the log.",
    )


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (left, "s")) if n]
    return " ".join(parts)
