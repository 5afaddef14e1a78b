"""``gavip up``: start the whole platform on this machine, and stop it again.

Owns the order of start and stop and what the person at the terminal reads meanwhile. Invariants:
nothing is started unless what it needs is there; whatever was started is stopped, in reverse order,
however this ends; messages name the cause and the next step.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path

import click

from gavip_spawner.plane import ProcessPhase
from gavip_spawner.process_plane import ProcessPlane

from . import docker_backend, programs
from .accounts import DEMO_USERS, Accounts
from .parts import Part, StartFailed, Steps
from .platform import Platform, port_is_free
from .programs import Program
from .tls import ensure_pair

_NOT_ISOLATED = (
    "This is the embedded default (process back-end). It does NOT isolate users from one another:\n"
    "AVIs run as ordinary processes of your own account. Use it to try GAVIP and to write AVIs,\n"
    "with code you trust; use the Docker back-end for anybody else's."
)

_ISOLATED = "Docker back-end: AVIs, jobs and notebooks run in containers, each user's apart from all others'."


def _answers(url: str, host: str | None = None) -> bool:
    # our own loopback addresses only; the Host header stands in for name resolution (RFC 6761)
    request = urllib.request.Request(url, headers={"Host": host} if host else {})  # noqa: S310
    # the certificate is for the public name, not for the loopback address that is asked
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl._create_unverified_context()),  # noqa: S323
    )
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


@contextlib.contextmanager
def _only_one(platform: Platform) -> Iterator[None]:
    platform.layout.run.mkdir(parents=True, exist_ok=True)
    # databases, logs and people's files: nobody else of this machine looks in. The engine does, as root
    platform.layout.root.chmod(0o700)
    with (platform.layout.run / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartFailed(
                f"A platform is already running on {platform.state}.\n"
                f"Open {platform.public_url}, or stop it with Ctrl-C in its terminal."
            ) from None
        yield


def _prepare_archive(
    platform: Platform, environment: dict[str, str], say: Callable[[str], None]
) -> None:
    database = platform.layout.archive / "archive.duckdb"
    database.parent.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    with subprocess.Popen(  # noqa: S603 - our own module
        [
            sys.executable, "-m", "gavip_archive", "build",
            "--output", str(database),
            "--cache", str(platform.layout.archive / "downloads"),
        ],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as building:  # fmt: skip
        try:
            for line in building.stderr or ():
                said.append(line.rstrip())
                if line.startswith("archive: "):
                    say(said[-1].removeprefix("archive: "))
        except BaseException:
            building.terminate()
            raise
    if building.returncode:
        # its errors are two lines, cause and next step; anything else ends in what went wrong
        begin = next((n for n, line in enumerate(said) if line.startswith("Error: ")), -1)
        reason = "\n".join(said[begin:]).removeprefix("Error: ")
        raise StartFailed(
            f"The embedded archive could not be built: {reason}\n"
            'To use another TAP service instead: make run ARGS="--archive URL"   (or: gavip up --archive URL)'
        )


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
    isolation = _ISOLATED if platform.contained else _NOT_ISOLATED
    click.echo(f"\n{isolation}\n\nState: {platform.state} · logs: {platform.layout.run}")
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
@click.option(
    "--backend",
    type=click.Choice(["process", "docker"]),
    default="process",
    show_default=True,
    help="Where user code runs: processes of this account (isolates nobody), or containers.",
)
@click.option(
    "--domain",
    default="gavip.localhost",
    show_default=True,
    help="Host name of the hub; portal, users and AVIs are its sub-domains.",
)
@click.option(
    "--listen", default="127.0.0.1", show_default=True, help="Address of the public port."
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Certificate (PEM, with its chain) for the domain and all its sub-domains; makes addresses https. While"
    " neither this file nor the key is there, a self-signed pair is made.",
)
@click.option(
    "--tls-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Private key (PEM) of that certificate.",
)
@click.option(
    "--subnet",
    default="10.213.0.0/20",
    show_default=True,
    help="Docker back-end: addresses of the network of user code (CIDR); must be free on this machine.",
)
@click.option(
    "--leave-running",
    is_flag=True,
    help="Docker back-end: when stopped, leave servers and jobs running; the next start finds them again.",
)
@click.option("--new-passwords", is_flag=True, help="Make new passwords for the demo accounts.")
def up(
    port: int,
    state: Path,
    examples: Path,
    archive: str,
    config: Path | None,
    backend: str,
    domain: str,
    listen: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    subnet: str,
    leave_running: bool,
    new_passwords: bool,
) -> None:
    """Start the platform on this machine and serve until Ctrl-C."""
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key belong together: give both, or none.")
    if tls_cert and tls_key and ensure_pair(tls_cert, tls_key, domain):
        click.echo(f"Made a self-signed certificate for {domain}: {tls_cert.resolve()}")
    if backend == "docker":
        docker_backend.check()
    docker_backend.check_state(state.resolve(), backend)
    folder = examples.resolve()
    platform = Platform.load(
        state.resolve(),
        port=port,
        archive=archive,
        config=str(config.resolve()) if config else "",
        examples=str(folder) if folder.is_dir() else "",
        backend=backend,
        host=domain,
        listen=listen,
        tls_cert=str(tls_cert.resolve()) if tls_cert else "",
        tls_key=str(tls_key.resolve()) if tls_key else "",
        subnet=_subnet(subnet),
    )
    with _only_one(platform):
        if not port_is_free(port, listen):
            raise StartFailed(
                f"Port {port} is taken by another program.\n"
                f"Choose another one: make run PORT={port + 1}   (or: gavip up --port {port + 1})"
            )
        platform = platform.with_ports()
        platform.save()
        # both set explicitly: a shell that starts us in the background has SIGINT ignored
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, _interrupt)
        _serve(platform, new_passwords, leave_running)


def _subnet(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as e:
        raise click.BadParameter(f"{e}; write a network such as 10.213.0.0/20") from None


def _serve(platform: Platform, new_passwords: bool, leave_running: bool) -> None:
    steps = Steps()
    engine: docker_backend.DockerBackend | None = None
    parts: list[Part] = []

    def start(text: str, program: Program) -> None:
        with steps.step(text):
            parts.append(Part(program.name, program.argv, program.log, program.environment))
            if program.answers:
                _until(lambda: _answers(program.answers), parts, program.name, program.limit)

    click.echo(f"Starting GAVIP on {platform.public_url}")
    try:
        if platform.contained:
            prepared = docker_backend.DockerBackend(platform)
            prepared.prepare(steps)
            engine = prepared
            start("gateway of the containers", programs.gateway(platform))
        if not platform.archive:
            with steps.step("archive: data") as say:
                _prepare_archive(platform, programs.common_environment(platform), say)
            start("archive: service", programs.archive(platform))
        for text, program in programs.START_ORDER:
            start(text, program(platform))
        with steps.step("public address"):
            # the proxy knows the way only when the hub has told it
            at = "127.0.0.1" if platform.listen in {"", "0.0.0.0"} else platform.listen  # noqa: S104
            url = f"{platform.scheme}://{at}:{platform.port}/hub/health"
            _until(lambda: _answers(url, platform.host), parts, "hub", 60)
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
        # the hub first: while it stops its servers, the job queue must hear of it
        for part in sorted(parts, key=lambda part: part.name != "hub"):
            part.stop()
        left = 0
        if not platform.contained:
            left = asyncio.run(_stop_processes(platform))
        elif engine is not None and not leave_running:
            left = engine.stop()
        click.echo(
            "Stopped."
            + (f" {left} running job(s) will be retried at the next start." if left else "")
        )
