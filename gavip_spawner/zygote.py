"""A process that has imported what jobs need and forks one child per job: the warm start of the process back-end.

Run as ``python -m gavip_spawner.zygote MODULE…`` with its standard input and output held by the plane.
It reads one folder per line and answers with the number of the supervisor that it forked; end of
input ends it. The fork becomes the supervisor of that folder (:mod:`gavip_spawner.supervisor`, same
claim, same files) and forks once more: that child becomes the runner.

Invariants: the zygote holds no identity, token or user data, for nothing is ever read into it but
folder names; it runs one thread, as a fork of a threaded process inherits locks in any state; one
attempt per child, and nothing flows back, so that jobs share what was imported and nothing else; the
child's environment is the spec's, entirely.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import runpy
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .linux import signal_when_parent_dies
from .supervisor import Supervisor

READY = "ready"
_STANDARD = 3


def fits(argv: list[str]) -> bool:
    """Whether an argument list runs a module with this very interpreter, which is what a fork can do."""
    if len(argv) < 3 or argv[1] != "-m":
        return False
    # not the real path: the interpreters of virtual environments are links to the same file
    return os.path.abspath(argv[0]) == os.path.abspath(sys.executable)


class _BecomeRunner(BaseException):
    """Unwinds the child out of the supervisor, so that it ends like any interpreter, with its exit functions."""


class _Child:
    """The forked runner, with the part of :class:`subprocess.Popen` that supervisors use."""

    def __init__(self, pid: int, output: int) -> None:
        self.pid = pid
        self.stdout = os.fdopen(output, "rb", buffering=0)
        self._code: int | None = None
        self._end = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal.

        Raises
        ------
        subprocess.TimeoutExpired
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._code is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if self._end is not None:
                select.select([self._end], [], [], left)
            elif left is not None:
                time.sleep(min(0.02, left))
            pid, status = os.waitpid(self.pid, os.WNOHANG if left is not None else 0)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif left is not None and left <= 0:
                raise subprocess.TimeoutExpired("runner", timeout or 0)
        return self._code


class ForkingSupervisor(Supervisor):
    """A supervisor that forks the runner instead of starting an interpreter."""

    def launch(self) -> Any:
        """Fork; the parent gets the child, the child leaves by :class:`_BecomeRunner`."""
        reader, writer = os.pipe()
        me = os.getpid()
        pid = os.fork()
        if pid:
            os.close(writer)
            return _Child(pid, reader)
        os.setsid()
        signal_when_parent_dies(signal.SIGKILL)
        if os.getppid() != me:
            os._exit(1)  # the supervisor died before the kernel knew that it matters
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        raise _BecomeRunner


def _become(spec: dict[str, Any]) -> None:
    """Turn this process into what a fresh interpreter would be, and run the module."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # everything that zygote and supervisor had open; forks keep what exec would close
    os.closerange(_STANDARD, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(spec["environment"])
    os.chdir(spec["cwd"])
    if "TZ" in os.environ:
        time.tzset()
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = [sys.executable, *spec["argv"][3:]]
    # otherwise all jobs would draw the same numbers
    random.seed()
    gc.unfreeze()
    runpy.run_module(spec["argv"][2], run_name="__main__", alter_sys=True)


def _supervise(folder: Path) -> None:
    """Be the supervisor of `folder`, and in the child the runner."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(_STANDARD):
        os.dup2(null, standard)
    os.close(null)
    os.umask(0o077)
    supervisor = ForkingSupervisor(folder)
    if not supervisor.prepare():
        return
    try:
        supervisor.run()
        return
    except _BecomeRunner:
        spec = supervisor.spec
    # not in the handler: the runner's own faults would be told as consequences of ours
    _become(spec)


def _threads() -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/task"))
    return 1


def serve() -> Path | None:
    """Fork for each folder that is read; return it in the child, and None in the zygote at the end of input."""
    # supervisors outlive the zygote and are nobody's business here
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    _say(READY)
    while line := sys.stdin.readline():
        pid = os.fork()
        if not pid:
            return Path(line.rstrip("\n"))
        _say(str(pid))
    return None


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Entry point."""
    for module in sys.argv[1:]:
        importlib.import_module(module)
    if _threads() != 1:
        sys.exit("one of the modules started a thread: no fork of this process is safe")
    folder = serve()
    if folder is not None:
        _supervise(folder)


class WarmStart:
    """The plane's end of a zygote: starts it, asks it for supervisors, does without it when it is not there.

    Parameters
    ----------
    modules : tuple of str
        What it imports.
    environment : dict
        Its whole environment.
    """

    def __init__(self, modules: tuple[str, ...], environment: dict[str, str]) -> None:
        self._ready = False
        self._process: subprocess.Popen[str] | None = subprocess.Popen(  # noqa: S603 - fixed argv
            [sys.executable, "-m", "gavip_spawner.zygote", *modules],
            env=environment,
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def spawn(self, folder: Path) -> int | None:
        """Return the number of a new supervisor of `folder`, or None when there is no zygote (yet).

        Called from one thread at a time.
        """
        process = self._process
        if process is None or process.stdin is None or "\n" in str(folder):
            return None
        try:
            if not self._ready:
                if self._answer(0) != READY:
                    return None
                self._ready = True
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            answer = self._answer(10)
        except (OSError, ValueError):
            answer = None
        if answer is None or not answer.isdigit():
            # it has died or hangs: cold starts from now on; the claim decides should it still fork
            self.close()
            return None
        return int(answer)

    def _answer(self, seconds: float) -> str | None:
        stdout = self._process.stdout if self._process else None
        if stdout is None or not select.select([stdout], [], [], seconds)[0]:
            return None
        line = stdout.readline()
        if not line:
            raise OSError("the zygote has ended")
        return line.strip()

    def close(self) -> None:
        """End the zygote; its supervisors and their jobs go on."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


if __name__ == "__main__":
    main()
