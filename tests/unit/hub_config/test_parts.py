"""Programs that end are started again, later and later while they keep ending at once."""

from __future__ import annotations

import itertools
import os
import sys
import time

import pytest

from hub_config import parts, programs, up
from hub_config.parts import Part, StartFailed, Steps
from hub_config.platform import Platform


@pytest.fixture
def program(tmp_path):
    made = []

    def start(code):
        part = Part("thing", [sys.executable, "-c", code], tmp_path / "log", dict(os.environ))
        made.append(part)
        return part

    yield start
    for part in made:
        part.stop(grace=1)


def until(condition, what):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def test_what_was_killed_runs_again(program, capsys):
    part = program("import time; time.sleep(60)")
    first = part.process.pid
    part.process.kill()
    part.process.wait()

    def again():
        part.revive()
        return part.process.pid != first and part.process.poll() is None

    until(again, "a new process")
    assert "The thing ended (exit code -9); starting it again" in capsys.readouterr().out


def test_what_keeps_ending_waits_longer_each_time(program, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(parts.time, "monotonic", lambda: now[0])
    part = program("raise SystemExit(3)")
    starts = []
    for _ in range(6):
        part.process.wait()
        pid = part.process.pid
        while part.process.pid == pid:
            part.revive()
            now[0] += 0.25
        starts.append(now[0])
    pauses = [b - a for a, b in itertools.pairwise(starts)]
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4 * pauses[0]
    assert capsys.readouterr().out.count("The thing ended (exit code 3)") == 6


def test_a_start_that_fails_says_so_with_the_end_of_the_log(program):
    part = program("print('no such catalogue'); raise SystemExit(3)")
    part.process.wait()
    with pytest.raises(StartFailed, match=r"(?s)thing ended.*exit code 3.*no such catalogue"):
        part.check()


def test_each_program_gets_its_own_token_only(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_proxy_command", lambda: ("node", "proxy"))
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of an outer hub")
    platform = Platform(state=str(tmp_path))
    secrets = {
        "proxy": platform.proxy_token,
        "job queue": platform.jobqueue_token,
        "portal": platform.portal_token,
        "idle culler": platform.culler_token,
    }
    for _, make in programs.START_ORDER:
        program = make(platform)
        held = {name for name, token in secrets.items() if token in program.environment.values()}
        assert held == ({program.name} & set(secrets))
        assert "of an outer hub" not in program.environment.values()
        assert not any(token in repr(program) for token in secrets.values())


@pytest.mark.parametrize(
    ("terminal", "shown"),
    [
        pytest.param(False, "  … data\n  … data: rows\n  ✓ data (0.0 s)\n", id="log"),
        pytest.param(
            True,
            "\r\x1b[K  … data\r\x1b[K  … data: rows\r\x1b[K  ✓ data (0.0 s)\n",
            id="terminal",
        ),
    ],
)
def test_a_step_says_what_it_does_meanwhile(terminal, shown, monkeypatch, capsys):
    monkeypatch.setattr(parts.time, "monotonic", lambda: 1.0)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    # click strips what moves the cursor unless it writes to a terminal
    monkeypatch.setattr(
        parts.click, "echo", lambda text, nl=True: sys.stdout.write(text + "\n" * nl)
    )
    with Steps().step("data") as say:
        say("rows")
    assert capsys.readouterr().out == shown


def test_an_archive_that_cannot_be_built_says_why(tmp_path, monkeypatch):
    platform = Platform.load(tmp_path)
    platform.layout.archive.mkdir(parents=True)
    # a folder where the cache must be: no network is needed to fail
    (platform.layout.archive / "downloads").write_text("")
    said = []
    with pytest.raises(StartFailed, match="could not be built: ") as caught:
        up._prepare_archive(platform, dict(os.environ), said.append)
    assert "--archive URL" in caught.value.message
    assert "Traceback" not in caught.value.message
