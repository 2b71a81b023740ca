"""
Is a customer who scans now welcomed and marked at once, although 100,000 others wait?

    python -m tests.benchmarks.backlog --lane live --events 100000 [--broker amqp://…]
    python -m tests.benchmarks.backlog --lane bulk --scale 10 --after 70 --seconds 540

With --scale minute and hour, and what may be called in them, are so many times shorter and less: calls go as fast as
ever, and 540 s are 90 minutes of the quota. After 70 s a backlog of bulk has used up its share of the hour.

The backlog is that of new customers who all came at once (live) or of a backfill (bulk). Customers scan all the while;
times are the simulator's, from scan to welcome and to mark.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from shared.domain.events import Lane
from shared.queue.rabbitmq.adapter import RabbitQueue
from shared.quota.port import Limits
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.corp import Follow
from simulator.verdict import broken_rules
from tests.benchmarks.rig import broker_from, own_prefix, percentiles, print_result, publish_backlog
from tests.e2e.processes import qudao, receives, settings


async def scan(simulator: Simulator, seconds: float, rate: float) -> list[Follow]:
    """Let customers scan at *rate* for *seconds*; return their relations."""
    begun, scans = time.monotonic(), []
    while (elapsed := time.monotonic() - begun) < seconds:
        while len(scans) < elapsed * rate:
            scans.append(await simulator.scan(state="qd_expo26"))
        await asyncio.sleep(0.01)
    relations = [simulator.relation(each.userid, each.external_userid) for each in scans]
    return [relation for relation in relations if relation is not None]


async def depths(url: str, prefix: str) -> dict[str, int]:
    """Return how much waits where."""
    async with RabbitQueue(url, prefix=prefix) as queue:
        return {depth.name: depth.messages for depth in await queue.depths() if depth.messages}


def scaled(scale: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the limits, *scale* times less in windows as many times shorter: for the simulator, and for Qudao."""
    limits = Limits()
    minute, hour = limits.minute / scale, limits.hour / scale
    per_minute, per_hour = round(limits.per_minute / scale), round(limits.per_hour / scale)
    theirs = {
        "minute_window": minute,
        "hour_window": hour,
        "corp_per_minute": per_minute,
        "corp_per_hour": per_hour,
        "ip_per_minute": 10**9,
        "ip_per_hour": 10**9,
    }
    ours = {
        "QUDAO_QUOTA_PER_MINUTE": str(per_minute),
        "QUDAO_QUOTA_MINUTE_SECONDS": str(minute),
        "QUDAO_QUOTA_PER_HOUR": str(per_hour),
        "QUDAO_QUOTA_HOUR_SECONDS": str(hour),
    }
    return theirs, ours


async def measure(given: argparse.Namespace, url: str) -> dict[str, Any]:
    """Run the measurement."""
    lane, events = given.lane, given.events
    theirs, ours = scaled(given.scale)
    simulator = Simulator(SimulatorConfig.quiet(default_latency=0.02, latency_scale=1.0, **theirs))
    simulator.add_contact_way("qd_expo26", ["lin.qiao", "zhou.yi"])
    prefix = own_prefix()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server, AsyncExitStack() as stack:
            env = settings(simulator, server.url, folder, QUDAO_QUEUE_URL=url, QUDAO_QUEUE_PREFIX=prefix, **ours)
            await publish_backlog(url, prefix, simulator, events, lane)
            queued = await depths(url, prefix)
            ingress = await stack.enter_async_context(qudao("ingress", folder=folder, env=env))
            await receives(ingress, simulator)
            env["QUDAO_LOG_LEVEL"] = "error"
            for _ in range(2):
                await stack.enter_async_context(qudao("worker", folder=folder, env=env))
            await asyncio.sleep(given.after)  # the workers are up, and deep in the backlog
            relations = await scan(simulator, given.seconds, given.rate)
            await asyncio.sleep(10.0)
    welcomes = [relation.welcomes[0] - relation.added_at for relation in relations if relation.welcomes]
    marks = [relation.marked_at - relation.added_at for relation in relations if relation.marked_at is not None]
    backlog = sum(relation.marked_at is not None for relation in simulator.corp.relations()) - len(marks)
    return {
        "lane": lane.value,
        "backlog": events,
        "scale": given.scale,
        "queued_as": queued,
        "backlog_marked_meanwhile": backlog,
        "scanned": len(relations),
        "not_welcomed": len(relations) - len(welcomes),
        "not_marked": len(relations) - len(marks),
        "welcome_seconds": percentiles(welcomes),
        "mark_seconds": percentiles(marks),
        "refused": broken_rules(simulator.scenario)["refused"],
    }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lane", type=Lane, default=Lane.LIVE, choices=[Lane.LIVE, Lane.BULK])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long customers scan")
    parser.add_argument("--rate", type=float, default=5.0, help="scans per second")
    parser.add_argument("--scale", type=float, default=1.0, help="by how much minute and hour are shorter")
    parser.add_argument("--after", type=float, default=5.0, help="seconds of backlog before the first scan")
    parser.add_argument("--broker", help="amqp:// URL; without it a broker is started")
    given = parser.parse_args()
    with broker_from(given.broker) as url:
        print_result(asyncio.run(measure(given, url)))


if __name__ == "__main__":
    main()
