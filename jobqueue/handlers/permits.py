"""Grants of users, from the portal."""

from __future__ import annotations

from gavip_api.permits import PermitApplied, PermitChange
from gavip_web.openapi import operation
from jobqueue.services.permits import Permits

from .base import JobQueueHandler
from .jobs import ACT_FOR


class PermitsHandler(JobQueueHandler):
    """``/permits``."""

    @operation(
        "Say what a user grants an AVI",
        scopes=ACT_FOR,
        request=PermitChange,
        response=PermitApplied,
        errors=(503,),
    )
    async def put(self) -> None:
        """Take what a user grants an AVI from now on; jobs that need more are asked to end. Idempotent."""
        permits: Permits = self.settings["permits"]
        self.reply(await permits.put(self.body(PermitChange)))
