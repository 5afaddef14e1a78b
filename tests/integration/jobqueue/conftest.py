"""The queue as a real process on the real process plane, asked by a fake hub's portal and spawner tokens."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

RUNNER = Path(__file__).with_name("runner.py")
SCOPES = {
    "token portal": ["custom:jobqueue:act-for"],
    "token spawner": ["custom:jobqueue:reserve"],
}


class HubUser(RequestHandler):
    def get(self) -> None:
        scopes = SCOPES.get(self.request.headers["Authorization"])
        if scopes is None:
            self.set_status(403)
            return
        self.write(json.dumps({"kind": "service", "name": "platform", "scopes": scopes}))


def submission(what: str = "succeed", *, time_limit: str = "1m", **more: Any) -> dict[str, Any]:
    return {
        "owner": {"name": more.pop("owner", "alice"), "roles": ["scientist"]},
        "avi": "gaia/demo",
        "release": "a" * 40,
        "template": "python",
        "pipeline": "work",
        "spec": {
            "title": "Work",
            "notebook": "work.ipynb",
            "parameters": {
                "what": {"type": "string"},
                "seconds": {"type": "number", "default": 0.3, "minimum": 0},
            },
            "resources": {
                "memory": more.pop("memory", "200M"),
                "cpu": more.pop("cpu", 0.5),
                "time": time_limit,
            },
        },
        "parameters": {"what": what, **more},
    }


class Queue:
    """The process and how to talk to it."""

    def __init__(self, state: Path, port: int, hub: int) -> None:
        self.state, self.port, self.hub = state, port, hub
        self.process: asyncio.subprocess.Process | None = None
        self.options: dict[str, Any] = {}
        self.kills = 0
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/services/jobqueue/",
            headers={"Authorization": "token portal"},
            trust_env=False,
            timeout=20,
        )

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        await self.launch()
        await self.until(self._ready, "the queue to be ready")

    async def launch(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTERHUB")} | {
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{self.hub}/hub/api",
            "JUPYTERHUB_API_TOKEN": "queue",
        }
        options = {
            "state_dir": self.state,
            "bind_url": f"http://127.0.0.1:{self.port}",
            "job_python": self.state / "python",
            "capacity_memory": "2G",
            "capacity_cpu": 2,
            "user_memory": "1G",
            "user_cpu": 1,
            "stop_grace": 1,
            "hub_seconds": 0,
            "reconcile_seconds": 5,
            **self.options,
        }
        with (self.state / "queue.log").open("a") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "jobqueue",
                *(f"--{k if '.' in k else f'JobQueueApp.{k}'}={v}" for k, v in options.items()),
                env=environment,
                stderr=log,
            )

    async def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, (self.state / "queue.log").read_text()
        try:
            return (await self.client.get("ready")).status_code == 200
        except httpx.TransportError:
            return False

    async def kill(self, signum: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(signum)
        return await self.process.wait()

    async def until(
        self, condition: Callable[[], Awaitable[Any]], what: str, seconds: float = 30
    ) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if value := await condition():
                    return value
            except httpx.TransportError as e:
                await asyncio.sleep(1)
                code = self.process.returncode if self.process is not None else None
                raise AssertionError(f"{e!r} (exit code {code})\n{self._said()}") from e
            await asyncio.sleep(0.1)
        raise AssertionError(f"waited {seconds} s for {what}\n{self._said()}")

    def _said(self) -> str:
        return (self.state / "queue.log").read_text()[-3000:]

    async def submit(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        r = await self.client.post("api/v1/jobs", json=submission(*args, **kwargs))
        assert r.status_code == 201, r.text
        return dict(r.json())

    async def job(self, job_id: str) -> dict[str, Any]:
        return dict((await self.client.get(f"api/v1/jobs/{job_id}")).json())

    async def reach(self, job_id: str, *states: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["state"] in states else None

        found: dict[str, Any] = await self.until(there, f"{job_id} to be {states}")
        return found

    def runs(self, owner: str = "alice") -> list[str]:
        file = self.state / "userspace" / owner / "avis" / "gaia.demo" / "runs.txt"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n" + RUNNER.read_text())
    python.chmod(0o755)
    hub = HTTPServer(Application([("/hub/api/user", HubUser)]))
    hub_socket, hub_port = bind_unused_port()
    hub.add_socket(hub_socket)
    free, port = bind_unused_port()
    free.close()
    (tmp_path / "userspace/alice/avis/gaia.demo").mkdir(parents=True)
    queue = Queue(tmp_path, port, hub_port)
    await queue.start()
    yield queue
    await queue.client.aclose()
    if queue.process is not None and queue.process.returncode is None:
        assert await queue.kill(signal.SIGTERM) == 0
    for process in psutil.process_iter(["cmdline"]):
        # supervisors outlive the queue on purpose; those of this test's folder only
        if any(str(tmp_path / "plane") in part for part in process.info["cmdline"] or ()):
            process.terminate()
            process.wait(10)
    hub.stop()
    await hub.close_all_connections()
    shutil.rmtree(tmp_path / "plane", ignore_errors=True)
