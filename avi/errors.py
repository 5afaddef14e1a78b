"""Errors of the framework, and the one table that gives well-known Python errors a next step.

Invariant: what a person reads comes from :func:`explain`; it never holds a traceback.
"""

from __future__ import annotations

from dataclasses import dataclass

from gavip_api.errors import Conflict, Forbidden, GavipError, InvalidInput, NotFound, Unavailable

__all__ = [
    "ArchiveUnavailable",
    "Cancelled",
    "Conflict",
    "EmptyResult",
    "Explanation",
    "Forbidden",
    "GavipError",
    "InvalidInput",
    "NotFound",
    "PlatformUnavailable",
    "QueryError",
    "Unavailable",
    "UnknownParameter",
    "explain",
    "explain_name",
]

MAX_MESSAGE = 500


class ArchiveUnavailable(Unavailable):
    """The archive does not answer."""

    code = "archive-unavailable"
    title = "The archive does not answer"


class QueryError(InvalidInput):
    """The archive refused or could not finish a query."""

    code = "query-error"
    title = "The archive refused the query"


class EmptyResult(InvalidInput):
    """Nothing is left to work on."""

    code = "empty-result"
    title = "No data"


class PlatformUnavailable(Unavailable):
    """The portal does not answer."""

    code = "platform-unavailable"
    title = "GAVIP does not answer"


class UnknownParameter(InvalidInput):
    """The AVI declares no such parameter."""

    code = "unknown-parameter"
    title = "Unknown parameter"


class Cancelled(GavipError):
    """Somebody stopped it."""

    code = "cancelled"
    status = 409
    title = "Cancelled"


@dataclass(frozen=True)
class Explanation:
    """What happened and what to do, for people."""

    code: str
    message: str
    hint: str


_KNOWN: dict[str, tuple[str, str]] = {
    "MemoryError": (
        "out-of-memory",
        "Ask for more memory (`resources.memory` of the pipeline in avi.yaml) or for fewer rows.",
    ),
    "ModuleNotFoundError": (
        "missing-module",
        "Add the package to the AVI's requirements file and release it again.",
    ),
    "ImportError": (
        "missing-module",
        "Check the AVI's requirements file: a package is missing or has another version.",
    ),
    "FileNotFoundError": (
        "missing-file",
        "Check that the file is part of the release or was written by an earlier step.",
    ),
    "PermissionError": (
        "read-only",
        "A release is read-only: write to the working folder, which is the data product.",
    ),
    "KeyboardInterrupt": ("cancelled", "Start it again when you are ready."),
    "TimeoutError": ("timeout", "Try again later, or ask for less at once."),
    "ArchiveUnavailable": (
        "archive-unavailable",
        "The archive may be down for a moment: try again in a few minutes.",
    ),
    "QueryError": ("query-error", "Correct the ADQL and try again."),
    "EmptyResult": ("empty-result", "Widen the selection and try again."),
    "UnknownParameter": ("unknown-parameter", "Declare the parameter in avi.yaml."),
}


def explain_name(ename: str, evalue: str, *, hint: str = "") -> Explanation:
    """Explain an exception known only by its class name and text, as a kernel reports it.

    Parameters
    ----------
    ename, evalue : str
        Class name and text of the exception.
    hint : str
        Next step that the exception itself gave; wins over the table.
    """
    text = " ".join(evalue.split())[:MAX_MESSAGE]
    code, known = _KNOWN.get(
        ename, ("notebook-error", "Look at the log or the executed notebook, and correct the code.")
    )
    ours = ename in {"ArchiveUnavailable", "QueryError", "EmptyResult", "UnknownParameter"}
    message = text if ours and text else f"{ename}: {text}" if text else ename
    return Explanation(code, message, hint or known)


def explain(error: BaseException) -> Explanation:
    """Explain any exception to people: cause and next step, no traceback."""
    if isinstance(error, GavipError):
        known = explain_name(type(error).__name__, error.message).hint
        return Explanation(error.code, error.message[: 4 * MAX_MESSAGE], error.hint or known)
    return explain_name(type(error).__name__, str(error))
