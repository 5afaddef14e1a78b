"""A stand-in for jobqueue's internal API: jobs that go through their states by a script. In memory."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from gavip_api.slugs import new_id

GIB = 1 << 30


def now(ago: float = 0) -> str:
    return (datetime.now(timezone.utc) - timedelta(seconds=ago)).isoformat()


@dataclass
class FakeQueue:
    """State of the stand-in."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    submissions: list[dict[str, Any]] = field(default_factory=list)
    schedules: dict[str, dict[str, Any]] = field(default_factory=dict)
    permits: dict[tuple[str, str], dict[str, Any] | None] = field(default_factory=dict)
    down: bool = False
    checks_permits: bool = False
    url: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _server: HTTPServer | None = None

    def listen(self, port: int = 0, host: str = "127.0.0.1") -> None:
        base = "/services/jobqueue/api/v1"
        app = web.Application(
            [
                (base + r"/jobs", Jobs),
                (base + r"/jobs/([^/]+)", Job),
                (base + r"/jobs/([^/]+)/events", Events),
                (base + r"/jobs/([^/]+)/log", Log),
                (base + r"/jobs/([^/]+)/cancel", Cancel),
                (base + r"/jobs/([^/]+)/(retry|clone)", Again),
                (base + r"/jobs/([^/]+)/hooks", Hooks),
                (base + r"/schedules", Schedules),
                (base + r"/schedules/([^/]+)", Schedule),
                (base + r"/schedules/([^/]+)/(pause|resume)", SchedulePause),
                (base + r"/hooks/([^/]+)/secret", HookSecret),
                (base + r"/permits", Permits),
                (base + r"/events", OwnerEvents),
                (base + r"/queue", Queue),
                (base + r"/pools/([^/]+)", Pool),
            ],
            queue=self,
            log_function=lambda handler: None,
        )
        sockets = bind_sockets(port, host)
        self._server = HTTPServer(app)
        self._server.add_sockets(sockets)
        self.url = f"http://{host}:{sockets[0].getsockname()[1]}{base}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.stop()
        await self._server.close_all_connections()

    def add(
        self, owner: str, avi: str = "gavip/demo", state: str = "queued", **facts: Any
    ) -> dict[str, Any]:
        """Add a job; `facts` override its members."""
        job = {
            "id": new_id(),
            "owner": owner,
            "avi": avi,
            "release": "a" * 40,
            "pipeline": "hr-diagram",
            "title": "HR diagram of a cone",
            "parameters": {"ra": 56.75, "dec": 24.12, "radius": 1.0},
            "resources": {"memory": GIB // 2, "cpu": 1},
            "time_limit": 3600,
            "state": state,
            "attempt": 1,
            "created": now(),
            **facts,
        }
        self.jobs[job["id"]] = job
        self.events[job["id"]] = []
        self.logs[job["id"]] = ""
        self.tell(job["id"], "state")
        return job

    def change(self, job_id: str, **facts: Any) -> None:
        """Change a job and tell its readers."""
        kind = "state" if "state" in facts else "progress"
        self.jobs[job_id].update(facts)
        self.tell(job_id, kind)

    def tell(self, job_id: str, kind: str) -> None:
        job = self.jobs[job_id]
        self.events[job_id].append(
            {
                "seq": len(self.events[job_id]) + 1,
                "job": job_id,
                "time": now(),
                "kind": kind,
                "state": job["state"],
                "progress": job.get("progress", {}),
            }
        )
        self.changed.set()
        self.changed = asyncio.Event()


FINAL = {"succeeded", "failed", "cancelled", "timed-out", "lost"}


class Base(web.RequestHandler):
    @property
    def queue(self) -> FakeQueue:
        return self.settings["queue"]

    def prepare(self) -> None:
        if self.queue.down:
            self.set_status(503)
            self.finish(
                {"code": "unavailable", "detail": "The queue is being repaired.", "hint": "Wait."}
            )

    def one(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.queue.jobs:
            raise web.HTTPError(404)
        return self.queue.jobs[job_id]

    async def stream(self, events: Any) -> None:
        self.set_header("Content-Type", "text/event-stream")
        await self.flush()
        async for event in events:
            self.write(f"id: {event['seq']}\ndata: {json.dumps(event)}\n\n")
            await self.flush()


class Jobs(Base):
    def get(self) -> None:
        jobs = [
            j
            for j in reversed(self.queue.jobs.values())
            if j["owner"] == self.get_argument("owner")
        ]
        if avi := self.get_argument("avi", None):
            jobs = [j for j in jobs if j["avi"] == avi]
        if states := self.get_arguments("state"):
            jobs = [j for j in jobs if j["state"] in states]
        start, limit = int(self.get_argument("cursor", "0")), int(self.get_argument("limit", "50"))
        more = str(start + limit) if len(jobs) > start + limit else None
        self.finish({"items": jobs[start : start + limit], "next": more})

    def post(self) -> None:
        asked = json.loads(self.request.body)
        known = self.queue.permits.get((asked["owner"]["name"], asked["avi"]))
        if self.queue.checks_permits and known is None:
            self.set_status(409)
            self.finish({"code": "permissions-needed", "detail": "Not granted.", "hint": "Grant."})
            return
        self.queue.submissions.append(asked)
        job = self.queue.add(
            asked["owner"]["name"],
            asked["avi"],
            release=asked["release"],
            pipeline=asked["pipeline"],
            title=asked["spec"]["title"],
            parameters=asked["parameters"],
            permissions=asked["permissions"],
        )
        self.set_status(201)
        self.finish(job)


class Permits(Base):
    def put(self) -> None:
        asked = json.loads(self.request.body)
        self.queue.permits[asked["owner"], asked["avi"]] = asked["granted"]
        ended = []
        if asked["granted"] is None:
            jobs = self.queue.jobs.values()
            ended = [j["id"] for j in jobs if j["state"] not in FINAL
                     and (j["owner"], j["avi"]) == (asked["owner"], asked["avi"])]  # fmt: skip
        for job_id in ended:
            self.queue.change(job_id, state="cancelled", ended=now())
        self.finish({"cancelling": len(ended)})


class Job(Base):
    def get(self, job_id: str) -> None:
        self.finish(self.one(job_id))


class Cancel(Base):
    def post(self, job_id: str) -> None:
        if self.one(job_id)["state"] not in FINAL:
            self.queue.change(job_id, state="cancelled", ended=now())
        self.finish(self.one(job_id))


class Log(Base):
    async def get(self, job_id: str) -> None:
        self.one(job_id)
        data = self.queue.logs[job_id].encode()
        if self.get_argument("follow", "") == "true":
            start = int(self.request.headers.get("Last-Event-ID") or self.get_argument("offset"))
            self.set_header("Content-Type", "text/event-stream")
            for at in range(start, len(data), 8):
                piece = {"attempt": 1, "offset": at, "text": data[at : at + 8].decode()}
                self.write(f"id: {at + 8}\nevent: log\ndata: {json.dumps(piece)}\n\n")
                await self.flush()
            return
        self.set_header("Content-Type", "text/plain")
        self.set_header("X-Log-Size", str(len(data)))
        self.finish(data[int(self.get_argument("offset", "0")) :])


class Events(Base):
    async def get(self, job_id: str) -> None:
        self.one(job_id)
        after = int(self.request.headers.get("Last-Event-ID", "0"))

        async def events() -> Any:
            sent = after
            while True:
                changed = self.queue.changed
                for event in self.queue.events[job_id][sent:]:
                    yield event
                    sent += 1
                    if event["state"] in FINAL:
                        return
                await changed.wait()

        await self.stream(events())


class Again(Base):
    def post(self, job_id: str, what: str) -> None:
        old = self.one(job_id)
        asked = json.loads(self.request.body) if what == "clone" else {}
        if what == "retry" and old["state"] not in FINAL:
            self.set_status(409)
            self.finish({"code": "conflict", "detail": f"The job is {old['state']}.", "hint": ""})
            return
        made = self.queue.add(
            old["owner"],
            old["avi"],
            parameters=old["parameters"] | asked.get("parameters", {}),
            origin={"kind": what, "id": job_id},
        )
        self.set_status(201)
        self.finish(made)


class Hooks(Base):
    def get(self, job_id: str) -> None:
        self.one(job_id)
        self.finish({"items": []})


class HookSecret(Base):
    def get(self, owner: str) -> None:
        self.finish({"secret": f"whsec_{owner}"})


class Schedules(Base):
    def get(self) -> None:
        owner = self.get_argument("owner")
        mine = [s for s in self.queue.schedules.values() if s["owner"] == owner]
        self.finish({"items": mine[::-1], "next": None})

    def post(self) -> None:
        asked = json.loads(self.request.body)
        job = asked.pop("job")
        schedule = asked | {
            "id": new_id(),
            "title": asked["title"] or job["spec"]["title"],
            "owner": job["owner"]["name"],
            **{k: job[k] for k in ("avi", "release", "pipeline", "parameters")},
            "next_runs": [now(-3600)],
            "created": now(),
        }
        self.queue.schedules[schedule["id"]] = schedule
        self.set_status(201)
        self.finish(schedule)


class Schedule(Base):
    def get(self, schedule_id: str) -> None:
        if schedule_id not in self.queue.schedules:
            raise web.HTTPError(404)
        self.finish(self.queue.schedules[schedule_id])

    def delete(self, schedule_id: str) -> None:
        self.queue.schedules.pop(schedule_id, None)
        self.set_status(204)


class SchedulePause(Base):
    def post(self, schedule_id: str, what: str) -> None:
        schedule = self.queue.schedules[schedule_id]
        schedule["paused"] = what == "pause"
        schedule["next_runs"] = [] if schedule["paused"] else [now(-3600)]
        self.finish(schedule)


class OwnerEvents(Base):
    async def get(self) -> None:
        owner = self.get_argument("owner")

        async def events() -> Any:
            seen = {job: len(events) for job, events in self.queue.events.items()}
            while True:
                changed = self.queue.changed
                for job, history in list(self.queue.events.items()):
                    for event in history[seen.get(job, 0) :]:
                        if self.queue.jobs[job]["owner"] == owner:
                            yield event
                    seen[job] = len(history)
                await changed.wait()

        await self.stream(events())


class Queue(Base):
    def get(self) -> None:
        amount = {"memory": 4 * GIB, "cpu": 2}
        self.finish(
            {"capacity": amount, "used": {"memory": 0, "cpu": 0}, "queued": 0, "running": 0}
        )


class Pool(Base):
    def get(self, owner: str) -> None:
        self.finish(
            {
                "owner": owner,
                "limit": {"memory": 4 * GIB, "cpu": 2},
                "used": {"memory": int(1.25 * GIB), "cpu": 1.5},
                "holders": [],
            }
        )
