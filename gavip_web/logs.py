"""Structured logging with a request id.

Owns the format of log lines and the request id that travels with a request through coroutines and
worker threads. Invariant: query strings, bodies and credentials never reach a log (a query may hold
an XSRF token or a cursor).
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from contextvars import ContextVar
from datetime import datetime, timezone

REQUEST_ID_HEADER = "X-Request-ID"

request_id: ContextVar[str] = ContextVar("gavip_request_id", default="")
"""Id of the request being served, empty outside one."""

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def adopt_request_id(offered: str | None) -> str:
    """Set and return the id of the request being served.

    Parameters
    ----------
    offered : str, optional
        What the caller sent; kept when harmless (a line break would forge log lines), else
        replaced.
    """
    value = offered if offered and _ACCEPTABLE.match(offered) else uuid.uuid4().hex
    request_id.set(value)
    return value


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, ``request`` and the record's ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if current := request_id.get():
            line["request"] = current
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same facts for a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname).1s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text with its fields and request id appended."""
        text = super().format(record)
        fields = dict(getattr(record, "fields", {}))
        if current := request_id.get():
            fields["request"] = current
        extra = " ".join(f"{k}={v}" for k, v in fields.items())
        head, newline, rest = text.partition("\n")
        return f"{head} [{extra}]{newline}{rest}" if extra else text


def configure(level: int | str, *, as_json: bool) -> None:
    """Send all logs of the process to standard error in one format.

    Parameters
    ----------
    level : int or str
        Least level that is shown.
    as_json : bool
        JSON lines (for machines) or text (for people).
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # httpx logs whole URLs at INFO, alembic its context; tornado.access is replaced by our own
    for noisy in ("httpx", "httpcore", "alembic", "tornado.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
