"""
Restart three RabbitMQ nodes one by one and let PostgreSQL fail over, under a deployment that is at work: who stops?

    python -m tests.benchmarks.rolling [--rate 10] [--quiet 20] [--kill]

With ``QUDAO_TEST_RABBITMQ=4`` over RabbitMQ 4, with ``QUDAO_TEST_POSTGRES=13`` over PostgreSQL 13.

Customers scan at a steady rate. The real ingress and three workers know all nodes; the state is in a PostgreSQL
with a standby. Nodes stop in order, or with ``--kill`` by -9, as many as there are, each once the last one
is whole again. Then the primary is killed and the standby promoted. The judge is the simulator's journal: the longest
time without a call after each blow, and what became of every customer. ``--one-host`` gives
the ingress the first node alone, and each worker one: then nobody is called while that node is away.
"""

import argparse
import asyncio
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from shared.tasks import beside
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.verdict import broken_rules
from tests.benchmarks.rig import own_prefix, print_result, scan_for_ever
from tests.e2e.processes import Process, qudao, receives, settings
from tests.postgres.programs import provide
from tests.postgres.servers import Server, running_server, running_standby
from tests.rabbitmq.brokers import running_cluster
from tests.rabbitmq.node import Broker

STATE = "qd_shop"
REMARK = "externalcontact/remark"
SETTLED_WITHIN = 180.0

WHOLE = "case rabbit_quorum_queue:list_with_minimum_quorum() of [] -> whole; _ -> waits end"
"""Whether this node may stop: none of its quorum queues would lose its majority."""

MEMBERS = (
    "lists:min([length(maps:get(nodes, amqqueue:get_type_state(Q))) || Q <- rabbit_amqqueue:list(), "
    "amqqueue:get_type(Q) =:= rabbit_quorum_queue])"
)


class Course:
    """What is done to a deployment, and when."""

    def __init__(self, nodes: list[Broker], primary: Server, standby: Server, *, quiet: float, kill: bool) -> None:
        self._nodes, self._primary, self._standby = nodes, primary, standby
        self._quiet, self._kill = quiet, kill
        self.blows: dict[str, float] = {}
        self.back: dict[str, float] = {}

    async def run(self) -> None:
        """Restart each node, then fail the database over, with quiet times between."""
        await asyncio.sleep(self._quiet)
        for number, node in enumerate(self._nodes, 1):
            await self._blow(f"node {number}", lambda node=node: self._restart(node))
        await self._blow("database", self._fail_over)

    async def _blow(self, name: str, what: Callable[[], Awaitable[None]]) -> None:
        self.blows[name] = time.time()
        await what()
        self.back[name] = time.time()
        print(f"{name}: back after {self.back[name] - self.blows[name]:.1f} s", flush=True)
        await asyncio.sleep(self._quiet)

    async def _restart(self, node: Broker) -> None:
        await asyncio.to_thread(node.kill if self._kill else node.stop)
        await asyncio.to_thread(node.start)
        for each in self._nodes:
            while await asyncio.to_thread(each.evaluate, WHOLE) != "whole":
                await asyncio.sleep(0.2)

    async def _fail_over(self) -> None:
        self._primary.send(signal.SIGKILL)
        await asyncio.to_thread(self._standby.promote)


def longest_gap(times: list[float], since: float, until: float) -> float:
    """Return the longest time from *since* to *until* in which nothing happened."""
    inside = [since, *(at for at in sorted(times) if since < at < until), until]
    return round(max(later - earlier for earlier, later in pairwise(inside)), 2)


def first_after(times: list[float], moment: float) -> float:
    """Return how long after *moment* something happened."""
    return round(min(at for at in times if at > moment) - moment, 2)


def done_by(worker: Process) -> list[float]:
    """Return when *worker* was done with a delivery."""
    return [
        datetime.fromisoformat(line["timestamp"]).timestamp()
        for line in worker.lines
        if line["event"] == "delivery.done"
    ]


