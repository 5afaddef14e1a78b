"""The compose file starts what the images hold, with no more rights than that takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from gavip_api import __version__
from images.catalogue import ROOT

TEXT = (ROOT / "compose.yaml").read_text()


@pytest.fixture(scope="module")
def platform() -> dict[str, Any]:
    services = yaml.safe_load(TEXT)["services"]
    assert list(services) == ["platform"]
    return dict(services["platform"])


def test_it_runs_the_image_of_this_version(platform: dict[str, Any]) -> None:
    assert platform["image"] == f"gavip/platform:${{GAVIP_VERSION:-{__version__}}}"


def test_its_rights_are_listed(platform: dict[str, Any]) -> None:
    assert "privileged" not in platform
    assert platform["cap_drop"] == ["ALL"]
    assert {"NET_ADMIN", "SYS_ADMIN"} <= set(platform["cap_add"])
    assert not {"SYS_MODULE", "SYS_RAWIO", "SYS_PTRACE", "SYS_BOOT"} & set(platform["cap_add"])
    assert platform["read_only"] is True
    assert "no-new-privileges:true" in platform["security_opt"]
    assert platform["network_mode"] == "host"


def test_the_engine_sees_the_state_folder_under_the_same_path(platform: dict[str, Any]) -> None:
    mounts = {m["source"]: m for m in platform["volumes"]}
    state = mounts["${GAVIP_STATE:-/srv/gavip}"]
    assert state["target"] == state["source"]
    assert state["bind"] == {"propagation": "rshared"}
    assert all(m["source"] == m["target"] for m in mounts.values())
    command = platform["command"]
    assert command[command.index("--state") + 1] == state["source"]


def test_its_certificate_is_in_the_state_folder(platform: dict[str, Any]) -> None:
    command = platform["command"]
    for option in ("--tls-cert", "--tls-key"):
        assert command[command.index(option) + 1].startswith("${GAVIP_STATE:-/srv/gavip}/tls/")


def test_every_variable_is_described() -> None:
    page = (ROOT / "docs" / "how-to" / "build-images.md").read_text()
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert [name for name in sorted(used) if f"| `{name}` |" not in page] == []
