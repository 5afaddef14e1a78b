"""A whole platform, started as a person starts it, for integration and browser tests."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from hub_config.platform import Platform, free_port

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE_CACHE = ROOT / ".gavip" / "test-archive"


def build_archive() -> Path:
    """Return the embedded archive's database, built once per clone from the real catalogues."""
    database = ARCHIVE_CACHE / "archive.duckdb"
    ARCHIVE_CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "gavip_archive", "build", "--output", str(database),
         "--cache", str(ARCHIVE_CACHE / "downloads")],
        check=True,
        timeout=600,
    )  # fmt: skip
    return database


def wait_for(url: str, seconds: float = 60) -> None:
    """Poll until `url` answers below 500."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2, trust_env=False).status_code < 500:
                return
        assert time.monotonic() < deadline, f"{url} did not answer in {seconds} s"
        time.sleep(0.1)


@dataclass
class Archive:
    """The embedded archive as a process of its own, which a test may stop and start."""

    database: Path
    state: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/tap"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gavip_archive", "serve", "--db", str(self.database),
             "--host", "127.0.0.1", "--port", str(self.port), "--state", str(self.state)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_for(f"{self.url}/availability")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None


@dataclass
class RunningPlatform:
    """`gavip up` in a state folder of its own."""

    state: Path
    examples: Path
    archive: str = ""
    port: int = field(default_factory=free_port)
    passwords: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    ready_after: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        return self.state.with_suffix(".out")

    @property
    def facts(self) -> Platform:
        return Platform.load(self.state)

    @property
    def url(self) -> str:
        return f"http://gavip.localhost:{self.port}"

    @property
    def portal(self) -> str:
        return f"http://portal.gavip.localhost:{self.port}/services/portal/"

    def start(self, *options: str) -> None:
        begun = time.monotonic()
        argv = [str(Path(sys.executable).parent / "gavip"), "up", "--port", str(self.port),
                "--state", str(self.state), "--examples", str(self.examples)]  # fmt: skip
        if self.archive:
            argv += ["--archive", self.archive]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*argv, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | self.environment,
            )
        while "Stop with Ctrl-C" not in (text := self.output.read_text(errors="replace")):
            assert self.process.poll() is None, (
                f"the platform did not start:\n{text}\n{self.hub_log()}"
            )
            assert time.monotonic() - begun < 180, f"not ready in time:\n{text}\n{self.hub_log()}"
            time.sleep(0.1)
        self.ready_after = time.monotonic() - begun
        found = dict(
            re.findall(r"^    (\w+) +([a-z0-9]{4}(?:-[a-z0-9]{4}){2}) ", text, re.MULTILINE)
        )
        self.passwords = found or self.passwords

    def stop(self, signum: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signum)
        code = self.process.wait(60)
        self.process = None
        return code

    def hub_log(self) -> str:
        log = self.state / "run" / "hub.log"
        return log.read_text(errors="replace")[-6000:] if log.exists() else "(no hub log)"

    def userspace(self, user: str) -> Path:
        return self.facts.layout.userspace(user)


@contextlib.contextmanager
def running_platform(
    folder: Path,
    examples: Sequence[Path],
    archive: str = "",
    database: Path | None = None,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[RunningPlatform]:
    """Start a platform with `examples` published; stop it afterwards."""
    state = folder / "state"
    chosen = folder / "examples"
    for example in examples:
        shutil.copytree(
            example, chosen / example.name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_*")
        )
    if database is not None:
        (state / "archive").mkdir(parents=True)
        for part in ARCHIVE_CACHE.iterdir():
            if part.is_file():
                os.link(part, state / "archive" / part.name)
        (state / "archive" / "downloads").symlink_to(ARCHIVE_CACHE / "downloads")
    platform = RunningPlatform(
        state=state, examples=chosen, archive=archive, environment=dict(environment or {})
    )
    platform.start(*options)
    try:
        yield platform
    finally:
        if platform.process is not None:
            platform.stop()
