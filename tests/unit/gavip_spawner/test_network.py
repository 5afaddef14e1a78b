"""The network of user code and the host's filter for it, as pure data."""

from __future__ import annotations

import pytest
from traitlets import TraitError

from gavip_spawner import firewall
from gavip_spawner.containers import Containers
from gavip_spawner.firewall import IPV4, IPV6, FirewallFailed, ensure_firewall, rules, transaction
from gavip_spawner.network import (
    NetworkSettings,
    NetworkUnusable,
    _taken,
    differences,
    first_host,
    network_arguments,
)

SETTINGS = NetworkSettings("test", "10.213.0.0/20")
LOG = '-m limit --limit 6/min --limit-burst 20 -j LOG --log-prefix "gavip-test: "'


def inspected(**changes):
    """Return what the engine says of the network as we make it, with `changes`."""
    made = network_arguments(SETTINGS)
    return {
        "Id": "1",
        "Driver": made["driver"],
        "Internal": made["internal"],
        "EnableIPv6": made["enable_ipv6"],
        "Labels": made["labels"],
        "Options": made["options"],
        "IPAM": made["ipam"],
    } | changes


def test_the_network_leads_nowhere():
    assert network_arguments(SETTINGS) == {
        "name": "gavip-test",
        "driver": "bridge",
        "internal": True,
        "enable_ipv6": False,
        "attachable": False,
        "check_duplicate": True,
        "labels": {"gavip.platform": "test"},
        "options": {
            "com.docker.network.bridge.enable_icc": "false",
            "com.docker.network.bridge.name": "gv-test",
        },
        "ipam": {
            "Driver": "default",
            "Config": [{"Subnet": "10.213.0.0/20", "Gateway": "10.213.0.1"}],
        },
    }


def test_the_longest_name_fits_the_kernel():
    settings = NetworkSettings("abcdefghij", "10.213.0.0/20")
    assert len(settings.bridge) <= 15
    # XT_EXTENSION_MAXNAMELEN and the LOG target's prefix
    assert all(len(chain) <= 28 for chain in firewall.chains(settings))
    assert len(f"{firewall.chains(settings)[0]}: ") <= 29


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, []),
        ({"Internal": False}, ["internal: False instead of True"]),
        ({"EnableIPv6": True}, ["IPv6: True instead of False"]),
        ({"Driver": "macvlan"}, ["driver: macvlan instead of bridge"]),
        ({"Labels": None}, ["platform: None instead of test"]),
        (
            {"Options": {"com.docker.network.bridge.name": "gv-test"}},
            ["traffic between containers: None instead of false"],
        ),
        (
            {"IPAM": {"Config": [{"Subnet": "10.9.0.0/20", "Gateway": "10.213.0.1"}]}},
            ["subnet: ['10.9.0.0/20'] instead of ['10.213.0.0/20']"],
        ),
    ],
    ids=["as-made", "routed", "ipv6", "driver", "label", "talkative", "subnet"],
)
def test_what_is_made_otherwise_is_noticed(changes, told):
    assert differences(SETTINGS, inspected(**changes)) == told


def test_addresses_of_the_host_are_not_taken_from_it():
    assert _taken(NetworkSettings("test", "127.0.0.0/16")) == "the interface lo"
    assert _taken(NetworkSettings("test", "198.18.77.0/24")) == ""


class Engine:
    """An engine whose network was made by somebody else."""

    def inspect_network(self, name):
        return inspected(Internal=False)


async def test_a_network_that_leads_somewhere_is_refused():
    from gavip_spawner.network import ensure_network

    with pytest.raises(NetworkUnusable) as e:
        await ensure_network(Engine(), SETTINGS)
    assert "internal: False" in e.value.message
    assert "docker network rm gavip-test" in e.value.hint


@pytest.mark.parametrize("subnet", ["10.213.0.1/20", "10.0.0.0/30", "fd00::/64", "x", ""], ids=str)
def test_a_subnet_is_a_network_with_room(subnet):
    with pytest.raises(TraitError):
        Containers(subnet=subnet)
    with pytest.raises(ValueError, match=r"."):
        first_host(subnet)


