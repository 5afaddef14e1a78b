"""Projects and releases in the database. Functions run inside a transaction of :class:`gavip_web.database.Database`."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from gavip_api.errors import Conflict
from gavip_api.models import utcnow
from gavip_api.slugs import new_id

from .tables import Project, ReleaseRow


def find_project(session: Session, owner: str, name: str) -> Project | None:
    """Return a project, or None."""
    return session.scalar(select(Project).where(Project.owner == owner, Project.name == name))


def releases_of(session: Session, owner: str, name: str) -> list[ReleaseRow]:
    """Return the releases of a project, newest first."""
    query = (
        select(ReleaseRow)
        .join(ReleaseRow.project)
        .where(Project.owner == owner, Project.name == name)
        .order_by(ReleaseRow.created.desc(), ReleaseRow.id.desc())
    )
    return list(session.scalars(query))


def current_releases(session: Session) -> list[ReleaseRow]:
    """Return the newest public release of every project, by title order of the caller."""
    ranked = (
        select(
            ReleaseRow.id,
            func.row_number()
            .over(
                partition_by=ReleaseRow.project_id,
                order_by=(ReleaseRow.created.desc(), ReleaseRow.id.desc()),
            )
            .label("rank"),
        )
        .where(ReleaseRow.public)
        .subquery()
    )
    query = select(ReleaseRow).join(ranked, ranked.c.id == ReleaseRow.id).where(ranked.c.rank == 1)
    return list(session.scalars(query))


def find_release(
    session: Session, owner: str, name: str, sha: str | None = None
) -> ReleaseRow | None:
    """Return the newest public release, or the newest of one commit.

    A release that is not public is found neither way: people may not learn that it exists.
    """
    for row in releases_of(session, owner, name):
        if row.public and (sha is None or row.sha == sha):
            return row
    return None


def add_release(session: Session, owner: str, name: str, release: ReleaseRow) -> ReleaseRow:
    """Store a release, and its project if it is the first.

    Raises
    ------
    Conflict
        If the project has a release of that version.
    """
    project = find_project(session, owner, name)
    if project is None:
        project = Project(id=new_id(), owner=owner, name=name, created=utcnow())
        session.add(project)
        session.flush()
    taken = session.scalar(
        select(ReleaseRow.sha).where(
            ReleaseRow.project_id == project.id, ReleaseRow.version == release.version
        )
    )
    if taken is not None:
        raise Conflict(
            f"{owner}/{name} has a release {release.version} already (commit {taken[:12]}).",
            hint="Choose a higher version.",
        )
    release.project = project
    session.add(release)
    return release
