"""The folder of a data product: its files, their hashes, its provenance, and the result as the last act.

Invariants: symbolic links are not part of a product; ``result.json`` is written atomically, after everything else.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from gavip_api.models import RunResult

EXECUTED = "executed.ipynb"
RESULT = "result.json"
PROVENANCE = "provenance.json"
MAX_OUTPUTS = 10_000
_VERSIONS_OF = ("gavip", "papermill", "numpy", "astropy", "pyvo", "matplotlib")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old or the new content, and never after a crash a part of it."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)


def outputs(folder: Path) -> tuple[str, ...]:
    """Return the files of a product, relative, sorted; the runner's own records come last."""
    found: list[str] = []
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in files:
            path = Path(root, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                found.append(path.relative_to(folder).as_posix())
        if len(found) > MAX_OUTPUTS:
            break
    own = (PROVENANCE, EXECUTED)
    product = sorted(f for f in found if f not in own and f != RESULT)[:MAX_OUTPUTS]
    return (*product, *(f for f in own if f in found))


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on, as far as installed."""
    found = {"python": platform.python_version()}
    for name in _VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def provenance(
    folder: Path, facts: dict[str, Any], started: datetime, ended: datetime
) -> dict[str, Any]:
    """Return the provenance record of the product in `folder`."""
    return {
        **facts,
        "started": started.isoformat(),
        "ended": ended.isoformat(),
        "platform": {"system": platform.platform(), "executable": Path(sys.executable).name},
        "versions": versions(),
        "outputs": [
            {"path": name, "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
            for name in outputs(folder)
            if name != PROVENANCE
        ],
    }


def write_result(folder: Path, result: RunResult) -> None:
    """Leave the result; nothing of the product may be written after this."""
    write_atomically(folder / RESULT, result.model_dump_json(indent=1))
