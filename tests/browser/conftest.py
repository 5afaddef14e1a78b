"""A real Chromium and a whole platform for the browser tests; screenshots are kept in ``artifacts/``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.support.running import ROOT, RunningPlatform, build_archive, running_platform

ARTIFACTS = ROOT / "artifacts"
AXE = ROOT / "extensions" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        # as root, in containers and CI, Chromium's own sandbox cannot start
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def archive_database() -> Path:
    return build_archive()


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, archive_database: Path
) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("platform")
    examples = [ROOT / "examples" / "gavidav"]
    with running_platform(folder, examples, database=archive_database) as running:
        yield running


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(20_000)
    yield context
    context.close()


@pytest.fixture
def shot(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    ARTIFACTS.mkdir(exist_ok=True)
    test = re.sub(r"\W+", "-", request.node.name).strip("-")

    def take(page: Page, name: str) -> None:
        page.screenshot(path=ARTIFACTS / f"{test}-{name}.png", full_page=True)

    return take


def sign_in(page: Page, platform: RunningPlatform, user: str = "alice") -> None:
    """Sign in as a person does, from the address that `gavip up` prints."""
    page.goto(platform.url)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(platform.passwords[user])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{platform.portal}**")


def allow(page: Page) -> None:
    """Allow what an AVI asks for, in the dialogue that opens at its first start."""
    page.get_by_role("dialog").get_by_role("button", name="Allow and start").click()


def violations(page: Page) -> list[str]:
    """Return serious and critical violations that axe finds on the page as it is now."""
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: npm ci in extensions")
    page.evaluate(AXE.read_text() + ";0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:120]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
