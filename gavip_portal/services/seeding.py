"""Seeds the catalogue with the example AVIs that ship with the platform.

Invariant: idempotent. The same content gives the same commit, and a release is added only when the content changed.
"""

from __future__ import annotations

import asyncio
import glob
import logging
from collections.abc import Iterable
from pathlib import Path

from gavip_api.errors import GavipError
from gavip_api.manifest import MANIFEST_NAME
from gavip_api.slugs import check_slug

from .publishing import Publisher, check_version

log = logging.getLogger("gavip.portal.seeding")

SEED_OWNER = "gavip"


def seed_folders(patterns: Iterable[str]) -> list[Path]:
    """Return the folders that hold a manifest among those that match `patterns`, in order."""
    found = {Path(match) for pattern in patterns for match in glob.glob(pattern)}
    return sorted(folder for folder in found if (folder / MANIFEST_NAME).is_file())


async def seed(publisher: Publisher, patterns: Iterable[str]) -> list[str]:
    """Publish each example whose content changed; a faulty one is reported and skipped.

    Parameters
    ----------
    publisher : Publisher
        Who publishes.
    patterns : iterable of str
        Folders or glob patterns of folders.

    Returns
    -------
    list of str
        ``name version`` of what was published.
    """
    published = []
    for folder in await asyncio.to_thread(seed_folders, patterns):
        try:
            version = await _seed_one(publisher, folder)
        except GavipError as e:
            log.error("example %s not published: %s %s", folder.name, e.message, e.hint or "")
            continue
        if version:
            log.info("published example %s/%s %s", SEED_OWNER, folder.name, version)
            published.append(f"{folder.name} {version}")
    return published


async def _seed_one(publisher: Publisher, folder: Path) -> str | None:
    name = check_slug(folder.name, "AVI name")
    repository = publisher.repository(SEED_OWNER, name)
    sha = await repository.commit_folder(folder, f"Example AVI {name}\n")
    last = await publisher.latest(SEED_OWNER, name)
    if last is not None and last.sha == sha:
        return None
    if last is None:
        version = "1.0.0"
    else:
        major, minor, patch = check_version(last.version)
        version = f"{major}.{minor}.{patch + 1}"
    await publisher.publish(SEED_OWNER, name, sha, version, notes="Shipped with the platform.")
    return version
