"""Containers as the platform makes them, from an image that needs no registry."""

from __future__ import annotations

import io
import json
import socket
import tarfile
from typing import Any

import docker

from gavip_spawner.containers import ContainerSettings, container_spec
from gavip_spawner.specs import LABEL_SERVER, LaunchSpec

PYTHON = "/usr/bin/python3"


def import_image(client: docker.APIClient, name: str) -> None:
    """Make an image of nothing but links: programs come from the host's ``/usr``, mounted read-only."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for link in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            tar.addfile(entry)
        for folder in (
            "usr",
            "etc",
            "tmp",
            "home/avi",
            "sbin",
        ):  # the engine puts its init into sbin
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    client.import_image_from_data(archive.getvalue(), repository=name)


class Box:
    """A running container.

    Parameters
    ----------
    client : APIClient
    container : str
    network : str
    """

    def __init__(self, client: docker.APIClient, container: str, network: str) -> None:
        self.client = client
        self.id = container
        found = client.inspect_container(container)
        self.name = found["Name"].lstrip("/")
        self.address = found["NetworkSettings"]["Networks"][network]["IPAddress"]

    def python(self, code: str, argument: object = None) -> Any:
        """Run code inside, as user code runs; return what it prints as JSON."""
        argv = [PYTHON, "-c", code, json.dumps(argument)]
        made = self.client.exec_create(self.id, argv, user="1000:1000")
        output = self.client.exec_start(made["Id"]).decode()
        assert self.client.exec_inspect(made["Id"])["ExitCode"] == 0, output
        return json.loads(output)

    def remove(self) -> None:
        self.client.remove_container(self.id, force=True)


def start_box(
    client: docker.APIClient,
    settings: ContainerSettings,
    spec: LaunchSpec,
    *,
    server: str = "",
    address: str = "",
    **host: Any,
) -> Box:
    """Start what the platform's builder describes, with the host's ``/usr`` in it; `host` changes its restrictions."""
    made = container_spec(spec, settings)
    options = made.host | {"binds": ["/usr:/usr:ro"]} | host
    network = options["network_mode"]
    place = (
        {
            "networking_config": client.create_networking_config(
                {network: client.create_endpoint_config(ipv4_address=address)}
            )
        }
        if address
        else {}
    )
    made.create["labels"] |= {"gavip.test": settings.platform, LABEL_SERVER: server}
    container = client.create_container(
        **made.create, **place, host_config=client.create_host_config(**options)
    )
    client.start(container)
    return Box(client, container["Id"], network)


def addresses_of_the_host() -> list[str]:
    """Return the host's own IPv4 addresses that a container might reach."""
    import psutil

    return [
        a.address
        for addresses in psutil.net_if_addrs().values()
        for a in addresses
        if a.family == socket.AF_INET and not a.address.startswith("127.")
    ]
