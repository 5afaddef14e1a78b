"""The queue on the real process plane, to be mistreated."""

from __future__ import annotations

from tests.integration.jobqueue.conftest import queue

__all__ = ["queue"]
