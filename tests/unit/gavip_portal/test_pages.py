"""Templates and built assets."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from gavip_api.errors import NotFound, Unavailable
from gavip_portal.pages import Assets, HubPageLoader, Pages


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages("/services/portal/", "http://gavip.localhost:8000/hub/", Assets(tmp_path))


def test_hub_page_has_exactly_one_inline_script_and_we_take_it_out(
    pages: Pages, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails when a new JupyterHub changes its page template: look at what its new scripts do."""
    source, *_ = HubPageLoader().get_source(pages._env, "hub/page.html")
    assert re.findall(r"<script(?![^>]*src=)", source) == []
    assert caplog.text == ""


@pytest.mark.parametrize("signed_in", [True, False])
def test_error_page(pages: Pages, signed_in: bool) -> None:
    text = pages.render(
        "error.html",
        error=NotFound("<b>gone</b>", hint="Look & see"),
        user={"name": "<ada>"} if signed_in else None,
        request_id="r1",
    )
    assert "&lt;b&gt;gone&lt;/b&gt;" in text
    assert "Look &amp; see" in text
    assert ("&lt;ada&gt;" in text) is signed_in
    assert 'href="http://gavip.localhost:8000/hub/log' in text


def test_retry_is_offered_when_it_can_help(pages: Pages) -> None:
    temporary = pages.render("error.html", error=Unavailable("x"), user=None, request_id="r")
    final = pages.render("error.html", error=NotFound("x"), user=None, request_id="r")
    assert ("Retry" in temporary, "Retry" in final) == (True, False)


def test_new_build_is_noticed(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    assert assets.file("portal.js") is None
    manifest = tmp_path / "manifest.json"
    for number in (1, 2):
        manifest.write_text(json.dumps({"portal.js": f"portal-{number}.js"}))
        os.utime(manifest, ns=(number, number))
        assert assets.file("portal.js") == f"portal-{number}.js"
