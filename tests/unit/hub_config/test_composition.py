"""What the composition root decides: host names, roles, accounts, ports, messages of `gavip up`."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from traitlets.config.loader import PyFileConfigLoader

from gavip_api.scopes import CUSTOM_SCOPES
from gavip_api.slugs import RESERVED_USERS
from hub_config import roles
from hub_config.accounts import DEMO_USERS, Accounts
from hub_config.platform import INTERNAL_PORTS, Platform
from hub_config.subdomains import subdomain_hook
from hub_config.up import up

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("name", "kind", "host"),
    [
        pytest.param("alice", "user", "alice.x.test", id="user"),
        pytest.param("portal", "service", "portal.x.test", id="service"),
        pytest.param("portal", "user", "portal--user.x.test", id="user-named-as-service"),
        pytest.param("avi-00ff", "user", "avi-00ff.x.test", id="technical"),
        pytest.param(
            "Portal", "user", "Portal--user.x.test", id="user-named-as-service-in-capitals"
        ),
        pytest.param("AVI-00ff", "user", "AVI-00ff--user.x.test", id="user-named-as-technical"),
    ],
)
def test_hosts(name: str, kind: str, host: str) -> None:
    assert subdomain_hook(name, "x.test", kind) == host


def test_no_user_shares_a_host_with_a_service() -> None:
    services = {subdomain_hook(n, "x.test", "service") for n in RESERVED_USERS}
    users = {subdomain_hook(n, "x.test", "user") for n in RESERVED_USERS}
    assert not services & users


def test_custom_scopes_in_roles_are_declared() -> None:
    used = {s for role in roles.load_roles() for s in role["scopes"] if s.startswith("custom:")}
    assert used == set(CUSTOM_SCOPES)


def test_instances_hold_nothing_but_their_own() -> None:
    assert set(roles.INSTANCE_TOKEN_SCOPES) == {
        "users:activity!user",
        "access:servers!server",
        "read:users:name!user",
        "custom:portal:instance",
    }


@pytest.mark.parametrize(
    ("client", "trusted"),
    [
        ("service-portal", True),
        ("jupyterhub-user-avi-0f", True),
        ("jupyterhub-user-alice", False),
        ("service-other", False),
        (None, False),
    ],
)
def test_consent_is_skipped_for_instances_only(client: object, trusted: bool) -> None:
    assert (client in roles.InstanceClients({"service-portal"})) is trusted


def test_accounts_check_passwords_and_store_none(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "run" / "accounts.json")
    assert accounts.check("alice", "x") is None
    passwords = accounts.create()
    assert set(passwords) == set(DEMO_USERS)
    assert accounts.check("alice", passwords["alice"]) == ["scientist"]
    assert accounts.check("alice", passwords["bob"]) is None
    assert accounts.check("mallory", "") is None
    stored = (tmp_path / "run" / "accounts.json").read_text()
    assert not any(password in stored for password in passwords.values())
    assert (tmp_path / "run" / "accounts.json").stat().st_mode & 0o077 == 0


def test_platform_survives_a_restart(tmp_path: Path) -> None:
    first = Platform.load(tmp_path, port=8123).with_ports()
    first.save()
    assert Platform.load(tmp_path, port=8123).with_ports() == first
    assert first.file.stat().st_mode & 0o077 == 0
    assert first.cookie_secret not in repr(first)


def test_a_taken_internal_port_is_replaced(tmp_path: Path) -> None:
    platform = Platform.load(tmp_path).with_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", platform.hub_port))
        again = platform.with_ports()
    assert again.hub_port != platform.hub_port
    ports = [getattr(again, n) for n in INTERNAL_PORTS]
    assert len(set(ports)) == len(ports)


def test_a_taken_public_port_is_a_clear_message(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(up, ["--state", str(tmp_path), "--port", str(port)])
    assert result.exit_code == 1
    assert f"Port {port} is taken" in result.output
    assert f"PORT={port + 1}" in result.output
    assert "Traceback" not in result.output


def test_the_operators_file_has_the_last_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.py"
    own.write_text("c.PortalApp.instance_cpu = 2.5\nc.GavipServer.notebook_memory = '3G'\n")
    platform = Platform.load(tmp_path / "state", config=str(own)).with_ports()
    platform.save()
    monkeypatch.setenv("GAVIP_PLATFORM_FILE", str(platform.file))
    for name in ("services_config.py", "jupyterhub_config.py"):
        loader = PyFileConfigLoader(name, str(ROOT / "hub_config"))
        config = loader.load_config()
        assert config.PortalApp.instance_cpu == 2.5
        assert config.GavipServer.notebook_memory == "3G"


def test_disks_of_the_docker_backend_are_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "disks" / "alice").mkdir(parents=True)
    (tmp_path / "disks" / "alice" / "userspace.img").touch()
    result = CliRunner().invoke(up, ["--state", str(tmp_path), "--port", "1"])
    assert result.exit_code == 1
    assert "--backend docker" in result.output


@pytest.mark.parametrize(
    ("listen", "port", "tls", "origin"),
    [
        pytest.param("127.0.0.1", 8000, "", "http://portal.x.test:8000", id="plain"),
        pytest.param("0.0.0.0", 443, "c.pem", "https://portal.x.test", id="tls, its own port"),
        pytest.param("0.0.0.0", 8443, "c.pem", "https://portal.x.test:8443", id="tls, another"),
    ],
)
def test_public_addresses(tmp_path: Path, listen: str, port: int, tls: str, origin: str) -> None:
    platform = Platform.load(tmp_path, host="x.test", listen=listen, port=port, tls_cert=tls)
    assert platform.portal_origin == origin


@pytest.mark.parametrize(
    ("backend", "url", "seen"),
    [
        ("process", "http://127.0.0.1:9/tap", "http://127.0.0.1:9/tap"),
        ("docker", "http://127.0.0.1:9/tap", "http://10.213.0.1:8099/tap"),
        ("docker", "https://gea.esac.esa.int/tap-server/tap", "https://gea.esac.esa.int/tap-server/tap"),
    ],
)  # fmt: skip
def test_code_reaches_parts_through_the_gateway(
    tmp_path: Path, backend: str, url: str, seen: str
) -> None:
    platform = Platform.load(tmp_path, backend=backend, gateway_port=8099)
    assert platform.seen_by_code(url) == seen
