"""
Subscriptions on RabbitMQ that come back by themselves.

The broker's callback only hands the delivery over. After any trouble a subscription starts on a fresh channel with a
fresh tag: what a channel still knows after a cancel is not to be trusted.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import cast
from uuid import uuid4

from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import Channel as RawChannel
from aiormq.abc import DeliveredMessage

from shared.amqp.connection import (
    CALL_SECONDS,
    STEADY_SECONDS,
    AmqpConnection,
    close_channel,
    pause,
    translated,
)
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.queue.rabbitmq_outbox import Outbox


class Subscription:
    """Deliveries of one queue, at most ``limit`` unsettled, through whatever happens to the broker."""

    def __init__(
        self,
        connection: AmqpConnection,
        outbox: Outbox,
        queue: str,
        limit: int,
        *,
        deliver: Callable[[DeliveredMessage], Coroutine[None, None, None]],
        fail: Callable[[QueueUnavailable], None],
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._queue = queue
        self._limit = limit
        self._deliver = deliver
        self._fail = fail
        self._raw: RawChannel | None = None
        self._tag = ""
        self._stopped = False

    async def run(self) -> None:
        """Subscribe and, whenever that ends, subscribe again, for ever."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            try:
                await self._serve()
            except (QueueUnavailable, ConfigurationError) as error:
                self._fail(QueueUnavailable(str(error)))
            failures = 0 if loop.time() - started > STEADY_SECONDS else failures + 1
            await self._connection.usable()
            await asyncio.sleep(pause(failures))

    async def stop(self) -> None:
        """Ask the broker for no more; what it sent before is delivered when this returns."""
        self._stopped = True
        if self._raw is not None:
            with suppress(QueueUnavailable), translated("cancel a subscription"):
                async with asyncio.timeout(CALL_SECONDS):
                    await self._raw.basic_cancel(self._tag)

    async def _serve(self) -> None:
        """Subscribe and return when that has ended: declare the queue if it is missing, else say what went wrong."""
        channel = await self._connection.channel()
        try:
            await self._consume(channel)
        except QueueUnavailable as error:
            if not isinstance(error.__cause__, ChannelNotFoundEntity):
                raise
            await self._outbox.restore()
        finally:
            self._raw = None
            await close_channel(channel)

    async def _consume(self, channel: AbstractChannel) -> None:
        ended = asyncio.Event()
        channel.close_callbacks.add(lambda *_: ended.set())
        with translated(f"consume {self._queue}"):
            raw = cast("RawChannel", await channel.get_underlay_channel())
            raw.on_consumer_cancel_callbacks.add(lambda _: ended.set())
            async with asyncio.timeout(CALL_SECONDS):
                await channel.set_qos(prefetch_count=self._limit)
                self._tag = uuid4().hex
                await raw.basic_consume(self._queue, self._deliver, consumer_tag=self._tag)
        self._raw = raw
        if self._stopped:
            await self.stop()
        await ended.wait()
        raise QueueUnavailable(f"the subscription to {self._queue} ended")
