"""A PostgreSQL server of the tests' own: a throw-away cluster in a temporary folder, reached by a Unix socket only."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

# what is written need not survive a power cut; everything else is as Debian ships it
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
}
_numbers = count(1)


def binaries() -> Path | None:
    """Return the folder of the newest installed PostgreSQL's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@dataclass
class Cluster:
    """A running server."""

    socket: Path
    user: str

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{self.user}@/{database}?host={self.socket}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket), user=self.user, dbname=database, autocommit=True
        )

    def create(self, template: str = "template1") -> str:
        """Make a database like `template`, which nobody may be using; return its name."""
        name = f"test{next(_numbers)}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _somebody() -> pwd.struct_passwd:
    """Return who runs the server: it refuses to run as root."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("there is no unprivileged account to run PostgreSQL as")


@contextlib.contextmanager
def running_cluster(programs: Path) -> Iterator[Cluster]:
    """Make a cluster, run it, and remove it."""
    who = _somebody()
    # not pytest's own folder: a socket's path has at most 107 bytes, and the account must get in
    folder = Path(tempfile.mkdtemp(prefix="gavip-pg-", dir="/tmp"))
    if not os.geteuid():
        os.chown(folder, who.pw_uid, who.pw_gid)
    as_user = (
        {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if not os.geteuid() else {}
    )
    common = {"cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}, **as_user}
    data = folder / "data"
    subprocess.run(
        [str(programs / "initdb"), "-D", str(data), "-U", "gavip", "--auth=trust", "--no-sync",
         "--encoding=UTF8", "--locale=C.UTF-8"],
        check=True, capture_output=True, timeout=120, **common,
    )  # fmt: skip
    settings = [part for k, v in OPTIONS.items() for part in ("-c", f"{k}={v}")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [str(programs / "postgres"), "-D", str(data), "-k", str(folder), *settings],
            stdout=log,
            stderr=log,
            **common,
        )
    cluster = Cluster(folder, "gavip")
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                cluster.connect().close()
                break
            except psycopg.OperationalError:
                assert server.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
        yield cluster
    finally:
        # SIGINT is the fast shutdown: sessions are cut off (PostgreSQL, section 19.5)
        server.send_signal(2)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
