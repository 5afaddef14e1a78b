"""The process that watches over one process of the process back-end, and outlives whoever started it.

Run as ``python -m gavip_spawner.supervisor FOLDER``. Owns ``started``, ``log`` and ``exit.json`` in that folder.

Invariants: ``started`` is created exclusively before anything runs, so a second supervisor for the
same folder does nothing; ``exit.json`` appears atomically and last; when it exists, no process of
the tree is left. A full disk delays what is recorded, and changes nothing of it: a process whose end
could not be written would count as vanished, and be run again. Imports little, for every job pays it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from .linux import adopt_orphans, signal_when_parent_dies

LOG_LIMIT = 32 << 20
"""Bytes of output kept; a flood beyond it is counted, not stored."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""How a disk says that it takes nothing more."""

_LOST = b"\n[some output is missing: the disk was full]\n"
_POLL = 0.5
_ROOM_POLL = 1.0
"""Seconds between tries to write on a full disk."""


def claim(folder: Path) -> bool:
    """Create ``started`` exclusively; return whether this process is the one that may start (or forbid starting).

    Raises
    ------
    OSError
        If it could not be written; it is gone then, for nothing was started.
    """
    try:
        fd = os.open(folder / "started", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    me = psutil.Process()
    try:
        with os.fdopen(fd, "w") as file:
            json.dump({"pid": me.pid, "created": me.create_time(), "time": time.time()}, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        (folder / "started").unlink()
        raise
    return True


def record_exit(folder: Path, exit_code: int | None, reason: str) -> None:
    """Write ``exit.json`` atomically and durably."""
    temporary = folder / ".exit.json"
    with temporary.open("w") as file:
        json.dump({"exit_code": exit_code, "reason": reason, "time": time.time()}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "exit.json")


class Supervisor:
    """Runs one spec to its end.

    Parameters
    ----------
    folder : Path
        Holds ``spec.json`` as written by the plane.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec: dict[str, Any] = json.loads((folder / "spec.json").read_text())
        self.stopping = False
        self.reason = ""
        self._lost = False

    def prepare(self) -> bool:
        """Make the folders that the process needs, then claim; return whether this process may start it.

        In this order: a fault before the claim leaves something that was never started, and may be tried again.
        """
        for folder in [*self.spec["folders"], self.spec["cwd"]]:
            Path(folder).mkdir(parents=True, exist_ok=True)
        return claim(self.folder)

    def run(self) -> None:
        """Start the process that was claimed, watch its limits, record how it ended."""
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        adopt_orphans()
        try:
            child = self.launch()
        except OSError as e:
            with contextlib.suppress(OSError):
                (self.folder / "log").write_text(
                    f"cannot start {self.spec['argv'][0]}: {e.strerror}\n"
                )
            self._record(127)
            return
        assert child.stdout is not None  # noqa: S101 - PIPE was asked for
        pump = threading.Thread(target=self._pump, args=(child.stdout,), daemon=True)
        pump.start()
        code = self._watch(child)
        self._sweep()
        # orphans became ours (subreaper); the child itself is reaped already
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        pump.join(2)
        self._record(code)

    def _record(self, code: int) -> None:
        """Record how it ended, as soon as the disk has room for it."""
        while True:
            try:
                if self._lost:
                    with (self.folder / "log").open("ab") as log:
                        log.write(_LOST)
                    self._lost = False
                return record_exit(self.folder, code, self.reason)
            except OSError as e:
                if e.errno not in FULL:
                    raise
                time.sleep(_ROOM_POLL)

    def launch(self) -> Any:
        """Start the process and return its :class:`subprocess.Popen`, or what does the same."""
        return subprocess.Popen(  # noqa: S603 - an argv list from our own spec builder
            self.spec["argv"],
            env=self.spec["environment"],
            cwd=self.spec["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal_when_parent_dies(signal.SIGKILL),
        )

    def _pump(self, stream: Any) -> None:
        """Keep the output; whatever happens the pipe is emptied, for a process whose output nobody takes hangs."""
        with contextlib.ExitStack() as stack:
            log: Any = None
            kept, cut = 0, False
            while chunk := os.read(stream.fileno(), 1 << 16):
                part = chunk[: LOG_LIMIT - kept]
                try:
                    if log is None:
                        log = stack.enter_context((self.folder / "log").open("ab", buffering=0))
                    if self._lost:
                        log.write(_LOST)
                    written = log.write(part)
                    kept += written
                    self._lost = written < len(part)
                    if len(part) < len(chunk) and not cut:
                        log.write(b"\n[output beyond 32 MiB is not kept]\n")
                        cut = True
                except OSError:
                    self._lost = True

    def _watch(self, child: Any) -> int:
        limit, memory = self.spec["time_limit"], self.spec["memory"]
        deadline = time.monotonic() + limit if limit else None
        process = psutil.Process(child.pid)
        while True:
            try:
                return child.wait(_POLL)
            except subprocess.TimeoutExpired:
                pass
            if self.stopping:
                self.reason = "stopped"
                return self._end(child, self._grace())
            if deadline is not None and time.monotonic() > deadline:
                self.reason = "time"
                return self._end(child, 5)
            if memory and _tree_memory(process) > memory:
                self.reason = "memory"
                return self._end(child, 0)

    def _on_stop(self, *_: object) -> None:
        self.stopping = True

    def _grace(self) -> float:
        try:
            return float(json.loads((self.folder / "stop.json").read_text())["grace"])
        except (OSError, ValueError, KeyError):
            return 5.0

    def _end(self, child: Any, grace: float) -> int:
        if grace:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(grace)
        self._sweep()
        return child.wait()

    def _sweep(self) -> None:
        """Kill whatever of the tree is left; kernels live in sessions of their own, so a group kill misses them."""
        me = psutil.Process()
        for _ in range(50):
            left = [p for p in me.children(recursive=True) if _alive(p)]
            if not left:
                return
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            # not psutil.wait_procs: it would reap our own child and its exit code with it
            time.sleep(0.02)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _tree_memory(process: psutil.Process) -> int:
    """Return the resident memory of a process and all below it, in bytes, shared pages counted once per process."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                memory = member.memory_info()
                total += memory.rss - getattr(memory, "shared", 0)
    return total


def main() -> None:
    """Entry point."""
    os.umask(0o077)
    supervisor = Supervisor(Path(sys.argv[1]))
    if supervisor.prepare():
        supervisor.run()


if __name__ == "__main__":
    main()
