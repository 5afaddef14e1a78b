"""The portal's pages in a real browser: what people do, by mouse and keyboard, with axe on every page."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gavip_portal.pages import DIST
from tests.support.portal_platform import Platform, fill
from tests.support.portal_queue import now

playwright = pytest.importorskip("playwright.async_api")
expect = playwright.expect

ROOT = Path(__file__).parents[3]
AXE = ROOT / "extensions" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH"),
    pytest.mark.skipif(not (DIST / "manifest.json").is_file(), reason="the front end is not built"),
]


@pytest.fixture
async def chromium() -> AsyncIterator[Any]:
    async with playwright.async_playwright() as p:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await p.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium: Any) -> AsyncIterator[Any]:
    context = await chromium.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: faults.append(message.text) if "Content Security" in message.text else None,
    )
    yield page
    await context.close()
    assert faults == []


async def violations(page: Any) -> list[str]:
    """Return serious and critical violations of the page as it is now."""
    await page.evaluate(AXE.read_text() + ";0")
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:120]}"
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]


async def allow(page: Any) -> None:
    """Allow what the AVI asks for, in the dialogue that has opened."""
    await page.get_by_role("dialog").get_by_role("button", name="Allow and start").click()


async def test_open_an_avi(platform: Platform, page: Any) -> None:
    platform.hub.step_seconds = 0.2
    await page.goto(platform.url)
    await page.get_by_role("link", name="Browse the catalogue").first.click()
    await page.get_by_role("searchbox").fill("no such thing")
    await expect(page.get_by_text("Nothing in the catalogue matches.")).to_be_visible()
    await page.get_by_role("searchbox").fill("hr diagram")
    await page.get_by_role("link", name="Demonstration of the portal").click()
    await page.get_by_role("button", name="Open", exact=True).click()
    await allow(page)
    await expect(page.get_by_role("heading", name="Opening Explore a cone")).to_be_visible()
    await expect(page.get_by_role("heading", name="The AVI of avi-")).to_be_visible()
    # back from the AVI leads to its page, not to the start that would open it again
    await page.go_back()
    await expect(page.get_by_role("heading", name="Demonstration of the portal")).to_be_visible()
    await page.goto(platform.url + "instances")
    await page.get_by_role("button", name="Stop Explore a cone").click()
    await page.get_by_role("button", name="Stop it").click()
    await expect(page.get_by_text("No AVI is running.")).to_be_visible()
    assert platform.hub.users == {}


async def test_start_that_fails_and_retry(platform: Platform, page: Any) -> None:
    platform.hub.fail_with = "Your pool is full."
    await page.goto(platform.url + "avis/gavip/demo")
    await page.get_by_role("button", name="Open", exact=True).click()
    await allow(page)
    await expect(page.get_by_role("alert")).to_contain_text("Your pool is full.")
    platform.hub.fail_with = None
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_role("heading", name="The AVI of avi-")).to_be_visible()


async def test_cancel_a_start(platform: Platform, page: Any) -> None:
    platform.hub.step_seconds = 30
    await page.goto(platform.url + "avis/gavip/demo")
    await page.get_by_role("button", name="Open Density map").click()
    await allow(page)
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("heading", name="Demonstration of the portal")).to_be_visible()


async def test_run_a_pipeline_with_the_keyboard(platform: Platform, page: Any) -> None:
    await page.goto(platform.url + "avis/gavip/demo")
    form = page.get_by_role("form", name="HR diagram of a cone")
    ra = form.get_by_label("Right ascension")
    await ra.fill("400")
    await ra.press("Enter")
    rows = form.get_by_label("Rows")
    await expect(rows).to_be_focused()
    await expect(form.get_by_text("Is required.")).to_be_visible()
    await rows.fill("500")
    await rows.press("Enter")
    await expect(ra).to_be_focused()
    await expect(ra).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("#p-hr-diagram-ra-error")).to_contain_text("360")
    await ra.fill("56.75")
    await ra.press("Enter")
    await expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("status").get_by_text("Queued")).to_be_visible()
    (job,) = platform.queue.jobs.values()
    assert job["parameters"]["rows"] == 500
    platform.queue.logs[job["id"]] = "first line\n"
    platform.queue.change(job["id"], state="running", started=now())
    platform.queue.change(job["id"], progress={"done": 1, "total": 4, "task": "Query"})
    await expect(page.get_by_text("Step 2 of 4: Query")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
    await expect(page.get_by_text("first line")).to_be_visible()
    folder = platform.userspace("ada") / "out"
    folder.mkdir()
    (folder / "table.csv").write_text("a,b\n")
    platform.queue.change(
        job["id"], state="succeeded", ended=now(), product="out", outputs=["table.csv"]
    )
    async with page.expect_download() as download:
        await page.get_by_role("link", name="table.csv").click()
    saved = Path(await (await download.value).path())
    assert saved.read_text() == "a,b\n"  # noqa: ASYNC240 - a few bytes
    await page.get_by_role("link", name="Show the folder in my files").click()
    await expect(page.get_by_role("rowheader", name="table.csv")).to_be_visible()


async def test_cancel_a_job(platform: Platform, page: Any) -> None:
    ids = fill(platform)
    await page.goto(f"{platform.url}jobs/{ids['running']}")
    await page.get_by_role("button", name="Cancel this job").click()
    await page.keyboard.press("Escape")
    assert platform.queue.jobs[ids["running"]]["state"] == "running"
    await page.get_by_role("button", name="Cancel this job").click()
    await page.get_by_role("button", name="Cancel the job").click()
    await expect(page.get_by_role("status").get_by_text("Cancelled")).to_be_visible()


async def test_failed_job_says_why_and_runs_again(platform: Platform, page: Any) -> None:
    ids = fill(platform)
    platform.queue.jobs[ids["failed"]]["parameters"]["ra"] = 83.8
    await page.goto(f"{platform.url}jobs/{ids['failed']}")
    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("column parallaxx does not exist")
    await expect(alert).to_contain_text("did you mean parallax?")
    await alert.get_by_role("link", name="Run it again").click()
    await expect(page.get_by_label("Right ascension")).to_have_value("83.8")


async def test_jobs_are_live_and_survive_a_queue_that_is_down(
    platform: Platform, page: Any
) -> None:
    platform.queue.down = True
    await page.goto(platform.url + "jobs")
    await expect(page.get_by_role("alert")).to_contain_text("The queue is being repaired.")
    platform.queue.down = False
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_text("You have no jobs yet.")).to_be_visible()
    job = platform.queue.add("ada", title="Brand new")
    await expect(page.get_by_role("link", name="Brand new")).to_be_visible(timeout=10_000)
    platform.queue.change(job["id"], state="running", started=now())
    await expect(page.get_by_role("listitem").get_by_text("Running", exact=True)).to_be_visible()


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in extensions")
@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_and_layout(platform: Platform, chromium: Any, scheme: str, width: int) -> None:
    ids = fill(platform)
    platform.hub.step_seconds = 60
    pages = {
        "home": "",
        "catalogue": "avis",
        "avi": "avis/gavip/demo",
        "jobs": "jobs",
        "running": f"jobs/{ids['running']}",
        "failed": f"jobs/{ids['failed']}",
        "succeeded": f"jobs/{ids['succeeded']}",
        "instances": "instances",
        "permissions": "permissions",
        "files": "files?path=avis/gavip.demo",
        "missing": "nothing-here",
    }
    context = await chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = await context.new_page()
    await page.add_init_script(
        "window.shift = 0; new PerformanceObserver(list => { for (const e of list.getEntries())"
        " if (!e.hadRecentInput) window.shift += e.value; }).observe({type: 'layout-shift', buffered: true});"
    )
    await page.goto(platform.url + "avis/gavip/demo")
    await page.get_by_role("button", name="Open", exact=True).click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    dialogue = await violations(page)
    await allow(page)
    await expect(page.get_by_role("heading", name="Opening")).to_be_visible()
    pages["start"] = page.url.removeprefix(platform.url)
    faults = {"dialogue": dialogue} if dialogue else {}
    for name, path in pages.items():
        await page.goto(platform.url + path)
        await expect(page.locator("[aria-busy]")).to_have_count(0)
        found = await violations(page)
        measured = await page.evaluate("[document.documentElement.scrollWidth, window.shift]")
        if measured[0] > width:
            found.append(f"{measured[0]} px wide")
        if measured[1] >= 0.1:
            found.append(f"layout shift {measured[1]:.3f}")
        if found:
            faults[name] = found
    await context.close()
    assert faults == {}
