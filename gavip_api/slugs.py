"""Names: which are allowed, which are reserved, how they become folder names and technical users.

Invariant: every name that becomes part of a path or a host name has passed :func:`check_slug` or
:func:`folder_name`; both return a single path segment without separators, dots at the start, or control characters.
"""

from __future__ import annotations

import hashlib
import re
import uuid

import uuid6

from .errors import InvalidInput

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_PLAIN_USER = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,62}\Z")

TECHNICAL_PREFIX = "avi-"
"""Prefix of the technical hub users that own instances; no person may have such a name."""

RESERVED_USERS = frozenset(
    {
        "portal",
        "jobqueue",
        "spawner",
        "idle-culler",
        "archive",
        "hub",
        "services",
        "service",
        "www",
        "api",
        "admin",
        "root",
        "gavip",
    }
)
"""User names that would collide with a platform host name or mislead people."""


def check_slug(name: str, what: str = "name") -> str:
    """Return `name` when it is a slug.

    Parameters
    ----------
    name : str
        Candidate: lower-case letters, digits and inner hyphens, at most 63 characters (a DNS label, RFC 1035, 2.3.1).
    what : str
        What the name is for, used in the message.

    Raises
    ------
    InvalidInput
        If it is not.
    """
    if not SLUG.match(name) or "--" in name:
        raise InvalidInput(
            f"{name[:80]!r} is not a valid {what}.",
            hint="Use lower-case letters, digits and single hyphens, beginning and ending with a letter or digit.",
        )
    return name


def user_name_fault(name: str) -> str | None:
    """Say why a person may not be called `name`, or return None when they may."""
    # providers that keep capitals or spaces must not get around it: host names know none
    name = name.strip().casefold()
    if name.startswith(TECHNICAL_PREFIX):
        return f"User names may not begin with {TECHNICAL_PREFIX!r}: it marks AVI instances."
    if name in RESERVED_USERS:
        return f"The name {name!r} is reserved for the platform."
    return None


def is_technical(name: str) -> bool:
    """Whether a hub user name belongs to an AVI instance rather than to a person."""
    return name.startswith(TECHNICAL_PREFIX)


def folder_name(user: str) -> str:
    """Return the folder name of a hub user: the name itself when harmless, else a readable stub with a hash."""
    if _PLAIN_USER.match(user) and ".." not in user:
        return user
    stub = re.sub(r"[^a-z0-9]+", "-", user.lower()).strip("-")[:24] or "user"
    return f"{stub}~{hashlib.sha256(user.encode()).hexdigest()[:16]}"


def new_id() -> str:
    """Return a new time-ordered opaque id (UUID version 7, RFC 9562, section 5.7)."""
    return str(uuid6.uuid7())


def check_id(value: str) -> str:
    """Return `value` in canonical form when it is a UUID.

    Raises
    ------
    InvalidInput
        If it is not.
    """
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise InvalidInput(f"{value[:80]!r} is not a valid id.") from None
