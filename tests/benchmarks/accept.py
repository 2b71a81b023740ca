"""
What does it cost to accept a callback, beside the bare server and what one could have used instead?

    python -m tests.benchmarks.accept [--events 4000] [--rounds 5] [--only bare,qudao]

Each receiver in turn, round by round: unique events over 64 connections, as fast as they are answered. CPU is that of
the receiver and its children, by the operating system; afterwards each must have stored every event it answered.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import uvloop

from shared.amqp.connection import AmqpConnection, channel_for_now
from shared.domain.events import Lane
from shared.queue.rabbitmq.topology import Topology
from tests.benchmarks.load import Outcome, rendered, send_all
from tests.benchmarks.rig import broker_from, cpu_of, in_turn, own_prefix, percentiles, print_result, script_env
from tests.callback_vectors import OWN
from tests.e2e.processes import QUDAO, ready, run_to_end
from tests.rabbitmq.brokers import free_ports
from tests.rigs.ingress import added

CONNECTIONS = 64
WARM = 300
STARTED_WITHIN = 30.0

Stored = Callable[[], Awaitable[int | None]]
"""How many events a receiver has stored; None for one that stores nothing."""


@dataclass
class Running:
    """A receiver that runs."""

    port: int
    pid: int
    stored: Stored


async def _nothing() -> None:
    return None


@asynccontextmanager
async def _process(*command: str | Path, folder: Path, env: dict[str, str], port: int) -> AsyncIterator[int]:
    """Yield the id of a process once it listens."""
    log = folder / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        async with asyncio.timeout(STARTED_WITHIN):
            while True:
                if process.returncode is not None:
                    raise RuntimeError(f"{command} ended: {log.read_text()[-2000:]}")
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _queued(url: str, *queues: str) -> int:
    async with AmqpConnection(url, "bench") as connection:
        await connection.usable()
        async with channel_for_now(connection.channel) as channel:
            declared = [await channel.queue_declare(queue, passive=True) for queue in queues]
            return sum(int(each.message_count or 0) for each in declared)


@asynccontextmanager
async def script(name: str, url: str, folder: Path) -> AsyncIterator[Running]:
    """Run one of ``tests/benchmarks/receivers``."""
    [port] = free_ports(1)
    queue = f"{own_prefix()}.{name}.{port}"
    env = script_env(url, queue, PORT=str(port), TOKEN=OWN.token, AES_KEY=OWN.aes_key, CORP_ID=OWN.receive_id)
    stores = name.startswith("with_")
    async with _process(
        sys.executable, "-m", f"tests.benchmarks.receivers.{name}", folder=folder, env=env, port=port
    ) as pid:
        yield Running(port, pid, (lambda: _queued(url, queue)) if stores else _nothing)


@asynccontextmanager
async def ingress(url: str, folder: Path, *, processes: int = 1) -> AsyncIterator[Running]:
    """Run Qudao's ingress over RabbitMQ, or with *url* empty everything in one process; WeCom is away."""
    port, admin, wecom = free_ports(3)
    prefix = f"{own_prefix()}.{port}"
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "QUDAO_CORP_ID": OWN.receive_id,
        "QUDAO_CORP_SECRET": "s",
        "QUDAO_CALLBACK_TOKEN": OWN.token,
        "QUDAO_CALLBACK_AES_KEY": OWN.aes_key,
        "QUDAO_API_URL": f"http://127.0.0.1:{wecom}",
        "QUDAO_LISTEN": f"127.0.0.1:{port}",
        "QUDAO_ADMIN_LISTEN": f"127.0.0.1:{admin}",
    }
    (folder / "channels.toml").write_text(
        '[channels.shop]\nname = "南京路店"\nstaff = ["lin.qiao"]\n', encoding="utf-8"
    )
    command = ["run"]
    if url:
        env |= {"QUDAO_QUEUE_URL": url, "QUDAO_QUEUE_PREFIX": prefix}
        command = ["ingress", "--processes", str(processes)]

    async def stored() -> int:
        code, out, trouble = await run_to_end("status", "--json", folder=folder, env=env)
        assert out, f"status ended with {code}: {trouble}"
        return sum(int(place["messages"]) for place in orjson.loads(out)["queue"] if place["name"] != "fast")

    lanes = [Topology(prefix=prefix).lane(lane) for lane in (Lane.LIVE, Lane.BULK)]
    async with _process(QUDAO, *command, folder=folder, env=env, port=port) as pid:
        if processes > 1:
            await ready(f"http://127.0.0.1:{admin}")
        yield Running(port, pid, (lambda: _queued(url, *lanes)) if url else stored)


RECEIVERS: dict[str, Callable[[str, Path], Any]] = {
    "bare": lambda url, folder: script("bare", url, folder),
    "parse": lambda url, folder: script("parse", url, folder),
    "qudao": ingress,
    "qudao, 2 processes": lambda url, folder: ingress(url, folder, processes=2),
    "qudao embedded": lambda _url, folder: ingress("", folder),
    "aiohttp + aio-pika": lambda url, folder: script("with_aio_pika", url, folder),
    "FastAPI + FastStream": lambda url, folder: script("with_faststream", url, folder),
    "FastAPI + taskiq": lambda url, folder: script("with_taskiq", url, folder),
    "FastAPI + Celery": lambda url, folder: script("with_celery", url, folder),
}


async def measure(name: str, url: str, events: int) -> dict[str, float]:
    """Run one receiver once."""
    warm, requests = (
        [rendered(added(number)) for number in span] for span in (range(WARM), range(WARM, WARM + events))
    )
    with tempfile.TemporaryDirectory() as folder:
        async with RECEIVERS[name](url, Path(folder)) as receiver:
            await send_all(receiver.port, warm, CONNECTIONS)
            used = cpu_of(receiver.pid)
            outcome: Outcome = await send_all(receiver.port, requests, CONNECTIONS)
            used = cpu_of(receiver.pid) - used
            assert outcome.statuses == {200: events}, f"{name} answered {outcome.statuses}"
            stored = await receiver.stored()
            assert stored in {None, WARM + events}, f"{name} stored {stored} of {WARM + events}"
    return {
        "per_second": round(events / outcome.seconds),
        "cpu_us": round(used / events * 1e6),
        "p50_ms": round(percentiles(outcome.latencies)["p50"] * 1000, 1),
        "p99_ms": round(percentiles(outcome.latencies)["p99"] * 1000, 1),
    }


async def compare(url: str, names: list[str], events: int, rounds: int) -> dict[str, Any]:
    """Run all in turn, round by round; return the medians, and how each stands against the first."""
    middle = await in_turn("accept", rounds, {name: partial(measure, name, url, events) for name in names})
    first = middle[names[0]]
    return {
        name: row
        | {
            "rate_ratio": round(row["per_second"] / first["per_second"], 3),
            "cpu_ratio": round(row["cpu_us"] / first["cpu_us"], 2),
        }
        for name, row in middle.items()
    }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(RECEIVERS))
    given = parser.parse_args()
    with broker_from(None) as url:
        print_result(uvloop.run(compare(url, given.only.split(","), given.events, given.rounds)))


if __name__ == "__main__":
    main()
