"""What containers reach on a real engine, behind the real filter: the gateway, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gavip_api.manifest import Permissions
from gavip_api.models import ResourceAmount
from gavip_spawner.containers import Containers
from gavip_spawner.firewall import chains, ensure_firewall, remove_firewall
from gavip_spawner.network import NetworkUnusable, ensure_network, remove_network
from gavip_spawner.specs import LaunchSpec
from tests.support.boxes import PYTHON, addresses_of_the_host, import_image, start_box
from tests.support.engine import engine

pytestmark = [pytest.mark.docker, pytest.mark.integration]

JOB = "01a20008-71fb-757f-87d6-1e6bd2daad9e"
LISTEN = """
import socket, threading, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 7777)); s.listen()
while True:
    c, _ = s.accept(); c.sendall(b"hello"); c.close()
"""
TRY = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def attempt(target):
    host, port = target
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as s:
            s.settimeout(2)
            s.connect((host, port))
            s.settimeout(2)
            return True
    except OSError:
        return False

targets = json.loads(sys.argv[1])
with ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(attempt, targets))))
"""
FETCH = """
import json, sys, urllib.error, urllib.request
found = []
for url in json.loads(sys.argv[1]):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found.append([answer.status, answer.read().decode()])
    except urllib.error.HTTPError as e:
        found.append([e.code, e.read().decode()])
    except OSError as e:
        found.append([0, str(e)])
print(json.dumps(found))
"""
ASK_NAMES = """
import json, socket, sys
question = (b"\\x12\\x34\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00"
            b"\\x06secret\\x07example\\x03org\\x00\\x00\\x01\\x00\\x01")
found = []
for host in json.loads(sys.argv[1]):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    try:
        s.sendto(question, (host, 53))
        found.append(s.recv(512)[3] & 15)
    except OSError as e:
        found.append(type(e).__name__)
try:
    socket.getaddrinfo("secret.example.org", 80)
    found.append("resolved")
except OSError:
    found.append("not resolved")
print(json.dumps(found))
"""


class Part(BaseHTTPRequestHandler):
    """A part of the platform, which says what it was asked."""

    def do_GET(self):
        body = json.dumps({"path": self.path, "for": self.headers["X-Forwarded-For"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def part(host):
    server = ThreadingHTTPServer((host, 0), Part)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Site:
    """A platform's network with a gateway on it, and containers."""

    client: object
    containers: Containers
    log: object
    process: object
    everywhere: int
    private: int
    boxes: dict = field(default_factory=dict)

    @property
    def settings(self):
        return self.containers.network_settings

    def box(self, kind, permissions, **options):
        name = f"{kind}-{secrets.token_hex(3)}"
        labels = {"gavip.kind": kind, "gavip.owner": "alice", "gavip.avi": "gaia/demo"}
        if kind == "job":
            labels["gavip.job"] = JOB
        spec = LaunchSpec(
            name=name,
            argv=(PYTHON, "-c", LISTEN),
            environment={},
            cwd="/tmp",
            amount=ResourceAmount(memory=128 << 20, cpu=1),
            labels=labels,
            image="python",
            permissions=permissions,
        )
        return start_box(self.client, self.containers.settings, spec, **options)


def free_subnet():
    """Return a small network that this machine does not use; other tests look for one too."""
    used = [ipaddress.ip_network(f"{a}/16", strict=False) for a in addresses_of_the_host()]
    while True:
        found = ipaddress.ip_network(
            f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(256)}.0/24"
        )
        if not any(found.overlaps(network) for network in used):
            return str(found)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    client = engine()
    folder = tmp_path_factory.mktemp("gateway")
    platform = f"gateway{secrets.token_hex(1)}"
    image = f"gateway-test-{platform}"
    import_image(client, image)
    with part("127.0.0.1") as private, part("0.0.0.0") as everywhere:
        containers = Containers(
            platform=platform, subnet=free_subnet(), state_dir="/nowhere", images={"python": image}
        )
        outside = next(
            a for a in addresses_of_the_host() if a != containers.network_settings.gateway
        )
        config = folder / "gateway.json"
        config.write_text(
            json.dumps(
                {
                    "Containers": {"platform": platform, "subnet": containers.subnet},
                    "GatewayApp": {
                        "portal_url": f"http://127.0.0.1:{private}",
                        "jobqueue_url": f"http://127.0.0.1:{private}",
                        "access_log": str(folder / "access.log"),
                        "allowed_hosts": [f"{outside}:{everywhere}"],
                        "check_interval": 1,
                        "allowed_networks": [f"{outside}/32"],
                    },
                }
            )
        )
        output = (folder / "gateway.out").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "gavip_spawner.gateway", f"--config={config}"],
            stdout=output, stderr=output,
        )  # fmt: skip
        made = Site(client, containers, folder / "access.log", process, everywhere, private)
        try:
            until(lambda: "ready url=" in (folder / "gateway.out").read_text(), process)
            granted = Permissions.model_construct(
                userspace="none",
                archive=False,
                # no manifest may name an address; the test has no other host to offer
                network=(f"{outside}:{everywhere}",),
            )
            made.boxes = {
                "interface": made.box("interface", granted, server="avi-00/"),
                "job": made.box("job", Permissions(archive=False)),
            }
            yield made
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            output.close()
            for box in client.containers(all=True, filters={"label": f"gavip.test={platform}"}):
                client.remove_container(box["Id"], force=True)
            asyncio.run(remove_firewall(made.settings))
            asyncio.run(remove_network(client, made.settings))
            client.remove_image(image, force=True)
            client.close()


