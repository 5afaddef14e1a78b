from __future__ import annotations

import json

import pytest

import avi
from avi import pipelines, surroundings
from avi.errors import InvalidInput, NotFound, UnknownParameter
from gavip_api import environment as env
from gavip_api.enums import Mode


def test_manifest_is_found_from_a_folder_below(release, monkeypatch):
    (release / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(release / "a" / "b")
    assert surroundings.context().manifest.name == "tiny"


def test_without_a_manifest_the_error_says_what_to_do(tmp_path):
    ctx = surroundings.read({}, tmp_path / "nowhere")
    if ctx.release_dir is None:
        with pytest.raises(NotFound) as caught:
            ctx.manifest  # noqa: B018
        assert "avi.yaml" in caught.value.message
        assert caught.value.hint


def test_unknown_mode_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="not a mode"):
        surroundings.read({env.MODE: "nonsense"}, tmp_path)


def test_release_dir_wins_over_the_working_folder(release, tmp_path):
    ctx = surroundings.read({env.RELEASE_DIR: "/elsewhere"}, release)
    assert str(ctx.release_dir) == "/elsewhere"


def test_archive_of_the_platform_wins_over_esa(tmp_path):
    assert surroundings.read({}, tmp_path).archive_url == surroundings.ESA_ARCHIVE
    assert (
        surroundings.read({env.ARCHIVE_URL: "http://x/tap"}, tmp_path).archive_url == "http://x/tap"
    )


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        pytest.param("interface", "Portal", id="application"),
        pytest.param("", "LocalJobs", id="author's JupyterLab on a platform"),
    ],
)
def test_where_jobs_of_this_code_run(release, mode, kind):
    environ = {env.API_URL: "http://portal/api/v1", env.API_TOKEN: "t", env.MODE: mode}
    ctx = surroundings.read(environ, release)
    assert ctx.api == ("http://portal/api/v1", "t")
    assert type(pipelines.service(ctx)).__name__ == kind


def test_defaults_are_the_values_in_standalone_mode(release):
    assert avi.params("double") == {"x": 2, "word": "a", "fast": True}
    assert avi.param("x") == 2
    assert avi.param("y") is None


def test_values_of_the_job_win_in_pipeline_mode(release, monkeypatch):
    (release / "p.json").write_text(json.dumps({"x": 7, "smuggled": 1}))
    for name, value in {
        env.MODE: "pipeline",
        env.PIPELINE: "double",
        env.PARAMETERS_FILE: str(release / "p.json"),
    }.items():
        monkeypatch.setenv(name, value)
    surroundings.reset()
    assert surroundings.context().mode is Mode.PIPELINE
    assert avi.params() == {"x": 7, "word": "a", "fast": True}
    with pytest.raises(UnknownParameter) as caught:
        avi.param("smuggled")
    assert "x, word, fast" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{", "not JSON", id="broken"),
        pytest.param('{"x": NaN}', "not JSON", id="nan"),
        pytest.param("[1]", "object", id="list"),
        pytest.param("", "not JSON", id="empty"),
        pytest.param('"' + "x" * (2 << 20) + '"', "too large", id="huge"),
    ],
)
def test_a_bad_parameters_file_is_explained(tmp_path, text, why):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=why):
        surroundings.read_parameters(path)


def test_user_in_standalone_mode_is_a_developer(release, monkeypatch):
    monkeypatch.setattr("avi.people._known", None)
    assert [str(r) for r in avi.user().roles] == ["developer"]


def test_user_comes_from_the_environment(release, monkeypatch):
    monkeypatch.setattr("avi.people._known", None)
    monkeypatch.setenv(env.USER, '{"name": "ada", "roles": ["outreach"]}')
    surroundings.reset()
    profile = avi.user()
    assert (profile.name, [str(r) for r in profile.roles]) == ("ada", ["outreach"])


@pytest.mark.parametrize(("done", "total"), [(-1, 1), (1, 0), (float("nan"), 1), (1, float("inf"))])
def test_progress_refuses_nonsense(done, total):
    with pytest.raises(ValueError, match="finite"):
        avi.progress(done, total)


def test_progress_prints_without_a_kernel(capsys):
    avi.progress(1, 4, "reading")
    assert capsys.readouterr().out == " 25% reading\n"
