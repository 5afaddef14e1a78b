"""What runners report."""

from __future__ import annotations

from gavip_api.errors import NotSignedIn
from gavip_api.models import ProgressReport
from gavip_api.slugs import check_id
from gavip_web.openapi import operation

from .base import JobQueueHandler


class ProgressHandler(JobQueueHandler):
    """``/runs/{job}/progress``, with the one-job token instead of a hub token."""

    authenticated = False

    @operation(
        "Report progress",
        scopes=None,
        security="job",
        request=ProgressReport,
        status=204,
        errors=(409, 503),
    )
    async def post(self, job: str) -> None:
        """Take a progress report of an attempt; 409 tells an attempt that no longer counts to stop."""
        kind, _, token = self.request.headers.get("Authorization", "").partition(" ")
        if kind.lower() not in ("bearer", "token") or not token.strip():
            raise NotSignedIn("The report carries no one-job token.")
        await self.jobs.report(check_id(job), token.strip(), self.body(ProgressReport))
        self.no_content()
