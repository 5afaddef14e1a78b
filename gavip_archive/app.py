"""The archive's server: options, composition, start and stop. Only this module constructs the services."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from pathlib import Path
from socket import socket
from typing import Any, cast
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application as WebApplication
from traitlets import Bool, Int, List, TraitError, Unicode, default, validate
from traitlets.config import Application

from gavip_api.errors import GavipError

from .adql.translate import Translator
from .data.build import require_current
from .engine.pool import Pool
from .errors import AddressUnusable, DatabaseUnusable
from .fetch import UploadFetcher
from .limits import Limits
from .queries import QueryService
from .tableset import load_tableset
from .uws.service import JobService
from .uws.storage import JobStore
from .web.asynchronous import JobHandler, JobPropertyHandler, JobsHandler, ResultHandler
from .web.base import Archive, NothingHere
from .web.examples import ExamplesHandler
from .web.sync import SyncHandler
from .web.vosi import AvailabilityHandler, CapabilitiesHandler, LandingHandler, TablesHandler

log = logging.getLogger("gavip.archive")

# Room for the other parts of a multipart request beside the uploaded tables
_FORM_OVERHEAD = 2**20

_SCRATCH = "scratch"


class JsonFormatter(logging.Formatter):
    """One JSON object per line, so that machines read the log as easily as people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class ArchiveApp(Application):
    """The embedded TAP 1.1 archive."""

    name = Unicode("gavip-archive")
    description = Unicode("Serve the archive's database as TAP 1.1 service.")

    aliases = {
        "db": "ArchiveApp.database",
        "host": "ArchiveApp.host",
        "port": "ArchiveApp.port",
        "state": "ArchiveApp.state",
        "public-url": "ArchiveApp.public_url",
        "config": "ArchiveApp.config_file",
        "log-level": "Application.log_level",
    }

    config_file = Unicode(
        "", help="Python or JSON configuration file (traitlets). Default: none."
    ).tag(config=True)
    database = Unicode("", help="The DuckDB file that `build` wrote. No default: must be set.").tag(
        config=True
    )
    state = Unicode(
        "archive-state",
        help="Folder of the jobs and their results; they outlive restarts. Default: archive-state.",
    ).tag(config=True)
    host = Unicode(
        "127.0.0.1", help="Address to listen on. Default: 127.0.0.1, this machine only."
    ).tag(config=True)
    port = Int(
        8090, min=0, max=65535, help="TCP port to listen on; 0 takes a free one. Default: 8090."
    ).tag(config=True)
    public_url = Unicode(
        "",
        help="URL of /tap as clients see it, behind a proxy for example. Default: http://HOST:PORT/tap.",
    ).tag(config=True)
    other_urls: Any = List(
        Unicode(),
        help="Further URLs of /tap, for clients that reach it by another way than `public_url`, such as containers"
        " through their gateway: links in answers follow the host that was asked for. Default: none.",
    ).tag(config=True)
    max_rows = Int(
        1_000_000, min=1, help="Most rows of one result; MAXREC cannot exceed it. Default: 1000000."
    ).tag(config=True)
    query_memory = Int(
        512 * 2**20,
        min=32 * 2**20,
        help="Most memory one query may use in the database, in bytes. Default: 512 MiB.",
    ).tag(config=True)
    query_threads = Int(2, min=1, max=256, help="Processor threads of one query. Default: 2.").tag(
        config=True
    )
    workers = Int(
        3, min=1, max=64, help="Queries that run at once; jobs use all but one. Default: 3."
    ).tag(config=True)
    queue_length = Int(
        64, min=0, help="Queries that may wait for a worker; more are refused. Default: 64."
    ).tag(config=True)
    sync_timeout = Int(
        60, min=1, help="Longest synchronous query, waiting included, in seconds. Default: 60."
    ).tag(config=True)
    execution_duration = Int(
        600, min=1, help="Longest run of a job unless it asks otherwise, in seconds. Default: 600."
    ).tag(config=True)
    max_execution_duration = Int(
        3600, min=1, help="Longest run a job may ask for, in seconds. Default: 3600."
    ).tag(config=True)
    retention = Int(
        86_400,
        min=60,
        help="How long a job is kept unless it asks otherwise, in seconds. Default: one day.",
    ).tag(config=True)
    max_retention = Int(
        7 * 86_400, min=60, help="How long a job may ask to be kept, in seconds. Default: one week."
    ).tag(config=True)
    sweep_interval = Int(
        60,
        min=1,
        help="How often jobs past their destruction are removed, in seconds. Default: 60.",
    ).tag(config=True)
    max_jobs = Int(
        5_000, min=1, help="Jobs kept at once, finished ones included. Default: 5000."
    ).tag(config=True)
    upload_bytes = Int(
        32 * 2**20, min=1024, help="Largest uploaded table, in bytes. Default: 32 MiB."
    ).tag(config=True)
    upload_rows = Int(500_000, min=1, help="Most rows of an uploaded table. Default: 500000.").tag(
        config=True
    )
    upload_urls = List(
        Unicode(),
        help="URL prefixes that uploads may be fetched from, such as https://data.example.org/tables/."
        " Default: none, so that the service never fetches a URL for a stranger.",
    ).tag(config=True)
    list_jobs = Bool(
        False,
        help="Whether GET /async lists the jobs of everybody. Default: false, for jobs have no owners.",
    ).tag(config=True)

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @validate("public_url")
    def _valid_public_url(self, proposal: Any) -> str:
        value = str(proposal["value"]).rstrip("/")
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise TraitError(f"public_url must be an http or https URL, not {value!r}")
        return value

    @validate("upload_urls")
    def _valid_upload_urls(self, proposal: Any) -> list[str]:
        for value in proposal["value"]:
            parts = urlsplit(value)
            if (
                parts.scheme not in ("http", "https")
                or not parts.hostname
                or parts.username
                or parts.query
            ):
                raise TraitError(f"upload_urls must hold http or https URL prefixes, not {value!r}")
        return list(proposal["value"])

    def initialize(self, argv: Any = None) -> None:
        """Read the command line and the configuration file, and set up the log."""
        self.parse_command_line(argv)
        if self.config_file:
            self.load_config_file(self.config_file)
            self.parse_command_line(argv)  # the command line wins
        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(logging.WARNING)
        log.setLevel(cast("int | str", self.log_level))
        logging.getLogger("tornado.access").setLevel(
            logging.CRITICAL
        )  # our handlers say what went wrong

    def limits(self) -> Limits:
        """Return the options as one value."""
        return Limits(
            max_rows=self.max_rows,
            query_memory=self.query_memory,
            threads=self.query_threads,
            sync_timeout=float(self.sync_timeout),
            execution_default=min(self.execution_duration, self.max_execution_duration),
            execution_max=self.max_execution_duration,
            retention_default=min(self.retention, self.max_retention),
            retention_max=self.max_retention,
            workers=self.workers,
            queue_length=self.queue_length,
            upload_bytes=self.upload_bytes,
            upload_rows=self.upload_rows,
            max_jobs=self.max_jobs,
        )

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        state = self.prepare()
        asyncio.run(self.serve(state, self.listen()))

    def prepare(self) -> Path:
        """Check the database and create the state folder; return the folder.

        Raises
        ------
        DatabaseUnusable
            When the database is missing or outdated.
        """
        if not self.database:
            raise DatabaseUnusable(
                "no database is named", hint="Write serve --db PATH/archive.duckdb"
            )
        require_current(Path(self.database).absolute())
        state = Path(self.state).absolute()
        (state / _SCRATCH).mkdir(parents=True, exist_ok=True, mode=0o700)
        return state

    def listen(self) -> list[socket]:
        """Bind the address.

        Raises
        ------
        AddressUnusable
            When it is taken.
        """
        try:
            return bind_sockets(self.port, self.host)
        except OSError as error:
            raise AddressUnusable(
                f"{self.host}:{self.port} cannot be listened on: {error.strerror}",
                hint="Choose another --port.",
            ) from error

    async def serve(self, state: Path, sockets: list[socket]) -> None:
        """Serve until told to stop.

        Parameters
        ----------
        state : Path
            The state folder.
        sockets : list of socket
            Bound sockets.
        """
        limits = self.limits()
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)

        pool = Pool(Path(self.database), limits)
        queries = QueryService(pool, Translator(load_tableset()), limits)
        fetcher = UploadFetcher(self.upload_urls, limits)
        jobs = JobService(JobStore(state), queries, fetcher, limits)
        base = self.public_url or f"http://{self.host}:{sockets[0].getsockname()[1]}/tap"
        archive = Archive(
            base,
            limits,
            load_tableset(),
            queries,
            jobs,
            fetcher,
            state / _SCRATCH,
            self.list_jobs,
            tuple(url.rstrip("/") for url in self.other_urls),
        )
        server = HTTPServer(
            web_application(archive),
            max_body_size=limits.upload_bytes + _FORM_OVERHEAD,
            max_header_size=256 * 1024,
        )
        await queries.warm_up()
        await jobs.start()
        server.add_sockets(sockets)
        sweeper = asyncio.create_task(self._sweep(jobs))
        log.info("ready url=%s", base)
        await stopped.wait()
        log.info("stopping")
        server.stop()
        sweeper.cancel()
        await jobs.close()
        await server.close_all_connections()
        await loop.run_in_executor(None, pool.close)
        log.info("stopped")

    async def _sweep(self, jobs: JobService) -> None:
        while True:
            await asyncio.sleep(self.sweep_interval)
            try:
                removed = await jobs.sweep()
            except (OSError, GavipError) as error:
                log.warning("sweep failed reason=%s", error)
            else:
                if removed:
                    log.info("destroyed jobs count=%d", removed)


def web_application(archive: Archive) -> WebApplication:
    """Return the routes."""
    services = {"archive": archive}
    job = r"/tap/async/([0-9A-Za-z-]+)"
    properties = "phase|executionduration|destruction|quote|owner|parameters|results|error"
    return WebApplication(
        [
            (r"/(?:tap/?)?", LandingHandler, services),
            (r"/tap/sync", SyncHandler, services),
            (r"/tap/async/?", JobsHandler, services),
            (rf"{job}/?", JobHandler, services),
            (rf"{job}/({properties})/?", JobPropertyHandler, services),
            (rf"{job}/results/result", ResultHandler, services),
            (r"/tap/tables/?", TablesHandler, services),
            (r"/tap/tables/([A-Za-z0-9_.]+)", TablesHandler, services),
            (r"/tap/capabilities", CapabilitiesHandler, services),
            (r"/tap/availability", AvailabilityHandler, services),
            (r"/tap/examples", ExamplesHandler, services),
        ],
        default_handler_class=NothingHere,
        default_handler_args=services,
        compress_response=False,  # compressing a result costs more time than a local network saves
    )
