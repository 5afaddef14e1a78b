"""Fakes of the execution plane, named for how they fail, and the whole service on them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session
from tornado.web import RequestHandler

from gavip_api.errors import NotFound, NotSignedIn, Unavailable
from gavip_api.models import RunResult
from gavip_spawner.plane import ExecutionPlane, ProcessPhase, ProcessStatus
from gavip_spawner.specs import LaunchSpec
from gavip_web.auth import Authenticator, Caller
from gavip_web.database import Database, make_engine, upgrade
from jobqueue.amounts import Amount
from jobqueue.app import MIGRATIONS, JobQueueApp
from jobqueue.services.ledger import Ledger
from tests.support.postgres import Cluster, binaries, running_cluster

GIB = 1 << 30


class MemoryPlane(ExecutionPlane):
    """Keeps every promise of the interface, in memory; tests end its processes."""

    def __init__(self) -> None:
        self.specs: dict[str, LaunchSpec] = {}
        self.statuses: dict[str, ProcessStatus] = {}
        self.started: list[str] = []
        self.changed = asyncio.Condition()

    async def _set(self, name: str, **members: Any) -> ProcessStatus:
        async with self.changed:
            self.statuses[name] = ProcessStatus(name, labels=self.specs[name].labels, **members)
            self.changed.notify_all()
        return self.statuses[name]

    async def create(self, spec: LaunchSpec) -> None:
        if spec.name not in self.specs:
            self.specs[spec.name] = spec
            await self._set(spec.name, phase=ProcessPhase.CREATED)

    async def start(self, name: str) -> ProcessStatus:
        if name not in self.statuses:
            raise NotFound(name)
        if self.statuses[name].phase is ProcessPhase.CREATED:
            self.started.append(name)
            return await self._set(name, phase=ProcessPhase.RUNNING)
        return self.statuses[name]

    async def inspect(self, name: str) -> ProcessStatus:
        return self.statuses.get(name, ProcessStatus(name, ProcessPhase.ABSENT))

    async def wait(self, name: str) -> ProcessStatus:
        async with self.changed:
            await self.changed.wait_for(
                lambda: self.statuses.get(name, ProcessStatus(name, ProcessPhase.ABSENT)).over
            )
        return await self.inspect(name)

    async def stop(self, name: str, grace: float = 10.0) -> ProcessStatus:
        status = await self.inspect(name)
        if status.phase is ProcessPhase.CREATED:
            return await self._set(name, phase=ProcessPhase.EXITED, reason="stopped")
        if status.phase is ProcessPhase.RUNNING:
            return await self._set(name, phase=ProcessPhase.EXITED, exit_code=-15)
        return status

    async def remove(self, name: str) -> None:
        self.specs.pop(name, None)
        self.statuses.pop(name, None)

    async def find(self, labels: Mapping[str, str]) -> list[ProcessStatus]:
        return [s for s in self.statuses.values() if labels.items() <= dict(s.labels).items()]

    async def read_log(self, name: str, offset: int = 0, limit: int = 1 << 16) -> tuple[bytes, int]:
        log = f"log of {name} ä\n".encode() if name in self.started else b""
        return log[offset : offset + limit], len(log)

    # -- what tests do --

    async def end(self, name: str, result: RunResult | None = None, **members: Any) -> None:
        """End a process, after it left `result` like the runner."""
        if result is not None:
            _leave(Path(self.specs[name].environment["GAVIP_OUTPUT_DIR"]), result)
        members = {"phase": ProcessPhase.EXITED, "exit_code": 0} | members
        await self._set(name, **members)

    def environment(self, name: str) -> Mapping[str, str]:
        return self.specs[name].environment


def _leave(folder: Path, result: RunResult) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(result.model_dump_json())


class PlaneThatRefusesToStart(MemoryPlane):
    """Like an engine that is out of disk: creates, never starts."""

    tries = 0

    async def start(self, name: str) -> ProcessStatus:
        self.tries += 1
        raise Unavailable("The engine is out of disk.")


class PlaneThatAnswersTooLate(MemoryPlane):
    """Starts, and reports a failure all the same, like an engine whose answer times out."""

    async def start(self, name: str) -> ProcessStatus:
        await super().start(name)
        raise Unavailable("The engine did not answer in time.")


class PlaneThatHoldsCreation(MemoryPlane):
    """Waits in `create` until told to go on, so that something can happen meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.creating, self.go_on = asyncio.Event(), asyncio.Event()

    async def create(self, spec: LaunchSpec) -> None:
        self.creating.set()
        await self.go_on.wait()
        await super().create(spec)


class FakeHub:
    """Knows the portal's, the spawners' and a person's token."""

    callers = {
        "portal": Caller("portal", "service", frozenset({"custom:jobqueue:act-for"})),
        "spawner": Caller("spawner", "service", frozenset({"custom:jobqueue:reserve"})),
        "operator": Caller("portal", "service", frozenset({"custom:jobqueue:operate"})),
        "metrics": Caller("prometheus", "service", frozenset({"read:metrics"})),
        "alice": Caller("alice", "user", frozenset({"custom:portal:access"})),
    }

    async def authenticate(self, handler: RequestHandler) -> Caller | None:
        header = handler.request.headers.get("Authorization")
        if header is None:
            return None
        caller = self.callers.get(header.rpartition(" ")[2])
        if caller is None:
            raise NotSignedIn("The token is not valid.")
        return caller


