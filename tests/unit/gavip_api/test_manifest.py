"""avi.yaml: what is accepted, and that each fault is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gavip_api.manifest import MAX_MANIFEST_BYTES, InvalidManifest, load

GOOD = """\
avi: 1
name: demo
title: Demo
interface: app.ipynb
pipelines:
  hr-diagram:
    title: HR diagram
    notebook: pipelines/hr.ipynb
    parameters:
      ra: {type: number, minimum: 0, maximum: 360, unit: deg, default: 56.75}
      rows: {type: integer, default: 1000}
    resources: {memory: "512M + 2K * rows", cpu: 1, time: 1h}
"""


def test_a_good_manifest() -> None:
    manifest = load(GOOD)
    pipeline = manifest.pipelines["hr-diagram"]
    assert manifest.name == "demo"
    assert pipeline.parameters["ra"].unit == "deg"
    assert pipeline.parameters["ra"].default == 56.75


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        pytest.param(GOOD.replace("avi: 1", "avi: 2"), 1, "avi", id="unknown-version"),
        pytest.param(GOOD.replace("name: demo", "name: De mo"), 2, "name", id="bad-name"),
        pytest.param(GOOD.replace("title: Demo\n", ""), 1, "`title` is missing", id="missing"),
        pytest.param(
            GOOD.replace("interface:", "interfce:"), 4, "did you mean `interface`", id="typo"
        ),
        pytest.param(
            GOOD.replace("app.ipynb", "../../etc/passwd"), 4, "stay inside", id="path-leaves"
        ),
        pytest.param(GOOD.replace("app.ipynb", "/etc/passwd"), 4, "relative", id="absolute-path"),
        pytest.param(GOOD.replace("      ra:", "      2ra:"), 9, "identifier", id="not-identifier"),
        pytest.param(GOOD.replace("      ra:", "      lambda:"), 9, "reserved", id="keyword"),
        pytest.param(GOOD.replace("default: 56.75", "default: 400"), 10, "default", id="default"),
        pytest.param(GOOD.replace("type: number", "type: object"), 10, "type", id="bad-type"),
        pytest.param(GOOD.replace("* rows", "* row"), 6, "cannot be computed", id="expression"),
        pytest.param(
            GOOD.replace("* rows", "* __import__('os')"), 6, "cannot be computed", id="hostile"
        ),
        pytest.param(GOOD.replace("time: 1h", "time: soon"), 12, "duration", id="duration"),
        pytest.param(GOOD + "name: again\n", 13, "twice", id="duplicate-key"),
        pytest.param("a: &x [1]\nb: *x\n", 2, "aliases", id="alias"),
        pytest.param("a: [1", 1, "YAML", id="not-yaml"),
        pytest.param("- 1\n", 1, "mapping", id="not-mapping"),
        pytest.param("", 1, "mapping", id="empty"),
        pytest.param("avi: 1\nname: x\ntitle: X\n", 1, "at least one", id="nothing-to-run"),
        pytest.param(
            GOOD.replace("notebook: ", "spec: x.yaml\n    notebook: "), 6, "exactly one", id="two"
        ),
        pytest.param("!!python/object/apply:os.system [id]", 1, "YAML", id="python-tag"),
        pytest.param(b"\xff\xfe", 1, "UTF-8", id="not-utf8"),
        pytest.param("x" * (MAX_MANIFEST_BYTES + 1), 1, "longer", id="too-long"),
    ],
)
def test_a_fault_names_line_and_cause(text: str | bytes, line: int, part: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        load(text)
    assert any(f.line == line and part in str(f) for f in caught.value.faults), caught.value.message
    assert "Traceback" not in caught.value.message


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidManifest) as caught:
        load(
            GOOD.replace("avi: 1", "avi: 7")
            .replace("app.ipynb", "../x")
            .replace("title: Demo", "title: ''")
        )
    assert {f.where for f in caught.value.faults} == {"avi", "interface", "title"}


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_any_input_is_a_manifest_or_a_clear_fault(text: str | bytes) -> None:
    try:
        load(text)
    except InvalidManifest as e:
        assert e.faults
        assert all(f.line >= 1 and f.message for f in e.faults)


@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).resolve().parents[3] / "examples").glob("*/avi.yaml")),
    ids=lambda p: p.parent.name,
)
def test_our_examples_are_valid(path: Path) -> None:
    assert load(path.read_bytes()).name == path.parent.name
