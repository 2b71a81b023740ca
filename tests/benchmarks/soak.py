"""
Hours of a deployment, idle or in a crowd: does it keep what it needs, and no more?

    python -m tests.benchmarks.soak [--minutes 60] [--rate 0] [--embedded]

Resident memory, file descriptors and threads of each process are looked at every half a minute, and the channels of the
broker. Figures are medians of the second tenth of the time (the first warms up) and of the last, and what the trend
from one to the other comes to in a day. With a rate above what the quota lets through the lanes fill: a crowd.
"""

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any

from shared.tasks import beside
from simulator import Simulator, SimulatorConfig, run_simulator
from tests.benchmarks.rig import own_prefix, print_result, resident_mb, scan_for_ever
from tests.e2e.processes import Process, qudao, receives, settings
from tests.rabbitmq.brokers import AnyBroker, provide, running_broker

STATE = "qd_expo26"
EVERY = 30.0
DAY = 86_400.0


def look_at(process: Process) -> dict[str, float]:
    """Return what *process* has now: MB of memory, descriptors, threads."""
    here = Path(f"/proc/{process.process.pid}")
    status = dict(line.split(":", 1) for line in (here / "status").read_text().splitlines())
    return {
        "mb": resident_mb(process.process.pid),
        "descriptors": len(list((here / "fd").iterdir())),
        "threads": int(status["Threads"]),
    }


def trend(samples: list[dict[str, float]], seconds: float) -> dict[str, Any]:
    """Return how each figure went on."""
    tenth = max(1, len(samples) // 10)
    early, late = samples[tenth : 2 * tenth], samples[-tenth:]
    starts = range(0, len(samples), tenth)
    figures = {}
    for name in samples[0]:
        first, last = median(each[name] for each in early), median(each[name] for each in late)
        figures[name] = {
            "early": round(first, 1),
            "late": round(last, 1),
            "percent": round(100 * (last / first - 1), 2) if first else 0.0,
            "a_day": round((last - first) / (seconds * 0.85) * DAY, 1),
            "course": [round(median(each[name] for each in samples[at : at + tenth]), 1) for at in starts],
        }
    return figures


async def measure(broker: AnyBroker | None, given: argparse.Namespace) -> dict[str, Any]:
    """Run the deployment for its time."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way(STATE, ["lin.qiao", "zhou.yi"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server, AsyncExitStack() as stack:
            more = {"QUDAO_LOG_LEVEL": "info"}
            if broker is not None:
                more |= {"QUDAO_QUEUE_URL": broker.url, "QUDAO_QUEUE_PREFIX": own_prefix()}
            env = settings(simulator, server.url, folder, **more)
            commands = ["run"] if broker is None else ["ingress", "worker"]
            running = {
                command: await stack.enter_async_context(qudao(command, folder=folder, env=env)) for command in commands
            }
            await receives(running[commands[0]], simulator)
            samples: dict[str, list[dict[str, float]]] = {command: [] for command in commands}
            async with beside(scan_for_ever(simulator, given.rate, STATE)):
                for _ in range(round(given.minutes * 60 / EVERY)):
                    await asyncio.sleep(EVERY)
                    for command, process in running.items():
                        samples[command].append(look_at(process))
                        process.lines.clear()  # they would grow here, not there
                        process.output = b""
                    if broker is not None:
                        channels = await asyncio.to_thread(broker.evaluate, "length(rabbit_channel:list())")
                        samples["ingress"][-1]["channels"] = float(channels)
            return {
                "minutes": given.minutes,
                "rate": given.rate,
                "marked": sum(relation.marked_at is not None for relation in simulator.corp.relations()),
                **{command: trend(each, given.minutes * 60) for command, each in samples.items()},
            }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=0.0, help="customers a second")
    parser.add_argument("--embedded", action="store_true", help="`qudao run` over a file, without a broker")
    given = parser.parse_args()
    if given.embedded:
        print_result(asyncio.run(measure(None, given)))
        return
    provide()
    with running_broker() as broker:
        print_result(asyncio.run(measure(broker, given)))


if __name__ == "__main__":
    main()