def test_the_gateway_is_on_the_subnet_unless_said():
    assert Containers(subnet="10.9.0.0/24").settings.gateway == "http://10.9.0.1:8099"
    moved = Containers(gateway_url="http://10.213.0.1:9000")
    assert moved.network_settings == NetworkSettings("gavip", "10.213.0.0/20", 9000)
    assert moved.network_settings.gateway_url == moved.gateway_url


def test_the_filter_lets_in_the_gateway_alone():
    assert rules(SETTINGS, IPV4) == {
        "GAVIP-TEST": [
            "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "-p tcp -d 10.213.0.1 --dport 8099 -j ACCEPT",
            LOG,
            "-j DROP",
        ],
        "GAVIP-TEST-FWD": [LOG, "-j DROP"],
    }
    assert rules(SETTINGS, IPV6, log=False) == {
        "GAVIP-TEST": ["-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", "-j DROP"],
        "GAVIP-TEST-FWD": ["-j DROP"],
    }


def test_the_filter_is_set_in_one_step():
    before = [
        "-P INPUT ACCEPT",
        "-N DOCKER-USER",
        "-A INPUT -i eth0 -j ACCEPT",
        "-A INPUT -i gv-test -j GAVIP-TEST",
        "-A INPUT -i gv-test2 -j GAVIP-TEST2",
        "-A FORWARD -i gv-test -j GAVIP-TEST-FWD",
        "-A GAVIP-TEST -j DROP",
    ]
    assert transaction(SETTINGS, IPV4, before, log=False).splitlines() == [
        "*filter",
        ":GAVIP-TEST - [0:0]",
        ":GAVIP-TEST-FWD - [0:0]",
        "-A GAVIP-TEST -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-A GAVIP-TEST -p tcp -d 10.213.0.1 --dport 8099 -j ACCEPT",
        "-A GAVIP-TEST -j DROP",
        "-A GAVIP-TEST-FWD -j DROP",
        "-D INPUT -i gv-test -j GAVIP-TEST",
        "-D FORWARD -i gv-test -j GAVIP-TEST-FWD",
        "-I INPUT 1 -i gv-test -j GAVIP-TEST",
        "-I DOCKER-USER 1 -i gv-test -j GAVIP-TEST-FWD",
        "COMMIT",
    ]


def test_the_filter_goes_in_one_step():
    before = ["-A INPUT -i gv-test -j GAVIP-TEST"]
    assert transaction(SETTINGS, IPV6, before, remove=True).splitlines() == [
        "*filter",
        ":GAVIP-TEST - [0:0]",
        ":GAVIP-TEST-FWD - [0:0]",
        "-D INPUT -i gv-test -j GAVIP-TEST",
        "-X GAVIP-TEST",
        "-X GAVIP-TEST-FWD",
        "COMMIT",
    ]


async def test_a_host_without_iptables_is_told_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(firewall, "_PATH", str(tmp_path))
    with pytest.raises(FirewallFailed, match="iptables is not installed") as e:
        await ensure_firewall(SETTINGS)
    assert "apt install iptables" in e.value.hint


async def test_a_host_without_privilege_is_told_what_to_do(monkeypatch, tmp_path):
    tool = tmp_path / "iptables"
    tool.write_text("#!/bin/sh\necho 'Permission denied (you must be root)' >&2\nexit 4\n")
    tool.chmod(0o755)
    monkeypatch.setattr(firewall, "_PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(FirewallFailed, match="you must be root") as e:
        await ensure_firewall(SETTINGS)
    assert "CAP_NET_ADMIN" in e.value.hint


async def test_a_kernel_that_does_not_filter_bridges_is_refused(monkeypatch, tmp_path):
    switch = tmp_path / "bridge-nf-call-iptables"
    switch.write_text("0\n")
    monkeypatch.setattr(firewall, "_BRIDGED", switch)
    with pytest.raises(FirewallFailed, match="does not filter traffic between containers"):
        await ensure_firewall(SETTINGS)
