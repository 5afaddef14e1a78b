"""One bare repository: what is in a commit, its files, and new commits made from a folder.

Invariant: there is never a work tree; files are read as objects by their id and with a size limit.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gavip_api.errors import InvalidInput, NotFound, TooLarge

from .command import run_git

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")

REGULAR = "100644"
EXECUTABLE = "100755"
_SYMLINK = "120000"
_SUBMODULE = "160000"

_FIXED_IDENTITY = {
    "GIT_AUTHOR_NAME": "GAVIP",
    "GIT_AUTHOR_EMAIL": "gavip@localhost",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "GAVIP",
    "GIT_COMMITTER_EMAIL": "gavip@localhost",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}

_JUNK_FOLDERS = frozenset({"__pycache__", "node_modules"})


def check_sha(text: str) -> str:
    """Return `text` when it is a full object id (SHA-1 or SHA-256, lower-case hexadecimal).

    Raises
    ------
    InvalidInput
        If it is not; abbreviations and revision expressions are refused.
    """
    if not _SHA.match(text):
        raise InvalidInput(
            f"{text[:80]!r} is not a commit id.", hint="Give all 40 hexadecimal digits."
        )
    return text


@dataclass(frozen=True)
class TreeEntry:
    """One file of a commit."""

    path: str
    mode: str
    object_id: str
    size: int

    @property
    def is_plain_file(self) -> bool:
        """Whether it is a regular file, not a symbolic link or a submodule."""
        return self.mode in {REGULAR, EXECUTABLE}

    @property
    def kind(self) -> str:
        """What people call it."""
        return {_SYMLINK: "symbolic link", _SUBMODULE: "submodule"}.get(self.mode, "file")


class Repository:
    """A bare Git repository.

    Parameters
    ----------
    path : Path
        Its folder, below the state's ``repositories``; made by :meth:`ensure`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    async def ensure(self) -> None:
        """Create the repository when it is missing; idempotent."""
        if await asyncio.to_thread((self.path / "HEAD").is_file):
            return
        await asyncio.to_thread(self.path.mkdir, mode=0o700, parents=True, exist_ok=True)
        # an empty template keeps sample hooks of the installation out of the repository
        await run_git(
            self.path, ["init", "--bare", "--quiet", "--template=", "--initial-branch=main"]
        )

    async def tree(self, sha: str) -> tuple[TreeEntry, ...]:
        """Return every file of a commit, with sizes in bytes.

        Raises
        ------
        NotFound
            If the commit is not in the repository.
        """
        await self._require_commit(sha)
        raw = await run_git(self.path, ["ls-tree", "-r", "-l", "-z", "--full-tree", sha, "--"])
        entries = []
        for line in raw.split(b"\0"):
            if not line:
                continue
            head, _, name = line.partition(b"\t")
            mode, _kind, object_id, size = head.split()
            try:
                path = name.decode()
            except UnicodeDecodeError:
                raise InvalidInput(
                    f"The file name {name!r} is not UTF-8.", hint="Rename the file and commit."
                ) from None
            entries.append(
                TreeEntry(path, mode.decode(), object_id.decode(), 0 if size == b"-" else int(size))
            )
        return tuple(entries)

    async def read(self, entry: TreeEntry, limit: int) -> bytes:
        """Return the content of a file of a commit.

        Raises
        ------
        TooLarge
            If it has more than `limit` bytes.
        """
        if entry.size > limit:
            raise TooLarge(f"{entry.path} is larger than {limit // 1024} KiB.")
        return await run_git(
            self.path, ["cat-file", "blob", check_sha(entry.object_id)], limit=limit
        )

    async def archive(self, sha: str, limit: int) -> bytes:
        """Return a commit's files as an uncompressed tar archive of at most `limit` bytes."""
        await self._require_commit(sha)
        return await run_git(self.path, ["archive", "--format=tar", sha, "--"], limit=limit)

    async def commit_folder(self, folder: Path, message: str) -> str:
        """Commit the regular files of a folder; the same content always gives the same id.

        Parameters
        ----------
        folder : Path
            A folder of the operator's; symbolic links, hidden files and caches in it are left out.
        message : str
            Message of the commit. Author, committer and dates are fixed, and there is no parent.

        Returns
        -------
        str
            Id of the commit; ``refs/heads/main`` points at it.
        """
        await self.ensure()
        files = await asyncio.to_thread(_regular_files, folder)
        if not files:
            raise InvalidInput(f"{folder.name} holds no files.")
        ids = await run_git(
            self.path,
            ["hash-object", "-w", "--no-filters", "--stdin-paths"],
            stdin="".join(f"{path}\n" for _, path, _ in files).encode(),
        )
        index_info = b"".join(
            f"{mode} {object_id}\t{name}".encode() + b"\0"
            for (name, _, mode), object_id in zip(files, ids.decode().split(), strict=True)
        )
        with tempfile.TemporaryDirectory(prefix="gavip-index-") as scratch:
            index = {"GIT_INDEX_FILE": os.path.join(scratch, "index")}
            await run_git(
                self.path, ["update-index", "-z", "--index-info"], stdin=index_info, env=index
            )
            tree = (await run_git(self.path, ["write-tree"], env=index)).decode().strip()
        commit = await run_git(
            self.path,
            ["commit-tree", "--no-gpg-sign", tree],
            stdin=message.encode(),
            env=_FIXED_IDENTITY,
        )
        sha = check_sha(commit.decode().strip())
        await run_git(self.path, ["update-ref", "--", "refs/heads/main", sha])
        return sha

    async def keep(self, sha: str, version: str) -> None:
        """Tag a released commit so that no clean-up of the repository ever removes it; idempotent."""
        await run_git(
            self.path, ["update-ref", "--", f"refs/gavip/releases/{version}", check_sha(sha)]
        )

    async def _require_commit(self, sha: str) -> None:
        check_sha(sha)
        answer = await run_git(self.path, ["cat-file", "--batch-check"], stdin=f"{sha}\n".encode())
        if answer.split()[1:2] != [b"commit"]:
            raise NotFound(
                f"There is no commit {sha[:12]} in this repository.", hint="Push it first."
            )


def _regular_files(folder: Path) -> list[tuple[str, str, str]]:
    """Return ``(name, absolute path, mode)`` of the regular files below `folder`, sorted, without junk."""
    found = []
    for base, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(d for d in folders if d not in _JUNK_FOLDERS and not d.startswith("."))
        for name in names:
            path = Path(base, name)
            if name.startswith(".") or name.endswith((".pyc", "~")) or path.is_symlink():
                continue
            if "\n" in str(path) or not path.is_file():
                continue
            mode = EXECUTABLE if os.access(path, os.X_OK) else REGULAR
            found.append((path.relative_to(folder).as_posix(), str(path.absolute()), mode))
    return sorted(found)
