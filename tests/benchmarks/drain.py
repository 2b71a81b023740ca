"""
How much faster do more workers drain a backlog, when the cores are there and the quota is lifted?

    python -m tests.benchmarks.drain [--workers 1,2,4,8] [--share 0.1] [--rounds 3]

Each worker is held to a share of a core by a control group of its own (Linux, as root): so one machine has "cores" to
spare for the broker, the database and WeCom beside them. Customers scan much faster
than that, so that their events wait.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.benchmarks.rig import (
    LIFTED,
    UNLIMITED,
    broker_from,
    confined,
    cpu_of,
    medians,
    own_prefix,
    print_result,
)
from tests.benchmarks.work import AT_ONCE, marked
from tests.e2e.processes import qudao, receives, settings
from tests.postgres.servers import running_server

EVENTS = 400
"""For each worker."""


async def measure(env_more: dict[str, str], workers: int, share: float) -> dict[str, float]:
    """Let so many *workers* drain once."""
    simulator = Simulator(SimulatorConfig.quiet(**UNLIMITED))
    simulator.add_contact_way("qd_expo26", ["lin.qiao", "zhou.yi"])
    events = EVENTS * workers
    with tempfile.TemporaryDirectory() as folder:
        async with run_simulator(simulator) as server, AsyncExitStack() as stack:
            env = settings(simulator, server.url, Path(folder), **env_more)
            env |= {"QUDAO_QUOTA_IN_FLIGHT": str(AT_ONCE * workers), **LIFTED}
            ingress = await stack.enter_async_context(qudao("ingress", folder=Path(folder), env=env))
            await receives(ingress, simulator)
            running = [
                await stack.enter_async_context(qudao("worker", folder=Path(folder), env=env)) for _ in range(workers)
            ]
            for worker in running:
                await worker.logged("lane.opened", lane="live")
                stack.enter_context(confined(worker.process.pid, share))
            begun, used = time.monotonic(), sum(cpu_of(worker.process.pid) for worker in running)
            relations = [await simulator.scan(state="qd_expo26") for _ in range(events)]
            scanned = time.monotonic() - begun
            await marked(simulator, events)
            took = time.monotonic() - begun
            used = sum(cpu_of(worker.process.pid) for worker in running) - used
            assert len(relations) == events
            for worker in running:
                await worker.stop()
    return {
        "per_second": round(events / took, 1),
        "cpu_us_per_event": round(used / events * 1e6),
        "scanned_in": round(scanned, 1),
        "took": round(took, 1),
    }


async def compare(url: str, state: str, counts: list[int], share: float, rounds: int) -> dict[str, Any]:
    """Run all in turn, and say how each stands against the first."""
    found: dict[str, list[dict[str, float]]] = {str(workers): [] for workers in counts}
    runs = count()
    for number in range(rounds):
        for workers in counts:
            more = {
                "QUDAO_QUEUE_URL": url,
                "QUDAO_QUEUE_PREFIX": f"{own_prefix()}.{next(runs)}",
                "QUDAO_STATE_URL": state,
            }
            found[str(workers)].append(await measure(more, workers, share))
            print(f"drain, round {number + 1}: {workers}: {found[str(workers)][-1]}", file=sys.stderr, flush=True)
    middle = medians(found)
    first = middle[str(counts[0])]["per_second"]
    return {name: row | {"rate_ratio": round(row["per_second"] / first, 2)} for name, row in middle.items()}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4,8")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    counts = [int(each) for each in given.workers.split(",")]
    with broker_from(None) as url, running_server() as server:
        print_result(asyncio.run(compare(url, server.url, counts, given.share, given.rounds)))


if __name__ == "__main__":
    main()
