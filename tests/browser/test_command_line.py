"""The `gavip` command against a running platform: a token from the hub, then jobs and why they wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.conftest import sign_in
from tests.support.running import RunningPlatform

pytestmark = pytest.mark.browser


def test_jobs_from_the_command_line(
    context: BrowserContext, platform: RunningPlatform, tmp_path: Path
) -> None:
    page = context.new_page()
    sign_in(page, platform)
    page.goto(f"{platform.url}/hub/token")
    page.get_by_role("button", name="Request new API token").click()
    shown = page.locator("#token-result")
    expect(shown).to_have_text(re.compile("^[0-9a-f]{20,}$"))
    token = shown.inner_text().strip()
    environment = os.environ | {
        "GAVIP_URL": f"{platform.portal}api/v1",
        "GAVIP_TOKEN": token,
        "XDG_CACHE_HOME": str(tmp_path),
    }

    def gavip(*argv: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "gavip"), *argv],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def facts(*argv: str) -> Any:
        return json.loads(gavip(*argv, "--json"))

    assert facts("users", "me")["name"] == "alice"
    assert "gavidav" in gavip("avis", "list")
    refused = gavip("jobs", "create", "--avi", "gavip/gavidav", "--pipeline", "hr-diagram", code=1)
    assert "needs your permission to query the Gaia archive in your name" in refused
    assert "gavip avis permissions-set" in refused
    asked = facts("avis", "permissions", "gavip", "gavidav")["asked"]
    granted = facts(
        "avis", "permissions-set", "gavip", "gavidav", "--permissions", json.dumps(asked)
    )
    assert granted["granted"] == asked
    assert "gavip/gavidav" in gavip("permissions", "list")
    ids = [
        facts("jobs", "create", "--avi", "gavip/gavidav", "--pipeline", "hr-diagram",
              "--parameters", json.dumps({"radius": 1 + i}))["id"]
        for i in range(3)
    ]  # fmt: skip
    last = facts("jobs", "show", ids[-1])
    assert last["state"] == "queued"
    assert last["waiting"]["reason"]
    assert last["position"] >= 1
    deadline = time.monotonic() + 120
    while facts("jobs", "show", ids[0])["state"] in {"queued", "starting", "running"}:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert facts("jobs", "show", ids[0])["state"] == "succeeded"
    assert facts("jobs", "cancel", ids[-1])["state"] in {"cancelled", "running", "succeeded"}
    assert "succeeded" in gavip("jobs", "list")
    assert "max" in gavip(
        "jobs", "create", "--avi", "gavip/gavidav", "--pipeline", "hr-diagram",
        "--parameters", '{"radius": 99}', code=1,
    )  # fmt: skip
    assert facts("avis", "permissions-delete", "gavip", "gavidav")["stopping"] == 0
    assert facts("permissions", "list") == []
