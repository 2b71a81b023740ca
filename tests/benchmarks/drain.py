"""
How much faster do more workers drain a backlog, when the cores are there and the quota is lifted?

    python -m tests.benchmarks.drain [--workers 1,2,4,8] [--share 0.1] [--rounds 3]

Each worker is held to a share of a core by a control group of its own (Linux, as root): so one machine has "cores" to
spare for the broker, the database and WeCom beside them. Customers scan much faster than
that, so that their events wait.
"""

import argparse
import asyncio
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
    Way,
    against_first,
    broker_from,
    confined,
    cpu_of,
    in_turn,
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
            for _ in range(events):
                await simulator.scan(state="qd_expo26")
            scanned = time.monotonic() - begun
            await marked(simulator, events)
            took = time.monotonic() - begun
            used = sum(cpu_of(worker.process.pid) for worker in running) - used
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
    runs = count()

    def way(workers: int) -> Way:
        return lambda: measure(
            {
                "QUDAO_QUEUE_URL": url,
                "QUDAO_QUEUE_PREFIX": f"{own_prefix()}.{next(runs)}",
                "QUDAO_STATE_URL": state,
            },
            workers,
            share,
        )

    ways = {str(workers): way(workers) for workers in counts}
    return against_first(await in_turn("drain", rounds, ways), "per_second", "rate_ratio")


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
