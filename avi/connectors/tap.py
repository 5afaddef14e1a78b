"""TAP archives (IVOA Table Access Protocol 1.1) for notebooks, through pyvo.

Invariants: every failure is an :class:`~avi.errors.ArchiveUnavailable` or a :class:`~avi.errors.QueryError` that says
cause and next step (or :class:`~avi.errors.PlatformUnavailable`, when no turn can be asked for); an asynchronous job
that this process started is aborted and deleted when it is interrupted; a query runs only in its turn (:mod:`.turns`).
"""

from __future__ import annotations

import difflib
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from avi.errors import ArchiveUnavailable, QueryError
from avi.net import session
from avi.surroundings import context

from .turns import turn

if TYPE_CHECKING:
    from astropy.table import Table

WAIT = 5
"""Seconds that the service may hold a request for a job's phase (UWS 1.1, section 2.2.1.1, WAIT)."""

_RUNNING = {"PENDING", "QUEUED", "EXECUTING", "RUN", "HELD", "SUSPENDED", "UNKNOWN"}
_ADVICE = re.compile(r"(?<=\. )(?:Did you mean|Check|Use|Write|Close|Split|Send|Ask for) .+\Z")
"""The next step at the end of a service's message; a service knows its tables better than we do."""

_TABLE = re.compile(r"\b(?:from|join)\s+([A-Za-z_][\w.]*)", re.IGNORECASE)

Progress = Callable[[str, float], None]
"""Called with the UWS phase in words and the seconds since the submission."""

_WORDS = {
    "PENDING": "Submitted to the archive",
    "QUEUED": "Waiting in the archive's queue",
    "EXECUTING": "The archive is searching",
    "RUN": "The archive is searching",
    "HELD": "Held by the archive",
    "SUSPENDED": "Suspended by the archive",
    "UNKNOWN": "The archive does not say how far it is",
}


def _quiet(words: str, seconds: float) -> None:
    """Tell nobody."""


def tap(url: str | None = None) -> Tap:
    """Return a connection to a TAP service.

    Parameters
    ----------
    url : str, optional
        Base URL of the service; default: the platform's archive, or ESA's Gaia archive in standalone mode.
    """
    return Tap(url or context().archive_url)


