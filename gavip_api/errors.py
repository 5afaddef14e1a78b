"""Errors that own their code, HTTP status and next step.

Every error that may reach a person is a :class:`GavipError`. One handler per front (service, CLI, widget) renders it;
nothing else formats errors. ``message`` names the cause, ``hint`` the next step; neither may hold a secret.
"""

from __future__ import annotations

from typing import Any, ClassVar


class GavipError(Exception):
    """Base of all errors shown to people.

    Parameters
    ----------
    message : str
        What happened, in one sentence.
    hint : str, optional
        What the reader can do next.
    detail : dict, optional
        Machine-readable facts (JSON types only), for example the faults of a manifest.
    """

    code: ClassVar[str] = "internal-error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(
        self, message: str, *, hint: str | None = None, detail: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail or {}

    def problem(self) -> dict[str, Any]:
        """Return the error as a problem-details object (RFC 9457, section 3).

        Returns
        -------
        dict
            ``type``, ``title``, ``status``, ``detail`` and our members ``code``, ``hint`` and ``errors``.
        """
        body: dict[str, Any] = {
            "type": f"urn:gavip:error:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.message,
            "code": self.code,
        }
        if self.hint:
            body["hint"] = self.hint
        if self.detail:
            body["errors"] = self.detail
        return body


class InvalidInput(GavipError):
    """The request is understood but its content breaks a declared rule."""

    code = "invalid-input"
    status = 422
    title = "Invalid input"


class BadRequest(GavipError):
    """The request itself is malformed."""

    code = "bad-request"
    status = 400
    title = "Bad request"


class NotSignedIn(GavipError):
    """No valid credentials came with the request."""

    code = "not-signed-in"
    status = 401
    title = "Not signed in"


class Forbidden(GavipError):
    """The caller is known but may not do this."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class NotFound(GavipError):
    """There is no such thing, or the caller may not know of it."""

    code = "not-found"
    status = 404
    title = "Not found"


class Conflict(GavipError):
    """The thing is not in a state that allows this."""

    code = "conflict"
    status = 409
    title = "Conflict"


class PermissionsNeeded(GavipError):
    """The AVI asks for permissions that the user has not granted; granting them and asking again helps."""

    code = "permissions-needed"
    status = 409
    title = "Permissions needed"


class TooLarge(GavipError):
    """The request is larger than the service takes."""

    code = "too-large"
    status = 413
    title = "Too large"


class LimitReached(GavipError):
    """A limit of the user or the platform is reached; trying later or asking for less helps."""

    code = "limit-reached"
    status = 429
    title = "Limit reached"


class Unavailable(GavipError):
    """A part this request needs does not answer; trying again later helps."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"
