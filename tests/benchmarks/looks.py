"""
Look at the queues over RabbitMQ again and again: what stays behind of it?

    python -m tests.benchmarks.looks [--looks 20000]

A process looks at its queues each second, or ten times a second in a crowd, for months. The figures are those of this
process, which does nothing else: memory, tasks and objects after some looks and after many, and the broker's channels.
"""

import argparse
import asyncio
import gc
import os
import time
from typing import Any

from shared.queue.rabbitmq.adapter import RabbitQueue
from tests.benchmarks.rig import own_prefix, print_result, resident_mb
from tests.rabbitmq.brokers import AnyBroker, running_broker

WARM: int = 500


def held(broker: AnyBroker) -> dict[str, Any]:
    """Return what there is of everything that could stay behind."""
    gc.collect()
    return {
        "resident_mb": resident_mb(os.getpid()),
        "objects": len(gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "channels": int(broker.evaluate("length(rabbit_channel:list())")),
    }


async def measure(broker: AnyBroker, looks: int) -> dict[str, Any]:
    """Look so often."""
    async with RabbitQueue(broker.url, prefix=own_prefix(), settling=0) as queue:
        for _ in range(WARM):
            await queue.depths()
        before = held(broker)
        started = time.monotonic()
        for _ in range(looks):
            await queue.depths()
        seconds = time.monotonic() - started
        after = held(broker)
    return {
        "looks": looks,
        "milliseconds_each": round(seconds / looks * 1000, 2),
        f"after_{WARM}": before,
        "after_all": after,
        "bytes_each": round((after["resident_mb"] - before["resident_mb"]) * 1e6 / looks),
    }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", type=int, default=20_000)
    given = parser.parse_args()
    with running_broker() as broker:
        print_result(asyncio.run(measure(broker, given.looks)))


if __name__ == "__main__":
    main()
