"""A Debian root made here: for places that reach no registry, or trust none.

Owns how it is made. Invariants: its packages are signed by Debian and as fresh as on the day it was
made; it holds licences but no manuals, no translations and no lists of packages; it stays the same
until it is removed from the engine.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .catalogue import Failed
from .engine import digests, docker, image_id

DEBIAN = "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv,tini"
# of the mirror that debootstrap chose
SOURCES = f"""\
deb {{mirror}} {DEBIAN} main
deb {{mirror}} {DEBIAN}-updates main
deb {{mirror}}-security {DEBIAN}-security main
"""
# read by dpkg of every image above, too
WITHOUT_MANUALS = """\
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/share/lintian/*
"""
_EMPTIED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
)


def reference() -> str:
    """Return the name of the root, which changes with what it is made from."""
    made_from = "\n".join((SOURCES, PACKAGES, WITHOUT_MANUALS))
    return f"gavip/root:{hashlib.sha256(made_from.encode()).hexdigest()[:12]}"


def make_root(folder: Path) -> str:
    """Return the image ID of the Debian root, which is made unless the engine has it.

    Raises
    ------
    Failed
        If that is not possible here.
    """
    name = reference()
    if name not in digests([name]):
        if os.geteuid() or not shutil.which("debootstrap"):
            raise Failed(
                "No base image was given, and making one takes root and debootstrap.\n"
                "Either: make images BASE_IMAGE=debian@sha256:… (Debian 12 with python3, python3-venv and tini)\n"
                "or, as root: apt-get install debootstrap && make images"
            )
        target = folder / "root"
        _make(target, folder / "debootstrap.log")
        _import(target, name)
    return image_id(name)


def _make(target: Path, log: Path) -> None:
    _run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, str(target)], log)
    sources = target / "etc/apt/sources.list"
    sources.write_text(SOURCES.format(mirror=sources.read_text().split()[1]))
    (target / "etc/dpkg/dpkg.cfg.d/gavip").write_text(WITHOUT_MANUALS)
    _run(["chroot", str(target), "apt-get", "-qq", "update"], log)
    _run(["chroot", str(target), "apt-get", "-qq", "--yes", "upgrade"], log)
    for path in _EMPTIED:
        shutil.rmtree(target / path, ignore_errors=True)
        (target / path).mkdir(parents=True)
    for page in (target / "usr/share/doc").rglob("*"):
        if page.is_file() and page.name != "copyright":
            page.unlink()
    # of the machine that made it
    for path in ("etc/hostname", "etc/resolv.conf", "var/log/bootstrap.log", "var/log/dpkg.log"):
        (target / path).unlink(missing_ok=True)


def _run(argv: Sequence[str], log: Path) -> None:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "http_proxy", "https_proxy"}}
    with log.open("ab") as output:
        done = subprocess.run(
            argv, stdout=output, stderr=subprocess.STDOUT, check=False,
            env=kept | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
        )  # fmt: skip
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise Failed(f"The Debian root could not be made: {argv[0]} failed.\n{tail}")


def _import(target: Path, name: str) -> None:
    with subprocess.Popen(
        ["tar", "-C", str(target), "--one-file-system", "-c", "."], stdout=subprocess.PIPE
    ) as tar:
        docker("import", "-", name, stdin=tar.stdout, stdout=subprocess.DEVNULL)
    if tar.returncode:
        docker("image", "rm", name, stdout=subprocess.DEVNULL)
        raise Failed("The Debian root could not be packed.")
