"""Parameters, uploads and the addresses uploads may come from: all of it hostile until checked."""

from datetime import datetime, timezone

import numpy as np
import pytest

from gavip_archive.engine.uploads import read_votable
from gavip_archive.engine.worker import StopRequest
from gavip_archive.errors import ParameterError, UploadError
from gavip_archive.fetch import UploadFetcher
from gavip_archive.limits import Limits
from gavip_archive.params import job_parameters, read_query, read_time, read_whole
from gavip_archive.web.base import Archive, without_preamble

GOOD = [("LANG", "ADQL"), ("QUERY", "SELECT 1")]


def test_parameters_are_read_without_case():
    found = read_query(
        [
            ("lang", "adql-2.0"),
            ("Query", "SELECT 1"),
            ("maxrec", "0"),
            ("RunId", "r"),
            ("REQUEST", "doQuery"),
        ]
    )
    assert (found.query, found.max_rows, found.run_id) == ("SELECT 1", 0, "r")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        pytest.param([("QUERY", "SELECT 1")], "LANG is missing", id="no-lang"),
        pytest.param([("LANG", "ADQL")], "QUERY is missing", id="no-query"),
        pytest.param([("LANG", "SQL"), ("QUERY", "x")], "language SQL", id="other-language"),
        pytest.param(
            [*GOOD, ("QUERY", "SELECT 2")], "QUERY is given more than once", id="two-queries"
        ),
        pytest.param([*GOOD, ("MAXREC", "-1")], "MAXREC", id="negative-maxrec"),
        pytest.param([*GOOD, ("MAXREC", "many")], "MAXREC", id="maxrec-text"),
        pytest.param([*GOOD, ("MAXREC", "9" * 40)], "MAXREC", id="maxrec-huge"),
        pytest.param([*GOOD, ("REQUEST", "getSecrets")], "REQUEST", id="request"),
        pytest.param([*GOOD, ("RESPONSEFORMAT", "exe")], "output format", id="format"),
        pytest.param([*GOOD, ("RUNID", "x" * 65)], "RUNID", id="runid"),
        pytest.param([*GOOD, ("UPLOAD", "t1")], "malformed", id="upload-without-uri"),
        pytest.param([*GOOD, ("UPLOAD", "t-1,param:x")], "cannot be the name", id="upload-name"),
        pytest.param([*GOOD, ("UPLOAD", "../x,param:x")], "cannot be the name", id="upload-path"),
        pytest.param([*GOOD, ("UPLOAD", "t,param:x;T,param:y")], "given twice", id="upload-twice"),
        pytest.param(
            [*GOOD, ("UPLOAD", "t,file:///etc/passwd")], "unsupported address", id="upload-file"
        ),
        pytest.param(
            [*GOOD, ("UPLOAD", ";".join(f"t{i},param:x" for i in range(9)))],
            "More than 8",
            id="upload-many",
        ),
    ],
)
def test_unusable_parameters(pairs, message):
    with pytest.raises(ParameterError) as caught:
        read_query(pairs)
    assert message in caught.value.message


def test_job_parameters_keep_what_tap_knows_and_join_uploads():
    pairs = [
        ("phase", "RUN"),
        ("query", "q"),
        ("upload", "a,param:a"),
        ("UPLOAD", "b,param:b"),
        ("evil", "x"),
    ]
    assert job_parameters(pairs) == [("QUERY", "q"), ("UPLOAD", "a,param:a;b,param:b")]


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-31T23:59:59Z",
        "2026-12-31T23:59:59",
        "2026-12-31T23:59:59.000Z",
        "2027-01-01T00:59:59+01:00",
    ],
)
def test_times_are_utc(text):
    assert read_time(text, "T") == datetime(2026, 12, 31, 23, 59, 59, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["tomorrow", "", "2026-13-01T00:00:00Z"])
def test_no_times(text):
    with pytest.raises(ParameterError):
        read_time(text, "T")


@pytest.mark.parametrize("text", ["", "1.5", "1e3", "９", "0x10", "9" * 30])
def test_no_whole_numbers(text):
    with pytest.raises(ParameterError):
        read_whole(text, "N")


ALLOWED = ["https://data.example.org/tables/", "http://127.0.0.1:8081"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        pytest.param("https://data.example.org/tables/a.vot", True, id="below-the-prefix"),
        pytest.param(
            "https://DATA.example.org:443/tables/a.vot", True, id="same-origin-spelled-otherwise"
        ),
        pytest.param("http://127.0.0.1:8081/anything", True, id="whole-origin"),
        pytest.param("http://data.example.org/tables/a.vot", False, id="other-scheme"),
        pytest.param("https://data.example.org/other/a.vot", False, id="other-path"),
        pytest.param("https://data.example.org/tables-private/a", False, id="prefix-of-a-name"),
        pytest.param("https://data.example.org/tables/../other/a", False, id="dots"),
        pytest.param("https://data.example.org/tables/%2e%2e/other/a", False, id="encoded-dots"),
        pytest.param("https://data.example.org@evil.test/tables/a", False, id="userinfo-trick"),
        pytest.param("https://u:p@data.example.org/tables/a", False, id="credentials"),
        pytest.param("https://data.example.org.evil.test/tables/a", False, id="suffix"),
        pytest.param("http://127.0.0.1:8082/", False, id="other-port"),
        pytest.param("http://169.254.169.254/latest/meta-data", False, id="cloud-metadata"),
        pytest.param("http://[::1", False, id="malformed"),
    ],
)
def test_only_listed_addresses_are_fetched(url, allowed):
    fetcher = UploadFetcher(ALLOWED, Limits())
    if allowed:
        fetcher.check(url)
    else:
        with pytest.raises(UploadError):
            fetcher.check(url)


