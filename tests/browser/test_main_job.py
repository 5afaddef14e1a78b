"""The main job in a real browser: from the first click to a data product made of real Gaia rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from astropy.table import Table
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import allow, sign_in, violations
from tests.support.running import RunningPlatform

pytestmark = pytest.mark.browser
JOB_LIMIT = 120_000


def open_avi(page: Page, platform: RunningPlatform) -> None:
    page.get_by_role("link", name="Catalogue", exact=True).click()
    page.get_by_role("link", name="Gaia archive visualisations").first.click()
    expect(page.get_by_role("heading", name="Gaia archive visualisations").first).to_be_visible()


def test_from_sign_in_to_a_product(
    context: BrowserContext,
    platform: RunningPlatform,
    shot: Callable[[Page, str], None],
    tmp_path: Path,
) -> None:
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda m: faults.append(m.text) if m.type == "error" and "favicon" not in m.text else None,
    )
    sign_in(page, platform)
    shot(page, "1-home")
    open_avi(page, platform)
    shot(page, "2-avi")

    page.get_by_role("button", name="Open", exact=True).first.click()
    dialogue = page.get_by_role("dialog", name="Allow Gaia archive visualisations to do this?")
    expect(dialogue.get_by_text("Query the Gaia archive in your name")).to_be_visible()
    shot(page, "3-permissions")
    allow(page)
    page.wait_for_url(re.compile(r"http://avi-[0-9a-f]{32}\."), timeout=60_000)
    page.get_by_role("button", name="Show stars").wait_for(timeout=60_000)
    expect(page.get_by_text(re.compile(r"[\d,]+ of [\d,]+ stars have a parallax"))).to_be_visible(
        timeout=60_000
    )
    shot(page, "4-interface")

    page.get_by_label("Place").first.select_option("Hyades")
    page.get_by_role("button", name="Show stars").click()
    expect(page.get_by_text(re.compile(r"[\d,]+ of [\d,]+ stars have a parallax"))).to_be_visible(
        timeout=60_000
    )
    page.get_by_role("button", name="Run: HR diagram of a cone").click()
    expect(page.get_by_role("progressbar").first).to_be_visible(timeout=30_000)
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=JOB_LIMIT)
    expect(page.get_by_text("In your files: avis/gavip.gavidav/hr-diagram-")).to_be_visible()
    expect(page.get_by_role("img", name="HR diagram")).to_be_visible()
    shot(page, "5-product-in-the-avi")

    page.goto(platform.portal)
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_role("link", name="HR diagram of a cone").first.click()
    expect(page.get_by_text("Succeeded").first).to_be_visible()
    shot(page, "6-job")

    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile(r"\.fits")).first.click()
    table_file = tmp_path / "product.fits"
    download.value.save_as(table_file)
    table = Table.read(table_file)
    assert len(table) > 20
    assert {"source_id", "ra", "dec", "parallax"} <= set(table.colnames)
    assert (table["parallax"] > 0).all()

    page.get_by_role("link", name="Files", exact=True).click()
    page.get_by_role("link", name="avis", exact=True).click()
    page.get_by_role("link", name="gavip.gavidav").click()
    page.get_by_role("link", name=re.compile("^hr-diagram-")).first.click()
    expect(page.get_by_role("link", name="executed.ipynb").first).to_be_visible()
    shot(page, "7-files")
    products = list(platform.userspace("alice").glob("avis/gavip.gavidav/hr-diagram-*"))
    assert len(products) == 1
    assert faults == []


def test_a_pipeline_from_its_form(
    context: BrowserContext, platform: RunningPlatform, shot: Callable[[Page, str], None]
) -> None:
    page = context.new_page()
    sign_in(page, platform, "bob")
    open_avi(page, platform)
    field = page.get_by_label("Radius")
    field.fill("99")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text("99 is greater than the maximum of 20.0 deg")).to_be_visible()
    shot(page, "refused")
    field.fill("1.5")
    page.get_by_role("button", name="Run", exact=True).click()
    allow(page)
    page.wait_for_url(re.compile(r"/jobs/[0-9a-f-]{36}"))
    expect(page.get_by_text("Succeeded").first).to_be_visible(timeout=JOB_LIMIT)
    shot(page, "succeeded")


@pytest.mark.parametrize(
    ("view", "picture"),
    [
        pytest.param("Gaia archive visualisations", "Density map of ", id="interface"),
        pytest.param("The family portrait of the stars", "Stars of Pleiades", id="outreach"),
        pytest.param("Hertzsprung–Russell diagram", "Hertzsprung–Russell diagram", id="hr"),
        pytest.param("Sky map", "Density map of ", id="sky"),
    ],
)
def test_every_view_shows_stars_and_is_accessible(
    context: BrowserContext,
    platform: RunningPlatform,
    shot: Callable[[Page, str], None],
    view: str,
    picture: str,
) -> None:
    page = context.new_page()
    sign_in(page, platform)
    open_avi(page, platform)
    page.get_by_role("button", name=f"Open {view}", exact=True).click()
    page.wait_for_url(re.compile(r"http://avi-[0-9a-f]{32}\."), timeout=60_000)
    expect(page.get_by_role("img", name=re.compile(f"^{picture}"))).to_be_visible(timeout=60_000)
    expect(page.get_by_text(re.compile(r"^Done in "))).to_be_visible(timeout=60_000)
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    for scheme in schemes:
        page.emulate_media(color_scheme=scheme)
        shot(page, scheme)
        assert violations(page) == []
    # as a tile of a dashboard or on a phone: nothing sticks out
    page.set_viewport_size({"width": 390, "height": 600})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto(platform.portal)
    page.get_by_role("link", name="Sign out").click()
    page.get_by_label("Username").wait_for()


def test_signing_out_stops_what_runs(context: BrowserContext, platform: RunningPlatform) -> None:
    page = context.new_page()
    sign_in(page, platform, "school")
    open_avi(page, platform)
    page.get_by_role("button", name="Open", exact=True).first.click()
    allow(page)
    page.wait_for_url(re.compile(r"http://avi-[0-9a-f]{32}\."), timeout=60_000)
    address = page.url
    page.goto(platform.portal)
    page.get_by_role("link", name="Sign out").click()
    page.get_by_label("Username").wait_for()
    sign_in(page, platform, "school")
    page.get_by_role("link", name="Running AVIs", exact=True).click()
    expect(page.get_by_role("link", name="Browse the catalogue").first).to_be_visible(
        timeout=30_000
    )
    answer = page.goto(address)
    assert answer is not None
    assert answer.status >= 400 or "avi-" not in page.url


def test_nobody_enters_anothers_instance(
    context: BrowserContext, platform: RunningPlatform
) -> None:
    page = context.new_page()
    sign_in(page, platform, "olivia")
    open_avi(page, platform)
    page.get_by_role("button", name="Open", exact=True).first.click()
    allow(page)
    page.wait_for_url(re.compile(r"http://avi-[0-9a-f]{32}\."), timeout=60_000)
    address = page.url
    assert context.browser is not None
    other = context.browser.new_context()
    try:
        stranger = other.new_page()
        sign_in(stranger, platform, "bob")
        answer = stranger.goto(address)
        assert answer is not None
        assert answer.status in {403, 404}
        assert stranger.get_by_role("button", name="Show stars").count() == 0
    finally:
        other.close()
