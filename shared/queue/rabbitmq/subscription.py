"""
Subscriptions on RabbitMQ that come back by themselves.

The broker's callback only hands the delivery over. After any trouble a subscription starts on a fresh channel with a
fresh tag: what a channel still knows after a cancel is not to be trusted.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Final
from uuid import uuid4

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import Channel
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
from shared.queue.rabbitmq.outbox import Outbox
from shared.tasks import wait_at_most

WATCH_SECONDS: Final = 5.0
"""How often a subscription is compared with its queue; one that went silent is noticed at the second look."""

STILL_SECONDS: Final = 5.0
"""How long a subscription may be without a channel until that is called a problem: a new one takes less."""


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
        in_hand: Callable[[], int],
    ) -> None:
        """
        Args:
            in_hand: Tells how many deliveries somebody still can settle.
        """
        self._connection = connection
        self._outbox = outbox
        self._queue = queue
        self._limit = limit
        self._deliver = deliver
        self._in_hand = in_hand
        self._fail = fail
        self.channel: Channel | None = None
        """What it gets its deliveries from now."""
        self._tag = ""
        self._stopped = False
        self._unsettled = 0
        self._received = 0
        self._idle_since = asyncio.get_running_loop().time()
        self._reason = "it has not begun"
        self._subscribed = False

    @property
    def problem(self) -> str:
        """Why nothing has come for some seconds, or can come; "" while all is well."""
        idle = not self._subscribed and not self._stopped
        if not idle or asyncio.get_running_loop().time() - self._idle_since < STILL_SECONDS:
            return ""
        return f"nothing is taken from {self._queue}: {self._reason}"

    async def run(self) -> None:
        """Subscribe and, whenever that ends, subscribe again, for ever."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            started = loop.time()
            try:
                await self._serve()
            except (QueueUnavailable, ConfigurationError) as error:
                self._reason = str(error)
                self._fail(QueueUnavailable(str(error)))
            away = self._connection.problem is not None  # then the connection has paused for long enough
            failures = 0 if away or loop.time() - started > STEADY_SECONDS else failures + 1
            await self._connection.usable()
            await asyncio.sleep(pause(failures))

    async def stop(self) -> None:
        """Ask the broker for no more; what it sent before is delivered when this returns."""
        self._stopped = True
        if self.channel is not None:
            with suppress(QueueUnavailable), translated("cancel a subscription"):
                async with asyncio.timeout(CALL_SECONDS):
                    await self.channel.basic_cancel(self._tag)

    def settled(self, raw: DeliveredMessage) -> None:
        """Note that *raw*, delivered by this, was settled."""
        if raw.channel is self.channel:
            self._unsettled -= 1

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
            if self._subscribed:
                self._idle_since = asyncio.get_running_loop().time()
            self.channel, self._subscribed = None, False
            await close_channel(channel)

    async def _consume(self, channel: Channel) -> None:
        ended = asyncio.Event()
        channel.closing.add_done_callback(lambda _: ended.set())
        channel.on_consumer_cancel_callbacks.add(lambda _: ended.set())
        with translated(f"consume {self._queue}", needs="read"):
            async with asyncio.timeout(CALL_SECONDS):
                await channel.basic_qos(prefetch_count=self._limit)
                self._tag = uuid4().hex
                self.channel, self._unsettled = channel, 0
                await channel.basic_consume(self._queue, self._receive, consumer_tag=self._tag)
        self._subscribed = True
        if self._stopped:
            await self.stop()
        await self._watch(channel, ended)

    async def _receive(self, raw: DeliveredMessage) -> None:
        self._unsettled += 1
        self._received += 1
        await self._deliver(raw)

    async def _watch(self, channel: Channel, ended: asyncio.Event) -> None:
        """
        Raise when the subscription is no more.

        The broker does not always say so: when a queue was deleted and declared again at once, its consumers get
        nothing any more and no word about it. So look: messages wait, there is room for them, and none comes. And what
        the channel waits for must be in somebody's hand, or its place is gone for good.
        """
        idle_since = -1
        forgotten_since = -1
        while not ended.is_set():
            await wait_at_most(ended, WATCH_SECONDS)
            with translated(f"consume {self._queue}"):
                state = await channel.queue_declare(self._queue, passive=True, timeout=CALL_SECONDS)
            due = bool(state.message_count) and self._unsettled < self._limit and not self._stopped
            if due and idle_since == self._received:
                raise QueueUnavailable(f"the subscription to {self._queue} went silent")
            idle_since = self._received if due else -1
            forgotten = self._unsettled > self._in_hand()
            if forgotten and forgotten_since == self._received:
                raise QueueUnavailable(f"deliveries of {self._queue} were forgotten by whoever had them")
            forgotten_since = self._received if forgotten else -1
        raise QueueUnavailable(f"the subscription to {self._queue} ended")
