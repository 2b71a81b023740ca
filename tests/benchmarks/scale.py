"""
Workers join, leave and are killed while a backlog drains under scaled-down limits: is the quota kept, and is it used?

    python -m tests.benchmarks.scale --events 20000 [--broker amqp://…] [--sqlite]     (without --broker it starts one)

The state is in a PostgreSQL that is cut off twice on the way, after two and after five minutes, or in a SQLite file.
Limits are 600 calls in 6 s, 9,000 in 6 min and 5 in flight per API, at the simulator as in Qudao's settings. The judge
is the simulator's journal. Use is measured against the share of the bulk lane, where a backlog goes on: 90 % of the
minute, 70 % of the hour in three parts.
"""

import argparse
import asyncio
import signal
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from shared.domain.events import Lane
from shared.quota.port import PARTS
from shared.tasks import beside
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.verdict import broken_rules
from tests.benchmarks.rig import broker_from, own_prefix, print_result, publish_backlog
from tests.e2e.processes import Process, qudao, settings
from tests.postgres.servers import Server, running_server

PER_MINUTE, MINUTE = 600, 6.0
PER_HOUR, HOUR = 9_000, 360.0
IN_FLIGHT = 5
STAGES = ((0.0, 1), (15.0, 2), (30.0, 4), (45.0, 8), (60.0, 4))
"""From how many seconds on there are how many workers; those that leave are killed with -9."""

CUTS = (120.0, 300.0)
"""Seconds after which the database is cut off as by a power failure, and started again three seconds later."""

KILL_EVERY = 10.0
"""Seconds between two kills, each followed by a new worker."""


class Fleet:
    """Worker processes that come and go."""

    def __init__(self, stack: AsyncExitStack, folder: Path, env: dict[str, str]) -> None:
        self._stack, self._folder, self._env = stack, folder, env
        self.workers: list[Process] = []
        self.kills = 0

    async def start(self) -> None:
        """Start one more worker."""
        self.workers.append(await self._stack.enter_async_context(qudao("worker", folder=self._folder, env=self._env)))

    def kill(self) -> None:
        """Kill the oldest worker with -9."""
        self.workers.pop(0).kill()
        self.kills += 1

    async def size(self, wanted: int) -> None:
        """Bring the fleet to *wanted* workers."""
        while len(self.workers) < wanted:
            await self.start()
        while len(self.workers) > wanted:
            self.kill()


async def cut_off(server: Server) -> None:
    """Cut the database off, again and again."""
    begun = time.monotonic()
    for at in CUTS:
        await asyncio.sleep(max(0.0, begun + at - time.monotonic()))
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        await asyncio.sleep(3.0)
        await asyncio.to_thread(server.start)
        print("the database was cut off", flush=True)


async def drain(fleet: Fleet, simulator: Simulator, events: int) -> float:
    """Run the stages until every relation is marked; return the seconds it took."""
    begun = time.monotonic()
    next_kill = STAGES[-1][0] + KILL_EVERY
    while True:
        elapsed = time.monotonic() - begun
        marked = sum(relation.marked_at is not None for relation in simulator.corp.relations())
        if marked == events:
            return elapsed
        await fleet.size([count for since, count in STAGES if since <= elapsed][-1])
        if elapsed > next_kill:
            next_kill += KILL_EVERY
            fleet.kill()
        print(f"{elapsed:6.0f} s  {marked:6d} marked  {len(fleet.workers)} workers  {fleet.kills} kills", flush=True)
        await asyncio.sleep(2.0)


def ideal_seconds(events: int, per_minute: int, per_part: int) -> float:
    """Return the least time from the first to the last of *events* calls that sliding windows of these limits allow."""
    parts, rest = divmod(events - 1, per_part)
    return parts * HOUR / PARTS + rest // per_minute * MINUTE


def result(simulator: Simulator, took: float, events: int, kills: int) -> dict[str, Any]:
    """Return the figures."""
    journal, rules = simulator.journal, broken_rules(simulator.scenario)
    share_minute, share_hour = int(PER_MINUTE * 0.9), int(PER_HOUR * 0.7)
    share_part = share_hour // PARTS
    times = sorted(call.started for call in journal.calls("externalcontact/get"))
    in_one_part = min(len(times), int(share_part * 0.9))
    return {
        "events": events,
        "seconds": round(took, 1),
        "ideal_seconds_for_the_lane": round(ideal_seconds(events, share_minute, share_part), 1),
        "kills": kills,
        "answers_refused": rules["refused"],
        "most_in_minute": journal.most_in_window(MINUTE),
        "most_in_hour": journal.most_in_window(HOUR),
        "most_in_flight": journal.most_in_flight(),
        "remarks_written_twice": len(rules["remarks_written_twice"]),
        "get_calls": len(times),
        "minute_use_of_the_lanes_share": round(
            ideal_seconds(in_one_part, share_minute, share_part) / (times[in_one_part - 1] - times[0]), 4
        ),
        "hour_use_of_the_lanes_share": round(journal.most_in_window(HOUR)["externalcontact/get"] / share_hour, 4),
    }


async def measure(url: str, events: int, database: Server | None) -> dict[str, Any]:
    """Run the whole measurement, with the state in *database* or in a file."""
    config = SimulatorConfig.quiet(
        minute_window=MINUTE,
        hour_window=HOUR,
        corp_per_minute=PER_MINUTE,
        corp_per_hour=PER_HOUR,
        ip_per_minute=10**9,
        ip_per_hour=10**9,
        in_flight=IN_FLIGHT,
        default_latency=0.01,
        latency_scale=1.0,
    )
    simulator = Simulator(config)
    prefix = own_prefix()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server, AsyncExitStack() as stack:
            env = settings(
                simulator,
                server.url,
                folder,
                QUDAO_QUEUE_URL=url,
                QUDAO_QUEUE_PREFIX=prefix,
                QUDAO_QUOTA_PER_MINUTE=str(PER_MINUTE),
                QUDAO_QUOTA_MINUTE_SECONDS=str(MINUTE),
                QUDAO_QUOTA_PER_HOUR=str(PER_HOUR),
                QUDAO_QUOTA_HOUR_SECONDS=str(HOUR),
                QUDAO_QUOTA_IN_FLIGHT=str(IN_FLIGHT),
                QUDAO_LOG_LEVEL="error",
                QUDAO_STATE_URL=database.url if database else "",
            )
            await publish_backlog(url, prefix, simulator, events, Lane.LIVE)
            fleet = Fleet(stack, folder, env)
            if database is not None:
                await stack.enter_async_context(beside(cut_off(database)))
            took = await drain(fleet, simulator, events)
            return result(simulator, took, events, fleet.kills)


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--broker", help="amqp:// URL; without it a broker is started")
    parser.add_argument("--sqlite", action="store_true", help="keep the state in a file")
    arguments = parser.parse_args()
    with broker_from(arguments.broker) as url, ExitStack() as stack:
        server = None if arguments.sqlite else stack.enter_context(running_server())
        print_result(asyncio.run(measure(url, arguments.events, server)))


if __name__ == "__main__":
    main()
