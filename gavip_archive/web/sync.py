"""Synchronous queries: /tap/sync (TAP 1.1, section 2.2; DALI 1.1, section 2.2)."""

from __future__ import annotations

import tempfile

from gavip_archive.engine.worker import StopRequest
from gavip_archive.params import job_parameters, read_query
from gavip_archive.uws.service import gather_uploads, inline_uploads

from .base import Archive, ArchiveHandler


class SyncHandler(ArchiveHandler):
    """Executes one query while the client waits."""

    def initialize(self, archive: Archive) -> None:
        """Take the services."""
        super().initialize(archive)
        self._stop = StopRequest()

    async def get(self) -> None:
        """Execute the query of the query string."""
        await self._answer_query()

    async def post(self) -> None:
        """Execute the query of the form."""
        await self._answer_query()

    def on_connection_close(self) -> None:
        """Stop the query: nobody waits for it."""
        self._stop.stop("cancelled")

    async def _answer_query(self) -> None:
        given = job_parameters(self.pairs())
        parameters = read_query(given)
        uploads = await gather_uploads(
            parameters, inline_uploads(given, self.files()), self.archive.fetcher
        )
        with tempfile.TemporaryFile(dir=self.archive.scratch) as file:
            outcome = await self.archive.queries.execute(
                parameters, uploads, file, self._stop, self.archive.limits.sync_timeout
            )
            self.set_header("Content-Disposition", f'inline; filename="result.{outcome.suffix}"')
            await self.send_file(file, outcome.content_type)
