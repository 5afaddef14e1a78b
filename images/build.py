"""Build the platform's images: ``make images``, or ``python -m images.build [NAME …]``.

Owns when an image is built again: each carries a digest of everything it is made from, and one whose
digest is there is left alone. Invariants: the root is named by digest or image ID or made here, never
by a tag that may move; nothing of the machine that builds stays in an image but its certificate
authorities; an image in use has a bill of materials.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from .catalogue import (
    FINAL,
    HERE,
    IMAGES,
    ROOT,
    Failed,
    Image,
    chain,
    checked_base,
    example_files,
    inputs,
    source_files,
    stale,
    version,
)  # fmt: skip
from .engine import LABEL, digests, docker
from .root import make_root

SBOMS = HERE / "sbom"
UPSTREAM = {
    "org.opencontainers.image.vendor": "GAVIP",
    "org.opencontainers.image.licenses": "BSD-3-Clause",
}


def copied(files: Sequence[Path], folder: Path) -> None:
    """Copy files of the clone below `folder`, each to its own place."""
    for file in files:
        target = folder / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, target)


def wheel(folder: Path) -> Path:
    """Build GAVIP's wheel into `folder` and return its path."""
    with tempfile.TemporaryDirectory() as scratch:
        # a copy: setuptools leaves folders in the clone and takes up what it left there before
        copied(source_files(), Path(scratch))
        made = subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), scratch],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if made.returncode:
        raise Failed(f"GAVIP's wheel could not be built:\n{made.stderr[-2000:]}")
    (found,) = folder.glob("gavip-*.whl")
    return found


def certificates() -> bytes:
    """Return the certificate authorities that this machine trusts; empty if it names none."""
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
        if image.kind in {"app", "platform"}:
            found = list(wheels.glob("*.whl")) or [wheel(wheels)]
            shutil.copy(found[0], folder)
        if image.kind == "platform":
            copied(example_files(), folder)
        arguments = {
            "BASE_IMAGE": base_image,
            "PARENT": f"gavip/{image.parent}:{tag}",
            "PACKAGES": image.packages,
            "SCRATCH": image.scratch,
        }
        recipe = (folder / "Dockerfile").read_text()
        used = {k: v for k, v in arguments.items() if f"ARG {k}\n" in recipe}
        labels = UPSTREAM | {
            LABEL: inputs(image, base_image),
            "org.opencontainers.image.version": tag,
            "org.opencontainers.image.title": image.name,
        }
        options = [part for k, v in used.items() for part in ("--build-arg", f"{k}={v}")]
        options += [part for k, v in labels.items() for part in ("--label", f"{k}={v}")]
        docker(
            "build", "--quiet", "--force-rm", "--tag", f"gavip/{image.name}:{tag}", *options, str(folder),
            capture_output=True,
        )  # fmt: skip


def bill(name: str) -> Path:
    """Return where the bill of materials of an image is kept."""
    return SBOMS / f"{name}.cdx.json"


def billed(name: str) -> str:
    """Return the digest of inputs of the image that the kept bill is of; empty if there is none."""
    try:
        component = json.loads(bill(name).read_text())["metadata"]["component"]
        properties = {p["name"]: p["value"] for p in component["properties"]}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        # not there or not whole: it is written again
        return ""
    return str(properties.get(LABEL, ""))


def _timed(what: str, begun: float) -> None:
    print(f"  ✓ {what} ({time.monotonic() - begun:.0f} s)", flush=True)


def bring_up_to_date(names: Sequence[str], base_image: str, scratch: Path) -> None:
    """Build what is not as the clone says, and write the bills of materials that are missing."""
    tag = version()
    concerned = chain(names)
    wanted = {image.name: inputs(image, base_image) for image in concerned}
    tagged = digests(f"gavip/{image.name}:{tag}" for image in concerned)
    present = {name: tagged.get(f"gavip/{name}:{tag}", "") for name in wanted}
    needed = stale(names, present, wanted)
    wheels = scratch / "wheels"
    wheels.mkdir()
    for image in needed:
        begun = time.monotonic()
        print(f"  … gavip/{image.name}:{tag}", flush=True)
        build(image, tag, base_image, wheels)
        _timed(f"gavip/{image.name}:{tag}", begun)
    for name in names:
        built_now = IMAGES[name] in needed
        if name in FINAL and (built_now or billed(name) != wanted[name]):
            # only here: importing it takes longer than all else when nothing is to be done
            from .sbom import write

            write(name, f"gavip/{name}:{tag}", bill(name))
        if not built_now:
            print(f"  ✓ gavip/{name}:{tag} is up to date", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Build what is named, and say how long each took."""
    parser = argparse.ArgumentParser(prog="images.build", description="Build GAVIP's images.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(FINAL)}; default: all"
    )
    parser.add_argument(
        "--base-image", default=os.environ.get("BASE_IMAGE", ""),
        help="Debian root by digest or image ID; default: BASE_IMAGE, else one is made with debootstrap",
    )  # fmt: skip
    options = parser.parse_args(argv)
    unknown = set(options.names) - set(IMAGES)
    if unknown:
        parser.error(f"no such image: {', '.join(sorted(unknown))} (there are {', '.join(FINAL)})")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if options.base_image:
                base_image = checked_base(options.base_image)
            else:
                begun = time.monotonic()
                base_image = make_root(Path(scratch))
                if time.monotonic() - begun > 1:
                    _timed("Debian root", begun)
            bring_up_to_date(options.names or FINAL, base_image, Path(scratch))
    except Failed as e:
        print(f"\n{e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What is built stays; the next call goes on from there.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
