"""From what went wrong in an execution to what people read: one table.

Invariant: a :class:`JobError` made here holds no traceback and no path of the platform's state.
"""

from __future__ import annotations

from typing import Any

from avi.errors import explain, explain_name
from gavip_api.errors import GavipError
from gavip_api.models import JobError

STOPPED: dict[str, JobError] = {
    "cancelled": JobError(
        code="cancelled", message="The job was stopped.", hint="Submit it again."
    ),
    "fenced": JobError(
        code="fenced",
        message="Another attempt of this job has taken over.",
        hint="Look at the newest attempt.",
    ),
}

KERNEL_DIED_HINT = (
    "It probably ran out of memory, or a compiled library crashed: ask for more memory "
    "(`resources.memory` of the pipeline in avi.yaml) or for fewer rows, and look at the log."
)


def job_error(
    error: BaseException,
    *,
    stopped: str = "",
    cell: int = 0,
    explained: dict[str, str] | None = None,
) -> JobError:
    """Return what people are told.

    Parameters
    ----------
    error : BaseException
        What the execution raised.
    stopped : str
        Why the runner itself stopped the execution, if it did; wins over everything else.
    cell : int
        Number of the author's code cell that ran last, from 1; 0 when none did.
    explained : dict, optional
        What the kernel said of its own error (code, message, hint).
    """
    if stopped:
        return STOPPED[stopped]
    at = cell or None
    name = type(error).__name__
    if name == "PapermillExecutionError":
        return _from_cell(error, at, explained or {})
    if name == "DeadKernelError":
        where = f" in cell {at}" if at else ""
        return JobError(
            code="kernel-died", message=f"The kernel died{where}.", hint=KERNEL_DIED_HINT, cell=at
        )
    if name == "NoSuchKernel":
        return JobError(
            code="no-kernel",
            message="The kernel that the notebook asks for is not installed.",
            hint="Save the notebook with the kernel `python3` and release it again.",
        )
    if isinstance(error, GavipError):
        told = explain(error)
        return JobError(code=told.code, message=told.message, hint=told.hint, cell=at)
    return JobError(
        code="runner-error",
        message=f"The runner could not finish: {explain(error).message}",
        hint="Submit the job again; if it fails again, send the operator the job's log.",
        cell=at,
    )


def _from_cell(error: Any, cell: int | None, explained: dict[str, str]) -> JobError:
    # the explanation is used only if it is about this very exception: code may have caught an earlier one
    if explained.get("name") == error.ename and explained.get("message"):
        return JobError(
            code=explained.get("code", "notebook-error"),
            message=explained["message"],
            hint=explained.get("hint", ""),
            cell=cell,
        )
    told = explain_name(error.ename, error.evalue)
    return JobError(code=told.code, message=told.message, hint=told.hint, cell=cell)
