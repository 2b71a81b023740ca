"""Listens to what is published on a broker: routing keys, properties and headers of every message, not the bodies."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError

from tests.rabbitmq.brokers import AnyBroker

logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # a broker that is killed is no news here


@dataclass
class Tap:
    """What was heard, a line for each message."""

    lines: list[str] = field(default_factory=list)

    async def hear(self, traced: AbstractIncomingMessage) -> None:
        """Note a message by RabbitMQ's own record of it."""
        self.lines.append(f"{traced.routing_key} {traced.headers}")


@asynccontextmanager
async def tapped(broker: AnyBroker | None) -> AsyncIterator[Tap]:
    """Yield a tap on *broker*, which ends with its next restart; without a broker there is nothing to hear."""
    tap = Tap()
    if broker is None:
        yield tap
        return
    broker.evaluate('rabbit_trace:start(<<"/">>)')
    connection = await aio_pika.connect(broker.url)
    try:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind("amq.rabbitmq.trace", "publish.#")
        await queue.consume(tap.hear, no_ack=True)
        yield tap
    finally:
        with suppress(AMQPError, OSError):
            await connection.close()
        broker.evaluate('rabbit_trace:stop(<<"/">>)')
