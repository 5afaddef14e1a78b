"""What the handlers of the job queue share: access to the services, by type."""

from __future__ import annotations

from gavip_api.models import Job
from gavip_web.handlers import ApiHandler
from jobqueue.services.deliveries import Deliveries
from jobqueue.services.events import EventStreams
from jobqueue.services.jobs import JobService
from jobqueue.services.logs import JobLogs
from jobqueue.services.operators import Operators
from jobqueue.services.reservations import Reservations
from jobqueue.services.schedules import Schedules


class JobQueueHandler(ApiHandler):
    """Base of all handlers here; services are put into the settings by the application."""

    def created(self, job: Job) -> None:
        """Answer that a job was made, and where it is."""
        self.set_header("Location", f"{self.settings['base_url']}api/v1/jobs/{job.id}")
        self.reply(job, 201)

    @property
    def jobs(self) -> JobService:
        """Jobs."""
        service: JobService = self.settings["jobs"]
        return service

    @property
    def job_events(self) -> EventStreams:
        """Live events."""
        service: EventStreams = self.settings["job_events"]
        return service

    @property
    def job_logs(self) -> JobLogs:
        """Output of jobs."""
        service: JobLogs = self.settings["job_logs"]
        return service

    @property
    def reservations(self) -> Reservations:
        """The ledger's outside."""
        service: Reservations = self.settings["reservations"]
        return service

    @property
    def schedules(self) -> Schedules:
        """Recurring submissions."""
        service: Schedules = self.settings["schedules"]
        return service

    @property
    def deliveries(self) -> Deliveries:
        """Notifications."""
        service: Deliveries = self.settings["deliveries"]
        return service

    @property
    def operators(self) -> Operators:
        """What operators may change."""
        service: Operators = self.settings["operators"]
        return service
