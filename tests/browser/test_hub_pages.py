"""The hub's own pages and a person's JupyterLab, on the embedded default."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Literal

import httpx
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
    page.get_by_role("button", name="Start").click()
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_starting_lab_asks_how_much_it_may_use(
    context: BrowserContext,
    platform: RunningPlatform,
    shot: Callable[[Page, str], None],
    scheme: Any,
) -> None:
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)
    sign_in(page, platform, "dev")
    page.get_by_role("link", name="JupyterLab", exact=True).click()
    expect(page.get_by_role("heading", name="Start JupyterLab")).to_be_visible()
    expect(page.get_by_text(re.compile(r"Free for you now: [\d.]+ GiB of memory"))).to_be_visible()
    expect(page.get_by_role("radio", name=re.compile("Small"))).to_be_checked()
    shot(page, "form")
    assert violations(page) == []

    # what is no amount, what is out of bounds, and what the ledger refuses: the reason, and the form as it was sent
    for memory, reason in (("lots", "must be a number of GiB"), ("9999", "must be 256 MiB to")):
        page.get_by_label("Memory in GiB").fill(memory)
        expect(page.get_by_role("radio", name="Exactly")).to_be_checked()
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text(reason)
        expect(page.get_by_label("Memory in GiB")).to_have_value(memory)
    free = float(re.findall(r"memory and ([\d.]+) core", page.locator("#gv-free").inner_text())[0])
    assert free < 4
    page.get_by_label("Memory in GiB").fill("1")
    page.get_by_label("Processor cores").fill("4")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("JupyterLab")
    expect(page.get_by_role("alert")).to_contain_text("4 cores")
    expect(page.get_by_label("Processor cores")).to_have_value("4")
    shot(page, "refused")


def test_an_exact_amount_is_what_lab_gets(
    context: BrowserContext, platform: RunningPlatform, shot: Callable[[Page, str], None]
) -> None:
    page = context.new_page()
    sign_in(page, platform, "olivia")
    page.get_by_role("link", name="JupyterLab", exact=True).click()
    # by keyboard: the last radio, then the two fields
    page.get_by_role("radio", name=re.compile("Small")).focus()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("radio", name="Exactly")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.type("0.75")
    page.keyboard.press("Tab")
    page.keyboard.type("0.5")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"http://olivia\..*/lab"), timeout=60_000)
    answer = page.goto(f"{platform.portal}api/v1/pools/me")
    assert answer is not None
    pool = answer.json()
    (lab,) = [h for h in pool["holders"] if h["kind"] == "notebook"]
    assert (lab["amount"]["memory"], lab["amount"]["cpu"]) == (3 << 28, 0.5)


def test_hostile_options_are_refused_by_the_hubs_api(
    context: BrowserContext, platform: RunningPlatform
) -> None:
    page = context.new_page()
    sign_in(page, platform, "dev")
    page.goto(f"{platform.url}/hub/token")
    page.wait_for_load_state("networkidle")
    page.get_by_role("button", name="Request new API token").click()
    shown = page.locator("#token-result")
    expect(shown).to_have_text(re.compile("^[0-9a-f]{20,}$"))
    headers = {
        "Authorization": f"token {shown.inner_text().strip()}",
        # Python does not resolve *.localhost as browsers do
        "Host": f"gavip.localhost:{platform.port}",
    }
    api = f"http://127.0.0.1:{platform.port}/hub/api/users/dev"
    with httpx.Client(headers=headers, trust_env=False, timeout=20) as client:
        for options in ({"memory": "1T"}, {"cpu": 1e9}, {"image": "evil"}, {"instance": {}}, [1]):
            assert client.post(f"{api}/server", json=options).status_code < 500
            deadline = time.monotonic() + 20
            while (user := client.get(api).json())["pending"]:
                assert time.monotonic() < deadline
                page.wait_for_timeout(100)
            assert user["servers"] == {}, options
    assert "Exception applying user_options" in platform.hub_log()
    # the form is there all the same, with the default
    page.goto(f"{platform.url}/hub/spawn")
    expect(page.get_by_role("radio", name=re.compile("Small"))).to_be_checked()
    # and a link with options starts nothing
    page.goto(f"{platform.url}/hub/spawn/dev?opt-memory=2147483648&opt-size=small")
    expect(page.get_by_role("alert")).to_contain_text("not started by a link")
