"""Set up a clone so that GAVIP can run or be tested: virtual environment, packages, proxy, front end.

Run by ``make`` with any Python: ``python3 hub_config/bootstrap.py [--extra test]``. Uses the standard
library only and syntax that old Pythons parse, for its first duty is to say clearly what is missing.
Invariant: a step is done again exactly when what it depends on changed (a stamp of the inputs'
hashes), so a warm start costs nothing.
"""

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
MINIMUM = (3, 10)
PROXY = "configurable-http-proxy@5.3.0"


class SetupFailed(Exception):
    """A step failed; the message is for the person at the terminal."""


def _say(text: str) -> None:
    print(text, flush=True)


def _run(step: str, argv: "list[Any]", hint: str, log: pathlib.Path, **kwargs: Any) -> None:
    """Run one command quietly; on failure show the end of its output and the hint."""
    started = time.time()
    if sys.stdout.isatty():
        print("  … %s" % step, end="", flush=True)
    with log.open("ab") as output:
        output.write(("\n$ %s\n" % " ".join(map(str, argv))).encode())
        output.flush()
        done = subprocess.run(
            [str(a) for a in argv], stdout=output, stderr=subprocess.STDOUT, check=False, **kwargs
        )
    if done.returncode:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        raise SetupFailed(
            "%s failed:\n%s\n\n%s\nThe whole output: %s"
            % (step, "\n".join("    " + line for line in tail), hint, log)
        )
    _say("\r  ✓ %s (%.0f s)    " % (step, time.time() - started))


def _digest(paths: "list[pathlib.Path]") -> str:
    """Return one hash of the content of files, in order of their paths."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


class Stamp:
    """Remembers for which inputs a step was done."""

    def __init__(self, folder: pathlib.Path, name: str, value: str) -> None:
        self.path = folder / ("." + name + ".stamp")
        self.value = value

    @property
    def current(self) -> bool:
        """Whether the step was done for these inputs."""
        return self.path.exists() and self.path.read_text() == self.value

    def done(self) -> None:
        """Note that it is done."""
        self.path.write_text(self.value)


NETWORK_HINT = (
    "The first set-up downloads packages from PyPI and npm. Check the network (and the proxy or mirror\n"
    "settings of pip and npm) and run the command again: it goes on where it stopped."
)


def _environment(venv: pathlib.Path) -> "dict[str, str]":
    kept = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
    }
    kept["PATH"] = str(venv / "bin") + os.pathsep + kept.get("PATH", "")
    kept["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    return kept


def setup(extra: str) -> pathlib.Path:
    """Do all steps that are not done yet; return the environment's Python."""
    if sys.version_info < MINIMUM:
        raise SetupFailed(
            "GAVIP needs Python %d.%d or newer, and this is Python %d.%d.\n"
            "Install a newer one and name it: make run PYTHON=python3.11"
            % (MINIMUM + sys.version_info[:2])
        )
    base = ROOT / ".gavip"
    venv = base / "venv"
    base.mkdir(exist_ok=True)
    log = base / "setup.log"
    environment = _environment(venv)
    python = venv / "bin" / "python"
    version = "%d.%d" % sys.version_info[:2]

    made = Stamp(base, "venv", version)
    if not (made.current and python.exists()):
        log.write_bytes(b"")
        _run(
            "virtual environment",
            [sys.executable, "-m", "venv", "--clear", venv],
            "Python's venv module may be missing; on Debian: apt install python3-venv",
            log,
        )
        made.done()
        for stale in base.glob(".packages*.stamp"):
            stale.unlink()

    inputs = [ROOT / "setup.cfg", ROOT / "pyproject.toml", pathlib.Path(__file__).resolve()]
    packages = Stamp(base, "packages-" + extra, _digest(inputs) + version)
    if not packages.current:
        _run(
            "Python packages (a few minutes the first time)",
            [python, "-m", "pip", "install", "--quiet", "--editable", "%s[%s]" % (ROOT, extra)],
            NETWORK_HINT,
            log,
            env=environment,
        )
        # jsonschema imports rfc3987_syntax if it can, which builds a grammar for 2-3 CPU seconds in every
        # process of every AVI; it is optional and we validate no IRIs (docs/explanation/dependencies.md)
        _run(
            "trim start-up of AVIs",
            [python, "-m", "pip", "uninstall", "--quiet", "--yes", "rfc3987-syntax", "lark"],
            NETWORK_HINT,
            log,
            env=environment,
        )
        packages.done()

    proxy = Stamp(base, "proxy", PROXY + version)
    if not (proxy.current and (venv / "bin" / "configurable-http-proxy").exists()):
        _run(
            "proxy",
            [
                venv / "bin" / "npm",
                "install",
                "--global",
                "--prefix",
                venv,
                "--no-audit",
                "--no-fund",
                PROXY,
            ],
            NETWORK_HINT,
            log,
            env=environment,
        )
        proxy.done()

    front_end = ROOT / "extensions"
    sources = [
        p
        for p in front_end.rglob("*")
        if p.is_file()
        and not {"node_modules", "dist", "lib"}.intersection(p.relative_to(ROOT).parts)
    ]
    built = Stamp(base, "frontend", _digest(sources))
    if not (built.current and (ROOT / "gavip_portal" / "static" / "dist").is_dir()):
        npm = venv / "bin" / "npm"
        _run(
            "front end: packages",
            [npm, "ci", "--no-audit", "--no-fund"],
            NETWORK_HINT,
            log,
            cwd=str(front_end),
            env=environment,
        )
        _run(
            "front end: build",
            [npm, "run", "build"],
            "This is a fault in extensions/; please report it with the output above.",
            log,
            cwd=str(front_end),
            env=environment,
        )
        built.done()
    return python


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--extra", default="embedded", help="what to install: embedded, test or dev"
    )
    arguments = parser.parse_args()
    started = time.time()
    try:
        setup(arguments.extra)
    except SetupFailed as failure:
        _say("\n\n✗ " + str(failure))
        return 1
    if time.time() - started > 2:
        _say("Set up in %.0f s." % (time.time() - started))
    return 0


if __name__ == "__main__":
    sys.exit(main())
