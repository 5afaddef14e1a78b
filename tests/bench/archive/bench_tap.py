"""Measures the archive from outside, as a client sees it, and prints a table.

    python tests/bench/archive/bench_tap.py [--db archive.duckdb] [--rounds 9]

Every figure is a median. "fresh" queries have numbers that were never sent before, "repeated" ones are identical: the
two are the same here because nothing is cached, which the table shows. The peer of the VOTable writer is astropy's on
the same rows.
"""

import io
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil
import requests
from astropy.io.votable import from_table
from astropy.table import Table

CONE = (
    "SELECT source_id, ra, dec, parallax, pmra, pmdec, phot_g_mean_mag, bp_rp FROM gaiadr3.gaia_source"
    " WHERE 1=CONTAINS(POINT('ICRS',ra,dec),CIRCLE('ICRS',{ra},{dec},1.0))"
)
BOMB = (
    "SELECT COUNT(*) AS n FROM"
    " (SELECT DISTINCT a.source_id, b.ra FROM gaiadr3.gaia_source AS a, gaiadr3.gaia_source AS b) AS pairs"
)
MANY = "SELECT TOP 50000 source_id, ra, dec, phot_g_mean_mag, bp_rp FROM gaiadr3.gaia_source"
TEXT = "SELECT TOP 50000 object_id, var_type, ra, dec, i_mag, period FROM ogle.variable_star"


class Archive:
    """The service in a process of its own."""

    def __init__(self, database: Path, folder: Path) -> None:
        started = time.perf_counter()
        command = [sys.executable, "-m", "gavip_archive", "serve", "--db", str(database)]
        log = folder / "log"
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, "--state", str(folder), "--port", "0"], stderr=file
            )
        while "ready url=" not in log.read_text():
            if self.process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.01)
        self.start_up = time.perf_counter() - started
        self.url = json.loads(log.read_text().splitlines()[0])["message"].removeprefix("ready url=")
        self.session = requests.Session()

    def sync(self, query: str, **parameters: str) -> tuple[float, requests.Response]:
        started = time.perf_counter()
        answer = self.session.post(
            f"{self.url}/sync", data={"LANG": "ADQL", "QUERY": query, **parameters}, timeout=120
        )
        return time.perf_counter() - started, answer

    def asynchronous(self, query: str) -> float:
        started = time.perf_counter()
        form = {"LANG": "ADQL", "QUERY": query, "PHASE": "RUN"}
        url = self.session.post(
            f"{self.url}/async", data=form, timeout=30, allow_redirects=False
        ).headers["Location"]
        while self.session.get(f"{url}/phase?WAIT=10", timeout=30).text not in (
            "COMPLETED",
            "ERROR",
        ):
            pass
        self.session.get(f"{url}/results/result", timeout=30)
        return time.perf_counter() - started

    def memory(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


def median(function, rounds: int) -> float:
    return statistics.median(function(step) for step in range(rounds))


def astropy_seconds(archive: Archive) -> float:
    """Write the rows of MANY with astropy."""
    _, answer = archive.sync(MANY, RESPONSEFORMAT="fits")
    table = Table.read(io.BytesIO(answer.content), format="fits")
    started = time.perf_counter()
    document = from_table(table)
    document.get_first_table().format = "binary2"
    document.to_xml(io.BytesIO())
    return time.perf_counter() - started


def measure(archive: Archive, rounds: int) -> list[tuple[str, str, str]]:
    random = np.random.default_rng()

    def fresh(_: int) -> float:
        return archive.sync(CONE.format(ra=random.uniform(0, 360), dec=random.uniform(-80, 80)))[0]

    def again(_: int) -> float:
        return archive.sync(CONE.format(ra=56.75, dec=24.12))[0]

    def fresh_structure(step: int) -> float:
        columns = ", ".join(
            f"ra * {step + 2} + {number} AS c{number}" for number in range(3 + step)
        )
        return archive.sync(f"SELECT {columns} FROM gaiadr3.gaia_source WHERE dec > 89")[0]

    def count(_: int) -> float:
        return archive.sync("SELECT COUNT(*) AS n FROM gaiadr3.gaia_source")[0]

    first = archive.sync(CONE.format(ra=56.75, dec=24.12))[0]
    idle = archive.memory()
    table = [
        ("start-up until ready", f"{archive.start_up:.2f} s", ""),
        ("first query of the process (1° cone)", f"{first * 1e3:.0f} ms", ""),
        ("1° cone, fresh numbers", f"{median(fresh, rounds) * 1e3:.0f} ms", "≤ 50 ms"),
        ("query of a structure never seen", f"{median(fresh_structure, rounds) * 1e3:.0f} ms", ""),
        ("1° cone, repeated", f"{median(again, rounds) * 1e3:.0f} ms", "≤ 50 ms"),
        ("count(*)", f"{median(count, rounds) * 1e3:.0f} ms", ""),
    ]
    for label, query, name, bar in (
        ("50,000 rows, VOTable BINARY2", MANY, "votable", "≤ 1.0 s"),
        ("50,000 rows, VOTable TABLEDATA", MANY, "votable/td", ""),
        ("50,000 rows with strings, BINARY2", TEXT, "votable", ""),
        ("50,000 rows, CSV", MANY, "csv", ""),
        ("50,000 rows, FITS", MANY, "fits", ""),
        ("50,000 rows, Parquet", MANY, "parquet", ""),
    ):
        seconds = median(
            lambda _, q=query, n=name: archive.sync(q, RESPONSEFORMAT=n)[0], min(rounds, 5)
        )
        table.append((label, f"{seconds:.2f} s", bar))
    table.append(
        ("peer: the same rows by astropy's BINARY2 writer", f"{astropy_seconds(archive):.1f} s", "")
    )
    asynchronous = median(lambda _: archive.asynchronous(CONE.format(ra=56.75, dec=24.12)), rounds)
    table.append(
        ("async round trip (create, run, wait, fetch)", f"{asynchronous * 1e3:.0f} ms", "")
    )
    bomb, answer = archive.sync(BOMB)
    ended = (
        "clean error"
        if answer.status_code == 400 and "memory" in answer.text
        else f"STATUS {answer.status_code}"
    )
    table.append(("memory bomb until its error", f"{bomb:.1f} s, {ended}", "clean error"))
    table.append(("memory, idle after the first query", f"{idle:.0f} MiB", ""))
    table.append(("memory, after all of this", f"{archive.memory():.0f} MiB", ""))
    return table


@click.command()
@click.option(
    "--db", type=click.Path(path_type=Path, exists=True), help="The database; built when not given."
)
@click.option(
    "--rounds", default=9, show_default=True, help="Measurements of which the median is shown."
)
def main(db: Path | None, rounds: int) -> None:
    """Measure the archive from outside and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        database = db or Path(scratch, "archive.duckdb")
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "gavip_archive", "build", "--output", str(database)], check=True
        )
        table = [
            (
                "build of the database, or finding it up to date",
                f"{time.perf_counter() - started:.1f} s",
                "",
            )
        ]
        table.append(("database on disk", f"{database.stat().st_size / 2**20:.0f} MiB", ""))
        archive = Archive(database, Path(scratch))
        try:
            table += measure(archive, rounds)
        finally:
            archive.process.send_signal(signal.SIGTERM)
            archive.process.wait(20)
    width = max(len(row[0]) for row in table)
    for label, value, bar in table:
        click.echo(f"{label:{width}}  {value:>20}  {bar}")


if __name__ == "__main__":
    main()
