"""What one gets by default: a JupyterHub with stock DockerSpawner, and Voilà as an extension of each server.

Owns that platform's image and its hub. Packages and compiled files are those of GAVIP's own image, so that only the
way of starting differs; ``jsonschema`` comes with the parts that pip installs for JupyterLab.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from ipaddress import ip_network
from pathlib import Path

import httpx
from docker import APIClient
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool

from gavip_api import __version__
from hub_config.platform import free_port
from tests.support.engine import need_images
from tests.support.person import until

IMAGE = f"gavip/bench-stock:{__version__}"
PREFIX = "bench-stock"
SUBNET = "10.231.1.0/24"

RECIPE = """\
ARG PARENT
FROM ${PARENT}
ARG PIP_CERT=/usr/local/share/gavip/build-ca.crt
USER 0
RUN set -eu; [ -s "$PIP_CERT" ] || unset PIP_CERT; \\
    /opt/gavip/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore \\
        'jsonschema[format-nongpl]'; \\
    /opt/gavip/bin/python -c 'import rfc3987_syntax, lark, voila, jupyterlab'
COPY app.ipynb /srv/app.ipynb
USER 1000:1000
WORKDIR /srv
"""

CONFIG = """\
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://{bridge}:{hub_port}"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = "{password}"
c.Authenticator.allow_all = True
# signing in starts nothing
c.JupyterHub.default_url = "/hub/home"
c.JupyterHub.services = [{{"name": "bench", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"], "scopes": ["servers"]}}]
c.JupyterHub.spawner_class = "docker"
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 60}}
c.DockerSpawner.image = "{image}"
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.DockerSpawner.pull_policy = "never"
c.DockerSpawner.prefix = "{prefix}"
c.DockerSpawner.network_name = "{network}"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
"""


def build_image(notebook: bytes) -> None:
    """Build the image; layers that are there are used again."""
    need_images("deps-lab")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Dockerfile").write_text(RECIPE)
        (Path(folder) / "app.ipynb").write_bytes(notebook)
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", IMAGE,
             "--build-arg", f"PARENT=gavip/deps-lab:{__version__}", folder],
            check=True, timeout=600, capture_output=True, env=os.environ | {"DOCKER_BUILDKIT": "0"},
        )  # fmt: skip


@dataclass
class StockHub:
    """A running hub with one user, alice, and her browser."""

    folder: Path
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    browser: httpx.Client = field(
        default_factory=lambda: httpx.Client(follow_redirects=True, timeout=60, trust_env=False)
    )
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sign_in(self) -> None:
        """Sign alice in at the hub's form."""
        page = self.browser.get(f"{self.url}/hub/login")
        token = re.search(r'name="_xsrf" value="([^"]+)"', page.text)
        assert token is not None, page.text
        form = {"username": "alice", "password": self.password, "_xsrf": unescape(token[1])}
        answer = self.browser.post(f"{self.url}/hub/login", data=form)
        assert answer.url.path == "/hub/home", f"{answer.url} {answer.text[:500]}"

    def server(self, method: str) -> httpx.Response:
        """Start or stop alice's server by the hub's API; answered once that is done."""
        return httpx.request(
            method,
            f"{self.url}/hub/api/users/alice/server",
            headers={"Authorization": f"token {self.token}"},
            timeout=90,
            trust_env=False,
        )

    def start(self) -> None:
        config = self.folder / "jupyterhub_config.py"
        config.write_text(
            CONFIG.format(
                port=self.port, hub_port=free_port(), proxy_port=free_port(), bridge=ip_network(SUBNET)[1],
                network=PREFIX,
                folder=self.folder, token=self.token, password=self.password, image=IMAGE, prefix=PREFIX,
            )
        )  # fmt: skip
        config.chmod(0o600)
        programs = str(Path(sys.executable).parent)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", "--config", str(config)],
                stdout=log, stderr=log, cwd=self.folder,
                env=os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
            )  # fmt: skip
        until(lambda: True if self._answers() else None, 60)

    def _answers(self) -> bool:
        # the proxy answers before the hub does
        try:
            return httpx.get(f"{self.url}/hub/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
            self.process.kill()
            self.process.wait()


def containers(client: APIClient) -> list[str]:
    """Return the ids of the hub's containers."""
    found = client.containers(all=True, filters={"name": f"^/{PREFIX}-"})
    return [entry["Id"] for entry in found]


def sweep(client: APIClient) -> None:
    """Remove every container of the hub, and their network."""
    for container in containers(client):
        with contextlib.suppress(NotFound, APIError):
            client.remove_container(container, force=True, v=True)
    with contextlib.suppress(NotFound):
        client.remove_network(PREFIX)


@contextlib.contextmanager
def stock_hub(client: APIClient, notebook: bytes) -> Iterator[StockHub]:
    """Run the hub; leave nothing of it on the engine but its image."""
    build_image(notebook)
    sweep(client)
    client.create_network(PREFIX, driver="bridge", ipam=IPAMConfig(pool_configs=[IPAMPool(SUBNET)]))
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    hub = StockHub(folder)
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()
        sweep(client)
        shutil.rmtree(folder)


def until_gone(client: APIClient, seconds: float = 60) -> None:
    """Return when the hub has removed its containers."""
    deadline = time.monotonic() + seconds
    while containers(client):
        assert time.monotonic() < deadline, "the stock hub's container did not go"
        time.sleep(0.2)
