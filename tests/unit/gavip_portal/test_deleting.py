"""Deleting beneath a root, with links, races, depths and bounds."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from gavip_api.errors import BadRequest, Conflict, Forbidden, GavipError, InvalidInput
from gavip_api.models import Deletion
from gavip_portal.services import deleting
from gavip_portal.services.deleting import delete
from gavip_portal.services.usage import UsageMeter, count, from_disk
from gavip_portal.services.userspace import UserSpaces
from gavip_spawner.disks import DiskUsage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "avis" / "gaia.demo" / "run-1").mkdir(parents=True)
    (root / "avis" / "gaia.demo" / "run-1" / "f").write_text("f")
    (root / "avis" / "note").write_text("a file beside the AVIs' folders")
    (root / "mine" / "deep" / "er").mkdir(parents=True)
    (root / "mine" / "f").write_text("f")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (root / "mine" / "link").symlink_to(tmp_path / "outside")
    (root / "mine" / "deep" / "loop").symlink_to("..")
    os.mkfifo(root / "mine" / "fifo")
    return root


@pytest.mark.parametrize(
    ("path", "removed"),
    [
        pytest.param("mine/f", 1, id="file"),
        pytest.param("mine/link", 1, id="link itself"),
        pytest.param("mine/fifo", 1, id="fifo"),
        pytest.param("mine", 7, id="folder"),
        pytest.param("mine/", 7, id="folder with a slash"),
        pytest.param("avis/gaia.demo/run-1", 2, id="product"),
        pytest.param("avis/note", 1, id="file among the AVIs"),
        pytest.param("missing", 0, id="missing"),
        pytest.param("missing/below", 0, id="below a missing folder"),
        pytest.param("mine/f/below", 0, id="below a file"),
    ],
)
def test_deletes_for_good_and_again(root: Path, path: str, removed: int) -> None:
    assert delete(root, path) == Deletion(removed=removed, done=True)
    assert not os.path.lexists(root / path.rstrip("/"))
    assert delete(root, path) == Deletion(removed=0, done=True)
    assert (root.parent / "outside" / "secret").read_text() == "secret"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("", Forbidden, id="root"),
        pytest.param("avis", Forbidden, id="avis"),
        pytest.param("avis/", Forbidden, id="avis with a slash"),
        pytest.param("avis/gaia.demo", Forbidden, id="folder of an AVI"),
        pytest.param("lost+found", Forbidden, id="the disk's own"),
        pytest.param("../outside", BadRequest, id="parent"),
        pytest.param("mine/../avis", BadRequest, id="inner parent"),
        pytest.param("/etc/passwd", BadRequest, id="absolute"),
        pytest.param("mine/link/secret", InvalidInput, id="through a link"),
    ],
)
def test_refuses(root: Path, path: str, error: type[GavipError]) -> None:
    before = sorted(str(p) for p in root.parent.rglob("*"))
    with pytest.raises(error):
        delete(root, path)
    assert sorted(str(p) for p in root.parent.rglob("*")) == before


def test_bounded_and_continued(root: Path) -> None:
    for i in range(50):
        (root / "mine" / "deep" / str(i)).touch()
    steps = [delete(root, "mine", entries=20)]
    while not steps[-1].done:
        steps.append(delete(root, "mine", entries=20))
        assert len(steps) < 10
    assert all(s.removed <= 20 for s in steps)
    assert sum(s.removed for s in steps) == 57
    assert not (root / "mine").exists()


def test_nested_deeper_than_descriptors_allow(root: Path) -> None:
    here = os.open(root / "mine", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert not count(root).complete
    assert delete(root, "mine").done
    assert not (root / "mine").exists()


def test_folder_swapped_for_a_link_meanwhile(root: Path) -> None:
    """Somebody exchanges folders for links as fast as they can: nothing outside is ever touched."""
    outside = root.parent / "outside"
    stop = threading.Event()

    def swap() -> None:
        folder, link = root / "mine" / "x", root / "mine" / "y"
        while not stop.is_set():
            try:
                (root / "mine").mkdir(exist_ok=True)
                folder.mkdir(exist_ok=True)
                (folder / "secret").touch()
                link.symlink_to(outside)
                link.rename(root / "mine" / "z")
                folder.rename(link)
                (root / "mine" / "z").rename(folder)
                folder.unlink()
            except OSError:
                continue

    other = threading.Thread(target=swap)
    other.start()
    try:
        for _ in range(100):
            try:
                delete(root, "mine", seconds=0.05)
                delete(root, "mine/x", seconds=0.05)
            except (InvalidInput, Conflict):
                continue
    finally:
        stop.set()
        other.join()
    assert (outside / "secret").read_text() == "secret"
    assert outside.is_dir()


def test_what_is_filled_while_it_is_emptied_ends(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleting, "_clear", lambda *args: None)
    with pytest.raises(Conflict, match="keeps writing"):
        delete(root, "mine", seconds=0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may delete what is another's")
def test_files_of_other_accounts(root: Path) -> None:
    (root / "theirs" / "inner").mkdir(parents=True)
    (root / "theirs" / "inner" / "f").touch()
    for path in (root / "theirs" / "inner" / "f", root / "theirs" / "inner", root / "theirs"):
        os.chown(path, 1000, 1000)
        path.chmod(0)
    assert delete(root, "theirs").done


async def test_listing_says_what_may_be_deleted(root: Path) -> None:
    (root / "lost+found").mkdir()
    spaces = UserSpaces(lambda user: root)
    listed = await spaces.list("ada", "")
    assert {e.name: e.deletable for e in listed.entries} == {"avis": False, "mine": True}
    listed = await spaces.list("ada", "avis")
    assert {e.name: e.deletable for e in listed.entries} == {"gaia.demo": False, "note": True}
    (root / os.fsdecode(b"\xff")).touch()
    listed = await spaces.list("ada", "")
    assert [e.deletable for e in listed.entries if e.kind == "other"] == [False]


# -- how full it is --


async def test_counted_remembered_and_counted_again(root: Path) -> None:
    spaces = UserSpaces(lambda user: root)
    first = await spaces.usage("ada")
    assert (first.limit, first.complete, first.entries) == (None, True, 12)
    (root / "big").write_bytes(b"x" * 100_000)
    assert await spaces.usage("ada") == first
    await spaces.delete("ada", "mine/f")
    again = await spaces.usage("ada")
    assert again.entries == 12
    assert again.used > first.used + 90_000


def test_remembered_for_a_while(root: Path) -> None:
    now = [0.0]
    meter = UsageMeter(lambda: now[0])
    first = meter.of(root)
    (root / "new").touch()
    now[0] = 59
    assert meter.of(root) == first
    now[0] = 60
    assert meter.of(root).entries == first.entries + 1


def test_counting_is_bounded(root: Path) -> None:
    found = count(root, entries=3)
    assert (found.entries, found.complete) == (3, False)
    assert not count(root, seconds=0).complete
    assert count(root.parent / "missing").used == 0


@pytest.mark.parametrize(
    ("used", "entries", "level"),
    [
        pytest.param(0, 0, "normal", id="empty"),
        pytest.param(79 << 20, 799, "normal", id="below"),
        pytest.param(80 << 20, 0, "warning", id="bytes"),
        pytest.param(0, 800, "warning", id="entries"),
        pytest.param(100 << 20, 0, "full", id="no byte left"),
        pytest.param(0, 1000, "full", id="no entry left"),
    ],
)
def test_levels(used: int, entries: int, level: str) -> None:
    assert from_disk(DiskUsage(used, 100 << 20, entries, 1000)).level == level
