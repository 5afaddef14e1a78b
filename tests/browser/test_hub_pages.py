"""The hub's own pages and a person's JupyterLab, on the embedded default."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import sign_in, violations
from tests.support.running import RunningPlatform

pytestmark = pytest.mark.browser


def test_a_wrong_password_says_so(
    context: BrowserContext, platform: RunningPlatform, shot: Callable[[Page, str], None]
) -> None:
    page = context.new_page()
    page.goto(platform.url)
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("not it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Invalid username or password")
    shot(page, "sign-in")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_signing_in_is_accessible(
    context: BrowserContext,
    platform: RunningPlatform,
    shot: Callable[[Page, str], None],
    scheme: Literal["light", "dark"],
) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)
    page.goto(platform.url)
    expect(page.get_by_role("main").get_by_role("heading", name="Sign in")).to_be_visible()
    shot(page, "sign-in")
    assert violations(page) == []


@pytest.mark.parametrize("name", ["avi-" + "0" * 32, "portal", "jobqueue"])
def test_technical_names_cannot_sign_in(
    context: BrowserContext, platform: RunningPlatform, name: str
) -> None:
    page = context.new_page()
    page.goto(platform.url)
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill("x")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Invalid username or password")).to_be_visible()


def test_lab_opens_on_the_user_space_and_asks_nothing(
    context: BrowserContext, platform: RunningPlatform, shot: Callable[[Page, str], None]
) -> None:
    (platform.userspace("bob") / "my-notes").mkdir(parents=True)
    page = context.new_page()
    sign_in(page, platform, "bob")
    page.get_by_role("link", name="JupyterLab", exact=True).click()
    page.wait_for_url(re.compile(r"http://bob\..*/lab"), timeout=60_000)
    expect(page.locator(".jp-DirListing-item", has_text="my-notes")).to_be_visible(timeout=60_000)
    expect(
        page.get_by_text("Would you like to get notified about official Jupyter news?")
    ).to_have_count(0)
    shot(page, "lab")
    home = platform.facts.layout.home("bob")
    assert home.is_dir()
    assert not home.is_relative_to(platform.userspace("bob"))
    # what Lab holds is in the ledger, and in sight
    page.goto(platform.portal)
    expect(page.get_by_text(re.compile(r"1\.0 GiB of"))).to_be_visible()
