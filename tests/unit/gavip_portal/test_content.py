"""Pure parts: forms, Markdown, notebooks, HTTP headers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gavip_api.enums import ViewKind
from gavip_api.errors import InvalidInput
from gavip_api.manifest import Manifest, PipelineSpec
from gavip_api.parameters import ParameterSpec
from gavip_portal.handlers.api_files import disposition, parse_range
from gavip_portal.services.forms import form_fields, rule_text
from gavip_portal.services.markdown import render
from gavip_portal.services.notebooks import make_view, notebook_title, view_notebooks
from gavip_portal.services.publishing import check_version


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        pytest.param("bytes=0-9", (0, 10), id="first"),
        pytest.param("bytes=90-", (90, 100), id="open"),
        pytest.param("bytes=-5", (95, 100), id="suffix"),
        pytest.param("bytes=-500", (0, 100), id="long suffix"),
        pytest.param("bytes=90-900", (90, 100), id="beyond the end"),
        pytest.param("bytes=100-", "unsatisfiable", id="after the end"),
        pytest.param("bytes=-0", "unsatisfiable", id="empty suffix"),
        pytest.param("bytes=9-3", None, id="reversed"),
        pytest.param("bytes=0-1,5-6", None, id="two ranges"),
        pytest.param("bytes=-", None, id="nothing"),
        pytest.param("items=0-1", None, id="other unit"),
    ],
)
def test_parse_range(header: str, answer: Any) -> None:
    assert parse_range(header, 100) == answer


@given(st.text(), st.integers(min_value=0, max_value=10**12))
def test_parse_range_never_leaves_the_file(header: str, size: int) -> None:
    part = parse_range(f"bytes={header}", size)
    if isinstance(part, tuple):
        assert 0 <= part[0] < part[1] <= size


@given(st.text(min_size=1))
def test_disposition_is_one_header_line(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    value = disposition(name, inline=False)
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2


@pytest.mark.parametrize(
    "source",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](data:text/html;base64,xxx)",
        "[x](vbscript:x)",
        "![x](https://tracker.example/p.png)",
        '<a href="https://x" style="position:fixed">x</a>',
        "[x]: javascript:alert(1)\n[x]",
        '<https://x.example/"onmouseover=alert(1)>',
    ],
)
def test_markdown_makes_nothing_active(source: str) -> None:
    html = str(render(source)).lower()
    for bad in ("<script", "<img", "<style", 'href="javascript', 'href="data', 'href="vbscript'):
        assert bad not in html
    assert " onmouseover=" not in html.replace("&quot;", "")


def test_markdown_headings_go_below_those_of_the_page() -> None:
    assert "<h3>Top</h3>" in render("# Top")


def notebook(*sources: Any, kind: str = "markdown") -> bytes:
    return json.dumps({"cells": [{"cell_type": kind, "source": s} for s in sources]}).encode()


@pytest.mark.parametrize(
    ("content", "title"),
    [
        pytest.param(notebook("# Plain"), "Plain", id="text"),
        pytest.param(
            notebook(["intro\n", "# A **bold** [link](http://x) `c` #"]),
            "A bold link c",
            id="list",
        ),
        pytest.param(notebook("no heading", "# Second"), "Second", id="later cell"),
        pytest.param(notebook("# comment", kind="code"), None, id="code"),
        pytest.param(notebook("## Part", "# Title"), None, id="part first"),
        pytest.param(b'{"metadata": {"title": " Given "}, "cells": []}', "Given", id="metadata"),
        pytest.param(notebook(), None, id="empty"),
    ],
)
def test_notebook_title(content: bytes, title: str | None) -> None:
    assert notebook_title(content) == title


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cells": 3}', b'{"cells": [1]}', b"\xff"])
def test_what_is_no_notebook_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a Jupyter notebook"):
        notebook_title(content)


def test_views_are_found_by_name() -> None:
    manifest = Manifest.model_validate(
        {"avi": 1, "name": "x", "title": "X", "interface": "app.ipynb", "outreach": "o.ipynb"}
    )
    paths = frozenset({"app.ipynb", "o.ipynb", "d/dashboard_b.ipynb", "dashboard_a.ipynb", "a.py"})
    assert view_notebooks(manifest, paths) == [
        (ViewKind.INTERFACE, "app.ipynb"),
        (ViewKind.OUTREACH, "o.ipynb"),
        (ViewKind.DASHBOARD, "d/dashboard_b.ipynb"),
        (ViewKind.DASHBOARD, "dashboard_a.ipynb"),
    ]


def test_view_names_are_unique() -> None:
    taken: set[str] = set()
    names = [
        make_view(ViewKind.DASHBOARD, p, None, "X", taken).name
        for p in ("a/d_x.ipynb", "b/D x.ipynb")
    ]
    assert names == ["d-x", "d-x-2"]


@pytest.mark.parametrize(
    ("kind", "title", "shown"),
    [
        pytest.param(ViewKind.INTERFACE, None, "The AVI", id="interface"),
        pytest.param(ViewKind.INTERFACE, "Own", "Own", id="own title"),
        pytest.param(ViewKind.DASHBOARD, None, "Sky map", id="dashboard"),
    ],
)
def test_view_titles(kind: ViewKind, title: str | None, shown: str) -> None:
    assert make_view(kind, "dashboard_sky_map.ipynb", title, "The AVI", set()).title == shown


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        pytest.param(
            {"type": "number", "minimum": 0, "maximum": 360, "unit": "deg"},
            "0 to 360 deg.",
            id="range",
        ),
        pytest.param(
            {"type": "integer", "minimum": 1, "default": 5},
            "Whole number, at least 1, default 5.",
            id="integer",
        ),
        pytest.param(
            {"type": "number", "exclusiveMinimum": 0, "maximum": 10.0},
            "Above 0, at most 10.",
            id="above",
        ),
        pytest.param({"type": "string", "maxLength": 8}, "At most 8 characters.", id="string"),
        pytest.param({"type": "boolean", "default": True}, "", id="boolean"),
    ],
)
def test_rule_text(spec: dict[str, Any], text: str) -> None:
    assert rule_text(ParameterSpec.model_validate(spec)) == text


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        pytest.param("Worse ones are left out", "Worse ones are left out.", id="no-stop"),
        pytest.param("Really?", "Really?", id="question"),
        pytest.param("", "", id="none"),
    ],
)
def test_the_help_of_a_field_is_a_sentence(description: str, shown: str) -> None:
    spec = PipelineSpec.model_validate(
        {
            "title": "T",
            "notebook": "n.ipynb",
            "parameters": {"x": {"type": "number", "default": 1, "description": description}},
        }
    )
    assert [field.help for field in form_fields("p", spec)] == [shown]


def test_form_takes_values_of_an_earlier_job() -> None:
    spec = PipelineSpec.model_validate(
        {
            "notebook": "x.ipynb",
            "parameters": {
                "ra": {"type": "number", "default": 1.5},
                "map": {"type": "string", "enum": ["a", "b"], "default": "a"},
                "flag": {"type": "boolean", "default": False},
                "rows": {"type": "integer"},
            },
        }
    )
    fields = {
        f.name: f for f in form_fields("p", spec, {"ra": 7.25, "map": "b", "flag": True, "gone": 1})
    }
    assert fields["ra"].text == "7.25"
    assert [c.selected for c in fields["map"].choices] == [False, True]
    assert fields["flag"].checked
    assert fields["rows"].required
    assert not fields["ra"].required
    assert list(fields) == ["ra", "map", "flag", "rows"]


@pytest.mark.parametrize(
    "version", ["1", "1.0", "01.0.0", "1.0.0-rc1", "v1.0.0", "1.0.0\n", "-1.0.0"]
)
def test_versions_that_are_none(version: str) -> None:
    with pytest.raises(InvalidInput):
        check_version(version)
