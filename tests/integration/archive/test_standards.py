"""STILTS taplint's verdict, and the documents a browser or a registry reads."""

import os
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest
import requests

pytestmark = pytest.mark.integration


@pytest.mark.stilts
def test_taplint_has_nothing_to_complain_of(service):
    stilts = shutil.which("stilts")
    if stilts is None:
        pytest.skip("STILTS is not installed")
    done = subprocess.run(
        [stilts, "taplint", f"tapurl={service.url}"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "JAVA_TOOL_OPTIONS": ""},
    )
    totals = re.search(r"Totals: Errors: (\d+); Warnings: (\d+);.*Failures: (\d+)", done.stdout)
    assert totals, done.stdout + done.stderr
    complaints = [line for line in done.stdout.splitlines() if re.match(r"[EWF]-", line)]
    assert (int(totals[1]), int(totals[2])) == (0, 0), "\n".join(complaints)
    # a failure is a stage that does not apply: there is no observation plan (ObsLocTAP) in a catalogue
    assert [line for line in complaints if not line.startswith("F-LOC-NOTP")] == []
    assert "Section EXA" in done.stdout


def test_examples_page_is_xhtml_with_rdfa(service):
    answer = requests.get(f"{service.url}/examples", timeout=5)
    assert answer.headers["Content-Type"].startswith("application/xhtml+xml")
    root = ElementTree.fromstring(answer.content)
    examples = [element for element in root.iter() if element.get("typeof") == "example"]
    assert len(examples) >= 5
    for example in examples:
        assert example.get("resource") == f"#{example.get('id')}"
        assert {"name", "query"} <= {child.get("property") for child in example.iter()}


def test_people_find_the_page_from_the_root(service):
    answer = requests.get(service.url.removesuffix("/tap"), timeout=5)
    assert answer.url == f"{service.url}/examples"


def test_tables_with_and_without_columns(service):
    full = requests.get(f"{service.url}/tables", timeout=5)
    brief = requests.get(f"{service.url}/tables", params={"detail": "min"}, timeout=5)
    one = requests.get(f"{service.url}/tables/gaiadr3.gaia_source", timeout=5)
    assert full.text.count("<column") > 100
    assert brief.text.count("<column") == 0
    assert brief.text.count("<table") == full.text.count("<table")
    assert one.text.count("<name>parallax</name>") == 1


def test_capabilities_name_what_is_there(service):
    text = requests.get(f"{service.url}/capabilities", timeout=5).text
    for standard in (
        "ivo://ivoa.net/std/TAP",
        "VOSI#tables",
        "VOSI#availability",
        "upload-inline",
        "features-adqlgeo",
    ):
        assert standard in text


def test_unlisted_upload_addresses_are_not_fetched(service):
    answer = service.sync("SELECT * FROM TAP_UPLOAD.t", UPLOAD=f"t,{service.url}/availability")
    assert answer.status_code == 400
    assert "does not fetch" in answer.text


def test_listed_upload_addresses_are_fetched(own_service, service):
    mine = own_service(f"--ArchiveApp.upload_urls={service.url}/")
    source = f"{service.url}/sync?LANG=ADQL&QUERY=SELECT+TOP+3+hip+FROM+hipparcos.hipparcos2"
    answer = mine.sync(
        "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t", UPLOAD=f"t,{source}", RESPONSEFORMAT="csv"
    )
    assert answer.text.splitlines() == ["n", "3"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/sync"), ("DELETE", "/async"), ("POST", "/capabilities"), ("PATCH", "/tables")],
)
def test_other_methods_are_refused_in_words(service, method, path):
    answer = requests.request(method, f"{service.url}{path}", timeout=5)
    assert answer.status_code == 405
    assert "does not take that method" in answer.text


def test_the_csv_export_holds_every_row(archive_database, tmp_path):
    import sys

    target = tmp_path / "gaia.csv"
    command = [
        sys.executable,
        "-m",
        "gavip_archive",
        "export-csv",
        "--db",
        str(archive_database),
        "--output",
        str(target),
    ]
    assert subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    with target.open() as file:
        assert file.readline().startswith("source_id,ra,dec,parallax")
        assert sum(1 for _ in file) == 482_106
