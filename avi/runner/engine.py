"""A papermill engine that watches the execution and can be stopped.

Invariant: nothing in a notebook can reach the runner's token or its control flow; what crosses is the kernel protocol's
output messages, of which two media types are read as data (progress and explained errors).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines

from avi.reporting import ERROR_MIME, MIME

log = logging.getLogger("avi.runner")

ENGINE = "gavip"
GRACE = 5.0
"""Seconds that a stopped notebook has to clean up (an archive job, for example) before its kernel is killed."""


@dataclass
class Watch:
    """What one execution tells, and the handle to stop it.

    Attributes
    ----------
    on_progress : callable
        Called with done, total, task and message.
    cell : int
        Number of the author's code cell that runs or ran last, from 1; 0 before the first.
    explained : dict
        The error that the kernel explained last, if any.
    stopped : str
        Why the execution was stopped, empty if it was not.
    """

    on_progress: Callable[[float, float, str, str], None]
    cell: int = 0
    total: int = 0
    task: str = ""
    explained: dict[str, str] = field(default_factory=dict)
    stopped: str = ""
    _pid: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def stop(self, why: str) -> None:
        """Interrupt the kernel, and kill it when it does not end; safe from signal handlers' threads, idempotent."""
        if self.stopped:
            return
        self.stopped = why
        threading.Thread(target=self._end_kernel, daemon=True).start()

    def _end_kernel(self) -> None:
        self._signal(signal.SIGINT)
        timer = threading.Timer(GRACE, self._signal, (signal.SIGKILL,))
        timer.daemon = True
        timer.start()

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            if self._pid is None:
                return
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                self._pid = None

    def kernel_started(self, pid: int | None) -> None:
        """Note the kernel's process; a stop that came before it existed takes effect now."""
        with self._lock:
            self._pid = pid
        if self.stopped:
            self._end_kernel()

    def kernel_ended(self) -> None:
        """Forget the kernel's process: its number may be given to another."""
        with self._lock:
            self._pid = None

    def cell_started(self, number: int, title: str) -> None:
        """Note that the author's code cell `number` runs."""
        self.cell = number
        self.task = f"Cell {number} of {self.total}" + (f": {title}" if title else "")
        log.info("%s", self.task)
        self.on_progress(number - 1, self.total, self.task, "")

    def cell_ended(self) -> None:
        """Note that the present cell has ended well."""
        self.on_progress(self.cell, self.total, self.task, "")

    def display(self, data: dict[str, Any]) -> None:
        """Read the two media types of ours from a display message."""
        told = data.get(MIME)
        if isinstance(told, dict):
            fraction = told.get("fraction")
            if isinstance(fraction, (int, float)) and 0 <= fraction <= 1 and self.cell:
                message = str(told.get("message", ""))
                self.on_progress(self.cell - 1 + fraction, self.total, self.task, message)
        error = data.get(ERROR_MIME)
        if isinstance(error, dict):
            self.explained = {str(k): str(v)[:2000] for k, v in error.items()}


def is_authors(cell: Any) -> bool:
    """Whether a cell is code that the author wrote (papermill injects one with the parameters)."""
    return cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])


def title_of(cells: list[Any], index: int) -> str:
    """Return what a code cell is about: its first comment line, else the heading just above it, else nothing."""
    first = next(iter(cells[index].source.strip().splitlines()), "")
    if first.startswith("# "):
        return str(first[2:].strip()[:80])
    if index and cells[index - 1].cell_type == "markdown":
        for line in cells[index - 1].source.splitlines():
            if line.startswith("#"):
                return str(line.lstrip("#").strip()[:80])
    return ""


class _Client(PapermillNotebookClient):
    """papermill's client, reporting cells to a :class:`Watch`."""

    def __init__(self, nb_man: Any, watch: Watch, **kw: Any) -> None:
        super().__init__(nb_man, **kw)
        self.watch = watch
        cells = nb_man.nb.cells
        authors = [i for i, cell in enumerate(cells) if is_authors(cell)]
        watch.total = len(authors)
        self._numbers = {index: n for n, index in enumerate(authors, 1)}

    def start_new_kernel_client(self, **kw: Any) -> Any:
        self.watch.kernel_started(getattr(getattr(self.km, "provisioner", None), "pid", None))
        return super().start_new_kernel_client(**kw)

    def _cleanup_kernel(self) -> None:
        self.watch.kernel_ended()
        super()._cleanup_kernel()

    def execute_cell(self, cell: Any, cell_index: int, **kw: Any) -> Any:
        number = self._numbers.get(cell_index)
        if number is None:
            return super().execute_cell(cell, cell_index, **kw)
        self.watch.cell_started(number, title_of(self.nb.cells, cell_index))
        done = super().execute_cell(cell, cell_index, **kw)
        self.watch.cell_ended()
        return done

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in {"display_data", "update_display_data"}:
            data = msg["content"].get("data", {})
            self.watch.display(data)
            if ERROR_MIME in data:
                return None  # it says nothing that the traceback below it does not say
        return super().process_message(msg, cell, cell_index)


class WatchedEngine(NBClientEngine):
    """The engine; ``watch`` and ``kernel_env`` come as engine arguments."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        watch: Watch | None = None,
        kernel_env: dict[str, str] | None = None,
        start_timeout: int = 60,
        **_: Any,
    ) -> Any:
        """Execute the notebook of `nb_man`."""
        if watch is None:
            raise TypeError("WatchedEngine needs a watch")
        client = _Client(
            nb_man,
            watch,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            timeout=None,
            # the history database is of no use to a job and locks on network file systems
            extra_arguments=[
                "--InteractiveShellApp.extra_extensions=avi.kernel",
                "--HistoryManager.enabled=False",
                "--IPKernelApp.log_level=ERROR",
            ],
            # what the notebook prints is the job's log
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
        return client.execute(env=kernel_env)


papermill_engines.register(ENGINE, WatchedEngine)