def until(true, process=None, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert process is None or process.poll() is None, "the gateway has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def reachable_from_here(host, port):
    with contextlib.suppress(OSError), socket.create_connection((host, port), 2):
        return True
    return False


def outside_of(site):
    return next(a for a in addresses_of_the_host() if a != site.settings.gateway)


# -- reachable --


def test_each_kind_reaches_its_parts_and_is_known_by_its_address(site):
    base = site.settings.gateway_url
    urls = [
        f"{base}/services/portal/api/v1/users/me",
        f"{base}/services/jobqueue/api/v1/runs/{JOB}/progress",
    ]
    interface, job = site.boxes["interface"], site.boxes["job"]
    (portal, queue) = interface.python(FETCH, urls)
    assert portal[0] == 200
    assert json.loads(portal[1]) == {
        "path": "/services/portal/api/v1/users/me",
        "for": interface.address,
    }
    assert queue[0] == 403
    (portal, queue) = job.python(FETCH, urls)
    assert (portal[0], queue[0]) == (403, 200)
    assert json.loads(queue[1])["for"] == job.address


def test_a_granted_host_is_reached_through_the_gateway_only(site):
    """The container's environment names the gateway as its proxy; programs need to know no more."""
    url = f"http://{outside_of(site)}:{site.everywhere}/x"
    assert site.boxes["interface"].python(FETCH, [url])[0][0] == 200
    refused, text = site.boxes["job"].python(FETCH, [url])[0]
    assert (refused, json.loads(text)["code"]) == (403, "egress-refused")
    assert "permissions.network" in json.loads(text)["hint"]
    direct = [[outside_of(site), site.everywhere]]
    assert site.boxes["interface"].python(TRY, direct) == [False]


def test_a_container_is_known_from_its_first_moment_and_forgotten_with_its_last(site):
    """Addresses are used again: who has one now has not the rights of who had it before."""
    url = [f"http://{outside_of(site)}:{site.everywhere}/x"]
    network = ipaddress.ip_network(site.containers.subnet)
    address = str(network[200])
    granted = Permissions.model_construct(
        userspace="none", archive=False, network=(f"{outside_of(site)}:{site.everywhere}",)
    )
    for _ in range(3):
        for permissions, code in ((granted, 200), (Permissions(archive=False), 403)):
            box = site.box("interface", permissions, server="avi-00/", address=address)
            try:
                assert box.address == address
                assert box.python(FETCH, url)[0][0] == code
            finally:
                box.remove()


def test_a_container_of_nobody_is_refused(site):
    stranger = site.box("interface", Permissions(archive=False))
    other = Containers(platform="gatewayzz", subnet=site.containers.subnet, state_dir="/nowhere",
                       images=dict(site.containers.images))  # fmt: skip
    spec = LaunchSpec("stranger", (PYTHON, "-c", LISTEN), {}, "/tmp",
                      ResourceAmount(memory=64 << 20, cpu=1), image="python")  # fmt: skip
    box = start_box(site.client, other.settings, spec, network_mode=site.containers.network)
    try:
        url = f"{site.settings.gateway_url}/services/portal/api/v1/users/me"
        code, text = box.python(FETCH, [url])[0]
        assert (code, json.loads(text)["code"]) == (403, "unknown-container")
    finally:
        box.remove()
        stranger.remove()


# -- unreachable --


@pytest.fixture(scope="module")
def neighbours(site):
    """Listeners that are really there: on this network, on another one, and published on the host."""
    same = site.box("interface", Permissions(archive=False))
    other_network = f"gateway-other-{site.containers.platform}"
    site.client.create_network(other_network, driver="bridge", check_duplicate=True)
    other = site.box("interface", Permissions(archive=False), network_mode=other_network)
    yield {"same": same, "other": other}
    same.remove()
    other.remove()
    site.client.remove_network(other_network)


def test_nothing_else_answers(site, neighbours):
    gateway = site.settings.gateway
    here = addresses_of_the_host()
    assert gateway in here
    real = [[address, site.everywhere] for address in here]
    real += [[neighbours["same"].address, 7777], [neighbours["other"].address, 7777]]
    # each is really there, so that "not reached" means something
    until(lambda: all(reachable_from_here(*target) for target in real))
    absent = [
        [gateway, site.private],
        [gateway, 22],
        [gateway, 2375],
        ["169.254.169.254", 80],
        ["100.100.100.200", 80],
        ["1.1.1.1", 443],
        ["93.184.216.34", 80],
        ["8.8.8.8", 53],
        ["172.17.0.1", 22],
        ["fe80::1", 80],
        ["ff02::1", 80],
        ["2606:4700:4700::1111", 443],
    ]
    for box in site.boxes.values():
        assert box.python(TRY, [[gateway, site.settings.gateway_port]]) == [True]
        tried = dict(zip(map(str, real + absent), box.python(TRY, real + absent), strict=True))
        assert [target for target, reached in tried.items() if reached] == []


async def test_it_is_the_filter_that_keeps_the_host_away(site):
    box = site.boxes["interface"]
    target = [[site.settings.gateway, site.everywhere]]
    # the gateway would put it back
    site.process.send_signal(signal.SIGSTOP)
    try:
        await remove_firewall(site.settings)
        # an internal network alone lets containers reach what listens on 0.0.0.0
        assert await asyncio.to_thread(box.python, TRY, target) == [True]
    finally:
        site.process.send_signal(signal.SIGCONT)
    await asyncio.to_thread(until, lambda: box.python(TRY, target) == [False])


def test_no_question_for_a_name_leaves(site):
    heard = []
    gateway = site.settings.gateway
    sockets = []
    for host in ("0.0.0.0", "127.0.0.1", gateway):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.settimeout(0.2)
        listener.bind((host, 53))
        sockets.append(listener)

    def listen(listener):
        while not done.is_set():
            with contextlib.suppress(OSError):
                heard.append(listener.recv(512))

    done = threading.Event()
    threads = [threading.Thread(target=listen, args=(listener,)) for listener in sockets]
    for thread in threads:
        thread.start()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for host in ("127.0.0.1", gateway, outside_of(site)):
                s.sendto(b"control", (host, 53))
        until(lambda: len(heard) == 3)
        servers = ["127.0.0.11", gateway, outside_of(site), "172.17.0.1", "8.8.8.8"]
        for box in site.boxes.values():
            *answers, resolved = box.python(ASK_NAMES, servers)
            # the engine's own server says that it cannot (SERVFAIL, REFUSED) or says nothing
            assert answers[0] in {2, 5, "TimeoutError", "timeout", "ConnectionRefusedError"}
            assert all(isinstance(answer, str) for answer in answers[1:])
            assert resolved == "not resolved"
    finally:
        done.set()
        for thread in threads:
            thread.join()
        for listener in sockets:
            listener.close()
    assert heard == [b"control"] * 3


def test_what_was_tried_is_counted_and_recorded(site):
    box = site.boxes["job"]
    box.python(TRY, [[site.settings.gateway, site.everywhere]])
    box.python(FETCH, [f"{site.settings.gateway_url}/hub/api/users"])
    host, _ = chains(site.settings)
    listed = subprocess.run(
        ["iptables", "-w", "-nvxL", host], capture_output=True, text=True, check=True,
        env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"},
    ).stdout  # fmt: skip
    dropped = [int(line.split()[0]) for line in listed.splitlines() if " DROP " in line]
    assert dropped[0] > 0

    def entry():
        lines = [json.loads(line) for line in site.log.read_text().splitlines()]
        return [e for e in lines if e["container"] == box.name and e["target"] == "/hub/api/users"]

    until(entry)
    found = entry()[0]
    assert (found["decision"], found["status"], found["job"]) == ("refused", 403, JOB)


# -- the network itself --


async def test_making_it_again_changes_nothing(site):
    first = await ensure_network(site.client, site.settings)
    assert await ensure_network(site.client, site.settings) == first
    before = await asyncio.to_thread(own_rules, site)
    await ensure_firewall(site.settings)
    assert await asyncio.to_thread(own_rules, site) == before
    assert len(before) > 6


def own_rules(site):
    listed = subprocess.run(["iptables", "-w", "-S"], capture_output=True, check=True, text=True)
    # other tests change theirs meanwhile
    return [r for r in listed.stdout.splitlines() if site.containers.platform.upper() in r]


async def test_a_range_that_is_taken_is_said(site):
    taken = Containers(platform="gatewayzz", subnet=site.containers.subnet).network_settings
    with pytest.raises(NetworkUnusable, match="are used by") as e:
        await ensure_network(site.client, taken)
    assert "--subnet" in e.value.hint
