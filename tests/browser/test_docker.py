"""The main job in a real browser with everything in containers: an AVI, its pipeline, JupyterLab, sign-out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker import APIClient
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import allow, sign_in
from tests.support.contained import contained_platform
from tests.support.engine import engine
from tests.support.person import until
from tests.support.running import ROOT, RunningPlatform

pytestmark = [pytest.mark.browser, pytest.mark.docker]
PLATFORM = "tbrowser"


@pytest.fixture(scope="module")
def client() -> Iterator[APIClient]:
    with contextlib.closing(engine()) as client:
        yield client


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, archive_database: Path
) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("contained")
    with contained_platform(
        folder,
        [ROOT / "examples" / "gavidav"],
        name=PLATFORM,
        subnet="10.222.0.0/24",
        database=archive_database,
    ) as running:
        yield running


def kinds(client: APIClient) -> list[str]:
    found = client.containers(filters={"label": [f"gavip.platform={PLATFORM}"]})
    return sorted(entry["Labels"]["gavip.kind"] for entry in found)


def test_from_the_catalogue_to_a_product(
    context: BrowserContext,
    platform: RunningPlatform,
    client: APIClient,
    shot: Callable[[Page, str], None],
) -> None:
    page = context.new_page()
    sign_in(page, platform)
    page.get_by_role("link", name="Catalogue", exact=True).click()
    page.get_by_role("link", name="Gaia archive visualisations").first.click()
    page.get_by_role("button", name="Open", exact=True).first.click()
    allow(page)
    page.wait_for_url(re.compile(r"http://avi-[0-9a-f]{32}\."), timeout=90_000)
    expect(page.get_by_text(re.compile(r"[\d,]+ of [\d,]+ stars have a parallax"))).to_be_visible(
        timeout=90_000
    )
    assert "interface" in kinds(client)
    page.get_by_role("button", name="Run: HR diagram of a cone").click()
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=150_000)
    expect(page.get_by_role("img", name="HR diagram")).to_be_visible()
    shot(page, "product")
    page.goto(f"{platform.portal}files?path=avis/gavip.gavidav")
    expect(page.get_by_role("link", name=re.compile("^hr-diagram-")).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"of 9\.\d+ GiB|of 10")).first).to_be_visible()
    shot(page, "files")


def test_lab_sees_the_user_space_and_ends_at_sign_out(
    context: BrowserContext,
    platform: RunningPlatform,
    client: APIClient,
    shot: Callable[[Page, str], None],
) -> None:
    page = context.new_page()
    sign_in(page, platform)
    page.get_by_role("link", name="JupyterLab", exact=True).click()
    expect(page.get_by_role("heading", name="Start JupyterLab")).to_be_visible()
    shot(page, "form")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url(re.compile(r"http://alice\..*/lab"), timeout=120_000)
    expect(page.locator(".jp-DirListing-item", has_text="avis")).to_be_visible(timeout=60_000)
    shot(page, "lab")
    assert "notebook" in kinds(client)
    page.goto(platform.portal)
    page.get_by_role("link", name="Sign out").click()
    page.get_by_label("Username").wait_for()
    until(lambda: True if not kinds(client) else None, 60)
