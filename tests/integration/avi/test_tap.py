from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from avi.connectors import tap
from avi.errors import ArchiveUnavailable, QueryError
from tests.integration.avi.conftest import clean_environ

pytestmark = pytest.mark.integration

CONE = "SELECT TOP 5 * FROM gaiadr3.gaia_source WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), CIRCLE('ICRS', 10, 5, 1))"
"""Answered by the stub with made-up stars."""


def seen(archive: str) -> dict[str, list[str]]:
    with urllib.request.urlopen(archive.replace("/tap", "/seen"), timeout=10) as answer:
        return json.load(answer)


def test_sync(archive):
    table = tap(archive).query(CONE)
    assert len(table) == 900
    assert table.meta["overflow"] is False
    assert table["parallax"].mask.any()


def test_async_tells_its_progress_and_tidies_up(archive):
    before = len(seen(archive)["deleted"])
    words = []
    table = tap(archive).run(CONE, on_progress=lambda said, seconds: words.append(said))
    assert len(table) == 900
    assert "The archive is searching" in words
    now = seen(archive)
    assert len(now["deleted"]) == before + 1
    assert now["jobs"] == []


def test_a_stopped_query_is_deleted_at_the_archive(archive):
    assert tap(archive).run(CONE, should_stop=lambda: True) is None
    assert seen(archive)["jobs"] == []


def test_an_interrupted_process_deletes_its_job(archive, start):
    stop = "should_stop=lambda: print('asked', flush=True)"
    code = f"import avi; avi.connectors.tap({archive!r}).run({CONE!r}, {stop})"
    # the stub answers after 0.3 s: the interrupt comes while the job runs
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=clean_environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout.readline() == b"asked\n"
        os.kill(process.pid, signal.SIGINT)
        process.wait(20)
    limit = time.monotonic() + 5
    while seen(archive)["jobs"]:
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.mark.parametrize("how", ["query", "run"])
def test_a_syntax_error_carries_the_services_words_and_a_hint(archive, how):
    with pytest.raises(QueryError) as caught:
        getattr(tap(archive), how)("SELEC 1 FROM gaiadr3.gaia_sourc")
    assert "Encountered SELEC at line 1" in caught.value.message
    assert caught.value.hint == "Did you mean the table gaiadr3.gaia_source?"


@pytest.mark.parametrize("how", ["query", "run"])
@pytest.mark.parametrize("down", ["refused", "503"])
def test_an_archive_that_is_down_is_said_to_be_down(archive, how, down):
    url = "http://127.0.0.1:9/tap" if down == "refused" else archive
    with pytest.raises(ArchiveUnavailable) as caught:
        getattr(tap(url), how)("SELECT down")
    assert url in caught.value.message
    assert caught.value.hint
    assert caught.value.__cause__ is None
