"""Pages for people. They come rendered; scripts make them live."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from pydantic import Field as QueryField

from gavip_api.errors import GavipError, NotFound
from gavip_api.models import Avi, FolderListing, Model
from gavip_portal.pages import Pages
from gavip_portal.services.forms import Field, form_fields
from gavip_portal.services.jobs import Principal
from gavip_portal.services.userspace import may_be_raster
from gavip_web.handlers import PageHandler

from .base import WithServices, check_person

log = logging.getLogger("gavip.portal.pages")

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class PortalPage(WithServices, PageHandler):
    """Base of the portal's pages."""

    section = ""

    def content_security_policy(self) -> str:
        """Return the pages' policy: own scripts and styles only, framed by nobody."""
        return PAGE_POLICY

    async def prepare(self) -> None:
        """Find the person, or send the browser to sign in."""
        await super().prepare()
        if not self._finished:
            check_person(self.signed_in)

    def show(self, template: str, **context: Any) -> None:
        """Answer with a page."""
        pages: Pages = self.settings["pages"]
        caller = self.caller
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(
            pages.render(
                template,
                section=self.section,
                user={"name": caller.name} if caller else None,
                # the token belongs to a session: without a caller there is none to protect
                xsrf_token=self.xsrf_token.decode("ascii") if caller else "",
                **context,
            )
        )

    def render_error(self, error: GavipError) -> None:
        """Answer with the error page."""
        self.show("error.html", error=error, request_id=self.request_id)


class HomePage(PortalPage):
    """What runs now."""

    section = "home"

    async def get(self) -> None:
        """Answer with the page."""
        self.show("home.html")


class CatalogueQuery(Model):
    """What to filter the catalogue by."""

    q: str = QueryField(default="", max_length=200)


class CataloguePage(PortalPage):
    """All AVIs."""

    section = "catalogue"

    async def get(self) -> None:
        """Answer with the page; ``q`` filters it without scripts, too."""
        query = self.query(CatalogueQuery).q
        avis = await self.services.catalogue.list()
        cards = [(avi, words_of(avi)) for avi in avis]
        wanted = query.lower().split()
        shown = {avi.ref for avi, words in cards if all(word in words for word in wanted)}
        self.show("catalogue.html", cards=cards, shown=shown, query=query)


def words_of(avi: Any) -> str:
    """Return the text that the catalogue's filter looks at, lower-case."""
    parts = (avi.title, avi.ref, avi.description, *avi.authors, *avi.keywords)
    return " ".join(parts).lower()


@dataclass(frozen=True)
class PipelineForm:
    """A pipeline with the fields of its form."""

    name: str
    title: str
    description: str
    fields: tuple[Field, ...]
    refilled: bool


class AviQuery(Model):
    """From which earlier job to take the values of a form."""

    again: str | None = QueryField(default=None, max_length=64)


class AviPage(PortalPage):
    """One AVI."""

    section = "catalogue"

    async def get(self, owner: str, name: str) -> None:
        """Answer with the page; ``again`` fills a form with the parameters of an earlier job."""
        avi = await self.services.catalogue.show(owner, name)
        releases = await self.services.catalogue.releases(owner, name)
        forms = await self._forms(avi, self.query(AviQuery).again)
        permissions = await self.services.granting.show(self.person.name, avi.ref)
        self.show("avi.html", avi=avi, releases=releases, forms=forms, permissions=permissions)

    async def _forms(self, avi: Avi, again: str | None) -> list[PipelineForm]:
        pipeline = ""
        values: dict[str, Any] = {}
        if again:
            try:
                job = await self.services.jobs.show(Principal(self.person), again)
            except GavipError as e:
                # the page is useful without: the forms begin with their defaults
                log.info("form not filled in again: %s", e.message)
            else:
                pipeline, values = (
                    (job.pipeline, job.parameters) if job.avi == avi.ref else ("", {})
                )
        return [
            PipelineForm(
                slug,
                spec.title or slug,
                spec.description,
                form_fields(slug, spec, values if slug == pipeline else None),
                slug == pipeline,
            )
            for slug, spec in avi.pipelines.items()
        ]


class JobsPage(PortalPage):
    """The person's jobs."""

    section = "jobs"

    async def get(self) -> None:
        """Answer with the page."""
        self.show("jobs.html")


class SchedulesPage(PortalPage):
    """The person's recurring submissions."""

    section = "schedules"

    async def get(self) -> None:
        """Answer with the page."""
        self.show("schedules.html")


class JobPage(PortalPage):
    """One job."""

    section = "jobs"

    async def get(self, job: str) -> None:
        """Answer with the page; 404 when the job is not the person's."""
        self.show("job.html", job=await self.services.jobs.show(Principal(self.person), job))


class PermissionsPage(PortalPage):
    """What the person allows AVIs to do."""

    section = "permissions"

    async def get(self) -> None:
        """Answer with the page."""
        self.show("permissions.html")


class InstancesPage(PortalPage):
    """The person's running AVIs."""

    section = "instances"

    async def get(self) -> None:
        """Answer with the page."""
        self.show("instances.html")


class InstancePage(PortalPage):
    """The start of one instance."""

    section = "instances"

    async def get(self, instance: str) -> None:
        """Answer with the page; it goes to the AVI by itself when that is ready."""
        found = await self.services.instances.show(self.person.name, instance)
        self.show("instance.html", instance=found)


class FilesQuery(Model):
    """Which folder to show."""

    path: str = QueryField(default="", max_length=4096)


class FilesPage(PortalPage):
    """The person's files."""

    section = "files"

    async def get(self) -> None:
        """Answer with the listing of a folder."""
        spaces, user = self.services.userspaces, self.person.name
        listing = await spaces.list(user, self.query(FilesQuery).path)
        usage = await spaces.usage(user)
        pictures = {e.path for e in listing.entries if may_be_raster(e.name)}
        self.show(
            "files.html",
            listing=listing,
            usage=usage,
            crumbs=breadcrumbs(listing),
            pictures=pictures,
        )


def breadcrumbs(listing: FolderListing) -> list[tuple[str, str]]:
    """Return name and path of each folder from below the root down to the listed one."""
    parts = listing.path.split("/") if listing.path else []
    return [(part, "/".join(parts[: i + 1])) for i, part in enumerate(parts)]


class MissingPage(PortalPage):
    """Every address of the portal that no route matches."""

    async def get(self) -> None:
        """Say so."""
        raise NotFound("There is no page at this address.", hint="Use the menu to go on.")
