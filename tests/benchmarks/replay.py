"""
Thousands of parked messages are replayed, by two commands at once: is anything lost, is anything done twice?

    python -m tests.benchmarks.replay --events 10000 [--broker amqp://…]

WeCom refuses every remark until all is parked; then it accepts them, and `qudao parked replay --all` runs twice at
once.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from shared.domain.events import Lane
from shared.queue.rabbitmq.adapter import RabbitQueue
from simulator import Fault, Simulator, SimulatorConfig, run_simulator
from simulator.verdict import broken_rules
from tests.benchmarks.rig import broker_from, own_prefix, print_result, publish_backlog
from tests.e2e.processes import qudao, run_to_end, settings

QUOTA = 1_000_000


async def depths(queue: RabbitQueue) -> dict[str, int]:
    """Return how much waits where."""
    return {depth.name: depth.messages for depth in await queue.depths()}


async def measure(url: str, events: int) -> dict[str, Any]:
    """Run the measurement."""
    limits = {"corp_per_minute": QUOTA, "corp_per_hour": QUOTA, "ip_per_minute": QUOTA, "ip_per_hour": QUOTA}
    simulator = Simulator(SimulatorConfig.quiet(**limits))
    prefix = own_prefix()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server, RabbitQueue(url, prefix=prefix) as queue:
            env = settings(
                simulator,
                server.url,
                folder,
                QUDAO_QUEUE_URL=url,
                QUDAO_QUEUE_PREFIX=prefix,
                QUDAO_QUOTA_PER_MINUTE=str(QUOTA),
                QUDAO_QUOTA_PER_HOUR=str(QUOTA),
                QUDAO_LOG_LEVEL="error",
            )
            refuse = simulator.fail(Fault.ERRCODE, "externalcontact/remark", code=40058, rate=1.0)
            await publish_backlog(url, prefix, simulator, events, Lane.LIVE)
            async with qudao("worker", folder=folder, env=env), qudao("worker", folder=folder, env=env):
                async with asyncio.timeout(600):
                    while (parked := (await depths(queue))["parked"]) < events:
                        print(f"{parked} parked", flush=True)
                        await asyncio.sleep(2.0)
                refuse.rate = 0.0
                begun = time.monotonic()
                async with asyncio.TaskGroup() as group:
                    replays = [
                        group.create_task(run_to_end("parked", "replay", "--all", folder=folder, env=env))
                        for _ in range(2)
                    ]
                replayed = time.monotonic() - begun
                while (marked := count(simulator)) < events and time.monotonic() - begun < 600:
                    print(f"{marked} marked", flush=True)
                    await asyncio.sleep(2.0)
            left = {place: waiting for place, waiting in (await depths(queue)).items() if waiting}
    return {
        "parked": parked,
        "replays": [task.result()[1].strip() for task in replays],
        "replay_seconds": round(replayed, 1),
        "marked": count(simulator),
        "marked_seconds": round(time.monotonic() - begun, 1),
        "written_twice": len(broken_rules(simulator.scenario)["remarks_written_twice"]),
        "left_in_queues": left,
    }


def count(simulator: Simulator) -> int:
    """Return how many customers are marked."""
    return sum(relation.marked_at is not None for relation in simulator.corp.relations())


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--broker", help="amqp:// URL; without it a broker is started")
    given = parser.parse_args()
    with broker_from(given.broker) as url:
        print_result(asyncio.run(measure(url, given.events)))


if __name__ == "__main__":
    main()
