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
import re
import shutil
import subprocess
import sys
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
MINIMUM = (3, 10)
PROXY = "configurable-http-proxy@5.3.0"

NETWORK_HINT = (
    "The first set-up downloads packages from PyPI and npm. Check the network (and the proxy or mirror\n"
    "settings of pip and npm) and run the command again: it goes on where it stopped."
)

# what pip and npm write amid dozens of lines when they reach nobody; the first that fits is shown
NETWORK_SIGNS = (
    (
        r"name resolution|Name or service not known|nodename nor servname|ENOTFOUND|EAI_AGAIN",
        "the package index cannot be found (no network, or no name resolution).",
    ),
    (
        r"NewConnectionError|Network is unreachable|ConnectTimeout|Connection refused|ECONNREFUSED|ETIMEDOUT"
        r"|ENETUNREACH",
        "the package index cannot be reached.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SELF_SIGNED_CERT|UNABLE_TO_GET_ISSUER_CERT",
        "the package index shows a certificate that this machine does not trust.",
    ),
    (
        r"\(from versions: none\)",
        "the package index cannot be reached, or lacks a package.",
    ),
)


class SetupFailed(Exception):
    """A step failed; the message is for the person at the terminal."""


def _say(text: str) -> None:
    print(text, flush=True)


def _wait(step: str, process: "subprocess.Popen[bytes]", started: float) -> int:
    """Wait for a command and show meanwhile, to people, how long it takes; return its exit code."""
    while True:
        if sys.stdout.isatty():
            print("\r  … %s (%.0f s)" % (step, time.time() - started), end="", flush=True)
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue


def _run(step: str, argv: "list[Any]", hint: str, log: pathlib.Path, **kwargs: Any) -> None:
    """Run one command quietly; on failure say why, as far as its output tells, and the hint."""
    started = time.time()
    if not sys.stdout.isatty():
        _say("  … %s" % step)
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        output.write(("\n$ %s\n" % " ".join(map(str, argv))).encode())
        output.flush()
        with subprocess.Popen(
            [str(a) for a in argv], stdout=output, stderr=subprocess.STDOUT, **kwargs
        ) as process:
            try:
                code = _wait(step, process, started)
            except BaseException:
                process.terminate()
                raise
    if code:
        said = log.read_bytes()[begin:].decode(errors="replace")
        raise SetupFailed(
            "%s failed: %s\n\n%s\nThe whole output: %s" % (step, _cause(said), hint, log)
        )
    over = "\r" if sys.stdout.isatty() else ""
    _say("%s  ✓ %s (%.0f s)" % (over, step, time.time() - started))


def _cause(said: str) -> str:
    """Return why a command failed: the network in one line, anything else as the end of its output."""
    for sign, meaning in NETWORK_SIGNS:
        if re.search(sign, said):
            return meaning
    return "\n" + "\n".join("    " + line for line in said.splitlines()[-15:])


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


def _environment(venv: pathlib.Path) -> "dict[str, str]":
    kept = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
    }
    kept["PATH"] = str(venv / "bin") + os.pathsep + kept.get("PATH", "")
    kept["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    # pip tries every package five times: without a network two minutes pass before it says so
    kept.setdefault("PIP_RETRIES", "3")
    return kept


def setup(extra: str) -> pathlib.Path:
    """Do all steps that are not done yet; return the environment's Python."""
    if sys.version_info < MINIMUM:
        raise SetupFailed(
            "GAVIP needs Python %d.%d or newer, and this is Python %d.%d.\n"
            "Install a newer one and name it: make run PYTHON=python3.11"
            % (MINIMUM + sys.version_info[:2])
        )
    if shutil.which("git") is None:
        raise SetupFailed(
            "GAVIP needs git, which keeps the AVIs, and there is none.\n"
            "Install it and run the command again; on Debian: apt install git"
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
    except KeyboardInterrupt:
        _say("\n\nStopped. Run the command again: it goes on where it stopped.")
        return 130
    if time.time() - started > 2:
        _say("Set up in %.0f s." % (time.time() - started))
    return 0


if __name__ == "__main__":
    sys.exit(main())
