"""How long opening an AVI takes on Docker, and how much memory it holds, beside what one gets by default.

The same light notebook in turns (A B A B …): A on a JupyterHub with stock DockerSpawner, ``jupyterhub-singleuser`` and
the Voilà extension; B on GAVIP. From the request to start it to the last byte of the page, as the same person with the
same client, sign-in to the server included. Containers are new each time, the files of their images are in the
machine's cache. Prints medians, the ratio pair by pair, where GAVIP's time goes, and the bars. Needs a Docker engine
and root.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx
import nbformat
import pytest
from docker import APIClient

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from stock import StockHub, containers, stock_hub, until_gone  # noqa: E402

from gavip_api import __version__  # noqa: E402
from tests.support.engine import engine, need_images, swept  # noqa: E402
from tests.support.person import Person, until  # noqa: E402
from tests.support.running import RunningPlatform, running_platform  # noqa: E402

Round = dict[str, Any]

PLATFORM = "bopen"
MIB = 1 << 20
SECONDS, FASTER, MEMORY = 5.0, 1.5, 150.0
"""Bars: seconds, times as fast as stock, MiB as ``docker stats`` counts."""

MANIFEST = """\
avi: 1
name: light
title: Light
interface: app.ipynb
permissions: {archive: false}
"""
CELLS = (
    "import ipywidgets as widgets",
    "radius = widgets.FloatSlider(description='Radius', value=1.5, max=5)\n"
    "shown = widgets.Label()\n"
    "widgets.dlink((radius, 'value'), (shown, 'value'), lambda value: f'{value:.2f} deg')\n"
    "widgets.VBox([radius, shown])",
)
SHOWN = "application/vnd.jupyter.widget-view+json"

STEPS = (
    "asked",
    "reserved, disks ready",
    "started",
    "listening",
    "ready at the hub",
    "signed in",
    "last byte",
)
"""What ends each stretch of GAVIP's time."""


def notebook() -> bytes:
    """Return the light notebook."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    return nbformat.writes(made).encode()


@contextlib.contextmanager
def gavip(client: APIClient, folder: Path) -> Iterator[RunningPlatform]:
    """Run GAVIP on Docker with one AVI."""
    need_images("avi-light")
    # by ID: a tag may come to mean another image while this runs
    image = client.inspect_image(f"gavip/avi-light:{__version__}")["Id"]
    avi = folder / "made" / "light"
    avi.mkdir(parents=True)
    (avi / "avi.yaml").write_text(MANIFEST)
    (avi / "app.ipynb").write_bytes(notebook())
    config = folder / "config.py"
    config.write_text(
        f"c.Containers.platform = {PLATFORM!r}\n"
        f"c.Containers.images = {{'python': {image!r}, 'lab': {image!r}}}\n"
        "c.UserDisks.quota = '64M'\nc.UserDisks.home_quota = '64M'\n"
    )
    with (
        swept(client, PLATFORM),
        running_platform(
            folder,
            [avi],
            archive="http://127.0.0.1:9/tap",
            options=("--backend", "docker", "--subnet", "10.231.0.0/24", "--config", str(config)),
        ) as running,
    ):
        yield running


def memory(client: APIClient, container: str) -> tuple[float, float]:
    """Return MiB of a container: as ``docker stats`` counts (without inactive file cache), and anonymous only."""
    used = client.stats(container, stream=False)["memory_stats"]
    details = used["stats"]
    # cgroup v1, else v2
    inactive = details.get("total_inactive_file", details.get("inactive_file", 0))
    anonymous = details.get("total_rss", details.get("anon", 0))
    return (used["usage"] - inactive) / MIB, anonymous / MIB


def check(page: httpx.Response) -> float:
    """Check that a page shows the notebook's widgets; return the seconds that it alone took."""
    assert page.status_code == 200, f"{page.status_code} {page.text[:500]}"
    assert SHOWN in page.text, page.text[-2000:]
    return page.elapsed.total_seconds()


def open_stock(client: APIClient, hub: StockHub) -> Round:
    """Open the notebook on the stock hub, measure, and stop it."""
    begun = time.time()
    answer = hub.server("POST")
    assert answer.status_code == 201, f"{answer.status_code} {answer.text[:500]}"
    ready = time.time()
    check(hub.browser.get(f"{hub.url}/user/alice/voila/render/app.ipynb"))
    ended = time.time()
    (container,) = containers(client)
    held = memory(client, container)
    hub.server("DELETE")
    until_gone(client)
    return {"seconds": ended - begun, "memory": held, "steps": [ready - begun, ended - ready]}


