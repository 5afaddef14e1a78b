"""Replays a synthetic workload through the schedulers in virtual time and prints what each makes of it.

    python tests/bench/scheduler/bench_scheduler.py [--jobs 1000000] [--users 500] [--plot docs/…/scheduling.svg]

The workload is described, with its sources and assumptions, in ``workload.py``, the measures in
``measures.py``. The schedulers and the queue are the service's own classes.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click
import numpy as np
from measures import Figures, judge
from workload import CAPACITY, POOL, mixed

from jobqueue.amounts import Amount
from jobqueue.schedulers import Candidate, ShareBook, WaitingQueue, available, load
from jobqueue.simulation import Simulation

NAMES = ("fifo", "shortest-first", "backfill", "fair-share")


def replay(name: str, jobs: int, users: int, load_: float, half_life: float, seed: int) -> Figures:
    """Run the workload through one scheduler."""
    w = mixed(jobs, users, load_, seed)
    scheduler = load(name)
    decisions = 0
    pick = scheduler.pick

    def counted(queue, room):  # type: ignore[no-untyped-def]
        nonlocal decisions
        decisions += 1
        return pick(queue, room)

    scheduler.pick = counted  # type: ignore[method-assign]
    machine = Simulation(
        scheduler,
        CAPACITY,
        lambda owner: POOL,
        ShareBook(CAPACITY, half_life),
        WaitingQueue(scheduler.rank),
    )
    owners = [f"user{n:03}" for n in range(users)]
    amounts: dict[tuple[int, int, int], Amount] = {}
    arrival, owner = w.arrival.tolist(), w.owner.tolist()
    limit, estimate, seconds = w.limit.tolist(), w.estimate.tolist(), w.seconds.tolist()
    needs = list(zip(w.memory.tolist(), w.cores.tolist(), w.archive.tolist(), strict=True))
    started = np.zeros(jobs)

    def length(candidate: Candidate) -> float:
        return float(seconds[int(candidate.id)])

    begun = time.process_time()
    n = 0
    while n < jobs or machine.queue:
        coming = arrival[n] if n < jobs else float("inf")
        machine.advance(min(coming, machine.next_end))
        if n < jobs and coming <= machine.now:
            need = needs[n]
            amount = amounts.get(need)
            if amount is None:
                amount = amounts[need] = Amount(need[0], need[1] * 1000, 1, need[2])
            machine.submit(
                Candidate(f"{n:08}", owners[owner[n]], amount, coming, limit[n], estimate[n])
            )
            n += 1
        for start in machine.start_all(length):
            started[int(start.candidate.id)] = start.time
    return judge(w, started, time.process_time() - begun, decisions)


@click.command()
@click.option("--jobs", default=20_000, show_default=True, help="Jobs of the workload.")
@click.option("--users", default=500, show_default=True, help="Users of the workload.")
@click.option(
    "--load", "load_", default=0.95, show_default=True, help="Offered over possible work."
)
@click.option("--half-life", default=7.0, show_default=True, help="Of the shares, in days.")
@click.option("--seed", default=1, show_default=True, help="Of the random numbers.")
@click.option("--processes", default=1, show_default=True, help="Schedulers simulated at once.")
@click.option("--scheduler", "names", multiple=True, type=click.Choice(sorted(available())))
@click.option("--plot", type=click.Path(path_type=Path), help="Write the figures as an SVG.")
def main(
    jobs: int,
    users: int,
    load_: float,
    half_life: float,
    seed: int,
    processes: int,
    names: tuple[str, ...],
    plot: Path | None,
) -> None:
    """Compare the schedulers."""
    chosen = names or NAMES
    print(f"{jobs} jobs, {users} users, load {load_}, half-life {half_life} d, seed {seed}")
    print(
        "| scheduler | utilisation | Jain | slowdown median | mean | p95 |"
        " longest wait of a big job | µs/decision | CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    results: dict[str, Figures] = {}
    with ProcessPoolExecutor(processes) as pool:
        futures = {
            name: pool.submit(replay, name, jobs, users, load_, half_life * 86400, seed)
            for name in chosen
        }
        for name, future in futures.items():
            f = results[name] = future.result()
            print(
                f"| {name} | {f.utilisation:.1%} | {f.jain:.3f} | {f.slowdown_median:.3g} |"
                f" {f.slowdown:.3g} | {f.slowdown_p95:.3g} | {f.longest_wait:.3g} d |"
                f" {f.seconds / f.decisions * 1e6:.0f} | {f.seconds:.0f} |",
                flush=True,
            )
    if plot:
        draw(results, plot, f"{jobs:,} jobs of {users} users, offered load {load_}")


def draw(results: dict[str, Figures], path: Path, title: str) -> None:
    """Plot the figures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "gavip", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot as plt

    panels = [
        ("utilisation", "Utilisation of the cores", "linear"),
        ("jain", "Jain's fairness index", "linear"),
        ("slowdown", "Mean bounded slowdown", "log"),
        ("slowdown_p95", "95th percentile of the slowdown", "log"),
    ]
    fig, axes = plt.subplots(1, 4, figsize=(11, 2.6), layout="constrained")
    for axis, (member, label, scale) in zip(axes, panels, strict=True):
        values = [getattr(f, member) for f in results.values()]
        bars = axis.barh(list(results), values, color="#0f766e")
        axis.bar_label(bars, [f"{v:.3g}" for v in values], padding=2)
        axis.set_xscale(scale)
        axis.set_xlim(right=1.15 if scale == "linear" else max(values) * 30)
        axis.set_title(label, fontsize=9)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
        if axis is not axes[0]:
            axis.set_yticklabels([])
    fig.suptitle(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
