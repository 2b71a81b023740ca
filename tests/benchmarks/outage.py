"""
The broker is away for a while under a steady rush: what do callers see meanwhile, and how soon is all as before?

    python -m tests.benchmarks.outage [--rate 200] [--away 600] [--workers 2]

Half of the customers have a welcome coming. The judge is the simulator: how its callbacks were answered and when, and
who was welcomed in time. Once the broker is back the rush goes on at a tenth of its rate, and the spool is watched.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from shared.tasks import beside
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.corp import Follow
from simulator.journal import Kind
from tests.benchmarks.rig import own_prefix, percentiles, print_result, scan_for_ever
from tests.e2e.processes import Process, qudao, receives, settings
from tests.rabbitmq.brokers import AnyBroker, provide, running_broker

STATES = ("qd_expo26", "qd_shop")
"""With a welcome, and without one."""

QUIET = 10.0
SOON = 5.0
"""Seconds after the broker's return from which on customers are to be welcomed as ever."""

LATER = 30.0
SETTLED_WITHIN = 600.0


class Spool:
    """What waits in an ingress's spool, as its metrics have it."""

    def __init__(self, ingress: Process, session: aiohttp.ClientSession) -> None:
        self._ingress = ingress
        self._session = session

    async def waiting(self) -> float:
        """Return the number of entries."""
        line = await self._ingress.logged("admin.listening")
        async with self._session.get(f"http://{line['host']}:{line['port']}/metrics") as answer:
            text = await answer.text()
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("qudao_spool_waiting "))

    async def drained(self) -> dict[str, float]:
        """Return how much waited, how long it took from the first that left, and how many marks left in a second."""
        waits = most = await self.waiting()
        times = [(time.monotonic(), most)]
        while waits > 0:
            await asyncio.sleep(0.2)
            waits = await self.waiting()
            if waits < most:
                times.append((time.monotonic(), waits))
            else:
                most, times = waits, [(time.monotonic(), waits)]
        marks = [
            (at, left) for at, left in times if left > most / 3
        ]  # a third are welcomes, which are late and go slowly
        return {
            "entries": most,
            "seconds": round(times[-1][0] - times[0][0], 1),
            "marks_a_second": round((most - marks[-1][1]) / (marks[-1][0] - marks[0][0] or 1)),
        }


def answers(simulator: Simulator, since: float, until: float) -> dict[str, Any]:
    """Return how the callbacks that began from *since* to *until* were answered."""
    found = [row for row in simulator.journal.find(kind=Kind.CALLBACK) if since <= row.started < until]
    return {
        "callbacks": len(found),
        "not_200": sum(row.code != 200 for row in found),
        "seconds": percentiles([row.finished - row.started for row in found]),
    }


def welcomed(relations: list[Follow], since: float, until: float) -> dict[str, Any]:
    """Return who of those who came from *since* to *until* was welcomed in time."""
    found = [each for each in relations if each.state == STATES[0] and since <= each.added_at < until]
    waits = [each.welcomes[0] - each.added_at for each in found if each.welcomes]
    share = round(len(waits) / len(found), 4) if found else None
    return {"customers": len(found), "welcomed": share, "seconds": percentiles(waits)}


async def measure(broker: AnyBroker, given: argparse.Namespace) -> dict[str, Any]:
    """Run the whole course."""
    plenty = {"QUDAO_QUOTA_PER_MINUTE": "1000000", "QUDAO_QUOTA_PER_HOUR": "10000000", "QUDAO_QUOTA_IN_FLIGHT": "50"}
    simulator = Simulator(
        SimulatorConfig.quiet(
            corp_per_minute=10**9, corp_per_hour=10**9, ip_per_minute=10**9, ip_per_hour=10**9, in_flight=50
        )
    )
    for state in STATES:
        simulator.add_contact_way(state, ["lin.qiao", "zhou.yi"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server, AsyncExitStack() as stack:
            env = settings(
                simulator,
                server.url,
                folder,
                QUDAO_QUEUE_URL=broker.url,
                QUDAO_QUEUE_PREFIX=own_prefix(),
                **plenty,
            )
            ingress = await stack.enter_async_context(qudao("ingress", folder=folder, env=env))
            await receives(ingress, simulator)
            for _ in range(given.workers):
                worker = await stack.enter_async_context(qudao("worker", folder=folder, env=env))
                await worker.logged("lane.opened", lane="live")
            spool = Spool(ingress, await stack.enter_async_context(aiohttp.ClientSession()))
            async with beside(scan_for_ever(simulator, given.rate, *STATES)):
                await asyncio.sleep(QUIET)
                away = time.time()
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(given.away)
            async with beside(scan_for_ever(simulator, given.rate / 10, *STATES)):
                await asyncio.to_thread(broker.start)
                back = time.time()
                drained = await spool.drained()
                await asyncio.sleep(max(0.0, back + SOON + LATER - time.time()))
            async with asyncio.timeout(SETTLED_WITHIN):
                while given.workers and not all(relation.marked_at for relation in simulator.corp.relations()):
                    await asyncio.sleep(0.5)
            relations = list(simulator.corp.relations())
            return {
                "before": answers(simulator, 0.0, away),
                "first_seconds_without": answers(simulator, away, away + 5.0),
                "without": answers(simulator, away + 5.0, back),
                "after": answers(simulator, back, back + SOON + LATER),
                "spool": drained,
                "welcomes_in_the_first_seconds": welcomed(relations, back, back + SOON),
                "welcomes_later": welcomed(relations, back + SOON, back + SOON + LATER),
                "marked": len(relations),
                "written_twice": sum(len(relation.remarks) > 1 for relation in relations),
            }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="customers a second")
    parser.add_argument("--away", type=float, default=600.0, help="seconds without a broker")
    parser.add_argument("--workers", type=int, default=2, help="0: how fast is the spool when nobody else is at work?")
    given = parser.parse_args()
    provide()
    with running_broker() as broker:
        print_result(asyncio.run(measure(broker, given)))


if __name__ == "__main__":
    main()