class Tap:
    """A TAP service.

    Parameters
    ----------
    url : str
        Base URL.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._made: Any = None
        self._local = threading.local()

    def _note(self, response: Any, **kw: Any) -> None:
        # pyvo streams and never closes: without this every poll would leave a socket to the garbage collector
        self._local.__dict__.setdefault("open", []).append(response)

    def _close_noted(self) -> None:
        for response in self._local.__dict__.pop("open", []):
            response.close()

    def __repr__(self) -> str:
        return f"Tap({self.url!r})"

    @property
    def service(self) -> Any:
        """The ``pyvo.dal.TAPService`` behind it, for everything this class does not do."""
        if self._made is None:
            import pyvo

            made = session()
            made.hooks["response"].append(self._note)
            self._made = pyvo.dal.TAPService(self.url, session=made)
        return self._made

    def query(
        self,
        adql: str,
        *,
        uploads: Mapping[str, Any] | None = None,
        maxrec: int | None = None,
    ) -> Table:
        """Run a short query synchronously.

        Parameters
        ----------
        adql : str
            The query.
        uploads : mapping of str to Table, optional
            Tables that the query reads as ``TAP_UPLOAD.<name>``.
        maxrec : int, optional
            Most rows; the service has a limit of its own.

        Returns
        -------
        astropy.table.Table
            ``meta["overflow"]`` is true when rows were cut off.

        Raises
        ------
        ArchiveUnavailable, QueryError
        """
        with turn(context(), self.url, _quiet), self._explained(adql):
            result = self.service.run_sync(adql, uploads=dict(uploads or {}), maxrec=maxrec)
            return _table(result)

    def run(
        self,
        adql: str,
        *,
        uploads: Mapping[str, Any] | None = None,
        maxrec: int | None = None,
        on_progress: Progress | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Table | None:
        """Run a query asynchronously: submit, wait, fetch, delete.

        Parameters
        ----------
        adql, uploads, maxrec
            Like in :meth:`query`.
        on_progress : callable, optional
            Told what the archive does, about every second.
        should_stop : callable, optional
            Asked about every second; when it says yes, the archive's job is aborted and None is returned.

        Raises
        ------
        ArchiveUnavailable, QueryError
        """
        say = on_progress or _quiet
        with turn(context(), self.url, say, should_stop) as mine, self._explained(adql):
            if not mine:
                return None
            job = self.service.submit_job(adql, uploads=dict(uploads or {}), maxrec=maxrec)
            try:
                job.run()
                if not self._wait(job, say, should_stop):
                    return None
                job.raise_if_error()
                return _table(job.fetch_result())
            finally:
                self._discard(job)

    def _wait(self, job: Any, on_progress: Progress, should_stop: Callable[[], bool]) -> bool:
        began = time.monotonic()
        pause = 0.1
        while True:
            phase = job.phase
            self._close_noted()
            if phase not in _RUNNING:
                return True
            on_progress(_WORDS.get(phase, phase.title()), time.monotonic() - began)
            if should_stop():
                return False
            asked = time.monotonic()
            # one second at a time: a stop must not wait for the archive
            job._session.get(job.url, params={"WAIT": "1"}, timeout=WAIT + 10).close()
            if time.monotonic() - asked < pause:  # UWS 1.0 ignores WAIT
                time.sleep(pause)
                pause = min(2.0, pause * 1.5)

    @staticmethod
    def _discard(job: Any) -> None:
        from pyvo.dal import DALServiceError

        # the archive deletes old jobs by itself; failing to tidy up must not hide the result or the first error
        with suppress(DALServiceError, OSError):
            job.delete()

    @contextmanager
    def _explained(self, adql: str) -> Iterator[None]:
        import requests
        from pyvo.dal import DALFormatError, DALOverflowWarning, DALQueryError, DALServiceError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DALOverflowWarning)  # told by meta["overflow"]
                # pyvo reads a job's destruction time, for which no leap seconds are known yet
                warnings.filterwarnings("ignore", message="ERFA function")
                yield
        except DALQueryError as e:
            raise self._refused(str(e.reason), adql) from None
        except DALServiceError as e:
            if 400 <= (e.code or 0) < 500 and e.code not in {404, 408, 429}:
                raise self._refused(str(e.reason), adql) from None
            raise self._down(e) from None
        except (DALFormatError, requests.RequestException, OSError) as e:
            raise self._down(e) from None
        finally:
            self._close_noted()

    def _down(self, error: BaseException) -> ArchiveUnavailable:
        code = getattr(error, "code", None)
        why = f"answered with the status {code}" if code else "does not answer"
        return ArchiveUnavailable(
            f"The archive at {self.url} {why}.",
            hint="It may be down for a moment: try again in a few minutes, or choose another archive.",
        )

    def _refused(self, text: str, adql: str) -> QueryError:
        message = " ".join(text.removeprefix("Query Error: ").split())[:600]
        advice = _ADVICE.search(message)
        if advice is not None:
            message = message[: advice.start()].rstrip()
        return QueryError(
            f"The archive refused the query: {message}",
            hint=advice.group() if advice is not None else self._hint(message, adql),
            detail={"query": adql[:2000]},
        )

    def _hint(self, message: str, adql: str) -> str:
        low = message.lower()
        if "memory" in low or "too large" in low or ("limit" in low and "time" not in low):
            return "Ask for fewer rows: a smaller radius, a brighter limit, or TOP."
        if "time" in low and ("out" in low or "limit" in low):
            return "Ask for less at once, or run it asynchronously."
        asked = _TABLE.findall(adql)
        close = [
            c
            for name in asked
            for c in difflib.get_close_matches(name, ["gaiadr3.gaia_source"], 1, 0.7)
        ]
        if close and close[0] not in asked:
            return f"Did you mean the table {close[0]}?"
        return "Check the spelling of columns and tables, commas and brackets, and try again."


def _table(result: Any) -> Table:
    table = result.to_table()
    table.meta["overflow"] = getattr(result, "query_status", None) == "OVERFLOW"
    return table
