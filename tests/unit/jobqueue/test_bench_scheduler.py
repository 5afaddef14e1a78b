"""The simulator's measures, and its bars on a workload small enough for every run of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("sortedcontainers")

BENCH = str(Path(__file__).parents[2] / "bench" / "scheduler")


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, BENCH)
    try:
        import bench_scheduler
        import measures
        import workload
    finally:
        sys.path.remove(BENCH)
    return {"replay": bench_scheduler.replay, "measures": measures, "workload": workload}


@pytest.fixture(scope="module")
def figures(bench):
    return {
        name: bench["replay"](name, 4000, 100, 0.95, 7 * 86400.0, 1)
        for name in ("fifo", "backfill", "fair-share")
    }


def test_fair_share_is_fair(figures):
    assert figures["fair-share"].jain >= 0.95
    assert figures["fair-share"].jain > figures["fifo"].jain


def test_backfilling_uses_what_fifo_leaves(figures):
    assert figures["backfill"].utilisation >= figures["fifo"].utilisation + 0.10


def test_fair_share_is_kind_to_most_jobs(figures):
    assert figures["fair-share"].slowdown_median < figures["fifo"].slowdown_median


@pytest.mark.parametrize(
    ("asked", "total", "level"),
    [
        pytest.param([1, 2, 9], 6, 3, id="two are served in full"),
        pytest.param([5, 5, 5], 6, 2, id="nobody is"),
        pytest.param([1, 2, 3], 6, 3, id="all are"),
    ],
)
def test_water_level(bench, asked, total, level):
    assert bench["measures"].water_level(np.array(asked, float), total) == pytest.approx(level)


def test_the_workload_is_that_of_the_model(bench):
    w = bench["workload"].mixed(50_000, 500, 0.95)
    assert (w.cores == 1).mean() == pytest.approx(0.244, abs=0.01)
    powers = np.log2(w.cores[w.cores > 1])
    assert (powers == powers.round()).mean() > 0.7
    assert w.cores.max() <= 96
    assert (np.diff(w.arrival) >= 0).all()
    assert (w.limit >= w.seconds).all()
    # hyper-gamma of ln: most are short, a fifth and more take hours
    assert 60 < np.median(w.seconds) < 600
    assert (w.seconds > 3600).mean() > 0.2
    load = (w.cores * w.seconds).sum() / (128 * w.arrival[-1])
    assert load == pytest.approx(0.95, rel=0.01)
    hours = np.bincount((w.arrival // 3600 % 24).astype(int), minlength=24)
    assert hours.argmax() in range(9, 19)
    assert hours.max() > 3 * hours.min()
