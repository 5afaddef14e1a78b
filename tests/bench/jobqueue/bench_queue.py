"""Measures the queue with very many waiting jobs, and prints a table with the bars.

    python tests/bench/jobqueue/bench_queue.py [--jobs 100000] [--users 500]

The service is the real one in a process of its own, on SQLite with its full durability, reached
over HTTP; only the execution plane (which starts nothing) and the hub are stand-ins. The waiting
jobs are written into the database before it starts, so the start-up is measured with them too.
Decisions are measured in this process, on a copy of the same database.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import httpx
import psutil
from sqlalchemy import insert
from sqlalchemy.orm import Session
from tornado.web import RequestHandler

from gavip_api.models import UserProfile, utcnow
from gavip_api.slugs import new_id
from gavip_spawner.plane import ExecutionPlane, ProcessPhase, ProcessStatus
from gavip_spawner.specs import LaunchSpec
from gavip_web.auth import Authenticator, Caller
from gavip_web.database import make_engine, upgrade
from jobqueue.amounts import PLENTY, Amount
from jobqueue.app import MIGRATIONS, JobQueueApp
from jobqueue.schedulers import load
from jobqueue.services.history import RunTimes
from jobqueue.services.ledger import Ledger
from jobqueue.services.machine import JobMachine
from jobqueue.services.waiting import Waitlist
from jobqueue.storage import jobs as stored
from jobqueue.storage.orm import JobRow

GIB = 1 << 30
SPEC = {"notebook": "work.ipynb", "parameters": {"rows": {"type": "integer", "default": 1}}}


class HoldingPlane(ExecutionPlane):
    """Keeps every process running for ever, in memory."""

    def __init__(self, *_: Any) -> None:
        self.statuses: dict[str, ProcessStatus] = {}

    async def create(self, spec: LaunchSpec) -> None:
        """Note it."""
        status = ProcessStatus(spec.name, ProcessPhase.CREATED, labels=spec.labels)
        self.statuses.setdefault(spec.name, status)

    async def start(self, name: str) -> ProcessStatus:
        """Call it running."""
        old = self.statuses[name]
        self.statuses[name] = ProcessStatus(name, ProcessPhase.RUNNING, labels=old.labels)
        return self.statuses[name]

    async def inspect(self, name: str) -> ProcessStatus:
        """Return it."""
        return self.statuses.get(name, ProcessStatus(name, ProcessPhase.ABSENT))

    async def wait(self, name: str) -> ProcessStatus:
        """Never return."""
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def stop(self, name: str, grace: float = 10.0) -> ProcessStatus:
        """End it."""
        self.statuses[name] = ProcessStatus(name, ProcessPhase.EXITED, exit_code=-15)
        return self.statuses[name]

    async def remove(self, name: str) -> None:
        """Forget it."""
        self.statuses.pop(name, None)

    async def find(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        """Find by label."""
        return [s for s in self.statuses.values() if labels.items() <= dict(s.labels).items()]

    async def read_log(self, name: str, offset: int = 0, limit: int = 1 << 16) -> tuple[bytes, int]:
        """Return nothing."""
        return b"", 0


class Anybody:
    """A hub for which every caller is the portal."""

    async def authenticate(self, handler: RequestHandler) -> Caller | None:
        """Return the portal."""
        return Caller("portal", "service", frozenset({"custom:jobqueue:act-for"}))


class BenchQueue(JobQueueApp):
    """The service with its two stand-ins."""

    def make_plane(self) -> ExecutionPlane:
        """Return the stand-in."""
        return HoldingPlane()

    def make_authenticator(self) -> Authenticator:
        """Return the stand-in."""
        return Anybody()


def fill(database: Path, count: int, users: int) -> None:
    """Write queued jobs, of users in random turns."""
    engine = make_engine(f"sqlite:///{database}")
    upgrade(engine, MIGRATIONS)
    rng = random.Random(1)
    now = utcnow()
    rows = []
    for n in range(count):
        owner = f"user{rng.randrange(users):03}"
        rows.append(
            {
                "id": new_id(),
                "owner": owner,
                "owner_profile": UserProfile(name=owner).model_dump(mode="json"),
                "avi": f"gaia/avi{n % 20}",
                "release": "a" * 40,
                "template": "python",
                "pipeline": "work",
                "title": "Work",
                "spec": SPEC,
                "parameters": {"rows": n},
                "memory": rng.choice([1, 2, 4, 8, 16]) * GIB,
                "millicpu": rng.choice([500, 1000, 2000, 4000]),
                "archive": 0,
                "time_limit": rng.choice([600, 3600, 86400]),
                "state": "queued",
                "attempt": 0,
                "losses": 0,
                "cancel_requested": False,
                "progress": {},
                "error": None,
                "outputs": {"files": []},
                "created": now + timedelta(milliseconds=n),
            }
        )
    with Session(engine) as session, session.begin():
        session.execute(insert(JobRow), rows)
    engine.dispose()


def decisions(database: Path, name: str, rounds: int) -> tuple[float, float]:
    """Return the mean milliseconds of choosing a job, and of choosing, granting and committing it."""
    engine = make_engine(f"sqlite:///{database}")
    capacity = Amount(4096 * GIB, 1024_000, PLENTY, 32)
    ledger = Ledger(capacity, Amount(256 * GIB, 64_000, 50, 8))
    history = RunTimes()
    waitlist = Waitlist(load(name), history, ledger.shares)
    machine = JobMachine(ledger, waitlist, history)
    with Session(engine) as session:
        ledger.load(session)
        waitlist.load(session)
    choosing, made = 0.0, 0
    begun = time.perf_counter()
    for _ in range(rounds):
        with Session(engine) as session, session.begin():
            start = time.perf_counter()
            choice = waitlist.pick(ledger.room())
            choosing += time.perf_counter() - start
            made += 1
            if choice is None:
                break
            assert machine.begin(session, stored.get(session, choice.id), "product")
    total = time.perf_counter() - begun
    # the machine is full now: what a decision costs that ends in waiting
    for _ in range(rounds):
        with Session(engine) as session, session.begin():
            start = time.perf_counter()
            waitlist.pick(ledger.room())
            choosing += time.perf_counter() - start
            made += 1
    engine.dispose()
    return choosing / made * 1e3, total / rounds * 1e3


def bare_inserts(path: Path, count: int) -> list[float]:
    """Return the milliseconds of one-row transactions without service, HTTP or ORM."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
    body, found = json.dumps(submission("x")), []
    for _ in range(count):
        start = time.perf_counter()
        connection.execute("INSERT INTO t (body) VALUES (?)", (body,))
        found.append((time.perf_counter() - start) * 1e3)
    connection.close()
    return found


