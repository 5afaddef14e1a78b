"""Build the platform's images: ``python images/build.py [NAME …]``, or ``make images``.

Owns the order of the images and when one is built again: each carries a digest of everything it is
made from (its Dockerfile, its files, its parent's digest), and one whose digest is there is left alone.
Invariants: the root is named by digest or image ID or made here, never by a tag that may move; nothing
of the machine that builds stays in an image but its certificate authorities.

It speaks to the engine through its command line: only ``gavip_spawner`` knows the library.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LABEL = "org.gavip.inputs"
DEBIAN = "bookworm"
MIRROR = "http://deb.debian.org/debian"
ROOT_PACKAGES = "ca-certificates,python3,python3-venv,tini"
_PINNED = re.compile(r"(?:.+@)?sha256:[0-9a-f]{64}\Z|[0-9a-f]{12,64}\Z")
# what GAVIP's wheel is made from
SOURCES = (
    "setup.cfg", "pyproject.toml", "MANIFEST.in", "gavip_*", "jobqueue", "avi", "avi_kernelspec",
    "hub_config", "voila_templates",
)  # fmt: skip


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
    """

    name: str
    kind: str
    parent: str = ""
    lock: str = ""
    packages: str = ""


IMAGES = {
    image.name: image
    for image in (
        Image("base", "base"),
        Image("deps-light", "deps", "base", lock="light"),
        Image("deps-python", "deps", "deps-light", lock="python"),
        Image("deps-java", "debian", "deps-python", packages="openjdk-17-jdk-headless"),
        Image("deps-fortran", "debian", "deps-python", packages="gfortran gcc python3-dev"),
        Image("deps-lab", "deps", "deps-light", lock="lab"),
        Image("avi-light", "app", "deps-light"),
        Image("avi-python", "app", "deps-python"),
        Image("avi-java", "app", "deps-java"),
        Image("avi-fortran", "app", "deps-fortran"),
        Image("avi-lab", "app", "deps-lab"),
    )
}


def docker(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the engine's command line; its output is ours unless captured."""
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    try:
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            ["docker", *argv], check=True, text=True, env=environment, **options
        )
    except FileNotFoundError:
        raise Failed("Docker is not installed. On Debian: apt-get install docker.io") from None
    except subprocess.CalledProcessError as e:
        raise Failed(
            f"`docker {argv[0]}` failed (exit code {e.returncode}).\n{e.stderr or ''}"
        ) from None


def built(reference: str) -> str | None:
    """Return the digest of inputs of an image that the engine has, or None."""
    asked = subprocess.run(
        ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", reference],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if asked.returncode:
        return None
    labels = json.loads(asked.stdout) or {}
    return str(labels.get(LABEL, ""))


def digest(paths: Iterable[Path], *texts: str) -> str:
    """Return one digest of files (names and content) and texts."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(ROOT)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    for text in texts:
        total.update(f"\0{text}".encode())
    return total.hexdigest()


def source_files() -> list[Path]:
    """Return the files that GAVIP's wheel is made from."""
    found: list[Path] = []
    for pattern in SOURCES:
        for top in ROOT.glob(pattern):
            found += [top] if top.is_file() else [p for p in top.rglob("*") if p.is_file()]
    return [p for p in found if "__pycache__" not in p.parts and ".egg-info" not in str(p)]


def inputs(image: Image, base_image: str) -> str:
    """Return the digest of everything `image` is made from."""
    files = [p for p in (HERE / image.kind).rglob("*") if p.is_file()]
    if image.lock:
        files.append(HERE / "locks" / f"{image.lock}.lock")
    if image.kind == "app":
        files += source_files()
    parent = inputs(IMAGES[image.parent], base_image) if image.parent else base_image
    return digest(files, parent, image.packages)


def make_root(folder: Path) -> str:
    """Make a Debian root and return its image ID: for places that reach no registry.

    Raises
    ------
    Failed
        If that is not possible here.
    """
    if os.geteuid() or not shutil.which("debootstrap"):
        raise Failed(
            "No base image was given, and making one takes root and debootstrap.\n"
            "Either: make images BASE_IMAGE=debian@sha256:… (Debian 12 with python3, python3-venv and tini)\n"
            "or, as root: apt-get install debootstrap && make images"
        )
    reference = (
        f"gavip/root:{hashlib.sha256(f'{DEBIAN} {ROOT_PACKAGES}'.encode()).hexdigest()[:12]}"
    )
    if built(reference) is None:
        target = folder / "root"
        log = folder / "debootstrap.log"
        with log.open("wb") as output:
            made = subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={ROOT_PACKAGES}", DEBIAN,
                 str(target), MIRROR],
                stdout=output, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
        if made.returncode:
            raise Failed("debootstrap failed:\n" + "\n".join(log.read_text().splitlines()[-8:]))
        for path in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(target / path, ignore_errors=True)
        tar = subprocess.Popen(["tar", "-C", str(target), "-c", "."], stdout=subprocess.PIPE)
        docker("import", "-", reference, stdin=tar.stdout, stdout=subprocess.DEVNULL)
        if tar.wait():
            raise Failed("The Debian root could not be packed.")
    asked = docker("image", "inspect", "--format", "{{.Id}}", reference, capture_output=True)
    return asked.stdout.strip()


