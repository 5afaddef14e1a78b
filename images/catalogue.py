"""Which images there are, what each is made from, and the digest of that.

Pure but for reading the clone. Invariants: an image's digest changes when anything it is made from
changes, its parents included, and when nothing else does; parents come before their children.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
_PINNED = re.compile(r"(?:.+@)?sha256:[0-9a-f]{64}\Z|[0-9a-f]{12,64}\Z")
# what GAVIP's wheel is made from
SOURCES = (
    "setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "gavip_*", "jobqueue", "avi",
    "avi_kernelspec", "hub_config", "voila_templates",
)  # fmt: skip
PLATFORM_PACKAGES = "git iptables e2fsprogs mount procps util-linux"


class Failed(Exception):
    """Building cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Image:
    """One image.

    Parameters
    ----------
    name : str
        Tagged ``gavip/<name>``.
    kind : str
        Folder of its Dockerfile.
    parent : str
        Image it is made from; empty for the root.
    lock : str
        Name of the lock file, for kind ``deps``.
    packages : str
        Debian packages, for kind ``debian``.
    scratch : str
        Folder of temporary files, for kind ``app``.
    """

    name: str
    kind: str
    parent: str = ""
    lock: str = ""
    packages: str = ""
    scratch: str = "/tmp"  # noqa: S108 - inside


IMAGES = {
    image.name: image
    for image in (
        Image("base", "base"),
        Image("deps-light", "deps", "base", lock="light"),
        Image("deps-python", "deps", "deps-light", lock="python"),
        Image("deps-java", "debian", "deps-python", packages="default-jdk-headless"),
        Image("deps-fortran", "debian", "deps-python", packages="gfortran gcc libc6-dev libpython3-dev"),
        Image("deps-lab", "deps", "deps-light", lock="lab"),
        Image("deps-hub", "deps", "base", lock="hub"),
        Image("deps-system", "debian", "deps-hub", packages=PLATFORM_PACKAGES),
        Image("deps-proxy", "proxy", "deps-system"),
        Image("avi-light", "app", "deps-light"),
        Image("avi-python", "app", "deps-python"),
        Image("avi-java", "app", "deps-java"),
        # f2py runs what it compiled, which /tmp of user code forbids and HOME allows
        Image("avi-fortran", "app", "deps-fortran", scratch="/home/avi"),
        Image("avi-lab", "app", "deps-lab"),
        Image("platform", "platform", "deps-proxy"),
    )
}  # fmt: skip
FINAL = tuple(
    image.name for image in IMAGES.values() if image.name != "base" and image.kind in {"app", "platform"}
)  # fmt: skip


def digest(paths: Iterable[Path], *texts: str) -> str:
    """Return one digest of files below the clone (names and content) and of texts."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(ROOT)}\0".encode())
        total.update(_content(path))
    for text in texts:
        total.update(f"\0{text}".encode())
    return total.hexdigest()


@cache
def _content(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


@cache
def source_files() -> tuple[Path, ...]:
    """Return the files that GAVIP's wheel is made from."""
    found: list[Path] = []
    for pattern in SOURCES:
        for top in ROOT.glob(pattern):
            found += [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]
    return tuple(p for p in found if not {"__pycache__", "node_modules"}.intersection(p.parts))


@cache
def example_files() -> tuple[Path, ...]:
    """Return the files of the example AVIs."""
    found = (ROOT / "examples").rglob("*")
    return tuple(p for p in found if p.is_file() and "__pycache__" not in p.parts)


def inputs(image: Image, base_image: str) -> str:
    """Return the digest of everything `image` is made from."""
    files = [p for p in (HERE / image.kind).rglob("*") if p.is_file()]
    if image.lock:
        files.append(HERE / "locks" / f"{image.lock}.lock")
    if image.kind in {"app", "platform"}:
        files += source_files()
    if image.kind == "platform":
        files += example_files()
    parent = inputs(IMAGES[image.parent], base_image) if image.parent else base_image
    told = (image.scratch,) if image.kind == "app" else ()
    return digest(files, parent, image.packages, *told)


def chain(names: Iterable[str]) -> list[Image]:
    """Return images with their parents, parents first."""
    found: dict[str, Image] = {}

    def add(name: str) -> None:
        image = IMAGES[name]
        if image.parent:
            add(image.parent)
        found.setdefault(name, image)

    for name in names:
        add(name)
    return list(found.values())


def stale(
    names: Iterable[str], present: Mapping[str, str], wanted: Mapping[str, str]
) -> list[Image]:
    """Return what must be built for `names`, parents first.

    A parent is built only for a child that must be: an image that is as it should be needs none.

    Parameters
    ----------
    names : iterable of str
    present, wanted : mapping of str to str
        Digest by name: of what the engine has, and of what the clone says.
    """
    needed: set[str] = set()
    for name in names:
        image = IMAGES[name]
        while present.get(image.name) != wanted[image.name]:
            needed.add(image.name)
            if not image.parent:
                break
            image = IMAGES[image.parent]
    return [image for image in IMAGES.values() if image.name in needed]


def checked_base(reference: str) -> str:
    """Return `reference` when it cannot come to mean another image.

    Raises
    ------
    Failed
        If it is a tag.
    """
    if not _PINNED.match(reference):
        raise Failed(
            f"BASE_IMAGE={reference[:200]} is a tag, which may mean another image tomorrow.\n"
            "Name it by digest: docker image inspect --format '{{index .RepoDigests 0}}' "
            + reference[:200]
        )
    return reference


def version() -> str:
    """Return GAVIP's version without importing it."""
    text = (ROOT / "gavip_api" / "__init__.py").read_text()
    found = re.search(r'__version__ = "([^"]+)"', text)
    if found is None:
        raise Failed("gavip_api has no version")
    return found[1]
