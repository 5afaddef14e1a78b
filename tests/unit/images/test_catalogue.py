"""Which images are built again, and from which roots."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import catalogue
from images.catalogue import (
    FINAL,
    HERE,
    IMAGES,
    ROOT,
    Failed,
    Image,
    chain,
    checked_base,
    digest,
    inputs,
    source_files,
    stale,
    version,
)

BASE = "sha256:" + "0" * 64


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(catalogue, "ROOT", tmp_path)
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    return tmp_path


def fresh_digest(clone: Path, *texts: str) -> str:
    catalogue._content.cache_clear()
    return digest([p for p in clone.rglob("*") if p.is_file()], *texts)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: (c / "a").write_text("3"), id="content"),
        pytest.param(lambda c: (c / "a").rename(c / "c"), id="name"),
        pytest.param(lambda c: (c / "c").write_text(""), id="another file"),
        pytest.param(lambda c: (c / "b").unlink(), id="a file less"),
    ],
)
def test_a_digest_follows_files(clone: Path, change: object) -> None:
    before = fresh_digest(clone)
    assert fresh_digest(clone) == before
    change(clone)  # type: ignore[operator]
    assert fresh_digest(clone) != before


def test_a_digest_follows_texts_and_their_borders(clone: Path) -> None:
    texts = [(), ("",), ("xy",), ("x", "y"), ("y", "x")]
    assert len({fresh_digest(clone, *t) for t in texts}) == len(texts)


def test_a_digest_does_not_follow_the_order_of_files(clone: Path) -> None:
    files = [clone / "a", clone / "b"]
    assert digest(files) == digest(reversed(files))


def test_every_image_has_a_recipe_a_parent_and_its_lock() -> None:
    for image in IMAGES.values():
        recipe = (HERE / image.kind / "Dockerfile").read_text()
        assert "FROM ${PARENT}" in recipe or image.kind == "base"
        assert (image.parent in IMAGES) or image.kind == "base"
        assert bool(image.lock) == (image.kind == "deps")
        assert not image.lock or (HERE / "locks" / f"{image.lock}.in").exists()
        assert bool(image.packages) == (image.kind == "debian")
    assert set(FINAL) == {
        "avi-light", "avi-python", "avi-java", "avi-fortran", "avi-lab", "platform",
    }  # fmt: skip


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_user_code_images_end_as_an_unprivileged_account(image: Image) -> None:
    recipe = (HERE / image.kind / "Dockerfile").read_text()
    last = [line for line in recipe.splitlines() if line.startswith("USER ")][-1]
    assert last == ("USER 0" if image.kind == "platform" else "USER 1000:1000")


def test_no_recipe_hides_a_failure() -> None:
    for recipe in [*HERE.rglob("Dockerfile"), *HERE.rglob("*.sh")]:
        assert "|| true" not in recipe.read_text(), recipe


def test_parents_come_first_and_once() -> None:
    names = [image.name for image in chain(["avi-java", "avi-python"])]
    assert names == [
        "base", "deps-light", "deps-python", "deps-java", "avi-java", "avi-python",
    ]  # fmt: skip
    for image in IMAGES.values():
        assert not image.parent or list(IMAGES).index(image.parent) < list(IMAGES).index(image.name)


def test_the_digest_of_an_image_follows_its_parents() -> None:
    other = "sha256:" + "1" * 64
    for image in IMAGES.values():
        assert inputs(image, BASE) == inputs(image, BASE)
        assert inputs(image, BASE) != inputs(image, other)
    assert len({inputs(image, BASE) for image in IMAGES.values()}) == len(IMAGES)


def built_except(*missing: str) -> tuple[dict[str, str], dict[str, str]]:
    wanted = {name: f"of {name}" for name in IMAGES}
    return {k: v for k, v in wanted.items() if k not in missing}, wanted


@pytest.mark.parametrize(
    ("asked", "missing", "built"),
    [
        pytest.param(FINAL, (), [], id="nothing to do"),
        pytest.param(["avi-light"], ("avi-python",), [], id="not asked for"),
        pytest.param(["avi-light"], ("avi-light",), ["avi-light"], id="only the last layer"),
        pytest.param(FINAL, ("base", "deps-light"), [], id="parents of what is there are not missed"),
        pytest.param(
            ["avi-python"], ("avi-python", "deps-python", "base"), ["deps-python", "avi-python"],
            id="a parent that is there ends the search",
        ),
        pytest.param(
            ["avi-java", "avi-python"], tuple(IMAGES),
            ["base", "deps-light", "deps-python", "deps-java", "avi-python", "avi-java"],
            id="everything, parents first",
        ),
    ],
)  # fmt: skip
def test_only_what_is_missing_is_built(
    asked: list[str], missing: tuple[str, ...], built: list[str]
) -> None:
    present, wanted = built_except(*missing)
    assert [image.name for image in stale(asked, present, wanted)] == built


def test_an_image_made_from_something_else_is_built_again() -> None:
    present, wanted = built_except()
    assert [i.name for i in stale(["avi-lab"], present | {"avi-lab": "old"}, wanted)] == ["avi-lab"]


@pytest.mark.parametrize(
    "reference",
    [BASE, "0f58a3bb15f2", "0" * 64, f"debian@{BASE}", f"registry.example:5000/a/b:12@{BASE}"],
)
def test_pinned_bases_are_taken(reference: str) -> None:
    assert checked_base(reference) == reference


@pytest.mark.parametrize(
    "reference",
    ["debian", "debian:12", "debian:latest", "sha256:0f58", BASE + "\n", "deadbeef", BASE[:-1] + "g"],
)  # fmt: skip
def test_bases_that_may_move_are_refused(reference: str) -> None:
    with pytest.raises(Failed, match="Name it by digest"):
        checked_base(reference)


def test_the_wheel_is_made_from_sources_only() -> None:
    names = {p.relative_to(ROOT).as_posix() for p in source_files()}
    assert {"setup.cfg", "gavip_api/__init__.py", "hub_config/jupyterhub_config.py"} <= names
    tops = {name.split("/")[0] for name in names}
    assert not tops & {".git", ".gavip", "tests", "docs", "images", "examples", "build"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_version_is_the_packages_own() -> None:
    from gavip_api import __version__

    assert version() == __version__
