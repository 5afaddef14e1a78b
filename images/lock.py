"""Resolve the lock files inside the base image: ``python images/lock.py [light python lab …]``.

Resolved where the packages will run, for a wheel chosen for another Python may be refused there. Each
lock keeps the versions of the ones before it, so that images share their layers. A lock holds the
hashes of the wheels of the machine's own architecture.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from build import HERE, Failed, docker, version, wheel
from build import main as build_images

AFTER = {"light": (), "python": ("light",), "lab": ("light", "python"), "hub": ("light",)}


def resolve(name: str) -> str:
    """Return the text of the lock `name`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)
        wheel(folder)
        (own,) = folder.glob("gavip-*.whl")
        wanted = (HERE / "locks" / f"{name}.in").read_text()
        lines = [
            f"gavip{line[5:]} @ file:///in/{own.name}" if line.startswith("gavip[") else line
            for line in wanted.splitlines()
        ]
        (folder / "wanted.txt").write_text("\n".join(lines))
        pins = [_pins(other) for other in AFTER[name]]
        (folder / "constraints.txt").write_text("\n".join(pins))
        answer = docker(
            "run", "--rm", "--volume", f"{folder}:/in:ro", "--tmpfs", "/tmp:exec,size=2g",  # noqa: S108 - inside
            "--env", "PIP_CERT=/usr/local/share/gavip/build-ca.crt", "--env", "HOME=/tmp",
            f"gavip/base:{version()}",
            "/opt/gavip/bin/pip", "install", "--quiet", "--dry-run", "--ignore-installed",
            "--disable-pip-version-check", "--only-binary=:all:", "--report", "-",
            "--requirement", "/in/wanted.txt", "--constraint", "/in/constraints.txt",
            capture_output=True,
        )  # fmt: skip
    report = json.loads(answer.stdout)
    text = [f"# made by images/lock.py from {name}.in; do not edit"]
    for item in sorted(report["install"], key=lambda i: i["metadata"]["name"].lower()):
        about = item["metadata"]
        if about["name"] == "gavip":
            continue
        sha = item["download_info"]["archive_info"]["hashes"]["sha256"]
        text.append(f"{about['name'].lower()}=={about['version']} --hash=sha256:{sha}")
    return "\n".join(text) + "\n"


def _pins(name: str) -> str:
    lines = (HERE / "locks" / f"{name}.lock").read_text().splitlines()
    return "\n".join(line.split(" --hash")[0] for line in lines if not line.startswith("#"))


def main(names: list[str]) -> int:
    """Write the locks."""
    try:
        if build_images(["base"]):
            return 1
        for name in names or list(AFTER):
            print(f"  … {name}.lock", flush=True)
            text = resolve(name)
            (HERE / "locks" / f"{name}.lock").write_text(text)
            print(f"  ✓ {name}.lock: {text.count('==')} packages", flush=True)
    except (Failed, subprocess.SubprocessError) as e:
        print(f"\n{e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
