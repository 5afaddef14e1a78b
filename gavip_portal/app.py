"""Composition root of the portal: reads the configuration and constructs everything, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado.routing import URLSpec
from traitlets import Float, Integer, List, TraitError, Unicode, default, validate

from gavip_api import __version__
from gavip_api.errors import GavipError, InvalidInput
from gavip_api.models import ResourceAmount
from gavip_api.resources import memory_bytes
from gavip_spawner.disks import UserDisks
from gavip_spawner.layout import StateLayout
from gavip_web import tasks
from gavip_web.application import ServiceApp
from gavip_web.database import Database, make_engine, upgrade
from gavip_web.hub import HubClient
from gavip_web.openapi import Api, pattern

from .handlers import (
    api_catalogue,
    api_files,
    api_instances,
    api_jobs,
    api_operators,
    api_permissions,
    api_schedules,
    pages,
)
from .handlers.base import Services
from .handlers.static import AssetHandler
from .pages import DIST, HUB_STATIC, STATIC, Assets, Pages
from .services.bus import InstanceBus
from .services.catalogue import Catalogue
from .services.granting import Granting
from .services.instances import Instances, InstanceSettings
from .services.jobqueue import JobqueueClient
from .services.jobs import Jobs
from .services.operators import Operators
from .services.permits import Permits
from .services.publishing import Publisher
from .services.schedules import Schedules
from .services.seeding import seed
from .services.servers import TechnicalServers
from .services.userspace import UserSpaces

log = logging.getLogger("gavip.portal")

MIGRATIONS = Path(__file__).parent / "storage" / "migrations"


class PortalApp(ServiceApp):
    """The portal of the GAVIP platform."""

    name = "portal"
    description = "Catalogue, instances, jobs on behalf of people, files, pages and the public API."
    browser = True
    default_port = 10801

    state_dir = Unicode(
        help="Absolute path of the platform's state folder. Default: the environment variable GAVIP_STATE,"
        " else `.gavip` in the working folder."
    ).tag(config=True)

    jobqueue_url = Unicode(
        help="Base URL of jobqueue's internal API, ending in `/api/v1`. Default: the environment variable"
        " GAVIP_JOBQUEUE_URL, else http://127.0.0.1:10802/services/jobqueue/api/v1."
    ).tag(config=True)

    hub_public_url = Unicode(
        "http://gavip.localhost:8000/hub/",
        help="Address of the hub as browsers see it, ending in `/hub/`."
        " Default: http://gavip.localhost:8000/hub/.",
    ).tag(config=True)

    user_url_template = Unicode(
        "http://{user}.gavip.localhost:8000/user/{user}/",
        help="Address of a user's server as browsers see it; `{user}` becomes the technical user's name."
        " Default: http://{user}.gavip.localhost:8000/user/{user}/.",
    ).tag(config=True)

    example_folders = List(
        Unicode(),
        help="Folders, or glob patterns of folders, of AVIs to publish as owner `gavip` at start-up."
        " A new release is made only when the content changed. Default: none.",
    ).tag(config=True)

    max_instances_per_user = Integer(
        4, min=1, help="Most AVIs one person may have open at a time. Default: 4."
    ).tag(config=True)

    instance_memory = Unicode(
        "512M", help="Memory an open AVI may use, as a size. Default: 512M."
    ).tag(config=True)

    instance_cpu = Float(
        1.0, min=0.01, help="Processor cores an open AVI may use. Default: 1."
    ).tag(config=True)

    reconcile_seconds = Float(
        30.0,
        min=1,
        help="Seconds between comparisons of the portal's instances with the hub's servers. Default: 30.",
    ).tag(config=True)

    aliases = {**ServiceApp.aliases, "state": "PortalApp.state_dir"}

    @default("state_dir")
    def _default_state_dir(self) -> str:
        return str(Path(os.environ.get("GAVIP_STATE") or ".gavip").absolute())

    @validate("state_dir")
    def _check_state_dir(self, proposal: Any) -> str:
        if not Path(proposal["value"]).is_absolute():
            raise TraitError(f"state_dir must be absolute, not {proposal['value']!r}")
        return str(proposal["value"])

    @default("jobqueue_url")
    def _default_jobqueue_url(self) -> str:
        return (
            os.environ.get("GAVIP_JOBQUEUE_URL")
            or "http://127.0.0.1:10802/services/jobqueue/api/v1"
        )

    @default("database_url")
    def _default_database_url(self) -> str:
        return f"sqlite:///{StateLayout(Path(self.state_dir)).run / 'portal.sqlite'}"

    @validate("hub_public_url")
    def _check_hub_public_url(self, proposal: Any) -> str:
        parts = urlsplit(proposal["value"])
        if (
            parts.scheme not in ("http", "https")
            or not parts.netloc
            or not parts.path.endswith("/")
        ):
            raise TraitError(
                f"hub_public_url must be http(s)://host/…/hub/, not {proposal['value']!r}"
            )
        return str(proposal["value"])

    @validate("user_url_template")
    def _check_user_url_template(self, proposal: Any) -> str:
        try:
            proposal["value"].format(user="x")
        except (KeyError, IndexError, ValueError):
            raise TraitError("user_url_template may hold no braces but {user}") from None
        return str(proposal["value"])

    @validate("instance_memory")
    def _check_instance_memory(self, proposal: Any) -> str:
        try:
            memory_bytes(proposal["value"])
        except InvalidInput as e:
            raise TraitError(e.message) from None
        return str(proposal["value"])

    async def setup(self) -> None:
        """Construct storage and services, publish the examples, take up what a restart left."""
        layout = StateLayout(Path(self.state_dir))
        engine = make_engine(self.database_url)
        await asyncio.to_thread(upgrade, engine, MIGRATIONS)
        self.database = Database(engine)
        self.hub = HubClient(self.hub_api_url, self.hub_token)
        self.jobqueue = JobqueueClient(self.jobqueue_url, self.hub_token)
        catalogue = Catalogue(self.database)
        permits = Permits(self.database, self.jobqueue)
        self.instances = Instances(
            self.database,
            catalogue,
            permits,
            TechnicalServers(self.hub),
            InstanceBus(),
            InstanceSettings(
                self.max_instances_per_user,
                ResourceAmount(memory=memory_bytes(self.instance_memory), cpu=self.instance_cpu),
                self.user_url_template,
            ),
        )
        jobs = Jobs(catalogue, self.jobqueue, permits)
        self.granting = Granting(self.database, catalogue, permits, self.instances)
        self.services = Services(
            catalogue=catalogue,
            instances=self.instances,
            jobs=jobs,
            operators=Operators(self.jobqueue),
            schedules=Schedules(jobs, self.jobqueue),
            granting=self.granting,
            userspaces=UserSpaces(layout.userspace, self._disks()),
            static_root=STATIC,
        )
        self.page_templates = Pages(self.base_url, self.hub_public_url, Assets())
        await seed(Publisher(self.database, layout), self.example_folders)
        self._reconciler = asyncio.ensure_future(self._reconcile_for_ever())

    def _disks(self) -> UserDisks:
        disks = UserDisks(parent=self)
        disks.state_dir = disks.state_dir or self.state_dir
        return disks

    async def _reconcile_for_ever(self) -> None:
        while True:
            try:
                await self.granting.settle_all()
                await self.instances.reconcile()
            except GavipError as e:
                log.warning("instances not reconciled now: %s", e.message)
            except Exception:
                # a defect met once must not end the watch over everybody's instances
                log.exception("instances not reconciled")
            await asyncio.sleep(self.reconcile_seconds)

    async def check_ready(self) -> None:
        """Raise unless the database answers."""
        await self.database.check()

    async def teardown(self) -> None:
        """Stop the tasks, close the connections."""
        await tasks.end(self._reconciler)
        await self.instances.close()
        await self.jobqueue.close()
        await self.hub.close()
        self.database.close()

    def api(self) -> Api:
        """Return the public API."""
        return make_api()

    def settings(self) -> dict[str, Any]:
        """Return what handlers find their services by."""
        return {"services": self.services, "pages": self.page_templates}

    def pages(self) -> Sequence[URLSpec]:
        """Return the pages, the static files, and the page for everything else."""
        base = re.escape(self.base_url)
        found = [URLSpec(pattern(self.base_url + path), handler) for path, handler in PAGES.items()]
        return [
            *found,
            URLSpec(base + r"static/(.+)", AssetHandler, {"path": str(DIST)}),
            URLSpec(base + r"hub-static/(.+)", AssetHandler, {"path": str(HUB_STATIC)}),
            URLSpec(base + r"(?!api/).*", pages.MissingPage),
        ]


PAGES: dict[str, type[pages.PortalPage]] = {
    "": pages.HomePage,
    "avis": pages.CataloguePage,
    "avis/{owner}/{name}": pages.AviPage,
    "jobs": pages.JobsPage,
    "jobs/{job}": pages.JobPage,
    "schedules": pages.SchedulesPage,
    "instances": pages.InstancesPage,
    "instances/{instance}": pages.InstancePage,
    "permissions": pages.PermissionsPage,
    "files": pages.FilesPage,
}
"""Pages by their path below the portal's."""


