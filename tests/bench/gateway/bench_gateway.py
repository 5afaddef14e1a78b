"""What the gateway costs: throughput and latency through it, beside a direct connection in the same run.

Prints medians, their ratio, and the processor time that the gateway spent, which other work on the machine does
not change. Server, gateway and client are processes of their own, as on a platform; the
gateway knows its one caller, as it does while the engine's events are heard.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import psutil

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from gavip_spawner.gateway.exchange import Part  # noqa: E402
from gavip_spawner.gateway.policy import Caller, Route  # noqa: E402
from tests.support.gateway import running_gateway  # noqa: E402

MIB = 1 << 20
PATH = "/services/portal/api/v1/"


async def server() -> None:
    """Answer ``…/N`` with N MiB, as fast as the client reads."""
    block = b"x" * MIB

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readuntil(b"\r\n\r\n")
        count = int(line.split(b" ")[1].rsplit(b"/", 1)[1])
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (count * MIB)
        )
        for _ in range(count):
            writer.write(block)
            await writer.drain()
        writer.close()

    made = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(made.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


async def gateway(port: int) -> None:
    """Run a gateway in front of a port."""
    caller = Caller("c", "interface", "alice", "gaia/demo")
    with tempfile.TemporaryDirectory() as folder:
        parts = {Route.PORTAL: Part("127.0.0.1", port)}
        async with running_gateway(Path(folder), {"127.0.0.1": caller}, parts=parts) as made:
            print(made.port, flush=True)
            await asyncio.Event().wait()


async def fetch(port: int, count: int) -> float:
    """Seconds from connecting to the last byte of N MiB."""
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MIB)
    writer.write(f"GET {PATH}{count} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    size = 0
    while data := await reader.read(MIB):
        size += len(data)
    writer.close()
    assert size > count * MIB
    return time.perf_counter() - begun


async def measure(direct: int, through: int, pid: int, rounds: int, size: int) -> None:
    """Measure in turns, so that what else the machine does strikes both."""
    for name, count, many in (("request", 0, rounds * 40), (f"{size} MiB", size, rounds)):
        times: dict[int, list[float]] = {direct: [], through: []}
        begun = cpu(pid)
        for _ in range(many):
            for port, measured in times.items():
                measured.append(await fetch(port, count))
        used = (cpu(pid) - begun) / many
        one, other = (statistics.median(times[port]) * 1000 for port in (direct, through))
        print(
            f"{name:10} direct {one:8.2f} ms   gateway {other:8.2f} ms   ×{other / one:.2f}"
            f"   processor time of the gateway {used * 1000:7.2f} ms"
        )


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    used = psutil.Process(pid).cpu_times()
    return float(used.user + used.system)


def peak(pid: int) -> float:
    """MiB that a process held at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@click.command()
@click.option(
    "--rounds", default=5, show_default=True, help="How often the large answer is fetched."
)
@click.option("--size", default=200, show_default=True, help="MiB of the large answer.")
@click.option("--role", hidden=True, default="", help="Part of the run that this process is.")
@click.option("--port", hidden=True, default=0, help="Where the server is.")
def main(rounds: int, size: int, role: str, port: int) -> None:
    """Print what the gateway costs."""
    if role:
        asyncio.run(server() if role == "server" else gateway(port))
        return
    started = []

    def start(*options: str) -> int:
        process = subprocess.Popen(
            [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    try:
        direct = start("--role=server")
        through = start("--role=gateway", f"--port={direct}")
        asyncio.run(measure(direct, through, started[1].pid, rounds, size))
        print(f"memory of the gateway, at most: {peak(started[1].pid):.0f} MiB")
    finally:
        for process in started:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
