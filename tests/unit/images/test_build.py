"""What people read when images cannot be built, and what goes into a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import build, root
from images.catalogue import ROOT, Failed
from images.engine import digests, docker

BASE = "sha256:" + "0" * 64


def engine(folder: Path, script: str) -> None:
    """Put a program named docker into a folder: for failures that no real engine has on demand."""
    program = folder / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a search path with nothing on it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BASE_IMAGE", raising=False)
    return tmp_path


def test_a_tag_as_base_is_refused_before_anything_runs(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build.main(["--base-image", "debian:12"]) == 1
    assert "debian:12 is a tag" in capsys.readouterr().err


def test_an_unknown_image_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build.main(["avi-cobol"])
    assert left.value.code == 2
    assert "no such image: avi-cobol (there are avi-light," in capsys.readouterr().err


def test_without_an_engine_people_read_what_to_install(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for argv in ([], ["--base-image", BASE]):
        assert build.main(argv) == 1
        assert "apt-get install docker.io" in capsys.readouterr().err


def test_an_engine_that_does_not_answer_is_not_an_engine_without_images(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine(path, "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    assert build.main(["--base-image", BASE]) == 1
    told = capsys.readouterr().err
    assert "does not answer" in told
    assert "Cannot connect to the Docker daemon" in told


def test_a_failing_step_shows_what_it_said(path: Path) -> None:
    engine(path, "echo 'no space left on device' >&2; exit 7")
    with pytest.raises(Failed, match=r"`docker build` failed \(exit code 7\)\.\nno space left"):
        docker("build", ".", capture_output=True)


def test_digests_are_told_of_those_that_are_there(path: Path) -> None:
    image = (
        '{"Config": {"Labels": {"org.gavip.inputs": "d1"}}, "RepoTags": ["gavip/a:1", "gavip/b:1"]}'
    )
    other = '{"Config": {"Labels": null}, "RepoTags": ["gavip/c:1"]}'
    engine(path, f"echo '[{image}, {other}]'; echo 'Error: No such image: gavip/d:1' >&2; exit 1")
    asked = ["gavip/a:1", "gavip/c:1", "gavip/d:1"]
    assert digests(asked) == {"gavip/a:1": "d1", "gavip/b:1": "d1", "gavip/c:1": ""}


def test_without_debootstrap_people_read_both_ways(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine(path, "echo '[]'; echo 'Error: No such image: gavip/root:1' >&2; exit 1")
    assert build.main([]) == 1
    told = capsys.readouterr().err
    assert "BASE_IMAGE=debian@sha256:" in told
    assert "apt-get install debootstrap" in told


def test_the_root_has_another_name_when_it_is_made_from_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = root.reference()
    assert root.reference() == before
    monkeypatch.setattr(root, "PACKAGES", root.PACKAGES + ",git")
    assert root.reference() != before


def test_certificates_are_those_that_pip_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"authority")
    monkeypatch.setenv("PIP_CERT", str(file))
    assert build.certificates() == b"authority"
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "none"))
    assert build.certificates() == b""


def test_files_of_the_clone_keep_their_places(tmp_path: Path) -> None:
    build.copied([ROOT / "setup.cfg", ROOT / "avi" / "__init__.py"], tmp_path)
    found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"setup.cfg", "avi/__init__.py"}
