"""Schedulers and the queue they pick from, without a database."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gavip_api.errors import InvalidInput
from jobqueue.amounts import Amount
from jobqueue.schedulers import (
    Backfill,
    Candidate,
    FairShare,
    Fifo,
    Running,
    Scheduler,
    ShareBook,
    ShortestFirst,
    WaitingQueue,
    available,
    load,
    registry,
)
from jobqueue.simulation import Simulation

DAY = 86400.0


class FixedRoom:
    def __init__(self, machine, running=(), shares=None, archive=9, **pools):
        self.now = 1000.0
        self.machine, self.pools, self.archive = machine, pools, archive
        self.things = [Running(end, owner, Amount(n, 1, 1)) for end, owner, n in running]
        self.shares = shares or ShareBook(Amount(10, 1000, 100, 10), DAY)

    def in_pool(self, owner):
        return Amount(self.pools.get(owner, 99), 1000, 99, 9)

    def in_machine(self):
        return Amount(self.machine, 1000, 99, self.archive)

    def running(self):
        return self.things


def job(job_id, owner, memory, limit=100.0, archive=0, **more):
    return Candidate(job_id, owner, Amount(memory, 1, 1, archive), limit=limit, **more)


def queue(scheduler, jobs, room=None):
    waiting = WaitingQueue(scheduler.rank, jobs)
    if room is not None:
        for owner in waiting.owners():
            room.shares.know(owner)
    return waiting


def picked(scheduler, jobs, room):
    choice = scheduler.pick(queue(scheduler, jobs, room), room)
    return choice.id if choice else None


FOUR = [job("1", "ann", 8), job("2", "ann", 1), job("3", "bob", 4), job("4", "cid", 1)]


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        pytest.param(FixedRoom(9), "1", id="oldest"),
        pytest.param(FixedRoom(9, ann=5), "3", id="full pool steps aside"),
        pytest.param(FixedRoom(2, ann=5), None, id="full machine holds all behind"),
        pytest.param(FixedRoom(9, ann=0, bob=0, cid=0), None, id="all pools full"),
    ],
)
def test_fifo(room, expected):
    assert picked(Fifo(), FOUR, room) == expected


@pytest.mark.parametrize("scheduler", [Fifo(), FairShare(), Backfill()], ids=type)
def test_who_waits_for_the_archive_holds_only_those_who_need_it(scheduler):
    jobs = [job("1", "ann", 1, archive=2), job("2", "bob", 1, archive=1), job("3", "cid", 1)]
    assert picked(scheduler, jobs, FixedRoom(9, archive=1)) == "3"
    assert picked(scheduler, jobs[:2], FixedRoom(9, archive=1)) is None


def test_shortest_first_by_estimate_then_limit():
    jobs = [
        job("1", "ann", 1, limit=50),
        job("2", "bob", 1, limit=900, estimate=5),
        job("3", "cid", 1, limit=20, estimate=800),
    ]
    assert picked(ShortestFirst(), jobs, FixedRoom(9)) == "2"
    assert picked(ShortestFirst(), [jobs[0], jobs[2]], FixedRoom(9)) == "3"


def test_long_jobs_are_not_overtaken_for_ever():
    long = job("1", "ann", 1, limit=1000, submitted=0)
    soon = job("2", "bob", 1, limit=10, submitted=9_000)
    late = job("3", "cid", 1, limit=10, submitted=11_000)
    assert picked(ShortestFirst(), [long, soon], FixedRoom(9)) == "2"
    assert picked(ShortestFirst(), [long, late], FixedRoom(9)) == "1"


BIG = job("1", "ann", 8)


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        pytest.param([BIG, job("2", "bob", 2, limit=400)], "2", id="ends before the big one"),
        pytest.param([BIG, job("2", "bob", 4, limit=400)], None, id="does not fit now"),
        pytest.param([BIG, job("2", "bob", 3, limit=501)], None, id="would delay the big one"),
        pytest.param([BIG, job("2", "bob", 2, limit=9999)], "2", id="beside the big one"),
        pytest.param([BIG, job("2", "ann", 2, limit=400)], "2", id="of the same owner"),
    ],
)
@pytest.mark.parametrize("scheduler", [Backfill(), FairShare()], ids=type)
def test_backfilling(scheduler, jobs, expected):
    # 3 are free; at 1500 seven more: the big one starts then, and leaves 2
    room = FixedRoom(3, running=[(1500.0, "dan", 7), (math.inf, "eve", 5)], ann=12)
    assert picked(scheduler, jobs, room) == expected


def test_backfilling_keeps_room_in_the_pool_for_ones_own_first_job():
    room = FixedRoom(3, running=[(1500.0, "dan", 7)], ann=9)
    assert picked(Backfill(), [BIG, job("2", "ann", 2, limit=10)], room) is None


def test_fair_share_prefers_who_had_least():
    room = FixedRoom(9)
    room.shares.hold("ann", Amount(5, 0), 0.0)
    room.shares.hold("ann", Amount(), 500.0)
    room.shares.hold("bob", Amount(1, 0), 900.0)
    jobs = [job("1", "ann", 1), job("2", "bob", 1), job("3", "cid", 1)]
    assert picked(FairShare(), jobs, room) == "3"
    assert picked(FairShare(), jobs[:2], room) == "1"


def test_fair_share_looks_at_the_dominant_resource():
    room = FixedRoom(9)
    room.shares.hold("ann", Amount(2, 0), 1000.0)  # a fifth of the memory
    room.shares.hold("bob", Amount(0, 300), 1000.0)  # three tenths of the cores
    assert picked(FairShare(), [job("1", "bob", 1), job("2", "ann", 1)], room) == "2"


held = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.integers(0, 10), st.integers(0, 900), st.floats(0, 3 * DAY)
    ),
    max_size=40,
)


@given(held, st.booleans())
def test_users_are_yielded_by_ascending_share(changes, many):
    book = ShareBook(Amount(10, 1000, 1, 1), DAY)
    now = 0.0
    for owner, memory, millicpu, gap in changes:
        now += gap
        book.hold(owner, Amount(memory, millicpu), now)
    now += 100.0
    owners = {c[0] for c in changes}
    among = owners | {f"unknown{n}" for n in range(100 if many else 0)}
    found = [o for o in book.ascending(now, among) if o in owners]
    assert sorted(found) == sorted(owners)
    shares = [book.share(o, now) for o in found]
    assert all(a <= b * (1 + 1e-9) + 1e-12 for a, b in pairwise(shares))
    copy = book.copy()
    assert [copy.share(o, now) for o in found] == shares


def test_what_was_held_counts_half_after_a_half_life():
    book = ShareBook(Amount(10, 1000, 1, 1), DAY)
    book.hold("ann", Amount(10), 0.0)
    book.hold("ann", Amount(), 100 * DAY)
    assert book.share("ann", 100 * DAY) == pytest.approx(1)
    assert book.share("ann", 101 * DAY) == pytest.approx(0.5)


steps = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.sampled_from("abc"), st.integers(1, 5)),
    max_size=60,
)


@given(steps)
def test_the_queue_is_what_a_sorted_list_would_be(steps):
    scheduler = ShortestFirst()
    waiting, plain = WaitingQueue(scheduler.rank), {}
    for enter, n, owner, limit in steps:
        if enter:
            candidate = job(f"{n:02}", owner, 1, limit=limit)
            waiting.add(candidate)
            plain.setdefault(candidate.id, candidate)
        else:
            assert waiting.discard(f"{n:02}") is (plain.pop(f"{n:02}", None) is not None)
    ranked = sorted(plain.values(), key=scheduler.rank)
    assert list(waiting) == ranked
    assert [waiting.place(c) for c in ranked] == list(range(1, len(ranked) + 1))
    heads = {}
    for candidate in ranked:
        heads.setdefault(candidate.owner, candidate)
    assert list(waiting.heads()) == sorted(heads.values(), key=scheduler.rank)
    assert {o: list(waiting.of(o)) for o in waiting.owners()} == {
        o: [c for c in ranked if c.owner == o] for o in heads
    }
    abreast = [c for c, head in waiting.abreast(100)]
    assert sorted(c.id for c in abreast) == sorted(plain)
    assert list(waiting.ranked(Fifo().rank)) == sorted(plain.values(), key=lambda c: c.id)


@pytest.mark.parametrize("name", sorted(available()))
@given(st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_every_job_starts_once_and_nothing_is_over_allocated(name, seed):
    rng = random.Random(seed)
    scheduler = load(name)
    capacity = Amount(20, 8000, 12, 3)
    pool = Amount(15, 6000, 8, 2)
    machine = Simulation(
        scheduler,
        capacity,
        lambda owner: pool,
        ShareBook(capacity, DAY),
        WaitingQueue(scheduler.rank),
    )
    started = []
    for n in range(120):
        amount = Amount(rng.randint(1, 15), rng.randint(1, 6) * 1000, 1, rng.choice([0, 0, 1, 2]))
        limit = float(rng.randint(1, 100))
        machine.submit(Candidate(f"{n:04}", rng.choice("abcde"), amount, machine.now, limit))
        machine.advance(machine.now + rng.random() * 20)
        started += [s.candidate.id for s in machine.start_all(lambda c: c.limit * 0.7)]
        assert sum(machine.held.values(), Amount()).fits(capacity)
        assert all(h.fits(pool) for h in machine.held.values())
    while machine.queue:
        assert machine.next_end < math.inf, "jobs wait and nothing runs: they starve"
        machine.advance(machine.next_end)
        started += [s.candidate.id for s in machine.start_all(lambda c: c.limit * 0.7)]
    assert sorted(started) == [f"{n:04}" for n in range(120)]


@pytest.mark.parametrize("name", ["backfill", "fair-share"])
def test_a_big_job_never_starves_behind_an_endless_stream_of_small_ones(name):
    scheduler = load(name)
    capacity = Amount(10, 10_000, 99, 9)
    machine = Simulation(
        scheduler,
        capacity,
        lambda o: capacity,
        ShareBook(capacity, DAY),
        WaitingQueue(scheduler.rank),
    )
    begun = None
    for n in range(400):
        owner = f"small{n % 7}"
        machine.submit(Candidate(f"{n:04}", owner, Amount(3, 1000, 1), machine.now, 30.0))
        if n == 20:
            machine.submit(Candidate("0020+big", "ann", Amount(10, 1000, 1), machine.now, 30.0))
            begun = machine.now
        for start in machine.start_all(lambda c: 25.0):
            if start.candidate.id == "0020+big":
                assert start.time - begun <= 240
                return
        machine.advance(machine.now + 5)
    raise AssertionError("the big job never started")


@pytest.mark.parametrize("name", sorted(available()))
def test_places_begin_at_one_and_grow_within_a_user(name):
    scheduler = load(name)
    room = FixedRoom(0)
    jobs = [job(f"{n:02}", "abc"[n % 3], 1, submitted=float(n)) for n in range(30)]
    waiting = queue(scheduler, jobs, room)
    places = dict(zip((c.id for c in jobs), scheduler.places(waiting, jobs, room), strict=True))
    assert min(places.values()) == 1
    for owner in "abc":
        own = [places[c.id] for c in jobs if c.owner == owner]
        assert own == sorted(set(own))
    assert max(places.values()) <= len(jobs)


class OfAPackage(Fifo):
    pass


class _Point:
    def __init__(self, name, value):
        self.name, self.value = name, str(value)
        self._value = value

    def load(self):
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def test_packages_offer_schedulers_but_cannot_replace_ours(monkeypatch, caplog):
    points = [
        _Point("theirs", OfAPackage),
        _Point("fifo", OfAPackage),
        _Point("broken", ImportError("no module")),
        _Point("odd", ValueError("what a module raises while it is imported")),
        _Point("nonsense", int),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert set(available()) == {"fifo", "shortest-first", "fair-share", "backfill", "theirs"}
    assert type(load("theirs")) is OfAPackage
    assert type(load("fifo")) is Fifo
    with pytest.raises(InvalidInput, match="no scheduler 'broken'"):
        load("broken")
    assert "broken" in caplog.text
    assert "is no Scheduler" in caplog.text


def test_an_installed_package_is_found_by_its_entry_point(monkeypatch, tmp_path):
    (tmp_path / "gavip_lifo.py").write_text(
        "from jobqueue.schedulers import Scheduler\n"
        "class Lifo(Scheduler):\n"
        "    title = 'Last in, first out'\n"
        "    def pick(self, queue, room):\n"
        "        fits = [c for c in queue.heads() if c.amount.fits(room.in_machine())]\n"
        "        return fits[-1] if fits else None\n"
    )
    installed = tmp_path / "gavip_lifo-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: gavip-lifo\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[gavip.schedulers]\nlifo = gavip_lifo:Lifo\n")
    monkeypatch.syspath_prepend(tmp_path)
    scheduler = load("lifo")
    assert available()["lifo"].title == "Last in, first out"
    waiting = queue(scheduler, [job("1", "a", 1), job("2", "b", 1)])
    assert scheduler.pick(waiting, FixedRoom(9)).id == "2"


def test_a_scheduler_that_picks_what_does_not_fit_fails_loudly():
    class Wrong(Scheduler):
        def pick(self, queue, room):
            return next(queue.heads())

    capacity = Amount(1, 1000, 1, 1)
    machine = Simulation(
        Wrong(), capacity, lambda o: capacity, ShareBook(capacity, DAY), WaitingQueue(Wrong().rank)
    )
    machine.submit(job("1", "ann", 2))
    with pytest.raises(RuntimeError, match="Wrong picked"):
        list(machine.start_all(lambda c: 1.0))
