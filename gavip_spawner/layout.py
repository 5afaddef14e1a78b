"""Every path below the platform's state folder, and nothing else.

Invariant: user, AVI and job names become exactly one path segment each; a name that could not is
refused before a path is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gavip_api.errors import InvalidInput
from gavip_api.slugs import check_id, check_slug, folder_name

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")


def split_ref(avi: str) -> tuple[str, str]:
    """Split ``owner/name``.

    Raises
    ------
    InvalidInput
        If it is not two slugs joined by a slash.
    """
    owner, slash, name = avi.partition("/")
    if not slash:
        raise InvalidInput(f"{avi[:80]!r} does not name an AVI.", hint="Write owner/name.")
    return check_slug(owner, "AVI owner"), check_slug(name, "AVI name")


@dataclass(frozen=True)
class StateLayout:
    """Where things are.

    Parameters
    ----------
    root : Path
        The state folder, absolute.
    """

    root: Path

    def __post_init__(self) -> None:
        if not self.root.is_absolute():
            raise ValueError(f"the state folder must be absolute, not {self.root}")

    @property
    def userspaces(self) -> Path:
        """Folder of all user-spaces."""
        return self.root / "userspace"

    @property
    def repositories(self) -> Path:
        """Folder of the bare Git repositories."""
        return self.root / "repositories"

    @property
    def releases(self) -> Path:
        """Folder of the read-only exports."""
        return self.root / "releases"

    @property
    def plane(self) -> Path:
        """Folder of the process back-end."""
        return self.root / "plane"

    @property
    def archive(self) -> Path:
        """Folder of the embedded archive."""
        return self.root / "archive"

    @property
    def run(self) -> Path:
        """Folder of databases, secrets and logs of the services."""
        return self.root / "run"

    @property
    def disks(self) -> Path:
        """Folder of the users' disk images."""
        return self.root / "disks"

    def disk(self, user: str) -> Path:
        """Folder of one user's disk images."""
        return self.disks / folder_name(user)

    def userspace(self, user: str) -> Path:
        """Folder of one user's persistent files."""
        return self.userspaces / folder_name(user)

    @property
    def homes(self) -> Path:
        """Folder of all HOMEs."""
        return self.root / "homes"

    def home(self, user: str) -> Path:
        """HOME of a user's Lab; outside the user-space, so that no AVI can read or plant dot-files there."""
        return self.homes / folder_name(user)

    def avi_folder(self, user: str, avi: str) -> Path:
        """Read-write folder of one AVI in a user's user-space."""
        owner, name = split_ref(avi)
        return self.userspace(user) / "avis" / f"{owner}.{name}"

    def product_name(self, pipeline: str, job_id: str, created: datetime) -> str:
        """Folder name of a job's data product: pipeline, UTC time and the end of the job's id, readable and unique."""
        check_slug(pipeline, "pipeline name")
        return f"{pipeline}-{created:%Y%m%dT%H%M%SZ}-{check_id(job_id)[-8:]}"

    def product(self, user: str, avi: str, pipeline: str, job_id: str, created: datetime) -> Path:
        """Folder into which a job writes its data product."""
        return self.avi_folder(user, avi) / self.product_name(pipeline, job_id, created)

    def repository(self, owner: str, name: str) -> Path:
        """Bare Git repository of a project."""
        return (
            self.repositories
            / check_slug(owner, "AVI owner")
            / f"{check_slug(name, 'AVI name')}.git"
        )

    def release(self, sha: str) -> Path:
        """Read-only export of one commit, shared by all projects that have it."""
        if not _SHA.match(sha):
            raise InvalidInput(f"{sha[:80]!r} is not a full Git commit id.")
        return self.releases / sha
