"""Wire models of what happens by itself: recurring submissions, and notifications of jobs that have ended.

A notification is signed as Standard Webhooks 1.0.0 says (standardwebhooks.com, section "Signature scheme"): the headers
``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``, the last holding ``v1,`` and the Base64 of HMAC-SHA256
(RFC 2104) over ``id.timestamp.body`` with the owner's secret.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .enums import DeliveryState, JobState, OverlapPolicy
from .models import HookRequest, JobSubmission, Model


class _Timing(Model):
    """When a schedule is due."""

    title: str = Field(
        default="", max_length=200, description="what people see; default: the pipeline's"
    )
    cron: str = Field(
        max_length=100,
        description="five fields as in crontab(5): minute, hour, day of month, month, day of week",
        examples=["30 6 * * 1"],
    )
    timezone: str = Field(
        default="UTC", max_length=64, description="IANA time zone in which the expression is read"
    )
    overlap: OverlapPolicy = Field(
        default=OverlapPolicy.SKIP, description="what to do while an earlier run is not over"
    )


class ScheduleRequest(_Timing):
    """Ask for a recurring job; what people send to the portal. The release is fixed when the schedule is made."""

    avi: str = Field(max_length=130, description="owner/name")
    pipeline: str = Field(max_length=64)
    parameters: dict[str, Any] = {}
    release: str | None = Field(
        default=None, max_length=64, description="Git SHA; default: the current release"
    )
    hooks: tuple[HookRequest, ...] = Field(
        default=(), max_length=5, description="whom to tell when a job of it has ended"
    )


class ScheduleSubmission(_Timing):
    """A schedule as the portal hands it to jobqueue: what it submits is resolved already."""

    job: JobSubmission


class Schedule(_Timing):
    """A recurring submission."""

    id: str
    owner: str
    avi: str
    release: str
    pipeline: str
    parameters: dict[str, Any]
    paused: bool = False
    next_runs: tuple[datetime, ...] = Field(
        default=(), description="the next times it is due; none while paused"
    )
    last_due: datetime | None = Field(default=None, description="when it last was due")
    last_job: str | None = Field(default=None, description="id of the last job it submitted")
    last_message: str = Field(
        default="", description="why the last run was left out or failed to be submitted"
    )
    created: datetime


class SchedulePage(Model):
    """A user's schedules, newest first."""

    items: tuple[Schedule, ...]
    next: str | None = Field(default=None, description="cursor of the next page")


class Delivery(Model):
    """One notification and how far it is."""

    id: str = Field(description="the same in every try, so that a receiver can drop repetitions")
    job: str
    url: str
    states: tuple[JobState, ...] = ()
    state: DeliveryState
    tries: int = 0
    status: int | None = Field(default=None, description="HTTP status of the last answer")
    message: str = Field(default="", description="why the last try failed")
    next_try: datetime | None = None
    delivered: datetime | None = None


class DeliveryList(Model):
    """The notifications of a job."""

    items: tuple[Delivery, ...]


class HookSecret(Model):
    """What a receiver checks signatures with."""

    secret: str = Field(description="`whsec_` and the Base64 of the key")


class Notification(Model):
    """Body of a notification."""

    type: str = Field(description="`job.` and the final state", examples=["job.succeeded"])
    timestamp: datetime = Field(description="when the job ended")
    data: dict[str, Any] = Field(
        description="`id`, `state`, `avi`, `release`, `pipeline`, `title`, `origin`, `error`, `product`, `outputs`"
    )
