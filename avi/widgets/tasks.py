"""Work that takes longer than a moment, started by a button: step, elapsed time, Cancel, error, all in one place.

Invariants: one run at a time; the work runs in a thread so that the kernel hears the Cancel button; a cancelled or
superseded run never delivers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import ipywidgets as w

from . import errors
from .theme import duration, escape, html


class Run:
    """One run, as the work sees it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._stop = threading.Event()
        self.step = "Starting"

    def say(self, step: str, seconds: float | None = None) -> None:
        """Tell what is being done (`seconds` is accepted so that this can be a connector's ``on_progress``)."""
        self.step = step

    @property
    def cancelled(self) -> bool:
        """Whether the user has cancelled."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Ask the work to end."""
        self._stop.set()


class Task(w.VBox):
    """A start button with everything around it.

    Parameters
    ----------
    label : str
        What the button says.
    work : callable
        Runs in a thread with a :class:`Run`; returns the result.
    deliver : callable
        Called with the result; errors in it are shown like those of the work.
    """

    def __init__(
        self, label: str, work: Callable[[Run], Any], deliver: Callable[[Any], None]
    ) -> None:
        self._work, self._deliver = work, deliver
        self._run: Run | None = None
        # a run that was overtaken while it drew must not draw over the one that overtook it
        self._delivering = threading.Lock()
        self.button = w.Button(description=label, button_style="primary")
        self.cancel = w.Button(description="Cancel", disabled=True)
        self.status = html('<div role="status" class="gavip-muted">&nbsp;</div>')
        self.notice = html()
        self.button.on_click(lambda _: self.start())
        self.cancel.on_click(lambda _: self.stop())
        actions = w.Box([self.button, self.cancel])
        actions.add_class("gavip-actions")
        super().__init__([actions, self.status, self.notice])

    def start(self) -> threading.Thread:
        """Start a run, stopping the one before it; returns its thread."""
        self.stop()
        run = self._run = Run(self)
        self.button.disabled, self.cancel.disabled, self.notice.value = True, False, ""
        thread = threading.Thread(target=self._do, args=(run,), daemon=True)
        thread.start()
        threading.Thread(target=self._tick, args=(run, time.monotonic()), daemon=True).start()
        return thread

    def stop(self) -> None:
        """Cancel the run, if there is one."""
        if self._run is not None:
            self._run.stop()
            self._end(self._run, "Cancelled.")

    def _say(self, text: str, busy: bool = False) -> None:
        css = "gavip-muted gavip-spin" if busy else "gavip-muted"
        self.status.value = f'<div role="status" class="{css}">{text or "&nbsp;"}</div>'

    def _tick(self, run: Run, began: float) -> None:
        while self._run is run and not run.cancelled:
            took = time.monotonic() - began
            elapsed = f" ({duration(took)})" if took >= 1 else ""
            self._say(f"{escape(run.step)}{elapsed}", busy=True)
            time.sleep(0.5)

    def _do(self, run: Run) -> None:
        began = time.monotonic()
        try:
            result = self._work(run)
            with self._delivering:
                if run.cancelled:
                    return
                run.say("Drawing")
                self._deliver(result)
        except Exception as e:  # noqa: BLE001 - the boundary between the work and people
            if not run.cancelled:
                self._end(run, "")
                errors.show(self.notice, e)
            return
        self._end(run, f"Done in {time.monotonic() - began:.1f} s.")

    def _end(self, run: Run, text: str) -> None:
        if self._run is not run:
            return
        self._run = None
        self.button.disabled, self.cancel.disabled = False, True
        self._say(text)
