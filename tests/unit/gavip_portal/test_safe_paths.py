"""Opening beneath a root, with links, races and any name."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gavip_api.errors import BadRequest, GavipError, InvalidInput, NotFound
from gavip_portal.safe_paths import open_file, open_folder, split_path
from gavip_portal.services.userspace import UserSpaces, raster_type


def read(root: Path, path: str) -> bytes:
    fd = open_file(root, path)
    try:
        return os.read(fd, 1000)
    finally:
        os.close(fd)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "f.txt").write_text("mine")
    (tmp_path / "secret").write_text("secret")
    (root / "file-link").symlink_to("../secret")
    (root / "folder-link").symlink_to("..")
    os.mkfifo(root / "fifo")
    return root


def test_reads_a_file(root: Path) -> None:
    assert read(root, "a/b/f.txt") == b"mine"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("../secret", BadRequest, id="parent"),
        pytest.param("a/../../secret", BadRequest, id="inner parent"),
        pytest.param("/etc/passwd", BadRequest, id="absolute"),
        pytest.param("a//b/f.txt", BadRequest, id="empty part"),
        pytest.param("a/./b", BadRequest, id="dot"),
        pytest.param("a\0b", BadRequest, id="nul"),
        pytest.param("x" * 256, BadRequest, id="long name"),
        pytest.param("/".join("x" * 65), BadRequest, id="deep"),
        pytest.param("\udcff", BadRequest, id="lone surrogate"),
        pytest.param("file-link", InvalidInput, id="link to a file"),
        pytest.param("folder-link/secret", InvalidInput, id="link to a folder"),
        pytest.param("fifo", InvalidInput, id="fifo"),
        pytest.param("a/b", InvalidInput, id="folder"),
        pytest.param("", InvalidInput, id="root"),
        pytest.param("missing", NotFound, id="missing"),
        pytest.param("a/b/f.txt/x", NotFound, id="below a file"),
    ],
)
def test_refuses(root: Path, path: str, error: type[GavipError]) -> None:
    with pytest.raises(error):
        read(root, path)


def test_root_itself_may_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(GavipError), open_folder(tmp_path / "link", ""):
        pass


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(max_size=300),
        st.lists(
            st.sampled_from(["..", ".", "", "a", "b", "folder-link", "~", "\\", "%2e%2e"])
        ).map("/".join),
    )
)
def test_any_path_stays_inside_or_is_refused(root: Path, path: str) -> None:
    try:
        content = read(root, path)
    except GavipError:
        return
    assert content == b"mine"


def test_split_path_round_trips() -> None:
    assert split_path("a/b c/d\\e/") == ("a", "b c", "d\\e")
    assert split_path("") == ()


def test_no_leak_while_names_change(root: Path, tmp_path: Path) -> None:
    """A folder is swapped with a link to the outside as fast as possible; what is read is always the user's own."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f.txt").write_text("secret")
    (root / "real").mkdir()
    (root / "real" / "f.txt").write_text("mine")
    stop = threading.Event()

    def swap() -> None:
        os.symlink(outside, root / "evil")
        os.rename(root / "real", root / "x")
        while not stop.is_set():
            os.rename(root / "evil", root / "door")
            os.rename(root / "door", root / "evil")
            os.rename(root / "x", root / "door")
            os.rename(root / "door", root / "x")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(5000):
            try:
                seen.add(read(root, "door/f.txt"))
            except GavipError:
                continue
    finally:
        stop.set()
        thread.join()
    assert seen == {b"mine"}


async def test_listing_shows_links_as_other_and_odd_names_as_text(root: Path) -> None:
    (root / "line\nbreak").write_text("x")
    os.close(os.open(os.fsencode(root) + b"/\xff.txt", os.O_CREAT | os.O_WRONLY))
    listing = await UserSpaces(lambda user: root).list("ada", "")
    kinds = {e.name: e.kind for e in listing.entries}
    assert kinds == {
        "a": "folder",
        "fifo": "other",
        "file-link": "other",
        "folder-link": "other",
        "line\nbreak": "file",
        "\\xff.txt": "other",
    }
    assert listing.entries[0].name == "a"
    listing.model_dump_json()


async def test_user_without_files_has_an_empty_root(tmp_path: Path) -> None:
    spaces = UserSpaces(lambda user: tmp_path / "nothing")
    assert (await spaces.list("ada", "")).entries == ()
    with pytest.raises(NotFound):
        await spaces.list("ada", "sub")


@pytest.mark.parametrize(
    ("name", "content", "media"),
    [
        pytest.param("x.png", b"\x89PNG\r\n\x1a\nrest", "image/png", id="png"),
        pytest.param("x.JPG", b"\xff\xd8\xff\xe0", "image/jpeg", id="jpeg"),
        pytest.param("x.svg", b"<svg onload=alert(1)>", None, id="svg"),
        pytest.param("x.png", b"<html><script>", None, id="html named png"),
    ],
)
async def test_only_raster_images_are_shown(
    tmp_path: Path, name: str, content: bytes, media: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    file = await UserSpaces(lambda user: tmp_path).open("ada", name)
    try:
        if media is None:
            with pytest.raises(InvalidInput):
                raster_type(file)
        else:
            assert raster_type(file) == media
    finally:
        file.close()
