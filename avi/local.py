"""Jobs without a platform: a worker process on the author's machine, running the same runner.

Invariants: one folder per job below ``.avi/jobs`` of the working folder holds everything about it, so that a restarted
kernel finds its jobs again; a process is ours only while its start time matches what was recorded (numbers are reused).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gavip_api import environment as env
from gavip_api.enums import EventKind, JobState, Mode
from gavip_api.models import Job, JobError, JobEvent, Progress, ResourceAmount, RunResult, utcnow
from gavip_api.resources import seconds
from gavip_api.slugs import check_id, new_id

from .errors import NotFound
from .surroundings import Context

POLL = 0.3
_RECORD = "job.json"


def _start_time(pid: int) -> float:
    """Return when a process started, in ticks since boot (proc(5), field 22); 0 where there is no ``/proc``.

    Raises
    ------
    ProcessLookupError
        If there is no such process, or it has ended.
    """
    if not Path("/proc/self/stat").exists():
        os.kill(pid, 0)
        return 0.0
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise ProcessLookupError(pid) from None
    if fields[0] == "Z":
        raise ProcessLookupError(pid)
    return float(fields[19])


def _alive(pid: int, began: float) -> bool:
    try:
        return _start_time(pid) == began
    except (ProcessLookupError, PermissionError):
        return False


class LocalJobs:
    """The standalone counterpart of :class:`avi.portal.Portal`.

    Parameters
    ----------
    ctx : Context
        Standalone mode, with a release folder.
    root : Path, optional
        Where jobs are kept; default ``.avi/jobs`` in the working folder.
    """

    def __init__(self, ctx: Context, root: Path | None = None) -> None:
        self._ctx = ctx
        self._root = (root or ctx.user_space / ".avi" / "jobs").absolute()

    def submit(self, pipeline: str, parameters: dict[str, Any]) -> Job:
        """Start a job at once; there is no queue on a laptop."""
        spec = self._ctx.pipeline(pipeline)
        job_id = new_id()
        folder = self._root / job_id
        now = datetime.now(timezone.utc)
        product = self._ctx.user_space.absolute() / f"{pipeline}-{now:%Y%m%dT%H%M%S}-{job_id[-6:]}"
        folder.mkdir(parents=True)
        product.mkdir(parents=True)
        (folder / "parameters.json").write_text(json.dumps(parameters))
        environment = {
            **os.environ,
            env.MODE: str(Mode.PIPELINE),
            env.RELEASE_DIR: str(self._ctx.release_dir),
            env.PIPELINE: pipeline,
            env.OUTPUT_DIR: str(product),
            env.PARAMETERS_FILE: str(folder / "parameters.json"),
            env.JOB_ID: job_id,
            env.JOB_ATTEMPT: "1",
            env.JOB_URL: (folder / "progress.json").as_uri(),
        }
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "avi.runner"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        began = _start_time(child.pid)  # before it is waited for: its number is ours until then
        # somebody must wait for a child, or it stays a zombie and looks alive
        threading.Thread(target=child.wait, daemon=True).start()
        job = Job(
            id=job_id,
            owner="me",
            avi=self._ctx.manifest.name,
            release="",
            pipeline=pipeline,
            title=spec.title or pipeline,
            parameters=parameters,
            resources=ResourceAmount(memory=0, cpu=0),
            time_limit=seconds(spec.resources.time),
            state=JobState.RUNNING,
            attempt=1,
            product=str(product),
            created=now,
            started=now,
        )
        record = {
            "pid": child.pid,
            "began": began,
            "job": job.model_dump(mode="json"),
        }
        (folder / _RECORD).write_text(json.dumps(record))
        return job

    def _record(self, job_id: str) -> dict[str, Any]:
        try:
            return dict(json.loads((self._root / check_id(job_id) / _RECORD).read_bytes()))
        except (OSError, ValueError):
            raise NotFound(f"There is no job {job_id}.") from None

    def job(self, job_id: str) -> Job:
        """Return a job as it stands now."""
        record = self._record(job_id)
        job = Job.model_validate(record["job"])
        folder = self._root / job_id
        try:
            progress = json.loads((folder / "progress.json").read_bytes())
            progress.pop("attempt", None)
            job = job.model_copy(update={"progress": Progress.model_validate(progress)})
        except (OSError, ValueError):
            pass  # none was reported yet
        # asked before the result is looked for: only the living write one
        alive = _alive(record["pid"], record["began"])
        result_file = Path(job.product or "", "result.json")
        if result_file.is_file():
            result = RunResult.model_validate_json(result_file.read_bytes())
            ended = datetime.fromtimestamp(result_file.stat().st_mtime, timezone.utc)
            return job.model_copy(
                update={
                    "state": _final_state(result),
                    "error": result.error,
                    "outputs": result.outputs,
                    "ended": ended,
                }
            )
        if alive:
            return job
        lost = JobError(
            code="lost",
            message="The worker process has vanished.",
            hint="It may have run out of memory: look at the log, and submit the job again.",
        )
        return job.model_copy(update={"state": JobState.FAILED, "error": lost, "ended": utcnow()})

    def jobs(self, limit: int) -> list[Job]:
        """Return the jobs, newest first."""
        # ids are time-ordered (UUIDv7)
        names = sorted((p.parent.name for p in self._root.glob(f"*/{_RECORD}")), reverse=True)
        return [self.job(name) for name in names[:limit]]

    def cancel(self, job_id: str) -> Job:
        """Stop a job; idempotent."""
        record = self._record(job_id)
        if _alive(record["pid"], record["began"]):
            os.kill(record["pid"], signal.SIGTERM)
        return self.job(job_id)

    def log(self, job_id: str) -> str:
        """Return a job's log so far."""
        self._record(job_id)
        return (self._root / job_id / "log").read_text(errors="replace")

    def events(self, job_id: str, after: int) -> Iterator[JobEvent]:
        """Yield an event whenever state or progress have changed, until the job ends."""
        seen: tuple[Any, ...] | None = None
        seq = after
        while True:
            job = self.job(job_id)
            now = (job.state, job.progress)
            if now != seen:
                kind = EventKind.STATE if not seen or seen[0] != job.state else EventKind.PROGRESS
                seen, seq = now, seq + 1
                yield JobEvent(
                    seq=seq,
                    job=job.id,
                    time=utcnow(),
                    kind=kind,
                    state=job.state,
                    progress=job.progress,
                )
            if job.state.is_final:
                return
            time.sleep(POLL)


def _final_state(result: RunResult) -> JobState:
    if result.ok:
        return JobState.SUCCEEDED
    if result.error is not None and result.error.code == "cancelled":
        return JobState.CANCELLED
    return JobState.FAILED