def p(values: list[float], q: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[q - 1]


def timed(count: int, call: Callable[[int], httpx.Response], status: int) -> list[float]:
    """Return the milliseconds of `count` calls, all of which must answer `status`."""
    found = []
    for n in range(count):
        start = time.perf_counter()
        answer = call(n)
        found.append((time.perf_counter() - start) * 1e3)
        assert answer.status_code == status, answer.text
    return found


def submission(owner: str) -> dict[str, Any]:
    """Return the body of a submission."""
    return {
        "owner": {"name": owner, "roles": ["scientist"]},
        "avi": "gaia/avi1",
        "release": "a" * 40,
        "template": "python",
        "pipeline": "work",
        "spec": SPEC | {"resources": {"memory": "512M + 2K * rows", "cpu": 1, "time": "1h"}},
        "parameters": {"rows": 1000},
    }


class Service:
    """The service in a process of its own."""

    def __init__(self, folder: Path, limit: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = {
            "bind_url": f"http://127.0.0.1:{self.port}",
            "state_dir": str(folder),
            "capacity_memory": "64G",
            "capacity_cpu": 16.0,
            "hub_seconds": 0.0,
            "max_queued_per_user": limit,
            "log_level": 40,
        }
        code = (
            "import sys, json; sys.path.insert(0, sys.argv[1]); from bench_queue import serve;"
            " serve(json.loads(sys.argv[2]))"
        )
        here = str(Path(__file__).parent)
        argv = [sys.executable, "-c", code, here, json.dumps(options)]
        begun = time.perf_counter()
        self.process = subprocess.Popen(argv)
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/services/jobqueue/api/v1/",
            headers={"Authorization": "token x"},
            trust_env=False,
            timeout=30,
        )
        while True:
            try:
                if self.client.get("queue").is_success:
                    break
            except httpx.TransportError:
                if self.process.poll() is not None:
                    raise SystemExit("the service did not start") from None
            time.sleep(0.05)
        self.seconds = time.perf_counter() - begun
        self.usage = psutil.Process(self.process.pid)

    def busy(self) -> float:
        """Return the seconds of processor time that the service has used."""
        times = self.usage.cpu_times()
        return float(times.user + times.system)

    def cpu(self, seconds: float) -> float:
        """Return the share of a core that the service uses while nobody asks."""
        before = self.busy()
        time.sleep(seconds)
        return (self.busy() - before) / seconds

    def close(self) -> None:
        """Stop it."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


def serve(options: dict[str, Any]) -> None:
    """Run the service until SIGTERM."""
    app = BenchQueue(**options)

    async def run() -> None:
        await app.open()
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await app.close()

    asyncio.run(run())


@click.command()
@click.option("--jobs", default=100_000, show_default=True, help="Waiting jobs.")
@click.option("--users", default=500, show_default=True, help="Users they belong to.")
@click.option("--calls", default=300, show_default=True, help="Calls per figure.")
@click.option("--idle", default=20.0, show_default=True, help="Seconds of watching it idle.")
def main(jobs: int, users: int, calls: int, idle: float) -> None:
    """Measure, and say which bars are missed."""
    rows: list[tuple[str, float, str, float | None]] = []
    limit = jobs // users * 2 + calls
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database, filled = folder / "run" / "jobqueue.db", folder / "filled.db"
        database.parent.mkdir()
        fill(filled, jobs, users)
        shutil.copy(filled, database)
        service = Service(folder, limit)
        try:
            c = service.client
            rows.append((f"start-up with {jobs} waiting jobs", service.seconds, "s", None))
            time.sleep(2)
            owners = [f"user{n:03}" for n in range(users)]
            find = [{"owner": o, "state": "queued", "limit": 50} for o in owners]
            busy = service.busy()
            listed = timed(calls, lambda n: c.get("jobs", params=find[n % users]), 200)
            rows.append(("list of 50 waiting jobs, p50", p(listed, 50), "ms", None))
            rows.append(("list of 50 waiting jobs, p95", p(listed, 95), "ms", 50))
            busy = (service.busy() - busy) / calls * 1e3
            rows.append(("list, processor time of the service", busy, "ms", None))
            bodies = [submission(o) for o in owners]
            busy = service.busy()
            sent = timed(calls, lambda n: c.post("jobs", json=bodies[n % users]), 201)
            rows.append(("submit, p50", p(sent, 50), "ms", None))
            rows.append(("submit, p95", p(sent, 95), "ms", 25))
            busy = (service.busy() - busy) / calls * 1e3
            rows.append(("submit, processor time of the service", busy, "ms", None))
            bare = bare_inserts(folder / "bare.db", calls)
            rows.append(
                ("(peer) bare SQLite insert with the same durability, p95", p(bare, 95), "ms", None)
            )
            rows.append(("submit over bare insert, p50", p(sent, 50) / p(bare, 50), "×", None))
            newest = [j["id"] for j in c.get("jobs", params={"limit": 100}).json()["items"]]
            shown = timed(calls, lambda n: c.get(f"jobs/{newest[n % 100]}"), 200)
            rows.append(("show a waiting job, p95", p(shown, 95), "ms", None))
            greedy, count = submission("greedy"), 0
            while c.post("jobs", json=greedy).status_code == 201:
                count += 1
            refused = timed(calls, lambda _: c.post("jobs", json=greedy), 429)
            rows.append(
                (f"refusal of one user after {count} jobs, p95", p(refused, 95), "ms", None)
            )
            rows.append(("resident memory", service.usage.memory_info().rss / 1e6, "MB", 300))
            rows.append(
                ("idle, with jobs waiting", round(service.cpu(idle) * 100, 3), "% of a core", 0.5)
            )
        finally:
            service.close()
        for scheduler in ("fifo", "shortest-first", "backfill", "fair-share"):
            copy = folder / f"{scheduler}.db"
            shutil.copy(filled, copy)
            choose, grant = decisions(copy, scheduler, calls)
            copy.unlink()
            rows.append((f"decision, {scheduler}", choose, "ms", 1))
            rows.append((f"decision, grant and commit, {scheduler}", grant, "ms", None))
    print(f"{jobs} waiting jobs of {users} users; load average {psutil.getloadavg()[0]:.1f}")
    print("| what | measured | bar | |")
    print("|---|---|---|---|")
    missed = 0
    for what, value, unit, bar in rows:
        verdict = "" if bar is None else "met" if value <= bar else "MISSED"
        missed += verdict == "MISSED"
        print(f"| {what} | {value:.3g} {unit} | {'' if bar is None else f'≤ {bar}'} | {verdict} |")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
