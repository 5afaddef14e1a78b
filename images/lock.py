"""Resolve the lock files inside the base image: ``python -m images.lock [python light lab hub]``.

Resolved where the packages will run, for a wheel chosen for another Python may be refused there. Each
lock keeps the versions of the ones it comes after, so that images share their layers. A lock holds the
hashes of the wheels of the machine's own architecture.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .build import main as build_images
from .build import wheel
from .catalogue import HERE, Failed, version
from .engine import docker

# the bundle first: numba holds numpy back, and what shares an interpreter with it must fit
AFTER: dict[str, tuple[str, ...]] = {
    "python": (),
    "light": ("python",),
    "lab": ("python",),
    "hub": ("python", "lab"),
}
# jsonschema imports rfc3987_syntax if it is there, which builds a grammar for seconds in every process;
# it is optional and we check no IRIs (docs/explanation/dependencies.md)
WITHOUT = {"rfc3987-syntax", "lark"}


def wanted(text: str, own: str) -> str:
    """Return requirements with GAVIP's own wheel in place of its name."""
    return "\n".join(
        f"gavip{line[5:]} @ file:///in/{own}" if line.startswith("gavip[") else line
        for line in text.splitlines()
    )


def lock_text(name: str, report: Mapping[str, Any]) -> str:
    """Return the lock file of pip's installation report (format version 1)."""
    text = [f"# made by images/lock.py from {name}.in; do not edit"]
    for item in sorted(report["install"], key=lambda i: str(i["metadata"]["name"]).lower()):
        package = str(item["metadata"]["name"]).lower().replace("_", "-")
        if package == "gavip" or package in WITHOUT:
            continue
        sha = item["download_info"]["archive_info"]["hashes"]["sha256"]
        text.append(f"{package}=={item['metadata']['version']} --hash=sha256:{sha}")
    return "\n".join(text) + "\n"


def pins(lock: str) -> str:
    """Return the versions of a lock file, as constraints."""
    lines = (line.split(" --hash")[0] for line in lock.splitlines())
    return "\n".join(line for line in lines if not line.startswith("#"))


def resolve(name: str) -> str:
    """Return the text of the lock `name`."""
    locks = HERE / "locks"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        own = wheel(folder)
        (folder / "wanted.txt").write_text(wanted((locks / f"{name}.in").read_text(), own.name))
        constraints = [pins((locks / f"{other}.lock").read_text()) for other in AFTER[name]]
        (folder / "constraints.txt").write_text("\n".join(constraints))
        answer = docker(
            "run", "--rm", "--volume", f"{folder}:/in:ro", "--tmpfs", "/tmp:exec,size=3g",  # noqa: S108 - inside
            "--env", "PIP_CERT=/usr/local/share/gavip/build-ca.crt", "--env", "HOME=/tmp",
            f"gavip/base:{version()}",
            "/opt/gavip/bin/pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-",
            "--disable-pip-version-check", "--only-binary=:all:",
            "--requirement", "/in/wanted.txt", "--constraint", "/in/constraints.txt",
            capture_output=True,
        )  # fmt: skip
    return lock_text(name, json.loads(answer.stdout))


def main(names: Sequence[str]) -> int:
    """Write the locks."""
    unknown = set(names) - set(AFTER)
    if unknown:
        print(f"no such lock: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    if build_images(["base"]):
        return 1
    try:
        for name in AFTER:
            if names and name not in names:
                continue
            print(f"  … {name}.lock", flush=True)
            text = resolve(name)
            (HERE / "locks" / f"{name}.lock").write_text(text)
            print(f"  ✓ {name}.lock: {text.count('==')} packages", flush=True)
    except Failed as e:
        print(f"\n{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
