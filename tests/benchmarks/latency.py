"""
How long from a customer's scan to the welcome and to the remark, at a steady rate, over RabbitMQ?

    python -m tests.benchmarks.latency [--rates 10,50,150] [--seconds 20]

An ingress and a worker, the state in PostgreSQL, the quota lifted, WeCom answering after 20 ms; the times are those of
the simulator.
"""

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.benchmarks.backlog import scan
from tests.benchmarks.rig import LIFTED, UNLIMITED, broker_from, own_prefix, percentiles, print_result
from tests.e2e.processes import qudao, receives, settings
from tests.postgres.servers import running_server

MARKED_WITHIN = 15.0


async def measure(url: str, state: str, rate: float, seconds: float) -> dict[str, Any]:
    """Let customers scan at one *rate*."""
    simulator = Simulator(SimulatorConfig.quiet(default_latency=0.02, latency_scale=1.0, **UNLIMITED))
    simulator.add_contact_way("qd_expo26", ["lin.qiao", "zhou.yi"])
    more = {
        "QUDAO_QUEUE_URL": url,
        "QUDAO_QUEUE_PREFIX": f"{own_prefix()}.{rate:g}",
        "QUDAO_STATE_URL": state,
        "QUDAO_QUOTA_IN_FLIGHT": "20",
        **LIFTED,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server:
            env = settings(simulator, server.url, folder, **more)
            async with qudao("ingress", folder=folder, env=env) as ingress:
                await receives(ingress, simulator)
                async with qudao("worker", folder=folder, env=env) as worker:
                    await worker.logged("lane.opened", lane="live")
                    relations = await scan(simulator, seconds, rate)
                    async with asyncio.timeout(MARKED_WITHIN):
                        while any(relation.marked_at is None or not relation.welcomes for relation in relations):
                            await asyncio.sleep(0.05)
    return {
        "customers": len(relations),
        "welcome_seconds": percentiles([relation.welcomes[0] - relation.added_at for relation in relations]),
        "mark_seconds": percentiles([(relation.marked_at or 0) - relation.added_at for relation in relations]),
    }


async def measure_all(url: str, state: str, rates: list[float], seconds: float) -> dict[str, Any]:
    """Measure each of *rates*, in customers a second."""
    return {f"{rate:g}/s": await measure(url, state, rate, seconds) for rate in rates}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="10,50,150")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    rates = [float(rate) for rate in given.rates.split(",")]
    with broker_from(None) as url, running_server() as server:
        print_result(asyncio.run(measure_all(url, server.url, rates, given.seconds)))


if __name__ == "__main__":
    main()
