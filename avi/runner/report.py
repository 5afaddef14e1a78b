"""Telling the platform how far the job is.

Invariants: reporting never fails or slows the job (one background thread, the newest report wins, at most one post
per interval); a 409 means that another attempt has taken over (fencing) and is told to the owner exactly once.
"""

from __future__ import annotations

import logging
import os
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gavip_api.models import ProgressReport

log = logging.getLogger("avi.runner")

INTERVAL = 0.5
"""Least seconds between two reports."""

TIMEOUT = 5.0
"""Seconds after which one report is given up."""


class Sink(Protocol):
    """Where reports go."""

    def send(self, report: ProgressReport) -> bool:
        """Deliver one report; False when this attempt is fenced."""

    def close(self) -> None:
        """Release what it holds."""


class HttpSink:
    """jobqueue, with the one-job token (docs/explanation/architecture.md, internal API)."""

    def __init__(self, url: str, token: str) -> None:
        # late: httpx costs a quarter of a second, and the notebook's kernel starts meanwhile
        from avi.net import client

        self._url = url.rstrip("/") + "/progress"
        self._client = client(headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT)

    def send(self, report: ProgressReport) -> bool:
        """Post one report."""
        import httpx

        try:
            response = self._client.post(self._url, json=report.model_dump(mode="json"))
        except httpx.HTTPError as e:
            log.debug("progress was not delivered: %s", e)
            return True
        if response.status_code >= 400 and response.status_code != 409:
            log.debug("progress was refused with %s", response.status_code)
        return response.status_code != 409

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class FileSink:
    """A file, for the worker of the standalone mode; replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, report: ProgressReport) -> bool:
        """Write one report."""
        part = self._path.with_name(self._path.name + ".part")
        try:
            part.write_text(report.model_dump_json())
            os.replace(part, self._path)
        except OSError as e:
            log.debug("progress was not written: %s", e)
        return True

    def close(self) -> None:
        """Nothing is held."""


class NoSink:
    """Nowhere: ``avi run`` in a terminal prints instead."""

    def send(self, report: ProgressReport) -> bool:
        """Drop one report."""
        return True

    def close(self) -> None:
        """Nothing is held."""


def sink_for(url: str | None, token: str | None) -> Sink:
    """Return the sink that a job URL asks for: ``http(s)://…``, ``file://…``, or none."""
    if not url:
        return NoSink()
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        return FileSink(Path(urllib.request.url2pathname(parts.path)))
    return HttpSink(url, token or "")


class Reporter:
    """Sends the newest report in the background.

    Parameters
    ----------
    make_sink : callable
        Builds the sink, on the background thread.
    attempt : int
        Number of the attempt, sent with every report.
    on_fenced : callable
        Called once, on the background thread, when the attempt is fenced.
    """

    def __init__(
        self,
        make_sink: Callable[[], Sink],
        attempt: int,
        on_fenced: Callable[[], None],
        interval: float = INTERVAL,
    ) -> None:
        self._make_sink = make_sink
        self._attempt = attempt
        self._on_fenced = on_fenced
        self._interval = interval
        self._newest: ProgressReport | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="avi-progress", daemon=True)
        self._thread.start()

    def tell(self, done: float, total: float, task: str = "", message: str = "") -> None:
        """Note how far the job is; returns at once."""
        report = ProgressReport(
            done=done,
            total=total,
            task=task[:200],
            message=message[:500],
            attempt=self._attempt,
        )
        with self._lock:
            self._newest = report
        self._wake.set()

    def close(self) -> None:
        """Deliver the last report, waiting at most one timeout."""
        self._closing.set()
        self._wake.set()
        self._thread.join(TIMEOUT + 1)

    def _take(self) -> ProgressReport | None:
        with self._lock:
            report, self._newest = self._newest, None
            self._wake.clear()
        return report

    def _run(self) -> None:
        sink = self._make_sink()
        try:
            while True:
                self._wake.wait()
                report = self._take()
                if report is not None and not sink.send(report):
                    self._on_fenced()
                    return
                if self._closing.is_set() and self._newest is None:
                    return
                self._closing.wait(self._interval)
        finally:
            sink.close()
