"""The whole platform on a real engine, as people use it: instances, jobs, notebooks, sign-out, orphans."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from docker import APIClient

from tests.support.contained import contained_platform
from tests.support.engine import engine
from tests.support.person import Person, until
from tests.support.running import ROOT, RunningPlatform, build_archive

PLATFORM = "tplat"


@pytest.fixture(scope="module")
def client() -> Iterator[APIClient]:
    with contextlib.closing(engine()) as client:
        yield client


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("docker")
    with contained_platform(
        folder,
        [ROOT / "examples" / "gavidav"],
        name=PLATFORM,
        subnet="10.215.0.0/24",
        database=build_archive(),
    ) as running:
        yield running


@pytest.fixture(scope="module")
def alice(platform: RunningPlatform) -> Person:
    return Person(platform).sign_in().allow("gavip/gavidav")


def containers(client: APIClient, **labels: str) -> list[dict]:
    wanted = [f"gavip.platform={PLATFORM}", *(f"gavip.{k}={v}" for k, v in labels.items())]
    return client.containers(all=True, filters={"label": wanted})


def test_an_avi_opens_in_a_container_of_its_own(client: APIClient, alice: Person) -> None:
    instance = alice.open("gavip/gavidav")
    (found,) = containers(client, kind="interface", owner="alice")
    facts = client.inspect_container(found["Id"])
    assert facts["HostConfig"]["ReadonlyRootfs"] is True
    assert facts["HostConfig"]["CapDrop"] == ["ALL"]
    page = alice.get(instance["url"])
    assert page.status_code == 200, page.text[:300]
    assert "Show stars" in page.text or "gavip" in page.text
    assert alice.api("DELETE", f"instances/{instance['id']}").status_code < 300
    until(lambda: True if not containers(client, kind="interface") else None, 30)


def test_a_job_makes_a_product(client: APIClient, alice: Person, platform: RunningPlatform) -> None:
    job = alice.job(alice.run("gavip/gavidav", "hr-diagram", radius=1.5))
    assert job["state"] == "succeeded", job
    (product,) = platform.userspace("alice").glob("avis/gavip.gavidav/hr-diagram-*")
    assert (product / "result.json").stat().st_uid == 1000
    assert json.loads((product / "result.json").read_text())["ok"]
    assert not containers(client, kind="job")
    assert alice.api("GET", f"jobs/{job['id']}/log").status_code == 200
    names = [
        e["name"]
        for e in alice.show(f"files?path={product.relative_to(platform.userspace('alice'))}")[
            "entries"
        ]
    ]
    assert "executed.ipynb" in names
