"""Bills of materials follow the CycloneDX schema and say what the inventory said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cyclonedx.validation.json import JsonStrictValidator

from images import build
from images.engine import LABEL
from images.sbom import SCHEMA, as_json, bill_of

ABOUT: dict[str, Any] = {
    "Id": "sha256:" + "1" * 64,
    "Created": "2026-11-24T14:56:10.123456789Z",
    "Config": {"Labels": {LABEL: "d1", "org.opencontainers.image.version": "0.1.0"}},
}
INVENTORY = {
    "debian": [
        {"name": "libc6", "version": "2.36-9+deb12u10", "architecture": "amd64", "source": "glibc"},
        {"name": "tini", "version": "0.19.0-1", "architecture": "amd64", "source": "tini"},
    ],
    "python": [
        {"name": "Jinja2", "version": "3.1.6", "licence": "BSD-3-Clause"},
        {"name": "jupyter_core", "version": "5.9", "licence": "BSD"},
        {"name": "numpy", "version": "2.3.5", "licence": "BSD-3-Clause AND MIT"},
        {"name": "unknown", "version": "1+local", "licence": ""},
    ],
    "npm": [{"name": "@colors/colors", "version": "1.6.0", "licence": "MIT"}],
}


def faults(text: str) -> object:
    return JsonStrictValidator(SCHEMA).validate_str(text)


@pytest.fixture(scope="module")
def text() -> str:
    return as_json(bill_of("avi-light", ABOUT, INVENTORY))


def test_a_bill_follows_the_schema(text: str) -> None:
    assert faults(text) is None


def test_the_validator_finds_faults(text: str) -> None:
    bad = json.loads(text)
    bad["components"][0]["type"] = "nonsense"
    assert faults(json.dumps(bad)) is not None


def test_a_bill_lists_everything_with_package_urls(text: str) -> None:
    bill = json.loads(text)
    assert {c["purl"] for c in bill["components"]} == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12&upstream=glibc",
        "pkg:deb/debian/tini@0.19.0-1?arch=amd64&distro=debian-12&upstream=tini",
        "pkg:pypi/jinja2@3.1.6",
        "pkg:pypi/jupyter-core@5.9",
        "pkg:pypi/numpy@2.3.5",
        "pkg:pypi/unknown@1%2Blocal",
        "pkg:npm/%40colors/colors@1.6.0",
    }
    (root,) = [d for d in bill["dependencies"] if d["ref"] == "gavip/avi-light"]
    assert len(root["dependsOn"]) == len(bill["components"])


def test_a_bill_names_its_image(text: str) -> None:
    about = json.loads(text)["metadata"]
    assert about["timestamp"] == "2026-11-24T14:56:10+00:00"
    assert about["component"]["name"] == "gavip/avi-light"
    assert {p["name"]: p["value"] for p in about["component"]["properties"]} == {
        LABEL: "d1",
        "org.gavip.image-id": ABOUT["Id"],
    }


def test_the_same_image_gives_the_same_bill(text: str) -> None:
    assert as_json(bill_of("avi-light", ABOUT, INVENTORY)) == text
    other = as_json(bill_of("avi-light", ABOUT | {"Id": "sha256:" + "2" * 64}, INVENTORY))
    assert json.loads(other)["serialNumber"] != json.loads(text)["serialNumber"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(None, "", id="none"),
        pytest.param("", "", id="empty"),
        pytest.param('{"metadata": ', "", id="cut off"),
        pytest.param('{"metadata": []}', "", id="something else"),
        pytest.param(as_json(bill_of("avi-light", ABOUT, INVENTORY)), "d1", id="whole"),
    ],
)
def test_a_kept_bill_tells_of_which_image_it_is(
    content: str | None, told: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SBOMS", tmp_path)
    if content is not None:
        build.bill("avi-light").write_text(content)
    assert build.billed("avi-light") == told
