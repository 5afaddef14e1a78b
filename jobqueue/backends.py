"""What the queue needs of the execution plane: one attempt of a job, by job id and number.

Invariants: the name of a process is job id and attempt, unique for ever; what the job's code left
behind is hostile data: read without following links, bounded, validated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from gavip_api.enums import Template
from gavip_api.manifest import NOTHING_GRANTED, Permissions
from gavip_api.models import ResourceAmount, RunResult, UserProfile
from gavip_spawner.layout import StateLayout
from gavip_spawner.placement import Placement
from gavip_spawner.plane import ExecutionPlane, ProcessStatus
from gavip_spawner.specs import LABEL_ATTEMPT, LABEL_JOB, LABEL_KIND, pipeline_spec

log = logging.getLogger("jobqueue.backend")

_MAX_RESULT_BYTES = 1 << 20
_MAX_OUTPUTS = 10_000


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job, as the plane needs it.

    Parameters
    ----------
    job_id, number : str, int
        Which.
    product : str
        Folder of the data product, relative to the owner's user-space.
    """

    job_id: str
    number: int
    owner: UserProfile
    avi: str
    release: str
    pipeline: str
    parameters: dict[str, Any]
    amount: ResourceAmount
    time_limit: int
    product: str
    template: Template = Template.PYTHON
    permissions: Permissions = NOTHING_GRANTED

    @property
    def name(self) -> str:
        """Name on the plane; :func:`gavip_spawner.specs.pipeline_spec` gives the same."""
        return process_name(self.job_id, self.number)


def process_name(job_id: str, number: int) -> str:
    """Return the name of an attempt on the plane."""
    return f"job-{job_id}.{number}"


class JobBackend:
    """Starts, watches and removes attempts on an execution plane.

    Parameters
    ----------
    plane : ExecutionPlane
    layout : StateLayout
    archive_url : str
        TAP service that jobs are told to use.
    runs_url : str
        URL below which runners report, without the job's id.
    placement : Placement
        Where jobs find their folders and interpreter.
    """

    def __init__(
        self,
        plane: ExecutionPlane,
        layout: StateLayout,
        *,
        archive_url: str,
        runs_url: str,
        placement: Placement,
    ) -> None:
        self.plane = plane
        self._layout = layout
        self._archive_url = archive_url
        self._runs_url = runs_url.rstrip("/")
        self._placement = placement

    def product(
        self, owner: str, avi: str, pipeline: str, job_id: str, created: datetime, number: int
    ) -> str:
        """Return the folder for an attempt's product, relative to the owner's user-space.

        Later attempts get a folder of their own: an earlier one that was only cut off may still
        write into its own.
        """
        path = self._layout.product(owner, avi, pipeline, job_id, created)
        if number > 1:
            path = path.with_name(f"{path.name}-{number}")
        return path.relative_to(self._layout.userspace(owner)).as_posix()

    async def inspect(self, attempt: Attempt) -> ProcessStatus:
        """Return what the plane knows."""
        return await self.plane.inspect(attempt.name)

    async def create(self, attempt: Attempt, token: str) -> None:
        """Make the attempt known to the plane, with its token; nothing runs yet."""
        parameters_file = self._parameters_file(attempt.job_id)
        await asyncio.to_thread(_write_private, parameters_file, json.dumps(attempt.parameters))
        spec = pipeline_spec(
            self._layout,
            job_id=attempt.job_id,
            attempt=attempt.number,
            owner=attempt.owner,
            avi=attempt.avi,
            release=attempt.release,
            pipeline=attempt.pipeline,
            amount=attempt.amount,
            time_limit=attempt.time_limit,
            output_dir=self._layout.userspace(attempt.owner.name) / attempt.product,
            parameters_file=parameters_file,
            archive_url=self._archive_url,
            job_url=f"{self._runs_url}/{attempt.job_id}",
            job_token=token,
            template=attempt.template,
            permissions=attempt.permissions,
            placement=self._placement,
        )
        if spec.name != attempt.name:
            raise RuntimeError(f"the plane would call {attempt.name} {spec.name}")
        await self.plane.create(spec)

    async def start(self, attempt: Attempt) -> ProcessStatus:
        """Start it unless it was ever started."""
        return await self.plane.start(attempt.name)

    async def wait(self, attempt: Attempt) -> ProcessStatus:
        """Return once it is over."""
        return await self.plane.wait(attempt.name)

    async def stop(self, job_id: str, number: int, grace: float) -> ProcessStatus:
        """End it; what never started never will."""
        return await self.plane.stop(process_name(job_id, number), grace)

    async def unfinished(self) -> list[tuple[ProcessStatus, str, int]]:
        """Return all attempts on the plane that are not over, with job id and number from their labels."""
        found = []
        for status in await self.plane.unfinished({LABEL_KIND: "job"}):
            number = status.labels.get(LABEL_ATTEMPT, "")
            if number.isdigit():
                found.append((status, status.labels.get(LABEL_JOB, ""), int(number)))
        return found

    async def read_log(
        self, job_id: str, number: int, offset: int, limit: int
    ) -> tuple[bytes, int]:
        """Return a part of the combined output and its present size."""
        return await self.plane.read_log(process_name(job_id, number), offset, limit)

    async def result(self, attempt: Attempt) -> RunResult | None:
        """Return what the runner left in the product folder, or None when it left nothing usable."""
        return await asyncio.to_thread(self._result, attempt)

    async def remove(self, job_id: str, numbers: list[int]) -> None:
        """Forget a job's attempts with their logs; its product stays with the user."""
        for number in numbers:
            await self.plane.remove(process_name(job_id, number))
        await asyncio.to_thread(self._parameters_file(job_id).unlink, missing_ok=True)

    def _parameters_file(self, job_id: str) -> Path:
        return self._layout.run / "jobs" / f"{job_id}.json"

    def _result(self, attempt: Attempt) -> RunResult | None:
        folder = self._layout.userspace(attempt.owner.name)
        try:
            data = read_inside(folder, PurePosixPath(attempt.product) / "result.json")
            result = RunResult.model_validate_json(data)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as e:
            log.warning("result of %s is not usable: %s", attempt.name, type(e).__name__)
            return None
        outputs = tuple(p for p in result.outputs[:_MAX_OUTPUTS] if _is_plain(p))
        return result.model_copy(update={"outputs": outputs})


def read_inside(root: Path, path: PurePosixPath) -> bytes:
    """Return the content of a small regular file below `root`, following no symbolic link below it.

    Raises
    ------
    OSError
        If it is missing, no regular file, too large, or a link is in the way.
    """
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.parts[:-1]:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            inner = os.open(part, flags, dir_fd=folder)
            os.close(folder)
            folder = inner
        # O_NONBLOCK: a FIFO planted under this name must not hold us
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(path.name, flags, dir_fd=folder)
    finally:
        os.close(folder)
    with os.fdopen(file, "rb") as stream:
        about = os.fstat(stream.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > _MAX_RESULT_BYTES:
            raise OSError("not a small regular file")
        return stream.read(_MAX_RESULT_BYTES)


def _is_plain(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    with open(
        os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf8"
    ) as file:
        file.write(text)
    temporary.replace(path)
