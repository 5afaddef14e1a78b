"""Exports commits as read-only folders named by their content.

Invariants: ``releases/<sha>`` is complete when it exists (written aside, then renamed), never
changes, and holds regular files and folders only; how many and how large is checked before
anything is written.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from gavip_api.errors import InvalidInput, TooLarge

from .repository import Repository, TreeEntry, check_sha

MAX_FILES = 10_000
MAX_BYTES = 128 * 1024 * 1024

_TAR_OVERHEAD = 4 * 1024  # header, possible pax header and padding of one member


def check_tree(entries: tuple[TreeEntry, ...]) -> None:
    """Check that a commit may be exported.

    Raises
    ------
    InvalidInput
        If it holds a symbolic link, a submodule or a name that leaves the folder.
    TooLarge
        If it has more than :data:`MAX_FILES` files or :data:`MAX_BYTES` bytes.
    """
    if len(entries) > MAX_FILES:
        raise TooLarge(f"The commit has {len(entries)} files; at most {MAX_FILES} are allowed.")
    for entry in entries:
        if not entry.is_plain_file:
            raise InvalidInput(
                f"{entry.path} is a {entry.kind}.",
                hint="A release may hold regular files only: replace it by a file and commit.",
            )
        _check_name(entry.path)
    total = sum(e.size for e in entries)
    if total > MAX_BYTES:
        raise TooLarge(
            f"The commit has {total >> 20} MiB; at most {MAX_BYTES >> 20} MiB are allowed.",
            hint="Keep data out of the repository: read it from the archive or the user-space.",
        )


def _check_name(name: str) -> None:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or ".git" in (p.lower() for p in parts):
        raise InvalidInput(f"The file name {name!r} is not allowed in a release.")


async def export_release(repository: Repository, sha: str, releases: Path) -> Path:
    """Make ``releases/<sha>`` from a commit, or return it when it exists.

    Parameters
    ----------
    repository : Repository
        Where the commit is.
    sha : str
        Id of the commit.
    releases : Path
        Parent of all exports.
    """
    target = releases / check_sha(sha)
    if await asyncio.to_thread(target.is_dir):
        return target
    entries = await repository.tree(sha)
    check_tree(entries)
    limit = sum(e.size for e in entries) + _TAR_OVERHEAD * (len(entries) + 10) * 2
    archive = await repository.archive(sha, limit)
    await asyncio.to_thread(_unpack, archive, target)
    return target


def _unpack(archive: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # beside its final place, so that the rename is atomic and needs no right on the read-only folder itself
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            members = tar.getmembers()
            for member in members:
                _check_name(member.name)
                if not (member.isreg() or member.isdir()):
                    raise InvalidInput(f"{member.name} is neither a file nor a folder.")
            if hasattr(tarfile, "data_filter"):
                tar.extractall(aside, members, filter="data")
            else:  # Python 3.10 before .12; names and kinds are checked above
                tar.extractall(aside, members)  # noqa: S202
        _make_read_only(aside)
        try:
            aside.rename(target)
        except OSError:
            # another export of the same commit won; the content is the same by definition
            if not target.is_dir():
                raise
    finally:
        if aside.exists():
            _make_writable(aside)
            shutil.rmtree(aside)


def _make_read_only(root: Path) -> None:
    for base, _folders, names in os.walk(root, topdown=False):
        for name in names:
            path = os.path.join(base, name)
            mode = 0o555 if os.stat(path).st_mode & 0o100 else 0o444
            os.chmod(path, mode)
        os.chmod(base, 0o555)  # noqa: S103 - nobody may write, everybody may read what is public


def _make_writable(root: Path) -> None:
    os.chmod(root, 0o700)
    for base, folders, _names in os.walk(root):
        for name in folders:
            os.chmod(os.path.join(base, name), 0o700)
