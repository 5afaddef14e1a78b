"""The embedded archive as containers see it: pyvo and the archive's own links, through the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings

import pytest
import pyvo
import requests
from requests.adapters import HTTPAdapter

from gavip_spawner.gateway.exchange import Limits, Part
from gavip_spawner.gateway.policy import Caller, Route
from hub_config.platform import free_port
from tests.support.gateway import BODIES, MIB, running_gateway
from tests.support.running import Archive, build_archive

pytestmark = pytest.mark.integration


class From(HTTPAdapter):
    """Connects from an address."""

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=("127.0.0.2", 0), **kwargs)


@contextlib.contextmanager
def gateway(folder, archive_port):
    """Run a gateway in a thread, for clients that block."""
    caller = Caller("c", "interface", archive=True)
    parts = {Route.ARCHIVE: Part("127.0.0.1", archive_port, "/tap", "/tap", keeps_host=True)}
    ready, done = threading.Event(), threading.Event()
    found = []

    async def serve():
        limits = Limits(body=BODIES | {Route.ARCHIVE: 64 * MIB})
        async with running_gateway(folder, {"127.0.0.2": caller}, parts=parts, limits=limits) as gw:
            found.append(gw)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(20)
    yield found[0]
    done.set()
    thread.join(20)


class Service(Archive):
    """The archive, which is told under which address containers see it."""

    public: str = ""


@pytest.fixture
def through(tmp_path, monkeypatch):
    import subprocess
    import sys

    from tests.support.running import wait_for

    database, port = build_archive(), free_port()
    with gateway(tmp_path, port) as gw:
        url = f"{gw.url}/tap"
        process = subprocess.Popen(
            [sys.executable, "-m", "gavip_archive", "serve", "--db", str(database),
             "--host", "127.0.0.1", "--port", str(port), "--state", str(tmp_path / "uws"),
             "--public-url", url],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/tap/availability")
            session = requests.Session()
            session.trust_env = False
            session.mount("http://", From())
            yield gw, pyvo.dal.TAPService(url, session=session)
            session.close()
        finally:
            process.terminate()
            process.wait(20)
    with warnings.catch_warnings():
        # pyvo drops streamed answers unread
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# pyvo drops streamed answers unread, whenever the collector comes
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_pyvo_works_through_the_gateway(through):
    gw, service = through
    assert service.run_sync("SELECT COUNT(*) AS n FROM gaiadr3.gaia_source")[0]["n"] == 482_106
    assert "gaiadr3.gaia_source" in service.tables.keys()  # noqa: SIM118 - no dict
    assert service.maxrec
    job = service.submit_job("SELECT TOP 7 source_id FROM gaiadr3.gaia_source")
    # the archive's own links lead back to the gateway
    assert job.url.startswith(f"{gw.url}/tap/async/")
    job.run().wait(phases=["COMPLETED", "ERROR"], timeout=60)
    assert job.phase == "COMPLETED"
    assert all(uri.startswith(f"{gw.url}/tap/") for uri in job.result_uris)
    assert len(job.fetch_result()) == 7
    job.delete()
    large = service.run_sync("SELECT TOP 50000 * FROM gaiadr3.gaia_source", maxrec=50_000)
    assert len(large) == 50_000
    uploaded = service.run_sync(
        "SELECT COUNT(*) AS n FROM TAP_UPLOAD.t",
        uploads={"t": large.to_table()[["source_id"]][:1000]},
    )
    assert uploaded[0]["n"] == 1000
