"""Publishing: from a commit to a release that people can open.

Invariant: a release is stored only when everything about it was checked and its code is exported;
on any fault nothing is.
"""

from __future__ import annotations

import re
from typing import Any

from gavip_api import manifest as manifests
from gavip_api.errors import Conflict, InvalidInput
from gavip_api.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest
from gavip_api.models import Release, View, utcnow
from gavip_api.slugs import new_id
from gavip_portal.git.export import check_tree, export_release
from gavip_portal.git.repository import Repository, TreeEntry
from gavip_portal.storage import catalogue as store
from gavip_portal.storage.tables import ReleaseRow
from gavip_spawner.layout import StateLayout
from gavip_web.database import Database

from .notebooks import make_view, notebook_title, view_notebooks

MAX_NOTEBOOK_BYTES = 8 * 1024 * 1024
MAX_README_BYTES = 128 * 1024

_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\Z")


def check_version(version: str) -> tuple[int, int, int]:
    """Return the parts of a version ``major.minor.patch`` (Semantic Versioning 2.0.0, section 2).

    Raises
    ------
    InvalidInput
        If it is not one.
    """
    match = _VERSION.match(version)
    if not match:
        raise InvalidInput(
            f"{version[:40]!r} is not a version.", hint="Write three numbers, for example 1.2.0."
        )
    major, minor, patch = (int(part) for part in match.groups())
    return major, minor, patch


class Publisher:
    """Makes releases.

    Parameters
    ----------
    database : Database
        The portal's.
    layout : StateLayout
        Where repositories and exports are.
    """

    def __init__(self, database: Database, layout: StateLayout) -> None:
        self._db = database
        self._layout = layout

    def repository(self, owner: str, name: str) -> Repository:
        """Return the repository of a project, which may not exist yet."""
        return Repository(self._layout.repository(owner, name))

    async def publish(
        self,
        owner: str,
        name: str,
        sha: str,
        version: str,
        *,
        public: bool = True,
        notes: str = "",
    ) -> Release:
        """Publish a commit as a release.

        Parameters
        ----------
        owner, name : str
            The project.
        sha : str
            Commit in its repository.
        version : str
            Semantic version, higher than every earlier one.
        public : bool, optional
            Whether everybody may see and use it.
        notes : str, optional
            What is new, for people.

        Raises
        ------
        InvalidInput
            Naming every fault of the manifest and every file it names that is missing.
        Conflict
            If the version is not higher than the last.
        """
        number = check_version(version)
        repository = self.repository(owner, name)
        tree = await repository.tree(sha)
        check_tree(tree)
        files = {entry.path: entry for entry in tree}
        manifest = await _manifest(repository, files, name)
        views = await _views(repository, files, manifest)
        readme = await _readme(repository, files)
        last = await self.latest(owner, name)
        if last is not None and number <= check_version(last.version):
            raise Conflict(
                f"Version {version} does not come after {last.version}.",
                hint="Choose a higher version.",
            )
        await export_release(repository, sha, self._layout.releases)
        await repository.keep(sha, version)
        row = ReleaseRow(
            id=new_id(),
            sha=sha,
            version=version,
            public=public,
            notes=notes,
            created=utcnow(),
            manifest=manifest.model_dump(mode="json", by_alias=True, exclude_none=True),
            views=[view.model_dump(mode="json") for view in views],
            readme=readme,
        )
        await self._db.write(store.add_release, owner, name, row)
        return Release(sha=sha, version=version, created=row.created, public=public, notes=notes)

    async def latest(self, owner: str, name: str) -> ReleaseRow | None:
        """Return the newest release of a project, public or not, or None."""
        rows = await self._db.read(store.releases_of, owner, name)
        return rows[0] if rows else None


async def _manifest(repository: Repository, files: dict[str, TreeEntry], name: str) -> Manifest:
    entry = files.get(MANIFEST_NAME)
    if entry is None:
        raise InvalidInput(
            f"The commit has no {MANIFEST_NAME}.",
            hint="Add one at the top of the repository; the manifest reference describes it.",
        )
    manifest = manifests.load(await repository.read(entry, MAX_MANIFEST_BYTES))
    if manifest.name != name:
        raise InvalidInput(
            f"The manifest's name is {manifest.name!r}, the repository's is {name!r}.",
            hint=f"Write `name: {name}` in {MANIFEST_NAME}.",
        )
    faults = _missing_files(manifest, files)
    if faults:
        raise InvalidInput(
            "\n".join(f"{where}: there is no file {path!r}" for where, path in faults.items()),
            hint="Add the files to the commit or correct the manifest; nothing was stored.",
            detail={where: f"there is no file {path!r}" for where, path in faults.items()},
        )
    return manifest


def _missing_files(manifest: Manifest, files: dict[str, Any]) -> dict[str, str]:
    named: dict[str, str | None] = {
        "interface": manifest.interface,
        "outreach": manifest.outreach,
        "requirements": manifest.requirements,
    }
    for slug, pipeline in manifest.pipelines.items():
        named[f"pipelines.{slug}"] = pipeline.notebook or pipeline.spec
    return {where: path for where, path in named.items() if path is not None and path not in files}


async def _views(
    repository: Repository, files: dict[str, TreeEntry], manifest: Manifest
) -> list[View]:
    views: list[View] = []
    taken: set[str] = set()
    for kind, path in view_notebooks(manifest, frozenset(files)):
        try:
            title = notebook_title(await repository.read(files[path], MAX_NOTEBOOK_BYTES))
        except InvalidInput as e:
            raise InvalidInput(
                f"{path} {e.message}", hint="Open it in JupyterLab and save it again."
            ) from None
        views.append(make_view(kind, path, title, manifest.title, taken))
    return views


async def _readme(repository: Repository, files: dict[str, TreeEntry]) -> str:
    for name in ("README.md", "readme.md", "Readme.md"):
        if name in files:
            raw = await repository.read(files[name], MAX_README_BYTES)
            return raw.decode(errors="replace")
    return ""
