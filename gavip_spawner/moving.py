"""Moves a folder of a user's into a disk: copies it, and later removes what the copy verifiably has.

Invariants: everything is opened relative to its opened parent and no symbolic link is followed, so that
whoever still writes there cannot have the platform read or remove anything elsewhere; nothing is removed
whose copy has not the same kind, size and time of change.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_BLOCK = 4096
_CHUNK = 1 << 20
MAX_DEPTH = 128
"""Deeper folders are refused: each level holds descriptors of the platform's process."""


@dataclass
class Measure:
    """How much a folder holds; sockets, pipes and devices do not count, for they are not copied.

    Attributes
    ----------
    size : int
        Bytes that its copy takes in whole blocks, holes left out.
    entries : int
        Files, folders and links.
    """

    size: int = 0
    entries: int = 0


def measure(folder: int, depth: int = 0) -> Measure:
    """Return how much an opened folder holds."""
    found = Measure()
    for name, about in _entries(folder, depth):
        if not _copied(about):
            continue
        found.entries += 1
        # a hole takes no block, on the old disk as on the new one
        found.size += max(_BLOCK, min(about.st_blocks * 512, about.st_size + _BLOCK))
        if stat.S_ISDIR(about.st_mode):
            with _opened(name, folder) as inner:
                below = measure(inner.fd, depth + 1)
            found.size += below.size
            found.entries += below.entries
    return found


def empty(folder: int, depth: int = 0) -> bool:
    """Whether an opened folder holds nothing but empty folders."""
    for name, about in _entries(folder, depth):
        if not stat.S_ISDIR(about.st_mode):
            return False
        with _opened(name, folder) as inner:
            if not empty(inner.fd, depth + 1):
                return False
    return True


def remove_empty(folder: int, depth: int = 0) -> None:
    """Remove the empty folders in an opened folder; what is not empty stays."""
    for name, about in _entries(folder, depth):
        if stat.S_ISDIR(about.st_mode):
            with _opened(name, folder) as inner:
                remove_empty(inner.fd, depth + 1)
            _rmdir(name, folder)


def copy(source: int, target: int, depth: int = 0) -> None:
    """Copy what is in the opened folder `source` into `target`, with owners, modes and times.

    Parameters
    ----------
    source, target : int
        Opened folders. The target belongs to the platform alone.

    Raises
    ------
    OSError
        With ``ENOSPC`` when the target is full.
    """
    for name, about in _entries(source, depth):
        if stat.S_ISDIR(about.st_mode):
            with contextlib.suppress(FileExistsError):  # lost+found of a former disk
                os.mkdir(name, 0o700, dir_fd=target)
            with _opened(name, source) as from_, _opened(name, target) as to:
                copy(from_.fd, to.fd, depth + 1)
                _dress(to.fd, about)
        elif stat.S_ISLNK(about.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, about.st_uid, about.st_gid, dir_fd=target, follow_symlinks=False)
        elif stat.S_ISREG(about.st_mode):
            _copy_file(name, source, target)


def clear_copied(source: int, target: int, depth: int = 0) -> bool:
    """Remove from the opened folder `source` what `target` has as well; return whether nothing is left."""
    left = False
    for name, about in _entries(source, depth):
        try:
            there = os.stat(name, dir_fd=target, follow_symlinks=False)
        except FileNotFoundError:
            left = left or _copied(about)
            continue
        if stat.S_IFMT(there.st_mode) != stat.S_IFMT(about.st_mode):
            left = True
        elif stat.S_ISDIR(about.st_mode):
            with _opened(name, source) as from_, _opened(name, target) as to:
                cleared = clear_copied(from_.fd, to.fd, depth + 1)
            left = not (cleared and _rmdir(name, source)) or left
        elif stat.S_ISLNK(about.st_mode) or _same(about, there):
            os.unlink(name, dir_fd=source)
        else:
            left = True
    return not left


def remove_special(folder: int, depth: int = 0) -> None:
    """Remove the sockets, pipes and devices below an opened folder."""
    for name, about in _entries(folder, depth):
        if stat.S_ISDIR(about.st_mode):
            with _opened(name, folder) as inner:
                remove_special(inner.fd, depth + 1)
        elif not _copied(about):
            os.unlink(name, dir_fd=folder)


class _opened:  # noqa: N801 - a context manager used like a function
    """A folder, opened relative to its parent."""

    def __init__(self, name: str, parent: int) -> None:
        self.fd = os.open(name, _FOLDER, dir_fd=parent)

    def __enter__(self) -> _opened:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)


def _entries(folder: int, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    if depth > MAX_DEPTH:
        raise OSError(errno.ENAMETOOLONG, "Folders are nested too deep")
    for name in os.listdir(folder):
        try:
            yield name, os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue  # removed meanwhile


def _copied(about: os.stat_result) -> bool:
    mode = about.st_mode
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _same(a: os.stat_result, b: os.stat_result) -> bool:
    return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _rmdir(name: str, parent: int) -> bool:
    try:
        os.rmdir(name, dir_fd=parent)
    except OSError as e:
        if e.errno not in {errno.ENOTEMPTY, errno.ENOENT}:
            raise
        return e.errno == errno.ENOENT
    return True


def _dress(fd: int, about: os.stat_result) -> None:
    os.fchown(fd, about.st_uid, about.st_gid)
    os.fchmod(fd, stat.S_IMODE(about.st_mode))
    os.utime(fd, ns=(about.st_atime_ns, about.st_mtime_ns))


def _copy_file(name: str, source: int, target: int) -> None:
    from_ = os.open(name, _FILE, dir_fd=source)
    try:
        about = os.fstat(from_)
        if not stat.S_ISREG(about.st_mode):
            return  # replaced meanwhile
        to = os.open(
            name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target
        )
        try:
            for start, stop in _data(from_, about.st_size):
                _copy_range(from_, to, start, stop)
            os.ftruncate(to, about.st_size)
            _dress(to, about)
        finally:
            os.close(to)
    finally:
        os.close(from_)


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Give the parts of a file that are no holes (lseek(2), SEEK_DATA)."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:
                return  # a hole up to the end
            raise
        at = min(size, os.lseek(fd, start, os.SEEK_HOLE))
        yield start, at
        if at <= start:
            return  # it grew or shrank meanwhile


def _copy_range(from_: int, to: int, start: int, stop: int) -> None:
    while start < stop:
        chunk = os.pread(from_, min(_CHUNK, stop - start), start)
        if not chunk:
            return  # truncated meanwhile
        written = 0
        while written < len(chunk):
            written += os.pwrite(to, chunk[written:], start + written)
        start += len(chunk)