class QueueOnFakes(JobQueueApp):
    """The real service on a fake plane with a fake hub."""

    plane: ExecutionPlane

    def make_plane(self) -> ExecutionPlane:
        return self.plane

    def make_authenticator(self) -> Authenticator:
        return FakeHub()


def submission(owner: str = "alice", **resources: Any) -> dict[str, Any]:
    return {
        "owner": {"name": owner},
        "avi": "gaia/demo",
        "release": "a" * 40,
        "template": "python",
        "pipeline": "work",
        "spec": {
            "title": "Work",
            "notebook": "work.ipynb",
            "parameters": {"rows": {"type": "integer", "default": 1, "minimum": 0}},
            "resources": {"memory": "256M", "cpu": 0.5, "time": "1m"} | resources,
        },
        "parameters": {"rows": 5},
    }


class Service:
    """A running service and a client of it."""

    def __init__(self, app: QueueOnFakes, plane: MemoryPlane, client: httpx.AsyncClient) -> None:
        self.app, self.plane, self.client = app, plane, client
        self.spawner = {"Authorization": "token spawner"}

    async def submit(self, owner: str = "alice", **resources: Any) -> str:
        r = await self.client.post("jobs", json=submission(owner, **resources))
        assert r.status_code == 201, r.text
        return str(r.json()["id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        return dict((await self.client.get(f"jobs/{job_id}")).json())

    async def until(self, condition: Callable[[], Any], what: str = "it") -> Any:
        for _ in range(500):
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.01)
        raise AssertionError(f"waited in vain for {what}")

    async def reach(self, job_id: str, *states: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["state"] in states else None

        found: dict[str, Any] = await self.until(there, f"{states}")
        return found

    async def report(self, job_id: str, attempt: int = 1, **more: Any) -> httpx.Response:
        env = self.plane.environment(f"job-{job_id}.{attempt}")
        return await self.client.post(
            more.pop("url", env["GAVIP_JOB_URL"]) + "/progress",
            headers={"Authorization": "Bearer " + more.pop("token", env["GAVIP_JOB_TOKEN"])},
            json={"attempt": attempt, "done": 1, "total": 4} | more,
        )


@pytest.fixture
async def start(tmp_path: Path, database_url: str) -> AsyncIterator[Callable[..., Any]]:
    """Start the service on a plane; again on the same state after `stop`."""
    running: list[Service] = []

    async def begin(plane: MemoryPlane | None = None, **options: Any) -> Service:
        traits = {
            "bind_url": "http://127.0.0.1:0",
            "state_dir": str(tmp_path),
            "database_url": database_url,
            "capacity_memory": "2G",
            "capacity_cpu": 2.0,
            "user_memory": "1G",
            "user_cpu": 1.0,
            "hub_seconds": 0.0,
            "shutdown_seconds": 1.0,
        }
        app = QueueOnFakes(**(traits | options))
        app.plane = plane or MemoryPlane()
        await app.open()
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{app.port}/services/jobqueue/api/v1/",
            headers={"Authorization": "token portal"},
            trust_env=False,
        )
        service = Service(app, app.plane, client)
        running.append(service)
        return service

    async def stop(service: Service) -> None:
        running.remove(service)
        await service.client.aclose()
        await service.app.close()

    begin.stop = stop  # type: ignore[attr-defined]
    yield begin
    for service in list(running):
        await stop(service)


@pytest.fixture
async def service(start: Callable[..., Any]) -> Service:
    started: Service = await start()
    return started


@pytest.fixture
def planes() -> dict[str, type[MemoryPlane]]:
    return {
        "refuses to start": PlaneThatRefusesToStart,
        "answers too late": PlaneThatAnswersTooLate,
        "holds creation": PlaneThatHoldsCreation,
    }


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server, with the present schema in the database ``migrated``."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    with running_cluster(programs) as cluster:
        with cluster.connect() as connection:
            connection.execute("CREATE DATABASE migrated")
        engine = make_engine(cluster.url("migrated"))
        upgrade(engine, MIGRATIONS)
        engine.dispose()
        yield cluster


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database with the present schema, migrated once."""
    path = tmp_path_factory.mktemp("migrated") / "queue.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine, MIGRATIONS)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    """Both databases: whatever uses one is run on each."""
    return str(request.param)


@pytest.fixture
def database_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database with the present schema."""
    if dialect == "sqlite":
        path = tmp_path / "run" / "jobqueue.db"
        path.parent.mkdir()
        shutil.copy(request.getfixturevalue("migrated"), path)
        yield f"sqlite:///{path}"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = cluster.create("migrated")
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def empty_url(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a database without any tables."""
    if dialect == "sqlite":
        # a name that must be quoted in the URL
        yield f"sqlite:///{tmp_path}/a%20b.db"
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    name = cluster.create()
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def database(database_url: str) -> Any:
    database = Database(make_engine(database_url))
    yield database
    database.close()


@pytest.fixture
def session(database: Database) -> Any:
    with Session(database.engine) as session, session.begin():
        yield session


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Amount(4 * GIB, 4000, 8, 4), Amount(3 * GIB, 3000, 6, 2))


@pytest.fixture
def payload() -> Callable[..., dict[str, Any]]:
    return submission
