"""What a person may choose for their JupyterLab, by form or by API, honest or hostile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.web import HTTPError
from traitlets import TraitError

from gavip_api.errors import InvalidInput, LimitReached, Unavailable
from gavip_api.models import Pool, ReservationRequest, ResourceAmount
from gavip_spawner import server
from gavip_spawner.notebook_options import GIB, Bounds, render_form
from gavip_spawner.process import GavipProcessSpawner

BOUNDS = Bounds(ResourceAmount(memory=GIB, cpu=0.5), ResourceAmount(memory=3 * GIB, cpu=4))


def pool(memory: int, cpu: float, slots: int = 3) -> Pool:
    limit = ResourceAmount(memory=4 * GIB, cpu=4, slots=8)
    return Pool(
        owner="alice",
        limit=limit,
        used=ResourceAmount(memory=GIB, cpu=1, slots=1),
        free=ResourceAmount(memory=memory, cpu=cpu, slots=slots),
    )


@pytest.mark.parametrize(
    ("options", "memory", "cpu"),
    [
        pytest.param({}, GIB, 0.5, id="the default"),
        pytest.param({"memory": "2G", "cpu": 1}, 2 * GIB, 1.0, id="a size"),
        pytest.param({"memory": 3 * GIB}, 3 * GIB, 0.5, id="bytes, up to the bound"),
        pytest.param({"memory": "256M", "cpu": 0.1}, 256 << 20, 0.1, id="the least"),
    ],
)
def test_what_may_be_chosen(options: Any, memory: int, cpu: float) -> None:
    assert BOUNDS.check(options) == ResourceAmount(memory=memory, cpu=cpu)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"memory": "4G"}, id="too much memory"),
        pytest.param({"memory": "100M"}, id="too little memory"),
        pytest.param({"memory": "1G * 2"}, id="an expression"),
        pytest.param({"memory": "9**9**9G"}, id="an expression that never ends"),
        pytest.param({"memory": "9" * 400}, id="a long number"),
        pytest.param({"memory": "-1G"}, id="negative"),
        pytest.param({"memory": "0"}, id="none"),
        pytest.param({"memory": 1e9}, id="memory is no fraction"),
        pytest.param({"memory": True}, id="memory is no truth"),
        pytest.param({"cpu": 5}, id="too many cores"),
        pytest.param({"cpu": float("nan")}, id="nan"),
        pytest.param({"cpu": float("inf")}, id="inf"),
        pytest.param({"cpu": "1"}, id="cpu is no text"),
        pytest.param({"cpu": False}, id="cpu is no truth"),
        pytest.param({"cpu": {"$gt": 0}}, id="an object"),
        pytest.param({"image": "evil:latest"}, id="another image"),
        pytest.param({"instance": {"owner": {"name": "bob"}}}, id="an instance"),
        pytest.param({"<script>": 1}, id="markup"),
        pytest.param(["memory"], id="a list"),
        pytest.param("memory", id="a text"),
    ],
)
def test_what_is_refused(options: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        BOUNDS.check(options)
    assert len(caught.value.message) < 300
    assert caught.value.hint


@given(
    st.dictionaries(
        st.sampled_from(["memory", "cpu"]),
        st.one_of(
            st.integers(),
            st.floats(),
            st.text(max_size=20),
            st.booleans(),
            st.none(),
            st.lists(st.integers()),
        ),
    )
)
def test_whatever_comes_is_within_the_bounds_or_refused(options: dict[str, Any]) -> None:
    try:
        amount = BOUNDS.check(options)
    except InvalidInput:
        return
    assert BOUNDS.lowest.memory <= amount.memory <= BOUNDS.highest.memory
    assert BOUNDS.lowest.cpu <= amount.cpu <= BOUNDS.highest.cpu


def test_presets_stay_within_the_bounds_and_the_default_is_always_allowed() -> None:
    assert [(p.name, p.amount.memory, p.amount.cpu) for p in BOUNDS.presets] == [
        ("small", GIB, 0.5),
        ("medium", 2 * GIB, 1.0),
        ("large", 3 * GIB, 2.0),
    ]
    narrow = Bounds(BOUNDS.default, ResourceAmount(memory=1, cpu=0.01))
    assert [p.name for p in narrow.presets] == ["small"]
    assert narrow.check({}) == BOUNDS.default


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        pytest.param({"size": ["medium"]}, {"memory": 2 * GIB, "cpu": 1.0}, id="preset"),
        pytest.param(
            {"size": ["medium"], "memory": ["999"], "cpu": ["x"]},
            {"memory": 2 * GIB, "cpu": 1.0},
            id="a preset counts, whatever stands in the fields",
        ),
        pytest.param(
            {"size": ["exact"], "memory": ["1.5"], "cpu": ["2"]},
            {"memory": 3 * GIB // 2, "cpu": 2.0},
            id="exact",
        ),
        pytest.param(
            {"size": ["exact"], "memory": ["1,5"], "cpu": [" 0,5 "]},
            {"memory": 3 * GIB // 2, "cpu": 0.5},
            id="decimal comma",
        ),
    ],
)
def test_forms(form: dict[str, list[str]], expected: dict[str, Any]) -> None:
    options = BOUNDS.of_form(form)
    assert options == expected
    BOUNDS.check(options)


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({}, id="empty"),
        pytest.param({"size": ["huge"]}, id="no such preset"),
        pytest.param({"size": [b"small"]}, id="a file"),
        pytest.param({"size": ["exact"]}, id="no numbers"),
        pytest.param({"size": ["exact"], "memory": ["1e3"], "cpu": ["1"]}, id="exponent"),
        pytest.param({"size": ["exact"], "memory": ["1"], "cpu": ["-1"]}, id="negative"),
    ],
)
def test_bad_forms(form: dict[str, list[Any]]) -> None:
    with pytest.raises(InvalidInput):
        BOUNDS.of_form(form)


def test_the_form_says_what_is_free() -> None:
    html = render_form(BOUNDS, pool(2 * GIB, 1.5), BOUNDS.default, {})
    assert "<strong>2.0 GiB of memory and 1.5 cores</strong>" in html
    assert "1.0 GiB and 1 core of the 4.0 GiB and 4 cores" in " ".join(html.split())
    small, medium, large = html.split('class="gv-size"')[1:4]
    assert "checked" in small
    assert ["more than is free now" in part for part in (small, medium, large)] == [
        False,
        False,
        True,
    ]


def test_the_form_works_without_the_ledger_and_keeps_what_was_sent() -> None:
    sent = {"size": ["exact"], "memory": ['"><script>'], "cpu": ["7"]}
    html = render_form(BOUNDS, None, BOUNDS.default, sent)
    assert "does not answer" in html
    assert "more than is free" not in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert 'id="size-exact" value="exact" checked' in html


def test_a_user_with_nothing_free_is_told() -> None:
    html = render_form(BOUNDS, pool(2 * GIB, 2, slots=0), BOUNDS.default, {})
    assert "stop one first" in html


# -- the hooks of the spawner --


class Ledger:
    """Answers as a test says, and remembers."""

    def __init__(self) -> None:
        self.reserved: list[ReservationRequest] = []
        self.refusal: LimitReached | None = None
        self.away = False

    async def reserve(self, request: ReservationRequest) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.reserved.append(request)

    async def pool(self, owner: str, roles: Any) -> Pool:
        if self.away:
            raise Unavailable("The job queue does not answer.")
        return pool(2 * GIB, 2)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    made = Ledger()
    monkeypatch.setattr(server, "LedgerClient", lambda *_: made)
    return made


@pytest.fixture
def alice(tmp_path: Path, ledger: Ledger) -> GavipProcessSpawner:
    return spawner(tmp_path, "alice")


def spawner(tmp_path: Path, name: str, **traits: Any) -> GavipProcessSpawner:
    made = GavipProcessSpawner(state_dir=str(tmp_path), ledger_url="http://127.0.0.1:1", **traits)
    made.user = SimpleNamespace(name=name, groups=[], url=f"/user/{name}/")
    made.orm_spawner = SimpleNamespace(user_options={}, name="", server=None, state={})
    made.get_env = dict
    made.get_args = list
    return made


async def test_what_is_chosen_is_reserved_and_given(
    alice: GavipProcessSpawner, ledger: Ledger
) -> None:
    assert "Free for you now" in await alice.get_options_form()
    form = {"size": ["exact"], "memory": ["2"], "cpu": ["1.5"]}
    options = await alice.run_options_from_form(form)
    (request,) = ledger.reserved
    assert (request.amount.memory, request.amount.cpu) == (2 * GIB, 1.5)
    # the hub stores the options and hands them to the start, maybe of another spawner object
    alice._chosen = None
    await alice._run_apply_user_options(options)
    spec = alice._spec(None)
    assert (spec.amount.memory, spec.amount.cpu) == (2 * GIB, 1.5)
    assert alice._reservation(None).amount == request.amount


async def test_without_a_choice_it_is_the_default(alice: GavipProcessSpawner) -> None:
    await alice._run_apply_user_options({})
    assert alice._spec(None).amount == ResourceAmount(memory=GIB, cpu=1)


async def test_a_refusal_is_shown_with_the_form_as_it_was_sent(
    alice: GavipProcessSpawner, ledger: Ledger
) -> None:
    ledger.refusal = LimitReached("You hold 3 GiB of the 4 GiB.", hint="Stop something.")
    with pytest.raises(HTTPError) as caught:
        await alice.run_options_from_form({"size": ["exact"], "memory": ["2.5"], "cpu": ["1"]})
    assert caught.value.status_code == 429
    assert caught.value.jupyterhub_message == "You hold 3 GiB of the 4 GiB. Stop something."
    assert 'value="2.5"' in await alice.get_options_form()
    assert 'value="2.5"' not in await alice.get_options_form()


async def test_the_form_is_there_when_the_queue_is_away(
    alice: GavipProcessSpawner, ledger: Ledger
) -> None:
    ledger.away = True
    assert "does not answer" in await alice.get_options_form()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"memory": "1T"}, id="beyond"),
        pytest.param({"cpu": "all"}, id="type"),
        pytest.param({"image": "x"}, id="image"),
        pytest.param([1], id="list"),
    ],
)
async def test_options_straight_to_the_api_are_checked(
    alice: GavipProcessSpawner, options: Any
) -> None:
    with pytest.raises(HTTPError) as caught:
        await alice._run_apply_user_options(options)
    assert caught.value.status_code == 422
    assert alice._notebook_amount() == alice.bounds.default
    # the hub keeps them as the last choice: the form must not stumble over it
    alice.orm_spawner.user_options = options
    assert 'id="size-small" value="small" checked' in await alice.get_options_form()


async def test_a_link_starts_nothing(alice: GavipProcessSpawner, ledger: Ledger) -> None:
    with pytest.raises(HTTPError):
        alice.options_from_query({"size": ["small"]})
    assert ledger.reserved == []


async def test_instances_see_no_form_and_choose_nothing(tmp_path: Path, ledger: Ledger) -> None:
    made = spawner(tmp_path, "avi-" + "0" * 32)
    assert await made.get_options_form() == ""
    await made._run_apply_user_options({"instance": {}, "memory": "1T"})
    assert made._chosen is None


@pytest.mark.parametrize(
    "traits",
    [
        pytest.param({"notebook_max_memory": "plenty"}, id="no size"),
        pytest.param({"notebook_memory": "0"}, id="nothing"),
        pytest.param({"notebook_max_cpu": 0}, id="no core"),
    ],
)
def test_bounds_are_validated(tmp_path: Path, traits: dict[str, Any]) -> None:
    with pytest.raises(TraitError):
        spawner(tmp_path, "alice", **traits)
