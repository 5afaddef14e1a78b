"""Real processes around the AVI framework: a stub archive, a stub hub, an interface server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[3]
SUPPORT = ROOT / "tests" / "support"
EXAMPLES = ROOT / "examples"


def clean_environ(**extra: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GAVIP_", "JUPYTERHUB_"))}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            assert process.poll() is None, f"the process behind {url} has ended"
            assert time.monotonic() < limit, f"{url} does not answer"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, env: dict[str, str] | None = None, **kw: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, *argv], env=env or clean_environ(), **kw)
        started.append(process)
        return process

    yield run
    for process in reversed(started):
        if process.poll() is None:
            process.terminate()
    for process in started:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def archive(start) -> str:
    """URL of a TAP service with made-up stars; ``/seen`` beside it says which jobs it has and had."""
    port = free_port()
    process = start(str(SUPPORT / "stub_tap.py"), str(port), "0.3")
    wait_for(f"http://127.0.0.1:{port}/seen", process)
    return f"http://127.0.0.1:{port}/tap"


def notebook(path: Path, *cells: str, parameters: str = "") -> None:
    v = nbformat.v4
    made = v.new_notebook(
        metadata={"kernelspec": {"name": "python3", "language": "python", "display_name": "x"}}
    )
    if parameters:
        first = v.new_code_cell(parameters)
        first.metadata["tags"] = ["parameters"]
        made.cells.append(first)
    made.cells += [v.new_code_cell(c) for c in cells]
    nbformat.write(made, path)


@dataclass
class Server:
    """A running interface server behind a stub hub."""

    url: str
    hub: str
    work: Path
    release: Path
    process: subprocess.Popen[bytes]
    log: Path
    cookies: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="session")
def serve(start, archive, tmp_path_factory) -> Callable[..., Server]:
    """Start an interface server for a view of a release."""

    def run(release: Path, view: str, **extra: str) -> Server:
        work = tmp_path_factory.mktemp("work")
        hub_port, port = free_port(), free_port()
        hub = f"http://127.0.0.1:{hub_port}"
        wait_for(f"{hub}/seen", start(str(SUPPORT / "fake_hub.py"), str(hub_port)))
        url = f"http://127.0.0.1:{port}/user/tester/"
        environ = clean_environ(
            JUPYTERHUB_SERVICE_URL=url,
            JUPYTERHUB_SERVICE_PREFIX="/user/tester/",
            JUPYTERHUB_API_TOKEN="instance-token",
            JUPYTERHUB_API_URL=f"{hub}/hub/api",
            JUPYTERHUB_CLIENT_ID="jupyterhub-user-tester",
            JUPYTERHUB_OAUTH_CALLBACK_URL=f"{url}oauth_callback",
            JUPYTERHUB_HOST=hub,
            JUPYTERHUB_BASE_URL="/",
            JUPYTERHUB_USER="tester",
            JUPYTERHUB_SERVER_NAME="",
            JUPYTERHUB_ACTIVITY_URL=f"{hub}/hub/api/users/tester/activity",
            JUPYTERHUB_OAUTH_SCOPES=json.dumps(["access:servers"]),
            JUPYTERHUB_OAUTH_ACCESS_SCOPES=json.dumps(["access:servers"]),
            JUPYTER_PATH=str(ROOT / "voila_templates" / "share" / "jupyter"),
            GAVIP_MODE="interface",
            GAVIP_RELEASE_DIR=str(release),
            GAVIP_VIEW=view,
            GAVIP_USER_SPACE=str(work),
            GAVIP_USER=json.dumps({"name": "tester", "roles": ["scientist"]}),
            GAVIP_ARCHIVE_URL=archive,
            **extra,
        )
        log = work.parent / f"{work.name}.log"
        with log.open("wb") as stderr:
            process = start("-m", "avi_kernelspec.server", env=environ, stderr=stderr)
        wait_for(f"{url}api", process)
        return Server(url, hub, work, release, process, log)

    return run


@dataclass(frozen=True)
class Ran:
    """What a finished runner left."""

    status: int
    result: dict[str, object]
    folder: Path
    log: str


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A release with one small pipeline whose behaviour its parameter chooses."""
    release = tmp_path / "release"
    release.mkdir()
    (release / "avi.yaml").write_text(
        "avi: 1\nname: tiny\ntitle: Tiny\npipelines:\n"
        "  work:\n    notebook: work.ipynb\n    parameters:\n"
        "      x: {type: number, default: 2}\n"
        "      text: {type: string, default: ''}\n"
        "      how: {type: string, default: well}\n"
        "  gone:\n    notebook: gone.ipynb\n"
        "  broken:\n    notebook: broken.ipynb\n"
        "  dag:\n    spec: pipeline.yaml\n"
    )
    (release / "broken.ipynb").write_text("{")
    (release / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    notebook(
        release / "work.ipynb",
        "import os, signal, time\nimport avi\nimport helper\navi.progress(1, 2, 'half')",
        "# Decide\n"
        "if how == 'raise':\n    raise ValueError('no good')\n"
        "if how == 'exit':\n    os._exit(9)\n"
        "if how == 'kill':\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if how == 'empty':\n    raise avi.errors.EmptyResult('No stars.', hint='Widen.')\n"
        "if how == 'sleep':\n    open('sleeping', 'w').close(); time.sleep(60)\n"
        "if how == 'token':\n    assert not {k for k in os.environ if 'JOB_TOKEN' in k or 'JOB_URL' in k}",
        "open('out.txt', 'w').write(str(helper.double(x)) + text)\nprint('written')",
        parameters="x = 1.0\ntext = ''\nhow = 'well'",
    )
    return release


@pytest.fixture
def environ_of(tmp_path) -> Callable[..., dict[str, str]]:
    """Environment of one runner."""

    def make(
        release: Path, pipeline: str = "work", parameters: object = None, **extra: str
    ) -> dict[str, str]:
        (tmp_path / "p.json").write_text(
            parameters if isinstance(parameters, str) else json.dumps(parameters or {})
        )
        return clean_environ(
            GAVIP_MODE="pipeline",
            GAVIP_AVI="ada/tiny",
            GAVIP_RELEASE="abc",
            GAVIP_RELEASE_DIR=str(release),
            GAVIP_PIPELINE=pipeline,
            GAVIP_OUTPUT_DIR=str(tmp_path / "product {x}"),  # braces: papermill formats paths
            GAVIP_PARAMETERS_FILE=str(tmp_path / "p.json"),
            GAVIP_JOB_ID="1",
            GAVIP_JOB_ATTEMPT="1",
            **extra,
        )

    return make


@pytest.fixture
def run(environ_of, tmp_path) -> Callable[..., Ran]:
    """Run a pipeline to its end."""

    def go(release: Path, pipeline: str = "work", parameters: object = None, **extra: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "avi.runner"],
            env=environ_of(release, pipeline, parameters, **extra),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        folder = tmp_path / "product {x}"
        result = (
            json.loads((folder / "result.json").read_text())
            if (folder / "result.json").exists()
            else {}
        )
        return Ran(done.returncode, result, folder, done.stdout + done.stderr)

    return go
