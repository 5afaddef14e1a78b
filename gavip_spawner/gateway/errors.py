"""What the gateway answers when it does not forward."""

from __future__ import annotations

from gavip_api.errors import Forbidden, GavipError, LimitReached, Unavailable


class EgressRefused(Forbidden):
    """A container asked for something that it may not reach."""

    code = "egress-refused"
    title = "Not reachable from here"


class UnknownContainer(Forbidden):
    """The address that asks belongs to no container of this platform."""

    code = "unknown-container"
    title = "Unknown container"


class TooManyConnections(LimitReached):
    """The container, or all of them together, hold as many connections as they may."""

    code = "too-many-connections"
    title = "Too many connections"


class HeadTooLarge(GavipError):
    """The request's line and headers are larger than the gateway takes."""

    code = "head-too-large"
    status = 431
    title = "Request header fields too large"


class VersionUnsupported(GavipError):
    """The client speaks a version of HTTP that could not read every answer."""

    code = "http-version-not-supported"
    status = 505
    title = "HTTP version not supported"


class HostUnreachable(Unavailable):
    """The host is allowed but cannot be connected to."""

    code = "host-unreachable"
    status = 502
    title = "The host cannot be reached"


class TimedOut(Unavailable):
    """Nothing was sent for too long."""

    code = "timed-out"
    status = 504
    title = "Timed out"
