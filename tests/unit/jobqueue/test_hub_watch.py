"""Keeping the ledger true to what the hub runs."""

from __future__ import annotations

import pytest

from gavip_api.enums import ReservationKind
from gavip_api.errors import Unavailable
from gavip_api.models import ReservationRequest, ResourceAmount
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


def watch(database, ledger, hub, grace):
    return HubWatch(database, ledger, hub, lambda: None, grace)


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
