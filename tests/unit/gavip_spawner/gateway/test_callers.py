"""Who has an address, and that nobody is taken for the one who had it before."""

from __future__ import annotations

import asyncio
import json
import queue

import pytest
from docker.errors import DockerException

from gavip_api.errors import Unavailable
from gavip_spawner.gateway.callers import DockerCallers, by_address, caller_of
from gavip_spawner.gateway.policy import Caller

LABELS = {
    "gavip.platform": "test",
    "gavip.kind": "job",
    "gavip.owner": "alice",
    "gavip.avi": "gaia/demo",
    "gavip.job": "1",
    "gavip.permissions": json.dumps({"archive": True, "network": ["a.org"]}),
}
JOB = Caller("job-1", "job", "alice", "gaia/demo", "1", archive=True, network=("a.org",))


def container(name, address, **labels):
    return {
        "Names": [f"/{name}"],
        "Labels": LABELS | labels,
        "NetworkSettings": {"Networks": {"gavip-test": {"IPAddress": address}}},
    }


def test_labels_say_who_it_is():
    assert caller_of("job-1", LABELS) == JOB
    server = caller_of("x", {"gavip.kind": "interface", "gavip.server": "avi-00/"})
    assert (server.hub_user, server.archive, server.network) == ("avi-00", False, ())


@pytest.mark.parametrize("text", ["", "x", "[]", "null", "{}", '{"archive": 1, "network": 3}'])
def test_permissions_that_cannot_be_read_grant_nothing(text):
    found = caller_of("x", LABELS | {"gavip.permissions": text})
    assert (found.archive, found.network) == (False, ())


def test_other_platforms_and_networks_are_unknown():
    found = by_address(
        [
            container("job-1", "10.0.0.2"),
            container("other", "10.0.0.3", **{"gavip.platform": "else"}),
            container("gone", ""),
            {"Names": ["/bare"], "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "1"}}}},
        ],
        "gavip-test",
        "test",
    )
    assert found == {"10.0.0.2": JOB}


class Engine:
    """An engine whose containers and events the test decides."""

    def __init__(self):
        self.listed = [container("job-1", "10.0.0.2")]
        self.asked = 0
        self.happened = queue.Queue()

    def containers(self, **_):
        self.asked += 1
        if self.listed is None:
            raise DockerException("away")
        return self.listed

    def events(self, **_):
        return self

    def __iter__(self):
        return iter(self.happened.get, None)

    def close(self):
        self.happened.put(None)


@pytest.fixture
async def engine():
    made = Engine()
    callers = DockerCallers(lambda: made, "gavip-test", "test")
    yield made, callers
    callers.close()


async def until(true):
    async def poll():
        while not await true():  # noqa: ASYNC110 - polls what another thread does
            await asyncio.sleep(0.01)

    await asyncio.wait_for(poll(), 10)


async def hearing(callers):
    async def heard():
        return callers._hearing

    await until(heard)


async def test_nothing_is_remembered_while_events_are_not_heard(engine):
    made, callers = engine
    assert await callers.find("10.0.0.2") == JOB
    assert await callers.find("10.0.0.2") == JOB
    assert made.asked == 2


async def test_what_is_remembered_is_forgotten_when_a_container_comes_or_goes(engine):
    made, callers = engine
    callers.start()
    await hearing(callers)
    for _ in range(5):
        assert await callers.find("10.0.0.2") == JOB
    assert made.asked == 1
    made.listed = [container("job-2", "10.0.0.2", **{"gavip.owner": "bob"})]
    made.happened.put({"Action": "connect"})

    async def is_bob():
        return (await callers.find("10.0.0.2")).owner == "bob"

    await until(is_bob)
    assert made.asked == 2


async def test_an_unknown_address_asks_again(engine):
    made, callers = engine
    callers.start()
    await hearing(callers)
    assert await callers.find("10.0.0.3") is None
    made.listed.append(container("job-3", "10.0.0.3"))
    assert (await callers.find("10.0.0.3")).container == "job-3"


async def test_many_ask_with_few_questions(engine):
    made, callers = engine
    found = await asyncio.gather(*(callers.find("10.0.0.2") for _ in range(50)))
    assert set(found) == {JOB}
    assert made.asked <= 2


async def test_an_engine_that_is_away_is_no_answer(engine):
    made, callers = engine
    made.listed = None
    with pytest.raises(Unavailable):
        await callers.find("10.0.0.2")
