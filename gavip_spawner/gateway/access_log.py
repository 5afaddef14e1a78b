"""The record of what containers asked for: one line of JSON a request, allowed or refused.

Invariants: no query string, header, body or token is ever written, and nothing a container sends can begin a new
line; writing never holds up a request; the file is bounded, and so is what a container can make the operator read.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path

from .policy import Caller, Target

log = logging.getLogger("gavip.gateway")

_LONGEST = 300
_WAITING = 10_000
_WARNINGS_A_MINUTE = 30


@dataclass
class Entry:
    """What is known of one request; filled while it is served."""

    address: str
    caller: Caller | None = None
    target: Target | None = None
    decision: str = "refused"
    """``allowed``, ``refused``, ``failed`` (allowed, but it did not work) or ``closed`` (nothing was asked)."""
    reason: str = ""
    status: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0

    def line(self) -> dict[str, object]:
        """Return the record, in the order that people read it."""
        caller = self.caller or Caller(container="")
        return {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "address": self.address,
            "container": caller.container,
            "kind": caller.kind,
            "owner": caller.owner,
            "avi": caller.avi,
            "job": caller.job,
            "method": self.target.method if self.target else "",
            "target": str(self.target)[:_LONGEST] if self.target else "",
            "decision": self.decision,
            "reason": self.reason[:_LONGEST],
            "status": self.status,
            "sent": self.sent,
            "received": self.received,
            "seconds": round(self.seconds, 4),
        }


class _Dropping(QueueHandler):
    """Drops and counts what does not fit instead of waiting."""

    lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            # a disk that is full or too slow must not stop the gateway
            self.lost += 1

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class AccessLog:
    """Writes entries.

    Parameters
    ----------
    file : Path or None
        None: only refused requests are logged, as warnings.
    size : int
        Bytes of one file.
    files : int
        How many older files are kept.
    """

    def __init__(self, file: Path | None, size: int, files: int) -> None:
        self._logger = logging.Logger("gavip.gateway.access")
        self._listener: QueueListener | None = None
        self._minute = 0
        self._warned: dict[str, int] = {}
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            written = RotatingFileHandler(file, maxBytes=size, backupCount=files, encoding="utf-8")
            written.setFormatter(logging.Formatter("%(message)s"))
            waiting: queue.Queue[logging.LogRecord] = queue.Queue(_WAITING)
            self._queued = _Dropping(waiting)
            self._logger.addHandler(self._queued)
            self._listener = QueueListener(waiting, written)
            self._written = written
            self._listener.start()

    def write(self, entry: Entry) -> None:
        """Write an entry; a refused one is a warning too, up to a number a minute and container."""
        line = entry.line()
        if self._listener is not None:
            lost = self._queued.lost
            self._logger.info("%s", json.dumps(line))
            if not lost and self._queued.lost:
                log.error("requests come faster than the record can be written; some are missing")
        if entry.decision == "refused" and self._may_warn(entry.address):
            log.warning("refused: %s", entry.reason[:_LONGEST], extra={"fields": line})

    def _may_warn(self, address: str) -> bool:
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._warned = minute, {}
        count = self._warned[address] = self._warned.get(address, 0) + 1
        if count == _WARNINGS_A_MINUTE:
            log.warning("more refused requests of %s this minute are only in the file", address)
        return count < _WARNINGS_A_MINUTE

    def close(self) -> None:
        """Write what waits, and close the file."""
        if self._listener is not None:
            # a queue that is full takes no sign to stop either: what waits is lost then
            with contextlib.suppress(queue.Full):
                self._listener.stop()
            self._written.close()
