"""A Docker engine of the test's own, which it may kill and start again: nobody else's containers are on it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.support.engine import engine

BRIDGE = "gvtest0"


@dataclass
class OwnEngine:
    """One engine in a folder.

    It writes no rules into the machine's filter, for there is only one; the platform's own filter does its work.
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    containerd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def prepare(self) -> None:
        """Start containerd as a program of its own, as distributions do; the engine would take its own down with it."""
        with (self.folder / "containerd.log").open("ab") as log:
            self.containerd = subprocess.Popen(
                ["containerd", "--root", str(self.folder / "containerd"), "--address", self.socket,
                 "--state", str(self.folder / "containerd-state")],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    @property
    def socket(self) -> str:
        return f"{self.folder}/containerd.sock"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", "--host", self.url, "--data-root", str(self.folder / "data"),
                 "--exec-root", str(self.folder / "exec"), "--pidfile", str(self.folder / "pid"),
                 # a bridge of its own: with "none" an engine takes docker0 away from the machine's
                 "--containerd", self.socket, "--bridge", BRIDGE, "--iptables=false",
                 "--live-restore"],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        # the command line, for a client of the library that finds no engine leaves its socket open
        while subprocess.run(
            ["docker", "--host", self.url, "version"], check=False, capture_output=True
        ).returncode:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-3000:]
            assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.1)

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.url, version="auto", timeout=60)

    def load(self, *images: str) -> None:
        """Copy images from the machine's engine."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            subprocess.run(
                ["docker", "--host", self.url, "load", "--quiet"],
                stdin=saved.stdout,
                check=True,
                timeout=300,
            )
        assert saved.returncode == 0

    def kill(self, signum: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(signum)
        self.process.wait(60)

    def end(self) -> None:
        """Remove all containers, then stop."""
        assert self.process is not None
        if self.process.poll() is not None:
            self.start()
        client = self.client()
        for entry in client.containers(all=True):
            client.remove_container(entry["Id"], force=True)
        client.close()
        self.kill(signal.SIGTERM)
        assert self.containerd is not None
        self.containerd.terminate()
        self.containerd.wait(30)
        # what overlayfs and the name spaces of containers had mounted below
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            target = line.split()[1]
            if target.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", target], check=False)


@contextlib.contextmanager
def own_engine(folder: Path) -> Iterator[OwnEngine]:
    """Start one; skip with the reason where no engine runs at all."""
    engine().close()
    if subprocess.run(["which", "dockerd"], check=False, capture_output=True).returncode:
        pytest.skip("no dockerd on the PATH (Debian: apt install docker.io)")
    own = OwnEngine(folder)
    folder.mkdir(parents=True)
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)
    for argv in (
        ["link", "add", "name", BRIDGE, "type", "bridge"],
        ["address", "add", "10.219.0.1/24", "dev", BRIDGE],
        ["link", "set", BRIDGE, "up"],
    ):
        subprocess.run(["ip", *argv], check=True)
    own.prepare()
    own.start()
    try:
        yield own
    finally:
        own.end()
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False)