def open_gavip(client: APIClient, person: Person) -> Round:
    """Open the notebook on GAVIP, measure, and stop it."""
    begun = time.time()
    asked = person.api("POST", "instances", {"avi": "gavip/light", "view": "interface"})
    assert asked.status_code == 202, asked.text
    at = {"asked": time.time()}
    instance = follow(person, asked.json()["id"])
    at["ready at the hub"] = time.time()
    rendered = check(person.get(instance["url"]))
    at["last byte"] = time.time()
    at["signed in"] = at["last byte"] - rendered
    labels = [f"gavip.platform={PLATFORM}", "gavip.kind=interface"]
    (found,) = client.containers(filters={"label": labels})
    held = memory(client, found["Id"])
    about = client.inspect_container(found["Id"])
    at["reserved, disks ready"] = stamp(about["Created"])
    at["started"] = stamp(about["State"]["StartedAt"])
    output = client.logs(found["Id"], timestamps=True).decode().splitlines()
    at["listening"] = next(stamp(line.split()[0]) for line in output if " Serving " in line)
    assert person.api("DELETE", f"instances/{instance['id']}").status_code == 204
    until(lambda: None if client.containers(all=True, filters={"label": labels}) else True, 60)
    moments = [begun, *(at[step] for step in STEPS)]
    steps = [later - earlier for earlier, later in pairwise(moments)]
    return {"seconds": at["last byte"] - begun, "memory": held, "steps": steps}


def follow(person: Person, instance: str) -> Round:
    """Return the instance as soon as the portal says that it is ready."""
    url = urlsplit(f"{person.platform.portal}api/v1/instances/{instance}/events")
    jar = person.cookies[url.hostname or ""]
    headers = {"Host": url.netloc, "Cookie": "; ".join(f"{k}={v}" for k, v in jar.items())}
    local = url._replace(netloc=f"127.0.0.1:{url.port}").geturl()
    with httpx.stream("GET", local, headers=headers, timeout=90, trust_env=False) as events:
        for line in events.iter_lines():
            told = json.loads(line[5:]) if line.startswith("data:") else {}
            assert told.get("state") != "failed", told
            if told.get("state") == "ready":
                return dict(told)
    raise AssertionError(f"the portal's stream ended early ({events.status_code})")


def stamp(text: str) -> float:
    """Return seconds since the epoch of an engine's time, which has nine digits of a second."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6].ljust(6, '0')}+00:00").timestamp()


def row(name: str, values: list[float], unit: str) -> str:
    """Return a line of the table."""
    middle = statistics.median(values)
    return f"{name:42} {middle:8.2f} {min(values):8.2f} {max(values):8.2f}  {unit}"


def report(stock: list[Round], ours: list[Round], quiet: str) -> None:
    """Print the tables."""
    print(f"\n{quiet}\n\n{'':42} {'median':>8} {'min':>8} {'max':>8}")
    for name, rounds in (("stock", stock), ("GAVIP", ours)):
        print(row(f"{name}: request to last byte", [r["seconds"] for r in rounds], "s"))
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(stock, ours, strict=True)]
    print(row("stock / GAVIP, pair by pair", ratios, ""))
    for name, rounds in (("stock", stock), ("GAVIP", ours)):
        print(
            row(f"{name}: memory as docker stats counts", [r["memory"][0] for r in rounds], "MiB")
        )
        print(row(f"{name}: anonymous memory", [r["memory"][1] for r in rounds], "MiB"))
    print("\nwhere GAVIP's time goes, until")
    for index, step in enumerate(STEPS):
        print(row(f"  {step}", [r["steps"][index] for r in ours], "s"))
    print("where stock's time goes, until")
    for index, step in enumerate(("ready at the hub", "last byte, sign-in included")):
        print(row(f"  {step}", [r["steps"][index] for r in stock], "s"))
    seconds = statistics.median([r["seconds"] for r in ours])
    ratio = statistics.median(ratios)
    held = max(r["memory"][0] for r in ours)
    print()
    for bar, met in (
        (f"GAVIP opens in at most {SECONDS:.0f} s (median): {seconds:.2f} s", seconds <= SECONDS),
        (
            f"at least {FASTER} times as fast as stock (median of the pairs): {ratio:.2f}",
            ratio >= FASTER,
        ),
        (f"a container holds at most {MEMORY:.0f} MiB: {held:.0f} MiB", held <= MEMORY),
    ):
        print(f"{'✓' if met else '✗ missed:'} {bar}")


def load() -> str:
    """Return the load averages and number of processors."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} (1 min) {five:.1f} (5 min) on {os.cpu_count()} processors"


def measured(
    rounds: int, work: Callable[[], Round], other: Callable[[], Round]
) -> tuple[list[Round], list[Round]]:
    """Run both in turns after one round that does not count."""
    first: list[Round] = []
    second: list[Round] = []
    for number in range(rounds + 1):
        a, b = work(), other()
        print(f"  stock {a['seconds']:6.2f} s   GAVIP {b['seconds']:6.2f} s", flush=True)
        if number:
            first.append(a)
            second.append(b)
    return first, second


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Pairs that count.")
def main(rounds: int) -> None:
    """Print how long opening takes, beside stock, and what it holds."""
    try:
        client = engine()
    except pytest.skip.Exception as reason:
        print(f"not measured: {reason.msg}")
        return
    before = load()
    with (
        tempfile.TemporaryDirectory(prefix="bench-open-") as folder,
        stock_hub(client, notebook()) as hub,
        gavip(client, Path(folder)) as platform,
    ):
        hub.sign_in()
        person = Person(platform).sign_in().allow("gavip/light")
        stock, ours = measured(
            rounds, lambda: open_stock(client, hub), lambda: open_gavip(client, person)
        )
    report(stock, ours, f"{datetime.now():%Y-%m-%d %H:%M}: before, {before}; after, {load()}")


if __name__ == "__main__":
    main()
