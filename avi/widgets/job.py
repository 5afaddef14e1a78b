"""One job on a page, live: state in words, bar, step, time, Cancel, error with its next step, log, results.

Invariants: updates come from one background thread per job, which reconnects until the job has ended; losing the
connection changes nothing but a line of text, for the job goes on without the page; attaching again after a reload
shows the same.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import ipywidgets as w
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from avi.errors import Unavailable
from avi.pipelines import Job, jobs
from gavip_api.enums import JobState
from gavip_api.models import JobEvent, utcnow

from . import errors, results
from .theme import alert, duration, escape, html

# the words of the portal's pages (extensions/gavip-ui/src/progress.ts): one state, one word everywhere
_WORDS: dict[JobState, tuple[str, str]] = {
    JobState.QUEUED: ("wait", "Queued"),
    JobState.STARTING: ("busy", "Starting"),
    JobState.RUNNING: ("busy", "Running"),
    JobState.SUCCEEDED: ("good", "✓ Succeeded"),
    JobState.FAILED: ("bad", "✕ Failed"),
    JobState.CANCELLED: ("bad", "Cancelled"),
    JobState.TIMED_OUT: ("bad", "✕ Timed out"),
    JobState.LOST: ("bad", "✕ Lost"),
}
_MAX_LOG = 20_000


class JobWidget(w.VBox):
    """A job, live.

    Parameters
    ----------
    job : Job
        From ``avi.pipeline(…).submit(…)``, ``avi.job(id)`` or ``avi.jobs()``.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._last_seq = 0
        self._lock = threading.RLock()
        self._head, self._bar, self._notice, self._results, self._log = (html() for _ in range(5))
        self._cancel = w.Button(description="Cancel job")
        self._log_button = w.Button(description="Show log")
        self._cancel.on_click(self._on_cancel)
        self._log_button.on_click(self._on_log)
        self._actions = w.Box([self._cancel, self._log_button])
        self._actions.add_class("gavip-actions")
        super().__init__(
            [self._head, self._bar, self._notice, self._actions, self._results, self._log]
        )
        self.add_class("gavip-card")
        self.add_class("gavip-stack")
        self._render()
        if job.state.is_final:
            self._finish()
        else:
            threading.Thread(target=self._follow, daemon=True).start()
            threading.Thread(target=self._tick, daemon=True).start()

    def _follow(self) -> None:
        with errors.guard(self._notice):
            for attempt in Retrying(
                retry=retry_if_exception_type(Unavailable),
                wait=wait_random_exponential(multiplier=0.5, max=20),
                before_sleep=self._lost,
                reraise=True,
            ):
                with attempt:
                    self._listen()

    def _listen(self) -> None:
        while not self.job.refresh().state.is_final:
            self._notice.value = ""
            for event in self.job.events(self._last_seq):
                if event.state.is_final:
                    break
                self._on_event(event)
            # a stream that ends before the job does was cut by something between us
            time.sleep(0.5)
        self._notice.value = ""
        self._finish()  # the results are there when the word says so
        self._render()

    def _on_event(self, event: JobEvent) -> None:
        self._last_seq = max(self._last_seq, event.seq)
        if event.state != JobState.RUNNING:
            self.job.refresh()
        self._render()

    def _lost(self, attempt: RetryCallState) -> None:
        text = "The connection was lost; the job goes on. Trying again…"
        self._notice.value = f'<p class="gavip-muted" role="status">{text}</p>'

    def _tick(self) -> None:
        while not self.job.state.is_final:
            time.sleep(1)
            if not self.job.state.is_final:  # the last word is _listen's, after the results
                self._render()

    def _render(self) -> None:
        with self._lock:
            info = self.job.info
            css, words = _WORDS[info.state]
            self._head.value = (
                f'<div class="gavip-job-head"><b>{escape(info.title)}</b>'
                f'<span class="gavip-badge {css}">{words}</span>'
                f'<span class="gavip-muted">{escape(self._time())}</span></div>'
            )
            self._bar.value = "" if info.state.is_final else self._progress()
            self._cancel.layout.display = "none" if info.state.is_final else ""

    def _time(self) -> str:
        info = self.job.info
        if info.started is None:
            return f"waiting for {duration((utcnow() - info.created).total_seconds())}"
        elapsed = ((info.ended or utcnow()) - info.started).total_seconds()
        share = info.progress.fraction
        if info.state is JobState.RUNNING and share and share > 0.15 and elapsed > 5:
            return f"{duration(elapsed)}, about {duration(elapsed * (1 - share) / share)} left"
        return f"{'took ' if info.state.is_final else ''}{duration(elapsed)}"

    def _progress(self) -> str:
        info = self.job.info
        share = info.progress.fraction
        if info.state is JobState.QUEUED:
            place = f"Place {info.position} in the queue. " if info.position else ""
            step = place + (info.waiting_for or "It starts as soon as there is room.")
        else:
            parts = (info.progress.task, info.progress.message)
            step = " – ".join(p for p in parts if p) or "Starting"
        value = f'aria-valuenow="{share:.0%}"'.replace("%", "") if share is not None else ""
        css = "gavip-bar" if share is not None else "gavip-bar unknown"
        return (
            f'<div class="{css}" role="progressbar" aria-label="Progress of the job" aria-valuemin="0" '
            f'aria-valuemax="100" {value}><i style="width: {100 * (share or 0):.1f}%"></i></div>'
            f'<p class="gavip-muted" style="margin: 5px 0 0">{escape(step)}</p>'
        )

    def _finish(self) -> None:
        info = self.job.info
        if info.error is not None:
            where = f" (cell {info.error.cell})" if info.error.cell else ""
            self._notice.value = alert(
                info.error.message + where,
                info.error.hint,
                f"{_WORDS[info.state][1].lstrip('✕ ')}.",
            )
        elif info.state is JobState.TIMED_OUT:
            self._notice.value = alert(
                f"It took longer than {duration(info.time_limit)}.",
                "Ask for less, or for a longer time in avi.yaml.",
                "Timed out.",
            )
        folder = self.job.product_dir
        if info.state is not JobState.SUCCEEDED or folder is None:
            return
        try:
            self._results.value = results.previews(folder, info.outputs) + results.listing(
                folder, info.outputs, info.product or ""
            )
        except OSError as e:
            errors.show(self._notice, e)

    def _on_cancel(self, _: Any) -> None:
        self._cancel.disabled, self._cancel.description = True, "Stopping…"
        threading.Thread(target=self._do_cancel, daemon=True).start()

    def _do_cancel(self) -> None:
        with errors.guard(self._notice):
            self.job.cancel()
            return
        self._cancel.disabled, self._cancel.description = False, "Cancel job"

    def _on_log(self, _: Any) -> None:
        if self._log.value:
            self._log.value, self._log_button.description = "", "Show log"
            return
        self._log_button.description = "Hide log"
        threading.Thread(target=self._load_log, daemon=True).start()

    def _load_log(self) -> None:
        with errors.guard(self._notice):
            text = self.job.log()[-_MAX_LOG:]
            shown = escape(text) or "The log is empty."
            self._log.value = (
                f'<pre class="gavip-log" tabindex="0" aria-label="Log of the job">{shown}</pre>'
            )


class JobArea(w.VBox):
    """The jobs of one pipeline: what runs, and the newest that has ended. Survives a reload of the page.

    Parameters
    ----------
    pipeline : str
        Name of the pipeline.
    shown : int
        Most jobs on the page.
    """

    children: Any  # a trait of ipywidgets, which has no types

    def __init__(self, pipeline: str, shown: int = 3) -> None:
        self._shown = shown
        self._empty = html(
            '<div class="gavip-empty">No job yet. Fill in the form and run the pipeline: '
            "its figures and files appear here.</div>"
        )
        self._notice = html()
        super().__init__([self._notice, self._empty])
        self.add_class("gavip-stack")
        with errors.guard(self._notice):
            found = jobs(20, pipeline)
            running = [j for j in found if not j.state.is_final]
            ended = [j for j in found if j.state.is_final][:1]
            for job in reversed((running + ended)[: self._shown]):
                self.add(job)

    def add(self, job: Job) -> JobWidget:
        """Show a job on top."""
        made = JobWidget(job)
        old = [c for c in self.children if isinstance(c, JobWidget)]
        self.children = (self._notice, made, *old[: self._shown - 1])
        return made
