"""Bills of materials: what is inside an image, in CycloneDX 1.6 (ECMA-424), JSON.

Owns what a bill says. Invariants: it names the image it is of (its digest of inputs and its ID), lists
what the image itself says is installed, and is the same for the same image.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from .catalogue import HERE
from .engine import LABEL, docker

SCHEMA = SchemaVersion.V1_6
Inventory = Mapping[str, Sequence[Mapping[str, str]]]


def write(name: str, reference: str, path: Path) -> None:
    """Ask an image what is installed in it and write its bill."""
    (about,) = json.loads(docker("image", "inspect", reference, capture_output=True).stdout)
    with (HERE / "inventory.py").open() as script:
        asked = docker(
            "run", "--rm", "--interactive", "--network", "none", "--read-only", "--cap-drop", "ALL",
            "--entrypoint", "/opt/gavip/bin/python", reference, "-I", "-",
            stdin=script, capture_output=True,
        )  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(as_json(bill_of(name, about, json.loads(asked.stdout))))
    draft.replace(path)


def as_json(bill: Bom) -> str:
    """Return a bill as text."""
    return str(make_outputter(bill, OutputFormat.JSON, SCHEMA).output_as_string(indent=1)) + "\n"


def bill_of(name: str, about: Mapping[str, Any], inventory: Inventory) -> Bom:
    """Return the bill of one image.

    Parameters
    ----------
    name : str
    about : mapping
        What the engine's ``image inspect`` says.
    inventory : mapping
        What ``inventory.py`` printed inside.
    """
    labels = about["Config"].get("Labels") or {}
    image = Component(
        name=f"gavip/{name}",
        type=ComponentType.CONTAINER,
        version=labels.get("org.opencontainers.image.version"),
        bom_ref=f"gavip/{name}",
        properties=[
            Property(name=LABEL, value=labels.get(LABEL, "")),
            Property(name="org.gavip.image-id", value=about["Id"]),
        ],
    )
    parts = [
        *(_debian(p) for p in inventory["debian"]),
        *(_library(p, "pypi") for p in inventory["python"]),
        *(_library(p, "npm") for p in inventory["npm"]),
    ]
    bill = Bom(
        components=parts,
        # the same image gives the same bill
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, about["Id"]),
        metadata=BomMetaData(component=image, timestamp=_time(about["Created"])),
    )
    bill.register_dependency(image, parts)
    return bill


def _time(text: str) -> datetime:
    # the engine writes nanoseconds, which Python before 3.11 does not read
    return datetime.fromisoformat(text[:19] + "+00:00")


def _debian(package: Mapping[str, str]) -> Component:
    url = PackageURL(
        "deb", "debian", package["name"], package["version"],
        {"arch": package["architecture"], "upstream": package["source"], "distro": "debian-12"},
    )  # fmt: skip
    return Component(
        name=package["name"], version=package["version"], purl=url, bom_ref=url.to_string()
    )


def _library(package: Mapping[str, str], kind: str) -> Component:
    scope, _, name = package["name"].rpartition("/")
    plain = name.lower().replace("_", "-") if kind == "pypi" else name
    url = PackageURL(kind, scope or None, plain, package["version"])
    licence = package["licence"]
    return Component(
        name=name,
        group=scope or None,
        version=package["version"],
        purl=url,
        bom_ref=url.to_string(),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else None,
    )
