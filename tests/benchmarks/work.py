"""
What does one customer cost a worker, in CPU, by the operating system's accounting? Of one version, or of two in turn.

    python -m tests.benchmarks.work --events 2000 [--rounds 3] [--embedded] [--before PATH/TO/ANOTHER/bin/qudao]

Each round: customers scan, their events wait, then one worker marks them all with two calls each, logs as shipped, the
quota lifted, WeCom answering at once. The state is in PostgreSQL, or with --embedded all in one file.

``make bench BENCH="--only work"`` measures it beside the scripts in ``tests/benchmarks/markers``, which make the same
two calls and acknowledge afterwards; they know no quota, no journal, no second look and no log.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import aiohttp
import orjson

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.benchmarks.rig import (
    LIFTED,
    UNLIMITED,
    Way,
    against_first,
    broker_from,
    cpu_of,
    in_turn,
    medians,
    own_prefix,
    print_result,
    script_env,
)
from tests.e2e import processes
from tests.e2e.processes import qudao, receives, settings
from tests.postgres.servers import running_server

AT_ONCE = 8
"""Customers in hand at a time."""

CHANNELS = '[channels.shop]\nname = "南京路店"\nstaff = ["lin.qiao"]\nremark = "{channel}-{name}"\n'


async def marked(simulator: Simulator, count: int) -> None:
    """Return once *count* customers are marked."""
    while sum(relation.marked_at is not None for relation in simulator.corp.relations()) < count:
        await asyncio.sleep(0.05)


def channels_toml(count: int) -> str:
    """Return a channels file with *count* channels, of which customers come through the first."""
    others = (f'[channels.c{number}]\nname = "渠道{number}"\nstaff = ["m{number}"]\n' for number in range(1, count))
    return CHANNELS + "".join(others)


async def measure(
    executable: Path, events: int, more: dict[str, str], *, embedded: bool = False, channels: int = 1
) -> dict[str, float]:
    """Run one round with the *executable*."""
    simulator = Simulator(SimulatorConfig.quiet(**UNLIMITED))
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    processes.QUDAO = executable
    command = ("run",) if embedded else ("ingress", "worker")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server:
            env = settings(simulator, server.url, folder, **more)
            env |= {"QUDAO_QUOTA_IN_FLIGHT": str(AT_ONCE), **LIFTED}
            (folder / "channels.toml").write_text(channels_toml(channels), encoding="utf-8")
            async with qudao(command[0], folder=folder, env=env) as first:
                await receives(first, simulator)
                if embedded:
                    return await _costs(first.process.pid, simulator, events, _scan(simulator, events))
                await _scan(simulator, events)
                async with qudao(command[1], folder=folder, env=env) as worker:
                    await worker.logged("lane.opened", lane="live")
                    return await _costs(worker.process.pid, simulator, events)


async def _scan(simulator: Simulator, events: int) -> None:
    for _ in range(events):
        await simulator.scan(state="qd_shop")


async def _costs(pid: int, simulator: Simulator, events: int, begin: Awaitable[None] | None = None) -> dict[str, float]:
    """Return what it costs process *pid* to mark *events* customers, whose events wait or come with *begin*."""
    begun, used = time.monotonic(), cpu_of(pid)
    if begin is not None:
        await begin
    await marked(simulator, events)
    took, used = time.monotonic() - begun, cpu_of(pid) - used
    return {"cpu_us_per_event": round(used / events * 1e6), "events_per_second": round(events / took, 1)}


def _plain(event: dict[str, str]) -> aio_pika.Message:
    return aio_pika.Message(orjson.dumps(event), content_type="application/json")


def _for_taskiq(event: dict[str, str]) -> aio_pika.Message:
    task = {"task_id": uuid4().hex, "task_name": "customer_event", "labels": {}, "args": [event], "kwargs": {}}
    return aio_pika.Message(orjson.dumps(task))


def _for_celery(event: dict[str, str]) -> aio_pika.Message:
    task_id = str(uuid4())
    headers = {"lang": "py", "task": "customer_event", "id": task_id, "root_id": task_id}
    return aio_pika.Message(
        orjson.dumps([[event], {}, {}]),
        headers=headers,
        content_type="application/json",
        content_encoding="utf-8",
        correlation_id=task_id,
    )


MARKERS: dict[str, tuple[str, Callable[[dict[str, str]], aio_pika.Message]]] = {
    "aiohttp + aio-pika": ("with_aio_pika", _plain),
    "FastStream": ("with_faststream", _plain),
    "taskiq": ("with_taskiq", _for_taskiq),
    "Celery": ("with_celery", _for_celery),
}
"""Modules of ``tests/benchmarks/markers``, and how they want to be told of an event."""


async def measure_marker(name: str, url: str, events: int) -> dict[str, float]:
    """Run one round with one of MARKERS."""
    module, message_for = MARKERS[name]
    simulator = Simulator(SimulatorConfig.quiet(**UNLIMITED))
    queue = f"{own_prefix()}.{module}.{uuid4().hex}"
    async with (
        run_simulator(simulator) as server,
        await aio_pika.connect(url) as connection,
        aiohttp.ClientSession() as session,
    ):
        query = {"corpid": simulator.corp.corp_id, "corpsecret": simulator.app.secret}
        async with session.get(f"{server.url}/cgi-bin/gettoken", params=query) as response:
            token = (await response.json())["access_token"]
        channel = await connection.channel()
        if module != "with_taskiq":  # it declares its own, as it likes
            await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        env = script_env(url, queue, AT_ONCE=str(AT_ONCE), API=server.url, ACCESS_TOKEN=token)
        command = (sys.executable, "-m", f"tests.benchmarks.markers.{module}")
        process = await asyncio.create_subprocess_exec(*command, env=env, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None, "it is a pipe"
            async with asyncio.timeout(30):
                while (await process.stdout.readline()).strip() != b"ready":
                    assert process.returncode is None, f"{name} ended"
            relations = simulator.populate(events, state="qd_shop", userid="lin.qiao")

            async def publish() -> None:
                for relation in relations:
                    event = {"userid": relation.member.userid, "external_userid": relation.customer.external_userid}
                    await channel.default_exchange.publish(message_for(event), routing_key=queue)

            async with asyncio.timeout(120):
                return await _costs(process.pid, simulator, events, publish())
        finally:
            process.kill()
            await process.wait()


async def compare(
    url: str, state: str, events: int, rounds: int, *, markers: Collection[str] = MARKERS.keys()
) -> dict[str, Any]:
    """Measure *markers* and Qudao in turn; return the medians, and how each stands against the first of them."""
    runs = count()

    def over_rabbitmq() -> dict[str, str]:
        return {
            "QUDAO_QUEUE_URL": url,
            "QUDAO_QUEUE_PREFIX": f"{own_prefix()}.work{next(runs)}",
            "QUDAO_STATE_URL": state,
        }

    ways: dict[str, Way] = {name: partial(measure_marker, name, url, events) for name in markers}
    ways["qudao"] = lambda: measure(processes.QUDAO, events, over_rabbitmq())
    ways["qudao embedded"] = lambda: measure(processes.QUDAO, events, {}, embedded=True)
    return against_first(await in_turn("work", rounds, ways), "cpu_us_per_event", "cpu_ratio")


async def rounds(given: argparse.Namespace, url: str, state: str) -> dict[str, Any]:
    """Measure the versions in turn; return the median of each."""
    versions = {"this": processes.QUDAO} | ({"before": given.before.absolute()} if given.before else {})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    for number in range(given.rounds):
        for name, executable in versions.items():
            more = (
                {}
                if given.embedded
                else {"QUDAO_QUEUE_URL": url, "QUDAO_QUEUE_PREFIX": f"{own_prefix()}.{number}.{name}"}
            )
            if not given.embedded and name == "this":
                more["QUDAO_STATE_URL"] = state
            found[name].append(await measure(executable, given.events, more, embedded=given.embedded))
            print(name, found[name][-1], flush=True)
    return medians(found)


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--before", type=Path, help="the executable of another version")
    given = parser.parse_args()
    with ExitStack() as stack:
        url = "" if given.embedded else stack.enter_context(broker_from(None))
        state = "" if given.embedded else stack.enter_context(running_server()).url
        print_result(asyncio.run(rounds(given, url, state)))


if __name__ == "__main__":
    main()
