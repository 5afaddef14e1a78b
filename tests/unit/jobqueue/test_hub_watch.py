"""Keeping the ledger true to what the hub runs."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from gavip_api.enums import ReservationKind
from gavip_api.errors import Unavailable
from gavip_api.models import ReservationRequest, ResourceAmount
from gavip_spawner.plane import ProcessPhase, ProcessStatus
from jobqueue.services.orphans import Orphans, orphans_of
from jobqueue.services.reservations import HubWatch


class HubWithServers:
    def __init__(self, *servers):
        self.servers, self.down = set(servers), False

    async def active_users(self):
        if self.down:
            raise Unavailable("The hub does not answer.")
        for name in sorted(self.servers):
            user, _, server = name.partition("/")
            yield {"name": user, "servers": {server: {}}}


@pytest.fixture
async def held(database, ledger):
    for name in ("alice/", "avi-1/", "bob/x"):
        request = ReservationRequest(
            id=name,
            owner="alice",
            kind=ReservationKind.INTERFACE,
            amount=ResourceAmount(memory=1, cpu=0.1),
        )
        await database.write(ledger.reserve, request)
    return lambda: database.read(ledger.outside)


class PlaneWithServers:
    """Knows servers by label and forgets them."""

    def __init__(self, *found):
        self.found = list(found)

    async def find(self, labels):
        return [s for s in self.found if labels.items() <= s.labels.items()]

    async def remove(self, name):
        self.found = [s for s in self.found if s.name != name]


def server(name, belongs, minute=0, kind="interface"):
    return ProcessStatus(
        name,
        ProcessPhase.RUNNING,
        started=datetime(2026, 1, 1, 0, minute, tzinfo=timezone.utc),
        labels={"gavip.kind": kind, "gavip.server": belongs},
    )


def watch(database, ledger, hub, grace, plane=None):
    orphans = Orphans(plane or PlaneWithServers(), grace)
    return HubWatch(database, ledger, hub, lambda: None, grace, orphans)


async def test_servers_that_are_gone_are_released(database, ledger, held):
    hub = HubWithServers("alice/", "bob/x")
    assert await watch(database, ledger, hub, 0).check() == ["avi-1/"]
    assert sorted(await held()) == ["alice/", "bob/x"]


async def test_servers_that_appear_within_the_grace_are_kept(database, ledger, held):
    hub = HubWithServers()
    patient = watch(database, ledger, hub, 60)
    assert await patient.check() == []
    hub.servers = {"alice/", "avi-1/", "bob/x"}
    assert await patient.check() == []
    assert len(await held()) == 3


async def test_a_silent_hub_releases_nothing(database, ledger, held):
    hub = HubWithServers()
    hub.down = True
    assert await watch(database, ledger, hub, 0).check() == []
    assert len(await held()) == 3


async def test_servers_that_the_hub_does_not_know_are_removed(database, ledger):
    hub = HubWithServers("alice/", "avi-1/")
    plane = PlaneWithServers(
        server("a", "alice/", kind="notebook"),
        server("b", "avi-1/"),
        server("c", "avi-2/"),
        server("job", "", kind="job"),
    )
    patient = watch(database, ledger, hub, 60, plane)
    await patient.check()
    assert len(plane.found) == 4
    await watch(database, ledger, hub, 0, plane).check()
    assert [s.name for s in plane.found] == ["a", "b", "job"]
    hub.down = True
    hub.servers = set()
    await watch(database, ledger, hub, 0, plane).check()
    assert len(plane.found) == 3


@pytest.mark.parametrize(
    ("found", "orphans"),
    [
        pytest.param([server("a", "x/")], [], id="known"),
        pytest.param([server("a", "y/")], ["a"], id="unknown"),
        pytest.param([server("old", "x/", 1), server("new", "x/", 2)], ["old"], id="replaced"),
        pytest.param([server("new", "x/", 2), server("old", "x/", 1)], ["old"], id="any-order"),
    ],
)
def test_orphans(found, orphans):
    assert orphans_of(found, {"x/"}) == orphans
