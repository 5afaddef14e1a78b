"""The routes of the internal API; ``docs/explanation/architecture.md`` has them as a table."""

from __future__ import annotations

from gavip_api import __version__
from gavip_web.openapi import Api

from . import events, jobs, ledger, operators, permits, runs, schedules


def make_api() -> Api:
    """Return the internal API."""
    api = Api(
        "GAVIP job queue",
        __version__,
        "Internal API between the platform's parts: ledger, jobs, progress. People and AVIs use the portal's.",
    )
    api.add("/jobs", jobs.JobsHandler)
    api.add("/jobs/{job}", jobs.JobHandler)
    api.add("/jobs/{job}/cancel", jobs.CancelHandler)
    api.add("/jobs/{job}/retry", jobs.RetryHandler)
    api.add("/jobs/{job}/clone", jobs.CloneHandler)
    api.add("/jobs/{job}/hooks", schedules.DeliveriesHandler)
    api.add("/jobs/{job}/log", jobs.LogHandler)
    api.add("/jobs/{job}/events", events.JobEventsHandler)
    api.add("/events", events.OwnerEventsHandler)
    api.add("/schedules", schedules.SchedulesHandler)
    api.add("/schedules/{schedule}", schedules.ScheduleHandler)
    api.add("/schedules/{schedule}/pause", schedules.PauseHandler)
    api.add("/schedules/{schedule}/resume", schedules.ResumeHandler)
    api.add("/hooks/{owner}/secret", schedules.SecretHandler)
    api.add("/permits", permits.PermitsHandler)
    api.add("/queue", ledger.QueueHandler)
    api.add("/pools/{owner}", ledger.PoolHandler)
    api.add("/pools/{name}/limits", operators.UserLimitsHandler)
    api.add("/role-pools", operators.RolePoolsHandler)
    api.add("/role-pools/{name}", operators.RolePoolHandler)
    api.add("/scheduler", operators.SchedulerHandler)
    api.add("/ledger", ledger.LedgerHandler)
    api.add("/audit", operators.AuditHandler)
    api.add("/reservations/{reservation}", ledger.ReservationHandler)
    api.add("/archive-queries/{query}", ledger.ArchiveQueryHandler)
    api.add("/runs/{job}/progress", runs.ProgressHandler)
    return api
