"""Permissions as sets and in words, and what the API shows of a person's grants.

Invariant: what runs may do what its release asks *and* its user granted, never more. The AVI's own
folder and jobs of its own pipelines need no permission.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from .errors import PermissionsNeeded
from .manifest import Permissions
from .models import Model


class Granted(Permissions):
    """What a user granted an AVI; grants for several releases add up, so there may be more hosts than one asks for."""

    network: tuple[str, ...] = Field(default=(), max_length=500, description="hosts it may reach")


NO_GRANT = Granted(archive=False)


class PermissionWords(Model):
    """One permission as people read it."""

    permission: str = Field(description="`userspace`, `archive` or `network`")
    text: str = Field(description="what it allows")
    consequence: str = Field(description="what that means for the user")


class AviPermissions(Model):
    """What a release asks of the caller, what they granted, and what is missing."""

    avi: str
    title: str
    release: str
    version: str
    asked: Permissions
    granted: Granted | None = Field(default=None, description="None: nothing was granted")
    needed: Permissions = Field(description="what it asks beyond what is granted")
    asked_in_words: tuple[PermissionWords, ...] = ()
    granted_in_words: tuple[PermissionWords, ...] = ()
    needed_in_words: tuple[PermissionWords, ...] = ()
    first_release: str | None = Field(
        default=None, description="Git SHA of the release for which it was granted first"
    )
    since: datetime | None = Field(default=None, description="when it was granted first")


class GrantRequest(Model):
    """Grant what a release asks."""

    permissions: Permissions = Field(
        description="`asked` as it was shown to the user; anything else is a conflict"
    )
    release: str | None = Field(
        default=None, max_length=64, description="Git SHA; default: the current release"
    )


class PermissionGrant(Model):
    """What the caller granted one AVI."""

    avi: str
    title: str
    granted: Granted
    in_words: tuple[PermissionWords, ...]
    first_release: str
    since: datetime


class GrantEvent(Model):
    """One thing that the caller granted or revoked."""

    time: datetime
    avi: str
    action: Literal["granted", "revoked"]
    granted: Granted = Field(description="everything that was granted after it")
    release: str | None = Field(default=None, description="Git SHA of the release that asked")


class Revoked(Model):
    """What ended with a revocation."""

    stopping: int = Field(description="running instances of the AVI that are being stopped")
    cancelling: int = Field(description="queued and running jobs of it that are being cancelled")


class PermitChange(Model):
    """What the portal tells the job queue: what a user grants an AVI from now on."""

    owner: str = Field(min_length=1, max_length=255)
    avi: str = Field(max_length=130, description="owner/name")
    granted: Granted | None = Field(
        description="None: revoked; cancels the jobs of the AVI that are not over"
    )


class PermitApplied(Model):
    """What the job queue did about it."""

    cancelling: int = Field(description="jobs that were asked to end")


def beyond(asked: Permissions, granted: Permissions) -> Permissions:
    """Return what is asked and not granted."""
    return Permissions(
        userspace=asked.userspace if granted.userspace == "none" else "none",
        archive=asked.archive and not granted.archive,
        network=tuple(host for host in asked.network if host not in granted.network),
    )


def common(asked: Permissions, granted: Permissions) -> Permissions:
    """Return what is asked and granted: all that may be enforced as allowed."""
    return Permissions(
        userspace=asked.userspace if granted.userspace == "read" else "none",
        archive=asked.archive and granted.archive,
        network=tuple(host for host in asked.network if host in granted.network),
    )


def together(granted: Permissions, more: Permissions) -> Granted:
    """Return what is granted after `more` was granted, too.

    Raises
    ------
    pydantic.ValidationError
        If that is more than :class:`Granted` holds.
    """
    return Granted(
        userspace="read" if "read" in (granted.userspace, more.userspace) else "none",
        archive=granted.archive or more.archive,
        network=tuple(sorted({*granted.network, *more.network})),
    )


def is_nothing(permissions: Permissions) -> bool:
    """Whether there is nothing to ask a user about."""
    return permissions.userspace == "none" and not permissions.archive and not permissions.network


def same(one: Permissions, other: Permissions) -> bool:
    """Whether both allow the same; the order of hosts means nothing."""
    return is_nothing(beyond(one, other)) and is_nothing(beyond(other, one))


def in_words(permissions: Permissions) -> tuple[PermissionWords, ...]:
    """Return what permissions allow and what that means, for people."""
    found = []
    if permissions.userspace == "read":
        found.append(
            PermissionWords(
                permission="userspace",
                text="Read all your files, but not change them",
                consequence="It sees everything in your files, also what other AVIs have made there.",
            )
        )
    if permissions.archive:
        found.append(
            PermissionWords(
                permission="archive",
                text="Query the Gaia archive in your name",
                consequence="Its queries count as yours and use your share of the archive.",
            )
        )
    found += [
        PermissionWords(
            permission="network",
            text=f"Send data to {host}",
            consequence="Whatever it can read may leave the platform for this host, and nobody can call it back.",
        )
        for host in permissions.network
    ]
    return tuple(found)


def sentence(permissions: Permissions) -> str:
    """Return permissions within a sentence, after "to"."""
    return "; ".join(w.text[0].lower() + w.text[1:] for w in in_words(permissions))


def needed_error(avi: str, missing: Permissions, release: str | None = None) -> PermissionsNeeded:
    """Return the error that says what `avi` may not do yet."""
    return PermissionsNeeded(
        f"{avi} needs your permission to {sentence(missing)}. You have not granted that, or have revoked it.",
        hint="Allow it on the page of the AVI, or with `gavip avis permissions-set`.",
        detail={
            "avi": avi,
            "release": release,
            "needed": missing.model_dump(mode="json"),
            "in_words": [w.text for w in in_words(missing)],
        },
    )
