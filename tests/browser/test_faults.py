"""Bad input and broken parts: people see what happened and what to do, and the platform goes on."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import sign_in
from tests.support import faulty_avi
from tests.support.running import ROOT, Archive, RunningPlatform, running_platform

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, archive_database: Path) -> Iterator[Archive]:
    archive = Archive(archive_database, tmp_path_factory.mktemp("archive"))
    archive.start()
    yield archive
    archive.stop()


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, archive: Archive
) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("faults")
    examples = [faulty_avi.make(folder / "made"), ROOT / "examples" / "gavidav"]
    with running_platform(folder, examples, archive=archive.url) as running:
        yield running


@pytest.fixture
def page(context: BrowserContext, platform: RunningPlatform) -> Page:
    """Return a page of somebody who has allowed both AVIs what they ask."""
    page = context.new_page()
    sign_in(page, platform)
    for avi in ("gavip/faulty", "gavip/gavidav"):
        asked = api(page, platform, "GET", f"avis/{avi}/permissions")["body"]["asked"]
        body = {"permissions": asked}
        granted = api(page, platform, "PUT", f"avis/{avi}/permissions", body)
        assert granted["status"] == 200, granted
    return page


def api(page: Page, platform: RunningPlatform, method: str, path: str, body: Any = None) -> Any:
    """Call the public API as the page itself does, with its cookie and XSRF token."""
    return page.evaluate(
        """async ([method, url, body]) => {
          const token = document.cookie.match(/(?:^|; )__Host-_xsrf=([^;]*)/)
          const answer = await fetch(url, {method, headers: {'Content-Type': 'application/json',
            'X-XSRFToken': token ? decodeURIComponent(token[1]) : ''},
            body: body === null ? undefined : JSON.stringify(body)})
          return {status: answer.status, body: await answer.json().catch(() => null)}
        }""",
        [method, f"{platform.portal}api/v1/{path}", body],
    )


def run_and_read(page: Page, platform: RunningPlatform, pipeline: str, **parameters: Any) -> Any:
    """Submit a job of the faulty AVI, open its page, wait for its end; return the job."""
    body = {"avi": "gavip/faulty", "pipeline": pipeline, "parameters": parameters}
    submitted = api(page, platform, "POST", "jobs", body)
    assert submitted["status"] == 201, submitted
    job = submitted["body"]["id"]
    page.goto(f"{platform.portal}jobs/{job}")
    deadline = time.monotonic() + 90
    while True:
        shown = api(page, platform, "GET", f"jobs/{job}")["body"]
        if shown["state"] not in {"queued", "starting", "running"}:
            return shown
        assert time.monotonic() < deadline, shown
        page.wait_for_timeout(200)


@pytest.mark.parametrize(
    ("pipeline", "parameters", "state", "cause", "step"),
    [
        pytest.param(
            "raises",
            {"word": "x"},
            "failed",
            "the catalogue is upside down",
            "log",
            id="notebook-raises",
        ),
        pytest.param("bad-adql", {}, "failed", "sorce_id", "source_id", id="adql-column"),
        pytest.param("bad-syntax", {}, "failed", "syntax error", "Check commas", id="adql-syntax"),
        pytest.param("dies", {}, "failed", "kernel died", "memory", id="kernel-killed"),
        pytest.param("grows", {}, "failed", "400 MiB", "resources.memory", id="memory"),
        pytest.param("late", {}, "timed-out", "8 s", "resources.time", id="time-limit"),
    ],
)
def test_a_failing_job_says_why_and_what_to_do(
    page: Page,
    platform: RunningPlatform,
    shot: Callable[[Page, str], None],
    pipeline: str,
    parameters: dict[str, Any],
    state: str,
    cause: str,
    step: str,
) -> None:
    job = run_and_read(page, platform, pipeline, **parameters)
    assert job["state"] == state
    error = job["error"]
    assert cause in error["message"]
    assert step in error["hint"]
    alert = page.get_by_role("alert").filter(has_text=error["message"][:40])
    expect(alert.first).to_be_visible()
    expect(alert.first).to_contain_text(error["hint"][:30])
    assert "Traceback" not in page.get_by_role("alert").first.inner_text()
    shot(page, "alert")


@pytest.mark.parametrize(
    ("parameters", "faulty"),
    [
        pytest.param({"word": "x", "colour": 1}, "colour", id="unknown-parameter"),
        pytest.param({"word": "x", "n": "three"}, "n", id="wrong-type"),
        pytest.param({"word": "x", "n": 11}, "n", id="out-of-range"),
        pytest.param({}, "word", id="missing"),
    ],
)
def test_bad_parameters_are_refused_by_name(
    page: Page, platform: RunningPlatform, parameters: dict[str, Any], faulty: str
) -> None:
    body = {"avi": "gavip/faulty", "pipeline": "raises", "parameters": parameters}
    answer = api(page, platform, "POST", "jobs", body)
    assert answer["status"] == 422
    assert faulty in answer["body"]["errors"]
    assert answer["body"]["hint"]


def test_a_running_job_can_be_cancelled(page: Page, platform: RunningPlatform) -> None:
    submitted = api(page, platform, "POST", "jobs", {"avi": "gavip/faulty", "pipeline": "slow"})
    page.goto(f"{platform.portal}jobs/{submitted['body']['id']}")
    expect(page.get_by_text("working")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name=re.compile("^Cancel")).first.click()
    confirm = page.get_by_role("dialog").get_by_role(
        "button", name=re.compile("Cancel", re.IGNORECASE)
    )
    if confirm.count():
        confirm.last.click()
    expect(page.get_by_text("Cancelled").first).to_be_visible(timeout=30_000)


def test_archive_down_and_up_again(
    page: Page, platform: RunningPlatform, archive: Archive, shot: Callable[[Page, str], None]
) -> None:
    page.goto(f"{platform.portal}avis/gavip/gavidav")
    page.get_by_role("button", name="Open", exact=True).first.click()
    page.wait_for_url(re.compile(r"http://avi-[0-9a-f]{32}\."), timeout=60_000)
    done = page.get_by_text(re.compile(r"\d+ of \d+ stars have a parallax"))
    expect(done).to_be_visible(timeout=60_000)
    archive.stop()
    try:
        page.get_by_label("Place").first.select_option("Hyades")
        page.get_by_role("button", name="Show stars").click()
        alert = page.get_by_role("alert").filter(has_text=re.compile("archive", re.IGNORECASE))
        expect(alert.first).to_be_visible(timeout=60_000)
        assert "Traceback" not in page.locator("body").inner_text()
        shot(page, "down")
        portal = page.context.new_page()
        portal.goto(platform.portal)
        job = run_and_read(portal, platform, "queries")
        assert job["state"] == "failed"
        assert "archive" in job["error"]["message"].lower()
        assert job["error"]["hint"]
    finally:
        archive.start()
    page.get_by_role("button", name="Show stars").click()
    expect(done).to_be_visible(timeout=60_000)


def open_view(page: Page, platform: RunningPlatform, button: str) -> None:
    """Open a view of the faulty AVI from its page in the catalogue and wait until it is drawn."""
    page.goto(f"{platform.portal}avis/gavip/faulty")
    page.get_by_role("button", name=button, exact=True).first.click()
    page.wait_for_url(re.compile(r"http://avi-[0-9a-f]{32}\."), timeout=60_000)
    expect(page.locator("body[aria-busy=false]")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_killed_interface_kernel_says_so_and_starts_again(
    page: Page, platform: RunningPlatform, shot: Callable[[Page, str], None], scheme: Any
) -> None:
    page.emulate_media(color_scheme=scheme)
    open_view(page, platform, "Open")
    kill = page.get_by_role("button", name="Kill the kernel")
    kill.click()
    alert = page.get_by_role("alert").filter(has_text="kernel stopped")
    expect(alert).to_be_visible(timeout=8_000)
    expect(alert).to_contain_text("Your files and jobs are kept")
    shot(page, "dead-kernel")
    alert.get_by_role("button", name="Start again").click()
    expect(alert).to_have_count(0)
    expect(kill).to_be_visible(timeout=30_000)
    # the new kernel is connected: what happens to it is seen, too
    kill.click()
    expect(alert).to_be_visible(timeout=8_000)


def test_a_kernel_that_dies_while_the_page_is_made_says_so_once(
    page: Page, platform: RunningPlatform, shot: Callable[[Page, str], None]
) -> None:
    open_view(page, platform, "Open Dies")
    alert = page.get_by_role("alert")
    expect(alert.filter(has_text="kernel stopped")).to_be_visible(timeout=8_000)
    expect(alert).to_have_count(1)
    shot(page, "dies")


def test_a_stopped_avi_says_so_and_leads_to_the_catalogue(
    page: Page, platform: RunningPlatform, shot: Callable[[Page, str], None]
) -> None:
    open_view(page, platform, "Open")
    portal = page.context.new_page()
    portal.goto(platform.portal)
    for instance in api(portal, platform, "GET", "instances")["body"]:
        api(portal, platform, "DELETE", f"instances/{instance['id']}")
    alert = page.get_by_role("alert").filter(has_text="This AVI was stopped")
    expect(alert).to_be_visible(timeout=15_000)
    shot(page, "stopped")
    alert.get_by_role("link", name="Open the catalogue").click()
    page.wait_for_url(f"{platform.portal}**")


def test_a_view_that_raises_shows_a_message_not_a_traceback(
    page: Page, platform: RunningPlatform, shot: Callable[[Page, str], None]
) -> None:
    open_view(page, platform, "Open Broken")
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("this view cannot be drawn")
    expect(alert).to_contain_text("Reload the page")
    assert "Traceback" not in page.locator("body").inner_text()
    shot(page, "broken-view")


def test_the_platform_still_works(page: Page, platform: RunningPlatform) -> None:
    """Run last in this module: after all of the above, an ordinary job succeeds."""
    job = run_and_read(page, platform, "queries")
    assert job["state"] == "succeeded", job["error"]
    assert httpx.get(f"{platform.facts.hub_api}/", trust_env=False).status_code == 200
