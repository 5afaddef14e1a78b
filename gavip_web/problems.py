"""Turning any exception into the error that the caller sees.

Invariant: what leaves this module is a :class:`GavipError`; an unexpected exception becomes a plain
500 that says nothing of its cause but the request id under which the log explains it.
"""

from __future__ import annotations

from http import HTTPStatus

from pydantic import ValidationError
from tornado.web import HTTPError

from gavip_api import errors
from gavip_api.errors import GavipError, InvalidInput

_BY_STATUS: dict[int, type[GavipError]] = {
    400: errors.BadRequest,
    401: errors.NotSignedIn,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    422: errors.InvalidInput,
    429: errors.LimitReached,
    503: errors.Unavailable,
}


class MethodNotAllowed(GavipError):
    """The resource exists but does not know this method."""

    code = "method-not-allowed"
    status = 405
    title = "Method not allowed"


class UnsupportedMediaType(GavipError):
    """The body is not of a type the service reads (RFC 9110, section 15.5.16)."""

    code = "unsupported-media-type"
    status = 415
    title = "Unsupported media type"


class InternalError(GavipError):
    """A fault of ours; details are in the log only."""


def from_validation(error: ValidationError, what: str = "request") -> InvalidInput:
    """Return an :class:`InvalidInput` with one message per field.

    Parameters
    ----------
    error : pydantic.ValidationError
        What pydantic found.
    what : str
        What was checked, named in the message.
    """
    fields: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in fault["loc"]) or what
        fields.setdefault(place, str(fault["msg"]).removeprefix("Value error, "))
    listed = "; ".join(f"{name}: {why}" for name, why in list(fields.items())[:5])
    more = f" (and {len(fields) - 5} more)" if len(fields) > 5 else ""
    return InvalidInput(
        f"The {what} is not valid: {listed}{more}.",
        hint="Correct the fields named and send it again.",
        detail=dict(fields),
    )


def to_error(exception: BaseException | None, status: int, request: str) -> GavipError:
    """Return the error to show for `exception`.

    Parameters
    ----------
    exception : BaseException or None
        What was raised, if anything.
    status : int
        Status tornado chose, used when there is no exception.
    request : str
        Request id, given to the caller of an unexpected fault.
    """
    if isinstance(exception, GavipError):
        return exception
    if isinstance(exception, HTTPError):
        status = exception.status_code
    elif exception is not None:
        status = 500
    if status == 405:
        return MethodNotAllowed("This address does not support that method.")
    kind = _BY_STATUS.get(status)
    # tornado and jupyterhub report an unreachable or failing hub as 500 and 502
    if kind is None and isinstance(exception, HTTPError) and status in (500, 502, 504):
        return errors.Unavailable(
            "A part of the platform did not answer.", hint="Try again in a moment."
        )
    if kind is None:
        return InternalError(
            "The service met an unexpected fault.",
            hint=f"Try again; if it stays, tell the operator the request id {request}.",
        )
    log_message = exception.log_message if isinstance(exception, HTTPError) else None
    phrase = HTTPStatus(status).phrase
    # 400 and 403 messages of tornado are written for callers (missing argument, XSRF)
    return kind(str(log_message) if log_message and status in (400, 403) else f"{phrase}.")
