"""Programs of the platform as `gavip up` sees them: started, watched, started again, stopped.

Invariants: a program that ends is started again, later and later while it keeps ending at once, and
never given up: the others go on meanwhile; each has a log file of its own.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import click

from gavip_spawner.linux import signal_when_parent_dies

_SHORT_LIFE = 10.0
_LONGEST_PAUSE = 30.0
_CLEARED = "\r\x1b[K"
"""Begins the line of a terminal anew (ECMA-48, EL)."""


class StartFailed(click.ClickException):
    """A part of the platform did not start."""


class Steps:
    """Prints one line per step with the time it took; to people, what it does meanwhile on the same line."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show `text` while the body runs, then its outcome; yield what says how far the body is."""
        begun = time.monotonic()
        again = _CLEARED if sys.stdout.isatty() else ""

        def say(what: str) -> None:
            words = f"{text}: {what}" if what else text
            # a line that wraps could not be cleared
            room = shutil.get_terminal_size().columns - 5 if again else len(words)
            click.echo(f"{again}  … {words[:room]}", nl=not again)

        say("")
        try:
            yield say
        except BaseException:
            click.echo(f"{again}  ✗ {text}")
            raise
        click.echo(f"{again}  ✓ {text} ({time.monotonic() - begun:.1f} s)")

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun


class Part:
    """One program of the platform with its log file."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._environment = environment
        self._short_lives = 0
        self._next_start: float | None = None
        self._file: IO[bytes] = log.open("wb")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._begun, self._next_start = time.monotonic(), None
        # a session of its own, so that Ctrl-C reaches us alone and we stop things in order
        return subprocess.Popen(  # noqa: S603 - argv list built here
            list(self._argv),
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=dict(self._environment),
            cwd=self.log.parent,
            start_new_session=True,
            # should we be killed, the hub must still stop in order and leave no proxy behind
            preexec_fn=lambda: signal_when_parent_dies(signal.SIGTERM),
        )

    def check(self) -> None:
        """Raise :class:`StartFailed` with the end of the log when the program has ended."""
        if self.process.poll() is not None:
            raise StartFailed(
                f"The {self.name} ended unexpectedly (exit code {self.process.returncode}).\n"
                f"{self.tail()}\nThe whole log: {self.log}"
            )

    def revive(self) -> None:
        """Start the program again when it has ended; when it keeps ending at once, after a growing pause."""
        if self.process.poll() is None:
            return
        now = time.monotonic()
        if self._next_start is None:
            self._short_lives = self._short_lives + 1 if now - self._begun < _SHORT_LIFE else 0
            pause = min(_LONGEST_PAUSE, 2.0 ** (self._short_lives - 2)) if self._short_lives else 0
            self._next_start = now + pause
            click.echo(
                f"The {self.name} ended (exit code {self.process.returncode}); starting it again"
                + (f" in {pause:.0f} s. Log: {self.log}" if pause >= 1 else ".")
            )
        if now >= self._next_start:
            self.process = self._start()

    def tail(self, lines: int = 12) -> str:
        """Return the end of the log."""
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in text[-lines:])

    def stop(self, grace: float = 20) -> None:
        """Ask it to end; force it after `grace` seconds."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._file.close()
