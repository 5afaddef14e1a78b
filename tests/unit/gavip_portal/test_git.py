"""Repositories and exports, on real Git with hostile content."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from gavip_api.errors import InvalidInput, NotFound, TooLarge
from gavip_portal.git import export
from gavip_portal.git.command import GitFailed, hardened_environment, run_git
from gavip_portal.git.export import export_release
from gavip_portal.git.repository import Repository, check_sha

IDENTITY = ["-c", "user.name=x", "-c", "user.email=x@x"]


def git(*args: str, cwd: Path) -> str:
    done = subprocess.run(["git", *IDENTITY, *args], cwd=cwd, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "content"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha")
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o755)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repositories" / "o" / "n.git")


def pushed(repository: Repository, work: Path) -> str:
    """Commit a work tree with plain git and fetch it into the bare repository, as a push would."""
    git("init", "-q", cwd=work)
    git("add", "-A", cwd=work)
    git("commit", "-qm", "x", cwd=work)
    git("fetch", "-q", str(work), "HEAD:refs/heads/main", cwd=repository.path)
    return git("rev-parse", "HEAD", cwd=work)


async def test_same_content_gives_same_commit(folder: Path, tmp_path: Path) -> None:
    first = Repository(tmp_path / "1.git")
    second = Repository(tmp_path / "2.git")
    sha = await first.commit_folder(folder, "m\n")
    os.utime(folder / "a.txt", (1, 1))
    assert await second.commit_folder(folder, "m\n") == sha
    (folder / "a.txt").write_text("beta")
    assert await first.commit_folder(folder, "m\n") != sha


async def test_commit_leaves_junk_and_links_out(folder: Path, repository: Repository) -> None:
    for name in ("__pycache__/x.pyc", ".ipynb_checkpoints/a.ipynb", ".env", "a.txt~", "x.pyc"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("junk")
    (folder / "passwd").symlink_to("/etc/passwd")
    sha = await repository.commit_folder(folder, "m\n")
    assert [e.path for e in await repository.tree(sha)] == ["a.txt", "sub/run.sh"]


async def test_export_is_complete_read_only_and_repeatable(
    folder: Path, repository: Repository, tmp_path: Path
) -> None:
    sha = await repository.commit_folder(folder, "m\n")
    releases = tmp_path / "releases"
    out = await export_release(repository, sha, releases)
    assert out == releases / sha
    modes = {p.relative_to(out).as_posix(): stat.S_IMODE(p.stat().st_mode) for p in out.rglob("*")}
    assert modes == {"a.txt": 0o444, "sub": 0o555, "sub/run.sh": 0o555}
    assert await export_release(repository, sha, releases) == out
    assert [p.name for p in releases.iterdir()] == [sha]


async def test_symlink_in_commit_is_refused(
    folder: Path, repository: Repository, tmp_path: Path
) -> None:
    await repository.ensure()
    (folder / "evil").symlink_to("/etc/passwd")
    sha = pushed(repository, folder)
    with pytest.raises(InvalidInput, match="evil is a symbolic link"):
        await export_release(repository, sha, tmp_path / "releases")
    assert not (tmp_path / "releases").exists()


async def test_submodule_in_commit_is_refused(repository: Repository, tmp_path: Path) -> None:
    await repository.ensure()
    tree = await run_git(
        repository.path, ["mktree", "--missing"], stdin=b"160000 commit " + b"1" * 40 + b"\tmod\n"
    )
    identity = {f"GIT_{w}_{k}": "x" for w in ("AUTHOR", "COMMITTER") for k in ("NAME", "EMAIL")}
    commit = await run_git(
        repository.path, ["commit-tree", tree.decode().strip()], stdin=b"m", env=identity
    )
    with pytest.raises(InvalidInput, match="submodule"):
        await export_release(repository, commit.decode().strip(), tmp_path / "releases")


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        pytest.param("MAX_FILES", 1, "2 files", id="files"),
        pytest.param("MAX_BYTES", 8, "at most", id="bytes"),
    ],
)
async def test_limits_hold_before_anything_is_written(
    folder: Path,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    message: str,
) -> None:
    monkeypatch.setattr(export, limit, value)
    sha = await repository.commit_folder(folder, "m\n")
    with pytest.raises(TooLarge, match=message):
        await export_release(repository, sha, tmp_path / "releases")
    assert not (tmp_path / "releases").exists()


async def test_hooks_and_monitors_of_a_repository_do_not_run(
    folder: Path, repository: Repository, tmp_path: Path
) -> None:
    await repository.ensure()
    proof = tmp_path / "executed"
    script = f"#!/bin/sh\ntouch {proof}\n"
    for name in ("post-commit", "reference-transaction", "post-index-change", "fsmonitor"):
        hook = repository.path / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(script)
        hook.chmod(0o755)
    with (repository.path / "config").open("a") as config:
        config.write(
            f"[core]\n\tfsmonitor = {repository.path}/hooks/fsmonitor\n\tpager = {proof}\n"
        )
    sha = await repository.commit_folder(folder, "m\n")
    await export_release(repository, sha, tmp_path / "releases")
    assert not proof.exists()


async def test_reading_is_limited(folder: Path, repository: Repository) -> None:
    (folder / "big").write_bytes(b"x" * 5000)
    sha = await repository.commit_folder(folder, "m\n")
    files = {e.path: e for e in await repository.tree(sha)}
    assert await repository.read(files["a.txt"], 5) == b"alpha"
    with pytest.raises(TooLarge):
        await repository.read(files["big"], 4999)


@pytest.mark.parametrize("text", ["HEAD", "main", "-h", "a" * 39, "A" * 40, "--output=/x", ""])
def test_only_full_ids_are_commits(text: str) -> None:
    with pytest.raises(InvalidInput):
        check_sha(text)


async def test_unknown_commit_is_not_found(repository: Repository) -> None:
    await repository.ensure()
    with pytest.raises(NotFound):
        await repository.tree("0" * 40)


async def test_git_is_killed_after_its_time(repository: Repository) -> None:
    await repository.ensure()
    with pytest.raises(GitFailed, match="within"):
        await run_git(repository.path, ["cat-file", "--batch"], stdin=b"", timeout=0.0)


def test_environment_inherits_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "secret")
    monkeypatch.setenv("GIT_SSH_COMMAND", "evil")
    environment = hardened_environment(tmp_path)
    assert "secret" not in environment.values()
    assert "GIT_SSH_COMMAND" not in environment
    assert environment["GIT_CONFIG_GLOBAL"] == os.devnull
