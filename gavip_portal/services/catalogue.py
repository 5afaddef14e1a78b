"""The catalogue: which AVIs there are and what their releases hold.

Invariant: people learn of public releases only; what is shown was validated when it was published.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass

from gavip_api.errors import InvalidInput, NotFound
from gavip_api.manifest import Manifest
from gavip_api.models import Avi, AviSummary, Release, View
from gavip_portal.storage import catalogue as store
from gavip_portal.storage.tables import ReleaseRow
from gavip_spawner.layout import split_ref
from gavip_web.database import Database


@dataclass(frozen=True)
class ResolvedRelease:
    """A release with its manifest and views, ready to run something of it."""

    avi: str
    sha: str
    version: str
    manifest: Manifest
    views: tuple[View, ...]

    def view(self, name: str | None) -> View:
        """Return a view by name; None means the first, which is the interface when there is one.

        Raises
        ------
        NotFound
            If the release has no such view.
        InvalidInput
            If it has none at all.
        """
        if not self.views:
            raise InvalidInput(
                f"{self.manifest.title} has no interface.", hint="Run one of its pipelines instead."
            )
        if name is None:
            return self.views[0]
        for view in self.views:
            if view.name == name:
                return view
        raise NotFound(
            f"{self.manifest.title} has no view {name!r}.",
            hint="It has: " + ", ".join(v.name for v in self.views) + ".",
        )


class Catalogue:
    """Read access to the published AVIs.

    Parameters
    ----------
    database : Database
        The portal's.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    async def list(self) -> list[AviSummary]:
        """Return every AVI that has a public release, by title."""
        rows = await self._db.read(store.current_releases)
        return sorted((_summary(row) for row in rows), key=lambda a: (a.title.casefold(), a.ref))

    async def show(self, owner: str, name: str) -> Avi:
        """Return one AVI.

        Raises
        ------
        NotFound
            If there is none with a public release.
        """
        row = await self._release(f"{owner}/{name}", None)
        manifest = Manifest.model_validate(row.manifest)
        return Avi(
            **_summary(row).model_dump(),
            readme=row.readme,
            license=manifest.license,
            permissions=manifest.permissions,
            views=tuple(View.model_validate(v) for v in row.views),
            pipelines=manifest.pipelines,
        )

    async def releases(self, owner: str, name: str) -> builtins.list[Release]:
        """Return the public releases of an AVI, newest first.

        Raises
        ------
        NotFound
            If it has none.
        """
        _check_ref(f"{owner}/{name}")
        rows = await self._db.read(store.releases_of, owner, name)
        found = [_release(row) for row in rows if row.public]
        if not found:
            raise _no_avi(f"{owner}/{name}")
        return found

    async def resolve(self, avi: str, sha: str | None = None) -> ResolvedRelease:
        """Return the release to run: the given commit's, or the current one.

        Raises
        ------
        NotFound
            If there is no such public release.
        """
        row = await self._release(avi, sha)
        return ResolvedRelease(
            avi=avi,
            sha=row.sha,
            version=row.version,
            manifest=Manifest.model_validate(row.manifest),
            views=tuple(View.model_validate(v) for v in row.views),
        )

    async def _release(self, avi: str, sha: str | None) -> ReleaseRow:
        owner, name = _check_ref(avi)
        row = await self._db.read(store.find_release, owner, name, sha)
        if row is None:
            raise _no_avi(avi, sha)
        return row


def _check_ref(avi: str) -> tuple[str, str]:
    try:
        return split_ref(avi)
    except InvalidInput:
        raise _no_avi(avi) from None


def _no_avi(avi: str, sha: str | None = None) -> NotFound:
    what = f"release {sha[:12]} of {avi[:80]}" if sha else f"AVI {avi[:80]}"
    return NotFound(f"There is no {what}.", hint="Look for it in the catalogue.")


def _release(row: ReleaseRow) -> Release:
    return Release(
        sha=row.sha, version=row.version, created=row.created, public=row.public, notes=row.notes
    )


def _summary(row: ReleaseRow) -> AviSummary:
    manifest = Manifest.model_validate(row.manifest)
    return AviSummary(
        owner=row.project.owner,
        name=row.project.name,
        title=manifest.title,
        description=manifest.description,
        authors=manifest.authors,
        keywords=manifest.keywords,
        template=manifest.template,
        release=_release(row),
    )
