"""A user who has filled everything: the host and the others do not notice, and there is a way out."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from jupyter_client import BlockingKernelClient

from gavip_api.errors import LimitReached
from gavip_api.models import ResourceAmount
from gavip_spawner.disks import UserDisks
from gavip_spawner.folders import ensure_owned
from gavip_spawner.placement import InContainer, Owned
from gavip_spawner.specs import notebook_spec
from gavip_spawner.volumes import Kind

from .conftest import AS_USER, MIB, USER, as_user

pytestmark = pytest.mark.disks

FILL_BYTES = """
import os, sys
os.chdir(sys.argv[1])
written = 0
with open("fill", "wb", buffering=0) as file:
    for size in (1 << 20, 4096, 1):
        try:
            while True: written += file.write(b"x" * size)
        except OSError as e: assert e.errno == 28, e
print(written)
"""

FILL_INODES = """
import os, sys
os.chdir(sys.argv[1])
made = 0
try:
    while True:
        os.close(os.open(f"n{made}", os.O_CREAT)); made += 1
except OSError as e: assert e.errno == 28, e
print(made)
"""

WRITE = "import sys; open(sys.argv[1] + '/new', 'w').write('new')"


def host_free(path: Path) -> tuple[int, int]:
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize, found.f_favail


def handed_over(disks: UserDisks, user: str) -> Path:
    """What the spawner does before a container is made."""
    home = disks.layout.home(user)
    ensure_owned((Owned(str(home), user=True, mode=0o700),), disks.layout.root, USER, USER)
    return disks.layout.userspace(user)


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_to_the_last_byte(disks: UserDisks, state: Path) -> None:
    for user in ("alice", "bob"):
        disks.ensure(user)
        handed_over(disks, user)
    folder = disks.layout.userspace("alice")
    done = as_user(FILL_BYTES, folder)
    assert done.returncode == 0, done.stderr
    usage = disks.usage("alice")
    assert usage is not None
    # to the last byte: reached exactly, and no further
    assert usage.used == usage.limit
    assert int(done.stdout) <= usage.limit <= 64 * MIB
    os.sync()
    taken = disks.find()[0].allocated
    assert taken <= 64 * MIB, "never more of the host than the quota"
    # the HOME that signing in needs, and everybody else, go on
    for other in (disks.layout.home("alice"), disks.layout.userspace("bob")):
        done = as_user(WRITE, other)
        assert done.returncode == 0, done.stderr
    # the platform still makes the folder of an AVI
    avis = (
        Owned(str(folder / "avis"), user=False, mode=0o755),
        Owned(str(folder / "avis" / "gaia.demo"), user=True, mode=0o755),
    )
    ensure_owned(avis, disks.layout.root, USER, USER)
    # one deletes and writes again, and the host has its space back
    done = as_user("import os, sys; os.remove(sys.argv[1] + '/fill')", folder)
    assert done.returncode == 0, done.stderr
    assert as_user(WRITE, folder).returncode == 0

    def given_back() -> bool:
        os.sync()
        return disks.find()[0].allocated < 16 * MIB

    until(given_back)


def test_to_the_last_inode(disks: UserDisks, state: Path) -> None:
    disks.ensure("alice")
    handed_over(disks, "alice")
    folder = disks.layout.userspace("alice")
    _, inodes_before = host_free(state)
    done = as_user(FILL_INODES, folder)
    assert done.returncode == 0, done.stderr
    usage = disks.usage("alice")
    assert usage is not None
    assert usage.inodes_used == usage.inodes_limit
    assert int(done.stdout) > 1900
    _, inodes_after = host_free(state)
    # others work on this machine, too
    assert inodes_before - inodes_after < 1000
    assert as_user(WRITE, disks.layout.home("alice")).returncode == 0
    avis = (Owned(str(folder / "avis"), user=False, mode=0o755),)
    with pytest.raises(LimitReached, match="full") as caught:
        ensure_owned(avis, disks.layout.root, USER, USER)
    assert "Files" in str(caught.value.hint)
    assert as_user("import os, sys; os.remove(sys.argv[1] + '/n0')", folder).returncode == 0
    assert as_user(WRITE, folder).returncode == 0


def test_a_full_disk_is_checked_and_mounted_again(disks: UserDisks) -> None:
    disks.ensure("alice")
    handed_over(disks, "alice")
    for folder in (disks.layout.userspace("alice"), disks.layout.home("alice")):
        assert as_user(FILL_INODES, folder).returncode == 0
        assert as_user("import os, sys; os.remove(sys.argv[1] + '/n0')", folder).returncode == 0
        assert as_user(FILL_BYTES, folder).returncode == 0
    assert disks.release("alice")
    disks.ensure("alice")
    usage = disks.usage("alice", Kind.HOME)
    assert usage is not None
    assert usage.limit - usage.used < MIB
    # nobody can take away what a check of a full disk needs
    lost = disks.layout.home("alice") / "lost+found"
    assert as_user("import os, sys; os.rmdir(sys.argv[1])", lost).returncode != 0
    # more space is the other way out
    disks.grow("alice", 256 * MIB)
    assert as_user(WRITE, disks.layout.userspace("alice")).returncode == 0


def test_no_set_user_id_and_no_devices(disks: UserDisks) -> None:
    disks.ensure("alice")
    folder = disks.layout.userspace("alice")
    os.mknod(folder / "device", 0o666 | 0o020000, os.makedev(1, 3))
    os.chmod(folder / "device", 0o666)
    done = as_user("import sys; open(sys.argv[1] + '/device', 'w')", folder)
    assert "Permission denied" in done.stderr


class Hub(BaseHTTPRequestHandler):
    """Knows one token, alice's."""

    def do_GET(self) -> None:
        body = json.dumps(
            {"kind": "user", "name": "alice", "scopes": ["access:servers"], "groups": []}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - likewise

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hub/api"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lab(disks: UserDisks, hub: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A JupyterLab as its spec says, whose user has filled the user-space and the HOME before it ever started."""
    disks.ensure("alice")
    userspace, home = handed_over(disks, "alice"), disks.layout.home("alice")
    for folder in (userspace, home):
        assert as_user(FILL_INODES, folder).returncode == 0
        assert as_user(FILL_BYTES.replace('"fill"', '"n0"'), folder).returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/user/alice/"
    spec = notebook_spec(
        disks.layout,
        name="alice.1",
        user="alice",
        amount=ResourceAmount(memory=1 << 30, cpu=1),
        argv=(sys.executable, "-m", "jupyterhub.singleuser"),
        hub_environment={
            "JUPYTERHUB_API_TOKEN": "t",
            "JUPYTERHUB_API_URL": hub,
            "JUPYTERHUB_SERVICE_URL": url,
            "JUPYTERHUB_SERVICE_PREFIX": "/user/alice/",
            "JUPYTERHUB_USER": "alice",
            "JUPYTERHUB_CLIENT_ID": "alice",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_OAUTH_SCOPES": "[]",
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": '["access:servers"]',
            "JUPYTERHUB_OAUTH_CALLBACK_URL": "/user/alice/oauth_callback",
        },
        archive_url="",
        api_url="",
        placement=InContainer(),
        platform={},
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    scratch.chmod(0o1777)
    seen = {"/home/avi": str(home), "/userspace": str(userspace), "/tmp": str(scratch)}
    environment = {"PATH": os.environ["PATH"]} | dict(spec.environment)
    for name, value in environment.items():
        for target, source in seen.items():
            if value == target or value.startswith(f"{target}/"):
                environment[name] = source + value.removeprefix(target)
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [*AS_USER, *spec.argv], env=environment, cwd=userspace, stdout=log, stderr=log
        )
    headers = {"Authorization": "token t"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:

            def answers() -> bool:
                assert process.poll() is None, (tmp_path / "log").read_text()[-4000:]
                try:
                    return client.get("api/status").status_code == 200
                except httpx.TransportError:
                    return False

            until(answers, seconds=120)
            yield client
    finally:
        process.terminate()
        process.wait(30)


def computes(connection: Path) -> bool:
    client = BlockingKernelClient(connection_file=str(connection))
    client.load_connection_file()
    # its heart beat counts as dead after a second, which a busy machine needs
    client.start_channels(hb=False)
    try:
        client.wait_for_ready(timeout=60)
        reply = client.execute_interactive("assert 6 * 7 == 42", timeout=60)
    finally:
        client.stop_channels()
    return bool(reply["content"]["status"] == "ok")


def test_lab_starts_and_cleans_up(lab: httpx.Client, disks: UserDisks, tmp_path: Path) -> None:
    assert lab.get("lab").status_code == 200
    kernel = lab.post("api/kernels", json={"name": "python3"})
    assert kernel.status_code == 201, kernel.text
    connection = tmp_path / "scratch" / "jupyter-runtime" / f"kernel-{kernel.json()['id']}.json"
    assert computes(connection)
    assert lab.post("api/terminals").status_code == 200
    listed = lab.get("api/contents/").json()["content"]
    assert len(listed) > 1900
    assert "lost+found" not in {entry["name"] for entry in listed}
    assert lab.put("api/contents/new.txt", json=TEXT).status_code == 500
    before = disks.usage("alice")
    assert before is not None
    # Jupyter keeps a checkpoint of what it saves, in a folder of its own
    for i in range(5):
        assert lab.delete(f"api/contents/n{i}").status_code == 204
    after = disks.usage("alice")
    assert after is not None
    assert before.used - after.used > 40 * MIB, "not into a trash on the same disk"
    assert lab.put("api/contents/new.txt", json=TEXT).status_code == 201


TEXT = {"type": "file", "format": "text", "content": "new"}