def result(simulator: Simulator, course: Course, workers: list[Process], ended: float) -> dict[str, Any]:
    """Return the figures."""
    calls = [call.started for call in simulator.journal.calls(REMARK)]
    ends = dict(zip(course.blows, [*list(course.blows.values())[1:], ended], strict=True))
    relations = list(simulator.corp.relations())
    rules = broken_rules(simulator.scenario)
    delays = sorted(relation.marked_at - relation.added_at for relation in relations if relation.marked_at)
    return {
        "seconds_until_back": {name: round(course.back[name] - at, 1) for name, at in course.blows.items()},
        "longest_gap_between_calls": {n: longest_gap(calls, at, ends[n]) for n, at in course.blows.items()},
        "seconds_from_then_to_the_first_delivery_at_that_node": {
            f"node {number}": first_after(done_by(worker), course.back[f"node {number}"])
            for number, worker in enumerate(workers, 1)
        },
        "customers": len(relations),
        "accepted": simulator.scenario.callback_outcomes["delivered"],
        "marked": len(delays),
        "seconds_from_scan_to_mark": {"p50": round(delays[len(delays) // 2], 2), "max": round(delays[-1], 2)},
        "lost": rules["lost_events"],
        "parked": sum(line["event"] == "delivery.parked" for worker in workers for line in worker.lines),
        "answers_refused": rules["refused"],
        "remarks_written_twice": len(rules["remarks_written_twice"]),
        "workers_ended": [worker.process.returncode for worker in workers if worker.process.returncode is not None],
    }


def _all_hosts(nodes: list[Broker]) -> str:
    login, at, _ = nodes[0].url.rpartition("@")
    return f"{login}{at}{','.join(node.url.rpartition('@')[2].rstrip('/') for node in nodes)}/"


async def measure(nodes: list[Broker], primary: Server, standby: Server, given: argparse.Namespace) -> dict[str, Any]:
    """Run the whole course and wait until every customer is marked."""
    simulator = Simulator(SimulatorConfig.quiet(default_latency=0.01, latency_scale=1.0))
    simulator.add_contact_way(STATE, ["lin.qiao", "zhou.yi"])
    state = primary.url.replace(primary.address, f"{primary.address},{standby.address}")
    prefix = own_prefix()
    course = Course(nodes, primary, standby, quiet=given.quiet, kill=given.kill)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server, AsyncExitStack() as stack:

            async def start(command: str, node: Broker) -> Process:
                more = {
                    "QUDAO_QUEUE_URL": node.url if given.one_host else _all_hosts(nodes),
                    "QUDAO_QUEUE_PREFIX": prefix,
                    "QUDAO_STATE_URL": state,
                }
                env = settings(simulator, server.url, folder, **more)
                return await stack.enter_async_context(qudao(command, folder=folder, env=env))

            ingress = await start("ingress", nodes[0])
            await receives(ingress, simulator)
            workers = [await start("worker", node) for node in nodes]
            for worker in workers:
                await worker.logged("lane.opened", lane="live")
            members = await asyncio.to_thread(nodes[0].evaluate, MEMBERS)
            async with beside(scan_for_ever(simulator, given.rate, STATE)):
                await course.run()
            ended = time.time()
            async with asyncio.timeout(SETTLED_WITHIN):
                while not all(relation.marked_at for relation in simulator.corp.relations()):
                    await asyncio.sleep(0.2)
            return {"members_of_each_queue": int(members), **result(simulator, course, workers, ended)}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10.0, help="customers a second")
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds between two blows")
    parser.add_argument("--kill", action="store_true", help="kill the nodes with -9")
    parser.add_argument("--one-host", action="store_true", help="name one node to each process")
    given = parser.parse_args()
    with running_cluster(3) as nodes, running_server() as primary, running_standby(primary) as standby:
        version = nodes[0].evaluate("list_to_binary(rabbit_misc:version())").strip('<>"')
        figures = asyncio.run(measure(nodes, primary, standby, given))
        print_result({"rabbitmq": version, "postgresql": provide().version, "killed": given.kill, **figures})


if __name__ == "__main__":
    main()