def make_api() -> Api:
    """Return the routes of the public API."""
    api = Api(
        "GAVIP",
        __version__,
        "The public API of the Gaia Added Value Interface Platform: for people, scripts, and AVI instances.",
    )
    api.add("/users/me", api_catalogue.MeHandler)
    api.add("/avis", api_catalogue.AvisHandler)
    api.add("/avis/{owner}/{name}", api_catalogue.AviHandler)
    api.add("/avis/{owner}/{name}/releases", api_catalogue.ReleasesHandler)
    api.add("/avis/{owner}/{name}/permissions", api_permissions.AviPermissionsHandler)
    api.add("/permissions", api_permissions.PermissionsHandler)
    api.add("/permissions/history", api_permissions.GrantHistoryHandler)
    api.add("/instances", api_instances.InstancesHandler)
    api.add("/instances/events", api_instances.AllInstanceEventsHandler)
    api.add("/instances/{instance}", api_instances.InstanceHandler)
    api.add("/instances/{instance}/events", api_instances.InstanceEventsHandler)
    api.add("/jobs", api_jobs.JobsHandler)
    api.add("/jobs/{job}", api_jobs.JobHandler)
    api.add("/jobs/{job}/events", api_jobs.JobEventsHandler)
    api.add("/jobs/{job}/log", api_jobs.JobLogHandler)
    api.add("/jobs/{job}/cancel", api_jobs.JobCancelHandler)
    api.add("/jobs/{job}/retry", api_jobs.JobRetryHandler)
    api.add("/jobs/{job}/clone", api_jobs.JobCloneHandler)
    api.add("/jobs/{job}/hooks", api_jobs.JobHooksHandler)
    api.add("/schedules", api_schedules.SchedulesHandler)
    api.add("/schedules/{schedule}", api_schedules.ScheduleHandler)
    api.add("/schedules/{schedule}/pause", api_schedules.SchedulePauseHandler)
    api.add("/schedules/{schedule}/resume", api_schedules.ScheduleResumeHandler)
    api.add("/hooks/secret", api_schedules.HookSecretHandler)
    api.add("/events", api_jobs.EventsHandler)
    api.add("/queue", api_jobs.QueueHandler)
    api.add("/pools/me", api_jobs.PoolHandler)
    api.add("/archive-queries/{query}", api_jobs.ArchiveQueryHandler)
    api.add("/admin/ledger", api_operators.LedgerHandler)
    api.add("/admin/audit", api_operators.AuditHandler)
    api.add("/admin/pools/{name}", api_operators.UserPoolHandler)
    api.add("/admin/role-pools", api_operators.RolePoolsHandler)
    api.add("/admin/role-pools/{name}", api_operators.RolePoolHandler)
    api.add("/admin/scheduler", api_operators.SchedulerHandler)
    api.add("/files", api_files.FilesHandler)
    api.add("/files/usage", api_files.UsageHandler)
    api.add("/files/content", api_files.ContentHandler)
    return api
