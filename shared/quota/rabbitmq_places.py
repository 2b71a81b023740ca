"""
Places in flight as messages: a worker holds one, unacknowledged, for the length of a call.

Who waits has a consumer for one message, and the broker serves consumers in turn, so places go round between workers
without anybody asking again and again. A worker that dies gives its places back by dying, but WeCom may still be busy
with its calls. The broker marks what it takes back as delivered before; what is given back passes its dead-letter
exchange and comes out unmarked. So whoever gets a place of the dead knows, and lets it settle before it is used.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import Channel as RawChannel
from aiormq.abc import DeliveredMessage
from pamqp.common import FieldValue

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, translated
from shared.amqp.exclusive import exclusively
from shared.amqp.publisher import Publisher
from shared.domain.errors import QueueUnavailable
from shared.quota.port import SETTLE_SECONDS

log = structlog.get_logger()

URGENT: Final = 10
"""Priority of consumers that wait for a place for the fast lane."""


class Vanished(QueueUnavailable):
    """A queue of the quota was deleted while in use: what it counted is lost."""


class Places:
    """The places of all APIs, on one channel of this process."""

    def __init__(self, connection: AmqpConnection, tasks: asyncio.TaskGroup) -> None:
        self._connection = connection
        self._tasks = tasks
        self._channel: AbstractChannel | None = None
        self._raw: RawChannel | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[str, asyncio.Future[DeliveredMessage]] = {}
        self._held: set[HeldPlace] = set()

    async def take(self, queue: str, *, urgent: bool) -> "HeldPlace":
        """
        Wait for a place out of *queue*.

        Raises:
            Vanished: The queue is gone.
            QueueUnavailable: The broker is away.
        """
        loop = asyncio.get_running_loop()
        while True:
            raw = await self._open()
            message = await self._next(raw, queue, urgent=urgent)
            held = HeldPlace(self._tasks, raw, message, self._held)
            self._held.add(held)
            if not _left_by_the_dead(message):
                return held
            loop.call_later(SETTLE_SECONDS, held.release)

    async def _next(self, raw: RawChannel, queue: str, *, urgent: bool) -> DeliveredMessage:
        arrived: asyncio.Future[DeliveredMessage] = asyncio.get_running_loop().create_future()

        async def deliver(message: DeliveredMessage) -> None:
            if not arrived.done():
                arrived.set_result(message)

        try:
            with translated("wait for a place"):
                consumer = await raw.basic_consume(
                    queue, deliver, arguments={"x-priority": URGENT if urgent else 0}, timeout=CALL_SECONDS
                )
        except QueueUnavailable as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                raise Vanished(f"the queue {queue} is gone") from error
            raise
        tag = consumer.consumer_tag or ""
        self._waiting[tag] = arrived
        try:
            message = await arrived
            with translated("stop waiting for a place"):
                await raw.basic_cancel(tag, nowait=True)
        finally:
            self._waiting.pop(tag, None)
        return message

    async def _open(self) -> RawChannel:
        """Return the channel, a new one if the last has closed."""
        async with self._opening:
            if self._raw is not None and not self._raw.is_closed:
                return self._raw
            channel = await self._connection.channel()
            raw = cast("RawChannel", await channel.get_underlay_channel())
            channel.close_callbacks.add(lambda *_: self._lost(raw))
            raw.on_consumer_cancel_callbacks.add(lambda frame: self._refused(frame.consumer_tag))
            with translated("limit a channel"):
                await raw.basic_qos(prefetch_count=1, timeout=CALL_SECONDS)
            self._channel, self._raw = channel, raw
            return raw

    def _lost(self, raw: RawChannel) -> None:
        if raw is self._raw:
            self._raw = None
        for arrived in self._waiting.values():
            if not arrived.done():
                arrived.set_exception(QueueUnavailable("the connection to the broker was lost"))
        for held in [held for held in self._held if held.raw is raw]:
            held.lose()

    def _refused(self, tag: str | None) -> None:
        """The broker ended a consumer by itself: its queue was deleted, or its node went down."""
        arrived = self._waiting.get(tag or "")
        if arrived is not None and not arrived.done():
            arrived.set_exception(QueueUnavailable("the broker took the places away"))


class HeldPlace:
    """A place in flight that this process holds."""

    def __init__(
        self, tasks: asyncio.TaskGroup, raw: RawChannel, message: DeliveredMessage, all_held: set["HeldPlace"]
    ) -> None:
        self.raw = raw
        self._tasks = tasks
        self._tag = message.delivery_tag
        self._all_held = all_held
        self._lost = False
        self._end: Callable[[], None] | None = None

    def release(self) -> None:
        """Give the place back. When the channel has closed, the broker has taken it back already."""
        self._all_held.discard(self)
        if not self._lost and not self.raw.is_closed:
            self._tasks.create_task(self._give_back())

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Call *end* once if the channel closes; at once if it has."""
        self._end = end
        if self._lost and end is not None:
            end()

    def lose(self) -> None:
        """Note that the broker has taken the place back."""
        self._lost = True
        self._all_held.discard(self)
        if self._end is not None:
            self._end()

    async def _give_back(self) -> None:
        if self._tag is None:
            return
        with suppress(QueueUnavailable), translated("give a place back"):
            await self.raw.basic_reject(self._tag, requeue=False, wait=False)  # to the dead-letter exchange


def _left_by_the_dead(message: DeliveredMessage) -> bool:
    return bool(message.redelivered)


async def declare_places(connection: AmqpConnection, publisher: Publisher, queue: str, count: int) -> None:
    """
    Declare *queue* and fill it with *count* places, once in a life of the broker: they are gone when it restarts.

    Else one that was just being given back could be lost for ever. Whoever fills it leaves a mark in ``.filled`` at the
    end. Nobody takes a place before there is a mark, so one who died half way has left nothing but unused places.
    """
    if await _is_filled(connection, queue):
        return
    async with exclusively(connection, f"{queue}.filling") as channel:
        if not await _is_filled(connection, queue):
            with translated("fill the places"):
                places = await channel.get_queue(queue)
                await places.purge(timeout=CALL_SECONDS)
            await _fill(publisher, queue, count)
            log.info("quota.places_filled", queue=queue, places=count)


async def _is_filled(connection: AmqpConnection, queue: str) -> bool:
    channel = await connection.channel()
    try:
        with translated(f"declare {queue}"):
            async with asyncio.timeout(CALL_SECONDS):
                back: dict[str, FieldValue] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue}
                await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "classic", **back})
                mark = await channel.declare_queue(
                    f"{queue}.filled", durable=True, arguments={"x-queue-type": "classic", "x-max-length": 1}
                )
        return bool(mark.declaration_result.message_count)
    finally:
        await close_channel(channel)


async def _fill(publisher: Publisher, queue: str, count: int) -> None:
    for target in [queue] * count + [f"{queue}.filled"]:
        if not await publisher.publish(b"", exchange="", routing_key=target, persistent=False):
            raise QueueUnavailable(f"the queue {target} refused a message")
