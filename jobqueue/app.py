"""The job queue's application: reads the configuration and constructs everything else."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import Gauge
from traitlets import Float, Integer, List, TraitError, Type, Unicode, default, validate

from gavip_api.errors import GavipError, Unavailable
from gavip_api.models import ResourceAmount
from gavip_api.resources import memory_bytes, seconds
from gavip_spawner.layout import StateLayout
from gavip_spawner.placement import InContainer, OnHost
from gavip_spawner.plane import ExecutionPlane
from gavip_web import tasks
from gavip_web.application import ServiceApp
from gavip_web.database import Database, make_engine, upgrade
from gavip_web.hub import HubClient
from gavip_web.openapi import Api

from .amounts import PLENTY, Amount
from .backends import JobBackend
from .handlers.routes import make_api
from .schedulers import Scheduler, load
from .services.deliveries import Deliveries, Limits
from .services.events import EventBus, EventStreams
from .services.explain import Explainer
from .services.forecast import Forecaster
from .services.history import RunTimes
from .services.jobs import JobService
from .services.ledger import Ledger
from .services.logs import JobLogs
from .services.machine import JobMachine
from .services.operators import Operators
from .services.orphans import Orphans
from .services.permits import Permits
from .services.progress import ProgressIntake
from .services.queries import Queries
from .services.reconciler import Reconciler
from .services.reservations import HubWatch, Reservations
from .services.schedules import Schedules
from .services.signing import Signer, kept_key
from .services.submission import Submission
from .services.targets import Target, Targets
from .services.waiting import Waitlist

log = logging.getLogger("jobqueue")

MIGRATIONS = Path(__file__).parent / "storage" / "migrations"


class JobQueueApp(ServiceApp):
    """Keeps the ledger of resources and runs pipelines.

    Started by the hub as a managed service, or by hand: ``python -m jobqueue --config=…``.
    """

    name = "jobqueue"
    default_port = 8482

    state_dir = Unicode(
        help="The platform's state folder. Default: GAVIP_STATE, else `.gavip` in the present folder."
    ).tag(config=True)

    archive_url = Unicode(
        "",
        help="Base URL of the TAP service that jobs are told to use. Default: GAVIP_ARCHIVE_URL.",
    ).tag(config=True)

    runner_url = Unicode(
        help="Base URL of this service as job processes reach it, ending in the service's path. Default:"
        " the address it listens on."
    ).tag(config=True)

    job_python = Unicode(
        sys.executable, help="Python interpreter that runs jobs. Default: this service's own."
    ).tag(config=True)

    plane_class = Type(
        "gavip_spawner.process_plane.ProcessPlane",
        klass=ExecutionPlane,
        help="Back-end of the execution plane. Default: processes of this machine, which isolates nobody.",
    ).tag(config=True)

    warm_modules: Any = List(
        Unicode(),
        ["avi.runner.main", "avi.runner.engine", "papermill.execute", "jsonschema", "httpx"],
        help="Modules that the process back-end imports once, in a process without identity that forks for each job,"
        " so that jobs start at once; empty: each job starts cold. Default: what the runner of notebooks needs.",
    ).tag(config=True)

    scheduler = Unicode(
        "fair-share",
        help="Name of the scheduler: `fifo`, `shortest-first`, `fair-share`, `backfill`, or one that an installed"
        " package offers (entry point group `gavip.schedulers`). Operators may choose another while the queue runs;"
        " their choice is kept. Default: fair-share.",
    ).tag(config=True)

    half_life = Unicode(
        "7d",
        help="After how long what users held counts half in their fair share, such as `12h`. Default: 7d.",
    ).tag(config=True)

    capacity_memory = Unicode(
        help="Memory that may be allocated in total, a size such as `16G`. Default: 80 % of the machine's."
    ).tag(config=True)

    capacity_cpu = Float(
        min=0.1,
        help="Cores that may be allocated in total. Default: twice the machine's, for applications are idle most of"
        " the time and cores, unlike memory, can be shared.",
    ).tag(config=True)

    capacity_slots = Integer(
        PLENTY,
        min=1,
        max=PLENTY,
        help="Most servers and jobs that may run at once in total. Default: no limit but memory and cores.",
    ).tag(config=True)

    capacity_archive = Integer(
        32, min=0, max=PLENTY, help="Most archive queries at once in total. Default: 32."
    ).tag(config=True)

    user_memory = Unicode(
        help="The most memory one user may hold at one instant, a size. Default: 3/4 of the capacity."
    ).tag(config=True)

    user_cpu = Float(
        min=0.1,
        help="The most cores one user may hold at one instant. Default: 3/4 of the capacity.",
    ).tag(config=True)

    user_slots = Integer(
        50, min=1, max=PLENTY, help="Most servers and jobs of one user at once. Default: 50."
    ).tag(config=True)

    user_archive = Integer(
        8, min=0, max=PLENTY, help="Most archive queries of one user at once. Default: 8."
    ).tag(config=True)

    max_queued_per_user = Integer(
        1000, min=1, help="Most jobs one user may have waiting. Default: 1000."
    ).tag(config=True)

    max_queued = Integer(
        200_000,
        min=1,
        help="Most jobs that may wait in all; each takes about a kilobyte of memory. Default: 200000.",
    ).tag(config=True)

    max_time = Unicode(
        "1d",
        help="Longest wall-clock limit of a job, such as `12h`; longer ones are cut. Default: 1d.",
    ).tag(config=True)

    stop_grace = Float(
        10.0, min=0, help="Seconds a cancelled job may take to end by itself. Default: 10."
    ).tag(config=True)

    retention = Unicode(
        "30d",
        help="How long ended jobs are kept with their logs; products stay with the users. Default: 30d.",
    ).tag(config=True)

    reconcile_seconds = Float(
        30.0,
        min=0.1,
        help="Seconds between looks at everything when no event asks for one. Default: 30.",
    ).tag(config=True)

    housekeeping_seconds = Float(
        600.0,
        min=0.1,
        help="Seconds between looks for jobs past their retention, jobs that no longer fit, and processes that no"
        " record counts. Default: 600.",
    ).tag(config=True)

    hub_seconds = Float(
        20.0,
        min=0,
        help="Seconds between comparisons of ledger and execution plane with the hub's running servers; 0: never."
        " Default: 20.",
    ).tag(config=True)

    hub_grace = Float(
        120.0,
        min=0,
        help="Seconds a server must be missing at the hub before its reservation is released. Default: 120.",
    ).tag(config=True)

    orphan_grace = Float(
        20.0,
        min=0,
        help="Seconds a server on the execution plane must be unknown to the hub before it is removed. Default: 20.",
    ).tag(config=True)

    max_schedules_per_user = Integer(
        20, min=0, help="Most recurring submissions one user may have. Default: 20."
    ).tag(config=True)

    hook_targets: Any = List(
        Unicode(),
        help="Hosts that may be notified of ended jobs, such as `https://hooks.example.org` or"
        " `https://*.example.org:8443`. Default: none, that is, no notifications.",
    ).tag(config=True)

    hook_networks: Any = List(
        Unicode(),
        help="Networks (CIDR) in which those hosts may be although they are not on the public internet,"
        " such as `10.1.0.0/16`. Default: none.",
    ).tag(config=True)

    hook_tries = Integer(
        8, min=1, max=100, help="Most tries to deliver one notification. Default: 8."
    ).tag(config=True)

    hook_first_pause = Float(
        2.0,
        min=0.01,
        help="Seconds before the second try to deliver a notification; doubled each time, an hour at most. Default: 2.",
    ).tag(config=True)

    aliases = {**ServiceApp.aliases, "state": "JobQueueApp.state_dir"}

    @default("state_dir")
    def _default_state_dir(self) -> str:
        return os.environ.get("GAVIP_STATE") or ".gavip"

    @default("archive_url")
    def _default_archive_url(self) -> str:
        return os.environ.get("GAVIP_ARCHIVE_URL", "")

    @default("runner_url")
    def _default_runner_url(self) -> str:
        host = self.bind_url.rpartition(":")[0]
        return f"{host}:{self.port}{self.base_url}"

    @default("database_url")
    def _default_database_url(self) -> str:
        return f"sqlite:///{self.layout.run / 'jobqueue.db'}"

    @default("capacity_memory")
    def _default_capacity_memory(self) -> str:
        return str(psutil.virtual_memory().total * 8 // 10)

    @default("capacity_cpu")
    def _default_capacity_cpu(self) -> float:
        return 2.0 * (psutil.cpu_count() or 1)

    @default("user_memory")
    def _default_user_memory(self) -> str:
        return str(memory_bytes(self.capacity_memory) * 3 // 4)

    @default("user_cpu")
    def _default_user_cpu(self) -> float:
        return float(self.capacity_cpu) * 0.75

    @validate("capacity_memory", "user_memory")
    def _check_size(self, proposal: Any) -> str:
        try:
            memory_bytes(proposal["value"])
        except GavipError as e:
            raise TraitError(f"{proposal['trait'].name}: {e.message}") from None
        return str(proposal["value"])

    @validate("max_time", "retention", "half_life")
    def _check_duration(self, proposal: Any) -> str:
        try:
            seconds(proposal["value"])
        except GavipError as e:
            raise TraitError(f"{proposal['trait'].name}: {e.message}") from None
        return str(proposal["value"])

    @validate("hook_targets")
    def _check_targets(self, proposal: Any) -> list[str]:
        try:
            for entry in proposal["value"]:
                Target.parse(entry)
        except ValueError as e:
            raise TraitError(f"hook_targets: {e}") from None
        return list(proposal["value"])

    @validate("hook_networks")
    def _check_networks(self, proposal: Any) -> list[str]:
        try:
            for entry in proposal["value"]:
                ip_network(entry)
        except ValueError as e:
            raise TraitError(f"hook_networks: {e}") from None
        return list(proposal["value"])

    @property
    def layout(self) -> StateLayout:
        """Paths below the state folder."""
        return StateLayout(Path(self.state_dir).absolute())

    # -- construction --

    def make_plane(self) -> ExecutionPlane:
        """Return the execution plane; every back-end is constructed from the folder it may use."""
        plane_class: Any = self.plane_class
        plane: ExecutionPlane = plane_class(self.layout.plane, parent=self)
        return plane

    def make_scheduler(self, name: str) -> Scheduler:
        """Return a scheduler by name; its options come from the configuration."""
        return load(name, parent=self)

    async def setup(self) -> None:
        """Construct storage and services, and start the background tasks."""
        engine = make_engine(self.database_url)
        await asyncio.to_thread(upgrade, engine, MIGRATIONS)
        self.database = Database(engine)
        bus = EventBus()
        ledger = Ledger(
            capacity=_amount(
                self.capacity_memory, self.capacity_cpu, self.capacity_slots, self.capacity_archive
            ),
            pool=_amount(self.user_memory, self.user_cpu, self.user_slots, self.user_archive),
            half_life=seconds(self.half_life),
        )
        history = RunTimes()
        waitlist = Waitlist(self.make_scheduler(self.scheduler), history, ledger.shares)
        machine = JobMachine(ledger, waitlist, history)
        forecaster = Forecaster(ledger, waitlist, history)
        queries = Queries(ledger, waitlist, Explainer(ledger, waitlist, history, forecaster))
        self.plane_in_use = self.make_plane()
        await self.plane_in_use.prepare(tuple(self.warm_modules))
        backend = JobBackend(
            self.plane_in_use,
            self.layout,
            archive_url=self.archive_url,
            runs_url=f"{self.runner_url.rstrip('/')}/api/v1/runs",
            placement=InContainer() if self.plane_in_use.contained else OnHost(self.job_python),
        )
        self.intake = ProgressIntake(self.database, bus, machine)
        self.reconciler = Reconciler(
            self.database,
            bus,
            ledger,
            machine,
            self.intake,
            backend,
            waitlist,
            period=self.reconcile_seconds,
            stop_grace=self.stop_grace,
            retention=timedelta(seconds=seconds(self.retention)),
            housekeeping=self.housekeeping_seconds,
        )
        targets = Targets(self.hook_targets, self.hook_networks)
        submission = Submission(
            ledger,
            machine,
            queries,
            waitlist,
            self.layout,
            targets,
            max_queued=self.max_queued_per_user,
            max_queued_in_all=self.max_queued,
            max_seconds=seconds(self.max_time),
        )
        wake = self.reconciler.wake

        def changed(job_id: str, owner: str) -> None:
            bus.notify(job_id, owner)
            wake()

        key = await asyncio.to_thread(kept_key, self.layout.run / "hook-key")
        deliveries = Deliveries(
            self.database,
            targets,
            Signer(key),
            Limits(tries=self.hook_tries, first=self.hook_first_pause),
        )
        bus.listen(deliveries.wake)
        schedules = Schedules(self.database, submission, changed, most=self.max_schedules_per_user)
        operators = Operators(
            self.database,
            ledger.rules,
            waitlist,
            forecaster,
            make=self.make_scheduler,
            name=self.scheduler,
            wake=wake,
        )
        for part in (ledger, history, operators, waitlist):
            # in this order: the queue is built from what the others know
            await self.database.read(part.load)
        self.services: dict[str, Any] = {
            "jobs": JobService(self.database, bus, machine, queries, submission, self.intake, wake),
            "job_events": EventStreams(self.database, bus),
            "job_logs": JobLogs(self.database, backend),
            "reservations": Reservations(self.database, ledger, wake),
            "schedules": schedules,
            "deliveries": deliveries,
            "operators": operators,
            "permits": Permits(self.database, machine, changed),
        }
        self._gauge = Gauge(
            "gavip_jobqueue",
            "Figures of the queue: jobs, bytes and cores.",
            ["figure"],
            registry=self.metrics.registry,
        )
        self.hub = HubClient(self.hub_api_url, self.hub_token)
        orphans = Orphans(self.plane_in_use, self.orphan_grace)
        self.hub_watch = HubWatch(self.database, ledger, self.hub, wake, self.hub_grace, orphans)
        self._tasks = [
            asyncio.ensure_future(part.run()) for part in (self.reconciler, schedules, deliveries)
        ]
        if self.hub_seconds:
            self._tasks.append(asyncio.ensure_future(self._watch_hub()))

    async def _watch_hub(self) -> None:
        while True:
            await asyncio.sleep(self.hub_seconds)
            try:
                await self.hub_watch.check()
            except GavipError as e:
                log.warning("ledger not compared with the hub: %s", e.message)

    def api(self) -> Api:
        """Return the internal API."""
        return make_api()

    def settings(self) -> dict[str, Any]:
        """Hand the services to the handlers."""
        return {"base_url": self.base_url, **self.services}

    async def check_ready(self) -> None:
        """Refuse while the database does not answer or the reconciler does not run."""
        await self.database.check()
        if any(task.done() for task in self._tasks):
            raise Unavailable(
                "A background task of the queue has stopped.", hint="Restart the service."
            )

    async def collect_metrics(self) -> None:
        """Read the queue's figures."""
        jobs: JobService = self.services["jobs"]
        queue = await jobs.queue()
        figures = {
            "jobs_queued": queue.queued,
            "jobs_running": queue.running,
            "memory_capacity": queue.capacity.memory,
            "memory_used": queue.used.memory,
            "cpu_capacity": queue.capacity.cpu,
            "cpu_used": queue.used.cpu,
        }
        for name, value in figures.items():
            self._gauge.labels(name).set(value)

    async def teardown(self) -> None:
        """Stop the background tasks; running jobs go on and are adopted at the next start."""
        await tasks.end(*self._tasks)
        await self.intake.close()
        await self.plane_in_use.close()
        await self.hub.close()
        await asyncio.to_thread(self.database.close)


def _amount(memory: str, cpu: float, slots: int, archive: int) -> Amount:
    return Amount.of(
        ResourceAmount(memory=memory_bytes(memory), cpu=cpu, slots=slots, archive=archive)
    )