async def test_nothing_is_fetched_by_default():
    with pytest.raises(UploadError) as caught:
        await UploadFetcher([], Limits()).fetch("https://data.example.org/a.vot")
    assert "does not fetch" in caught.value.message


def votable(fields, rows="", extra=""):
    return (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>'
        f"{fields}<DATA>{extra or f'<TABLEDATA>{rows}</TABLEDATA>'}</DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


def test_an_upload_is_read_with_its_metadata():
    content = votable(
        '<FIELD name="N" datatype="int" unit="s"/><FIELD name="t" datatype="char" arraysize="*" xtype="timestamp"/>'
        '<FIELD name="x" datatype="double"/>',
        "<TR><TD>1</TD><TD>2020-01-01T00:00:00</TD><TD>NaN</TD></TR><TR><TD></TD><TD></TD><TD>2.5</TD></TR>",
    )
    upload = read_votable("t1", content, Limits())
    assert [(c.name, c.datatype, c.unit, c.xtype) for c in upload.table.columns] == [
        ("N", "int", "s", None),
        ("t", "char", None, "timestamp"),
        ("x", "double", None, None),
    ]
    assert [np.ma.getmaskarray(column).tolist() for column in upload.columns] == [
        [False, True],
        [False, True],
        [True, False],
    ]


FIELD = '<FIELD name="a" datatype="int"/>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"not xml", "well-formed", id="no-xml"),
        pytest.param(b"<html/>", "not a readable VOTable", id="other-xml"),
        pytest.param(b'<!DOCTYPE x [<!ENTITY e "e">]><VOTABLE/>', "well-formed", id="entities"),
        pytest.param(
            votable(FIELD, extra='<BINARY2><STREAM href="file:///etc/passwd"/></BINARY2>'),
            "external",
            id="stream-file",
        ),
        pytest.param(
            votable(FIELD, extra='<FITS><STREAM href="http://169.254.169.254/"/></FITS>'),
            "external",
            id="stream-http",
        ),
        pytest.param(
            votable(FIELD + FIELD.replace('"a"', '"A"'), ""), "two columns", id="same-name"
        ),
        pytest.param(
            votable('<FIELD name="a" datatype="int" arraysize="3"/>'), "int[3]", id="array"
        ),
        pytest.param(
            votable('<FIELD name="a" datatype="doubleComplex"/>'), "doubleComplex", id="complex"
        ),
        pytest.param(votable(FIELD, "<TR><TD>1</TD></TR>" * 11), "more than 10 rows", id="rows"),
        pytest.param(b"<VOTABLE>" + b" " * 20_000 + b"</VOTABLE>", "larger than", id="bytes"),
    ],
)
def test_unusable_uploads(content, message):
    with pytest.raises(UploadError) as caught:
        read_votable("t1", content, Limits(upload_bytes=16_384, upload_rows=10))
    assert message in caught.value.message


def test_uploads_join_with_the_archive(worker, translator):
    content = votable(
        '<FIELD name="Star Id" datatype="long"/><FIELD name="Name" datatype="unicodeChar" arraysize="*"/>',
        "<TR><TD>1</TD><TD>α</TD></TR><TR><TD>2</TD><TD>b</TD></TR>",
    )
    upload = read_votable("t1", content, Limits())
    query = 'SELECT u.*, g.ra FROM TAP_UPLOAD.t1 AS u JOIN gaia_source AS g ON g.source_id = u."Star Id"'
    translation = translator.translate(query, limit=10, uploads={"t1": upload.table})
    result = worker.run(translation, {"t1": upload}, 10, StopRequest())
    assert [field.name for field in result.fields] == ["Star Id", "Name", "ra"]
    assert [field.datatype for field in result.fields] == ["long", "unicodeChar", "double"]
    assert result.row_count == 1


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        pytest.param(b"\r\n--<<<X>>>\r\na", b"--<<<X>>>\r\na", id="line-end"),
        pytest.param(b"--<<<X>>>\r\na", b"--<<<X>>>\r\na", id="none"),
        pytest.param(b"no boundary", b"no boundary", id="not-multipart-after-all"),
    ],
)
def test_preambles(body, kept):
    assert without_preamble(body, 'multipart/form-data; boundary="<<<X>>>"') == kept
    assert without_preamble(body, "application/x-www-form-urlencoded") == body


@pytest.mark.parametrize(
    ("host", "base"),
    [
        pytest.param("127.0.0.1:8090", "http://127.0.0.1:8090/tap", id="its own"),
        pytest.param("10.213.0.1:8099", "http://10.213.0.1:8099/tap", id="through the gateway"),
        pytest.param("evil.example", "http://127.0.0.1:8090/tap", id="a host nobody named"),
    ],
)
def test_links_follow_the_hosts_that_the_operator_named(host, base):
    nothing = dict.fromkeys(
        ("limits", "tableset", "queries", "jobs", "fetcher", "scratch", "list_jobs")
    )
    archive = Archive(
        base="http://127.0.0.1:8090/tap", others=("http://10.213.0.1:8099/tap",), **nothing
    )
    assert archive.seen_by(host).base == base
