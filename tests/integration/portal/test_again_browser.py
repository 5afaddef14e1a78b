"""Schedules, retry and the filter of jobs in a real browser."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from typing import Any

from tests.integration.portal.test_browser import chromium, expect, page, pytestmark, violations
from tests.support.portal_platform import Platform

__all__ = ["chromium", "page", "pytestmark"]


async def shots(page: Any, name: str) -> None:
    """Keep pictures for people when GAVIP_SHOTS names a folder: desktop, phone, dark."""
    folder = os.environ.get("GAVIP_SHOTS")
    if not folder:
        return
    await page.screenshot(path=f"{folder}/{name}.png", full_page=True)
    await page.set_viewport_size({"width": 390, "height": 800})
    await page.get_by_role("button", name="Toggle navigation").is_visible()
    await page.screenshot(path=f"{folder}/{name}-phone.png", full_page=True)
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.emulate_media(color_scheme="dark")
    await page.screenshot(path=f"{folder}/{name}-dark.png", full_page=True)


async def test_a_schedule_is_made_paused_and_deleted(platform: Platform, page: Any) -> None:
    await page.goto(f"{platform.url}schedules")
    await expect(page.get_by_text("You have no schedules.")).to_be_visible()
    assert await violations(page) == []
    await page.goto(f"{platform.url}avis/gavip/demo")
    form = page.locator("form[data-pipeline]").first
    await form.get_by_label("Rows").fill("100")
    await form.get_by_text("Repeat this by itself").click()
    await form.get_by_label("When, as a cron expression").fill("30 5 * * *")
    assert await violations(page) == []
    await form.get_by_role("button", name="Make a schedule").click()
    await page.get_by_role("dialog").get_by_role("button", name="Allow and start").click()
    await expect(page.get_by_role("heading", name="Schedules")).to_be_visible()
    await expect(page.get_by_text("30 5 * * *")).to_be_visible()
    assert await violations(page) == []
    await shots(page, "schedules")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_text("Paused.")).to_be_visible()
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Delete the schedule").click()
    await expect(page.get_by_text("You have no schedules.")).to_be_visible()
    assert platform.queue.schedules == {}


async def test_a_failed_job_is_tried_again(platform: Platform, page: Any) -> None:
    job = platform.queue.add("ada", state="failed", error={"code": "x", "message": "It broke."})
    await page.goto(f"{platform.url}jobs/{job['id']}")
    await page.get_by_role("button", name="Try again").click()
    await page.wait_for_url(lambda url: job["id"] not in url)
    assert len(platform.queue.jobs) == 2


async def test_a_waiting_job_says_what_holds_it(platform: Platform, page: Any) -> None:
    start = datetime.now(timezone.utc) + timedelta(minutes=5)
    amount = {"memory": 1 << 30, "cpu": 1}
    holder = {"id": "x", "owner": "ada", "kind": "interface", "amount": amount, "title": "Explorer",
              "state": "granted", "created": start.isoformat()}  # fmt: skip
    waiting = {"kind": "pool", "reason": "Your pool is full.", "holders": [holder],
               "estimated_start": start.isoformat()}  # fmt: skip
    job = platform.queue.add("ada", state="queued", waiting=waiting)
    await page.goto(f"{platform.url}jobs/{job['id']}")
    await expect(page.get_by_text("Your pool is full.")).to_be_visible()
    await expect(page.get_by_text("Explorer: 1.0 GiB of memory, 1 core")).to_be_visible()
    await expect(page.get_by_text("It should start at")).to_be_visible()
    await shots(page, "waiting")
    assert await violations(page) == []


async def test_the_list_is_narrowed(platform: Platform, page: Any) -> None:
    platform.queue.add("ada", state="failed", title="Broken one")
    platform.queue.add("ada", state="succeeded", title="Fine one")
    await page.goto(f"{platform.url}jobs")
    await expect(page.get_by_text("Fine one")).to_be_visible()
    await page.get_by_label("Show", exact=True).select_option("Failed")
    await expect(page.get_by_text("Fine one")).to_be_hidden()
    await expect(page.get_by_text("Broken one")).to_be_visible()
    assert await violations(page) == []
