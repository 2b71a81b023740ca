"""
What does a confirmed publish cost, in CPU of this process, with many callers at a time? Beside aio-pika, in turn.

    python -m tests.benchmarks.publish [--messages 20000] [--callers 64] [--rounds 5]

A quorum queue, persistent messages, ``mandatory``, the headers and the body of a customer's event.
"""

import argparse
import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import uvloop

from shared.amqp.connection import AmqpConnection, channel_for_now
from shared.amqp.publisher import Publisher
from shared.domain.events import CustomerAdded
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.queue.message import message_for
from shared.queue.rabbitmq.wire import headers_of
from tests.benchmarks.rig import broker_from, medians, own_prefix, print_result

EVENT = CustomerAdded(
    corp=CorpId("ww9f8e7d6c5b4a3210"),
    staff=StaffUserId("lin.qiao"),
    customer=ExternalUserId("wmK3vTBwAAh2Yq0ZsPd7uXn4rCf6LmEg"),
    created_at=1767229384,
    state="qd_shop",
    welcome_code="CALLBACKCODE-0123456789abcdef0123456789abcdef",
)
Publish = Callable[[bytes, dict[str, Any]], Awaitable[object]]


@asynccontextmanager
async def by_qudao(url: str, queue: str) -> AsyncIterator[Publish]:
    """Yield what publishes with Qudao's publisher."""
    async with AmqpConnection(url, "bench") as connection, Publisher(connection, seconds=30) as publisher:
        await publisher.ready()
        yield lambda body, headers: publisher.publish(body, exchange="", routing_key=queue, headers=headers)


@asynccontextmanager
async def by_aio_pika(url: str, queue: str) -> AsyncIterator[Publish]:
    """Yield what publishes as aio-pika's documentation shows it."""
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        yield lambda body, headers: channel.default_exchange.publish(
            aio_pika.Message(body, headers=headers, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), routing_key=queue
        )


async def measure(publish: Publish, messages: int, callers: int) -> dict[str, float]:
    """Publish so many, and return what one cost."""
    message = message_for(EVENT, now=time.time())
    numbers = iter(range(messages))

    async def call() -> None:
        for _ in numbers:
            await publish(message.body, headers_of(message))

    begun, used = time.perf_counter(), cpu()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(call())
    return {
        "cpu_us": round((cpu() - used) / messages * 1e6, 1),
        "us": round((time.perf_counter() - begun) / messages * 1e6, 1),
    }


def cpu() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def compare(url: str, messages: int, callers: int, rounds: int) -> dict[str, Any]:
    """Measure both in turn, each round in a queue of its own; return the medians, and how each stands against ours."""
    found: dict[str, list[dict[str, float]]] = {"qudao": [], "aio-pika": []}
    async with AmqpConnection(url, "bench queues") as connection:
        await connection.usable()
        for number in range(rounds):
            for name, way in (("qudao", by_qudao), ("aio-pika", by_aio_pika)):
                queue = f"{own_prefix()}.{number}.{name}"
                async with channel_for_now(connection.channel) as channel:
                    await channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
                    async with way(url, queue) as publish:
                        await measure(publish, callers, callers)
                        found[name].append(await measure(publish, messages, callers))
                    stored = (await channel.queue_delete(queue)).message_count
                    assert stored == messages + callers, "every message that was confirmed is there"
    middle = medians(found)
    ours = middle["qudao"]["cpu_us"]
    return {name: row | {"cpu_ratio": round(row["cpu_us"] / ours, 2)} for name, row in middle.items()}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with broker_from(None) as url:
        print_result(uvloop.run(compare(url, given.messages, given.callers, given.rounds)))


if __name__ == "__main__":
    main()
