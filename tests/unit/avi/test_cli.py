from __future__ import annotations

import pytest
from click.testing import CliRunner

from avi.cli import main


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["run", "--help"], ["double", "Double it"], id="pipelines"),
        pytest.param(
            ["run", "double", "--help"], ["--x", "[deg]", "default: 2", "[a|b]"], id="options"
        ),
        pytest.param(["run", "double", "--x", "much"], ["not a valid float"], id="type"),
        pytest.param(["run", "nope"], ["No such command"], id="unknown"),
        pytest.param(["run", "other"], ["Missing option '--y'"], id="required"),
    ],
)
def test_options_come_from_the_manifest(release, args, words):
    result = CliRunner().invoke(main, args)
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output


def test_no_manifest_is_one_clear_message(tmp_path, monkeypatch, release):
    (release / "avi.yaml").unlink()
    result = CliRunner().invoke(main, ["run", "double"])
    assert result.exit_code == 1
    assert "avi.yaml" in result.output


def test_a_product_is_not_overwritten(release):
    (release / "out").mkdir()
    (release / "out" / "result.json").write_text("{}")
    result = CliRunner().invoke(main, ["run", "double", "--output", "out"])
    assert result.exit_code == 1
    assert "already" in result.output
