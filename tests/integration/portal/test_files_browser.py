"""The page Files in a real browser: how full it is, and cleaning up; on real disks where there can be any."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from gavip_spawner.disks import UserDisks
from tests.integration.disks.conftest import why_no_disks
from tests.integration.portal.test_again_browser import shots
from tests.integration.portal.test_browser import chromium, expect, page, pytestmark, violations
from tests.support.portal_platform import Platform, fill

__all__ = ["chromium", "page", "pytestmark"]

MIB = 1 << 20


async def test_a_folder_is_deleted_after_asking(platform: Platform, page: Any) -> None:
    fill(platform)
    (platform.userspace("ada") / "old").mkdir()
    (platform.userspace("ada") / "old" / "f").touch()
    await page.goto(f"{platform.url}files")
    await expect(page.get_by_text("Space used, without a limit")).to_be_visible()
    await expect(page.get_by_role("meter")).to_have_count(0)
    await expect(page.get_by_role("button", name="Delete avis")).to_have_count(0)
    await page.get_by_role("button", name="Delete old").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("The folder old and everything in it goes for good.")
    assert await violations(page) == []
    await shots(page, "files-dialog")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Delete old")).to_be_focused()
    assert (platform.userspace("ada") / "old").is_dir()
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Delete the folder").click()
    await expect(page.get_by_role("link", name="old")).to_have_count(0)
    assert not (platform.userspace("ada") / "old").exists()


async def test_what_cannot_be_deleted_says_why(platform: Platform, page: Any) -> None:
    (platform.userspace("ada") / "mine").mkdir()
    await page.goto(f"{platform.url}files")
    await page.context.set_offline(True)
    await page.get_by_role("button", name="Delete mine").click()
    await page.get_by_role("button", name="Delete the folder").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.context.set_offline(False)
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_text("You have no files yet.")).to_be_visible()


def fill_up(path: Path) -> None:
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.tell() < 100 * MIB:
            file.write(b"x" * MIB)
    assert path.stat().st_size < 64 * MIB


@pytest.fixture
def disks(platform: Platform) -> Iterator[UserDisks]:
    """The disks of the platform; the portal mounts them by itself."""
    options = {"enabled": True, "quota": "64M", "home_quota": "32M", "reserve": "1M"}
    platform.app.config.merge(Config({"UserDisks": options}))
    platform.app.services.userspaces._disks = platform.app._disks()
    disks = platform.app._disks()
    assert disks.enabled
    yield disks
    assert disks.unmount_all() == []


@pytest.mark.disks
@pytest.mark.skipif(why_no_disks() != "", reason=why_no_disks() or "-")
async def test_meter_warning_full_and_the_way_out(
    platform: Platform, disks: UserDisks, page: Any
) -> None:
    await page.goto(f"{platform.url}files")
    meter = page.get_by_role("meter", name="Space used")
    await expect(meter).to_have_attribute("data-state", "normal")
    folder = disks.layout.userspace("ada")
    assert disks.usage("ada") is not None, "opening the page mounts the disk"
    await expect(page.get_by_text("lost+found")).to_have_count(0)
    await shots(page, "files-normal")
    (folder / "large").write_bytes(b"x" * 50 * MIB)
    os.sync()
    await page.reload()
    await expect(meter).to_have_attribute("data-state", "warning")
    await expect(page.get_by_text("Your user-space is nearly full.")).to_be_visible()
    assert await violations(page) == []
    await shots(page, "files-warning")
    fill_up(folder / "rest")
    await page.emulate_media(color_scheme="light")
    await page.reload()
    await expect(meter).to_have_attribute("data-state", "full")
    await expect(page.get_by_role("alert")).to_contain_text("Your user-space is full")
    assert await violations(page) == []
    await shots(page, "files-full")
    await page.set_viewport_size({"width": 1280, "height": 800})
    await page.get_by_role("button", name="Delete large").click()
    await expect(page.get_by_role("dialog")).to_contain_text("The file large (50.0 MiB) goes")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(meter).to_have_attribute("data-state", "normal")
    # after a reboot, too
    assert disks.release("ada")
    await page.reload()
    await expect(page.get_by_role("rowheader", name="rest")).to_be_visible()