def checked_base(reference: str) -> str:
    """Return `reference` when it cannot come to mean another image.

    Raises
    ------
    Failed
        If it is a tag.
    """
    if not _PINNED.match(reference):
        raise Failed(
            f"BASE_IMAGE={reference} is a tag, which may mean another image tomorrow.\n"
            "Name it by digest: docker image inspect --format '{{index .RepoDigests 0}}' "
            + reference
        )
    return reference


def wheel(folder: Path) -> None:
    """Build GAVIP's wheel into `folder`."""
    made = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if made.returncode:
        raise Failed(f"GAVIP's wheel could not be built:\n{made.stderr[-2000:]}")


def certificates() -> bytes:
    """Return the certificate authorities this machine trusts."""
    file = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file and Path(file).exists() else b""


def build(image: Image, tag: str, base_image: str, wheels: Path) -> None:
    """Build one image whose parent is there."""
    with tempfile.TemporaryDirectory() as context:
        folder = Path(context)
        shutil.copytree(HERE / image.kind, folder, dirs_exist_ok=True)
        if image.kind == "base":
            (folder / "ca.crt").write_bytes(certificates())
        if image.lock:
            shutil.copy(HERE / "locks" / f"{image.lock}.lock", folder / "requirements.lock")
        if image.kind == "app":
            if not list(wheels.glob("*.whl")):
                wheel(wheels)
            for file in wheels.glob("*.whl"):
                shutil.copy(file, folder)
        arguments = {
            "BASE_IMAGE": base_image,
            "PARENT": f"gavip/{image.parent}:{tag}",
            "PACKAGES": image.packages,
        }
        used = {
            k: v for k, v in arguments.items() if f"ARG {k}" in (folder / "Dockerfile").read_text()
        }
        options = [part for k, v in used.items() for part in ("--build-arg", f"{k}={v}")]
        docker(
            "build", "--quiet", "--tag", f"gavip/{image.name}:{tag}",
            "--label", f"{LABEL}={inputs(image, base_image)}",
            "--label", f"org.opencontainers.image.version={tag}",
            "--label", "org.opencontainers.image.title=" + image.name,
            *options, str(folder),
            capture_output=True,
        )  # fmt: skip


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


def version() -> str:
    """Return GAVIP's version without importing it."""
    text = (ROOT / "gavip_api" / "__init__.py").read_text()
    found = re.search(r'__version__ = "([^"]+)"', text)
    if found is None:
        raise Failed("gavip_api has no version")
    return found[1]


def main(argv: list[str] | None = None) -> int:
    """Build what is named, and say how long each took."""
    parser = argparse.ArgumentParser(description="Build GAVIP's images.")
    choices = [name for name in IMAGES if not name.startswith("deps-")]
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(choices)}; default: all"
    )
    parser.add_argument(
        "--base-image", default=os.environ.get("BASE_IMAGE", ""),
        help="Debian root by digest or image ID; default: BASE_IMAGE, else one is made with debootstrap",
    )  # fmt: skip
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(IMAGES)
    if unknown:
        parser.error(f"no such image: {', '.join(sorted(unknown))}")
    tag = version()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            begun = time.monotonic()
            if options.base_image:
                base_image = checked_base(options.base_image)
            else:
                print("  … Debian root", flush=True)
                base_image = make_root(Path(scratch))
                print(f"  ✓ Debian root ({time.monotonic() - begun:.0f} s)", flush=True)
            wheels = Path(scratch) / "wheels"
            wheels.mkdir()
            for image in chain(options.names or choices):
                reference = f"gavip/{image.name}:{tag}"
                if built(reference) == inputs(image, base_image):
                    print(f"  ✓ {reference} is up to date", flush=True)
                    continue
                begun = time.monotonic()
                print(f"  … {reference}", flush=True)
                build(image, tag, base_image, wheels)
                print(f"  ✓ {reference} ({time.monotonic() - begun:.0f} s)", flush=True)
    except Failed as e:
        print(f"\n{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
