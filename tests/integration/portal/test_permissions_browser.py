"""Allowing and revoking in a real browser: the dialogue, the AVI's page, the list of permissions."""

from __future__ import annotations

import re
from typing import Any

from tests.integration.portal.test_again_browser import shots
from tests.integration.portal.test_browser import chromium, expect, page, pytestmark, violations
from tests.integration.portal.test_permissions import ALL, platform, publish
from tests.support.portal_platform import Platform

__all__ = ["chromium", "page", "platform", "pytestmark"]


async def open_avi(platform: Platform, page: Any) -> Any:
    """Press Open on the page of the AVI; return the dialogue."""
    await page.goto(f"{platform.url}avis/gavip/demo")
    await page.get_by_role("button", name="Open", exact=True).click()
    return page.get_by_role("dialog", name="Allow Demonstration of the portal to do this?")


async def test_the_dialogue_says_what_is_asked_and_what_it_means(
    platform: Platform, page: Any
) -> None:
    dialogue = await open_avi(platform, page)
    for text in (
        "Read all your files, but not change them",
        "It sees everything in your files",
        "Query the Gaia archive in your name",
        "Send data to data.example.org",
        "nobody can call it back",
    ):
        await expect(dialogue.get_by_text(text)).to_be_visible()
    await expect(dialogue).to_have_accessible_description(
        re.compile("Read all your files.*You can revoke this at any time")
    )
    # nothing is allowed by a stray Enter
    await expect(dialogue.get_by_role("button", name="Cancel")).to_be_focused()
    assert await violations(page) == []
    await shots(page, "allow")
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await expect(dialogue).to_have_count(0)
    opener = page.get_by_role("button", name="Open", exact=True)
    await expect(opener).to_be_enabled()
    await expect(opener).to_be_focused()
    assert platform.hub.users == {}
    await opener.click()
    await dialogue.get_by_role("button", name="Cancel").click()
    await expect(dialogue).to_have_count(0)
    assert platform.queue.permits == {}


async def test_allowed_once_is_not_asked_again_until_revoked(platform: Platform, page: Any) -> None:
    dialogue = await open_avi(platform, page)
    await expect(dialogue.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="The AVI of avi-")).to_be_visible()
    await open_avi(platform, page)
    await expect(page.get_by_role("heading", name="The AVI of avi-")).to_be_visible()
    await page.goto(f"{platform.url}avis/gavip/demo")
    await expect(page.get_by_text("You have allowed this since")).to_be_visible()
    assert await violations(page) == []
    await shots(page, "allowed")
    await page.get_by_role("button", name="Revoke").click()
    confirm = page.get_by_role("dialog", name="Revoke the permissions of Demonstration")
    await expect(confirm).to_contain_text("running instances are stopped")
    await expect(confirm).to_contain_text("jobs are cancelled")
    await confirm.get_by_role("button", name="Keep").click()
    await expect(page.get_by_text("You have allowed this since")).to_be_visible()
    await page.get_by_role("button", name="Revoke").click()
    await confirm.get_by_role("button", name="Revoke").click()
    await expect(page.get_by_text("Revoked: 1 running instance is being stopped.")).to_be_visible()
    await expect(page.get_by_text("You are asked before it starts")).to_be_visible()
    await expect(page.get_by_role("button", name="Revoke")).to_be_hidden()
    # without a reload, the same page asks again
    await page.get_by_role("button", name="Open", exact=True).click()
    await expect(dialogue).to_be_visible()


async def test_a_release_that_asks_for_more_says_what_is_new(platform: Platform, page: Any) -> None:
    dialogue = await open_avi(platform, page)
    await dialogue.get_by_role("button", name="Allow and start").click()
    await expect(page.get_by_role("heading", name="The AVI of avi-")).to_be_visible()
    await publish(platform, ALL.replace("[data.", "[ftp.example.org, data."))
    await open_avi(platform, page)
    await expect(dialogue).to_contain_text("asks for more than you have allowed")
    await expect(dialogue.get_by_role("list").first.get_by_role("listitem")).to_have_count(1)
    await expect(dialogue.get_by_role("list").first).to_contain_text("ftp.example.org")
    await expect(dialogue.get_by_role("list").last).to_contain_text("data.example.org")
    await shots(page, "allow-more")
    await page.keyboard.press("Escape")
    await page.reload()
    await expect(page.get_by_text("This version asks for more")).to_be_visible()
    await shots(page, "allowed-less")
    assert await violations(page) == []


async def test_a_release_that_comes_out_while_the_dialogue_is_open(
    platform: Platform, page: Any
) -> None:
    dialogue = await open_avi(platform, page)
    await expect(dialogue).to_be_visible()
    shown = platform.queue.permits.copy()
    await publish(platform, ALL.replace("[data.", "[evil.example.org, data."))
    # what was shown is the earlier release, which may be allowed; the new one is asked about at once
    await dialogue.get_by_role("button", name="Allow and start").click()
    await expect(dialogue).to_contain_text("evil.example.org")
    assert "evil.example.org" not in str(platform.queue.permits)
    assert platform.hub.users == {}
    assert shown == {}


async def test_the_list_of_permissions(platform: Platform, page: Any) -> None:
    await page.goto(f"{platform.url}permissions")
    await expect(page.get_by_text("You have allowed nothing yet.")).to_be_visible()
    assert await violations(page) == []
    dialogue = await open_avi(platform, page)
    await dialogue.get_by_role("button", name="Allow and start").click()
    await expect(page.get_by_role("heading", name="The AVI of avi-")).to_be_visible()
    await page.goto(f"{platform.url}permissions")
    row = page.get_by_role("listitem").filter(has_text="gavip/demo")
    await expect(row).to_contain_text("Send data to data.example.org")
    assert await violations(page) == []
    await shots(page, "permissions")
    platform.queue.down = True
    await row.get_by_role("button", name="Revoke").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("The queue is being repaired.")
    platform.queue.down = False
    await alert.get_by_role("button", name="Retry").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(page.get_by_text("You have allowed nothing yet.")).to_be_visible()
    assert platform.queue.permits == {("ada", "gavip/demo"): None}
