"""A real archive: the database built once per run, the service in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import pyvo
import requests

SERVE = (sys.executable, "-m", "gavip_archive", "serve")
CACHE = os.environ.get("GAVIP_ARCHIVE_CACHE")


@pytest.fixture(scope="session")
def archive_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the database; GAVIP_ARCHIVE_CACHE names a folder that keeps it and the packages between runs."""
    folder = Path(CACHE) if CACHE else tmp_path_factory.mktemp("archive")
    command = [
        sys.executable,
        "-m",
        "gavip_archive",
        "build",
        "--output",
        str(folder / "archive.duckdb"),
    ]
    if CACHE:
        command += ["--cache", str(folder / "packages")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "archive.duckdb"


class Service:
    """One archive process."""

    def __init__(self, database: Path, state: Path, *options: str, port: int = 0) -> None:
        state.mkdir(exist_ok=True)
        self.log = state / "service.log"
        self.log.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *SERVE,
                    "--db",
                    str(database),
                    "--state",
                    str(state),
                    "--port",
                    str(port),
                    *options,
                ],
                stdout=log,
                stderr=log,
            )
        self.url = self._ready()

    def _ready(self) -> str:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for entry in self.entries():
                if entry["message"].startswith("ready url="):
                    return entry["message"].removeprefix("ready url=")
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def entries(self) -> list[dict]:
        return [
            json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")
        ]

    def tap(self) -> pyvo.dal.TAPService:
        return pyvo.dal.TAPService(self.url)

    def sync(self, query: str, **parameters: str) -> requests.Response:
        form = {"LANG": "ADQL", "QUERY": query, **parameters}
        return requests.post(f"{self.url}/sync", data=form, timeout=60)

    def create(self, query: str, **parameters: str) -> str:
        form = {"LANG": "ADQL", "QUERY": query, **parameters}
        answer = requests.post(f"{self.url}/async", data=form, timeout=10, allow_redirects=False)
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture(scope="session")
def service(archive_database: Path, tmp_path_factory: pytest.TempPathFactory):
    """The service most tests share."""
    running = Service(
        archive_database, tmp_path_factory.mktemp("state"), "--ArchiveApp.query_memory=268435456"
    )
    yield running
    assert running.stop() == 0
    assert [entry for entry in running.entries() if entry["level"] == "error"] == []


@pytest.fixture
def own_service(archive_database: Path, tmp_path: Path):
    """Start services with options of their own."""
    started: list[Service] = []

    def start(*options: str, port: int = 0) -> Service:
        started.append(Service(archive_database, tmp_path / "state", *options, port=port))
        return started[-1]

    yield start
    for each in started:
        each.stop(signal.SIGKILL)


def wait_for(url: str, *phases: str, seconds: float = 30) -> str:
    """Poll a job until it is in one of the phases."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        phase = requests.get(f"{url}/phase", params={"WAIT": "2"}, timeout=10).text
        if phase in phases:
            return phase
    raise AssertionError(f"{url} is {phase}, not {phases}")
