"""Say what is installed: run inside an image by its own Python, prints JSON. Standard library only."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

PROXY_LOCK = Path("/opt/proxy/package-lock.json")


def debian() -> list[dict[str, str]]:
    """Return the Debian packages."""
    asked = subprocess.run(
        ["/usr/bin/dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}\t${source:Package}\n"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    keys = ("name", "version", "architecture", "source")
    return [dict(zip(keys, line.split("\t"), strict=True)) for line in asked.stdout.splitlines()]


def python() -> list[dict[str, str]]:
    """Return the Python packages of the running interpreter, with what they say of their licence."""
    found = []
    for package in distributions():
        about = package.metadata.json
        said = str(about.get("license_expression") or about.get("license") or "")
        # some paste the whole text there
        licence = said if 0 < len(said) < 80 and "\n" not in said else ""
        found.append({"name": package.name, "version": package.version, "licence": licence})
    return found


def npm() -> list[dict[str, str]]:
    """Return the npm packages of the proxy, where there is one."""
    if not PROXY_LOCK.exists():
        return []
    packages = json.loads(PROXY_LOCK.read_text())["packages"]
    return [
        {
            "name": path.rpartition("node_modules/")[2],
            "version": about["version"],
            "licence": about.get("license", ""),
        }
        for path, about in packages.items()
        if path and (PROXY_LOCK.parent / path).is_dir()
    ]


if __name__ == "__main__":
    json.dump({"debian": debian(), "python": python(), "npm": npm()}, sys.stdout)
