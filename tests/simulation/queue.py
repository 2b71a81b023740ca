"""The queue as one process has it: nothing passes while it is stopped, and nothing any more once it was killed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.domain.events import Lane
from shared.queue.message import Failure, Message
from shared.queue.port import Consumer, Delivery
from tests.doubles.queue import MemoryConsumer, MemoryDelivery, MemoryQueue
from tests.simulation.life import Life


class ProcessQueue:
    """Of :class:`~shared.queue.port.EventQueue` what a worker needs."""

    def __init__(self, queue: MemoryQueue, life: Life) -> None:
        self._queue = queue
        self._life = life

    @asynccontextmanager
    async def consume(self, lane: Lane, limit: int) -> AsyncIterator[Consumer]:
        await self._life.go_on()
        async with self._queue.consume(lane, limit) as consumer:
            yield _Consumer(consumer, self._life)


class _Consumer:
    def __init__(self, consumer: MemoryConsumer, life: Life) -> None:
        self._consumer = consumer
        self._life = life

    async def take(self) -> Delivery:
        await self._life.go_on()
        delivery = await self._consumer.take()
        return _Delivery(delivery, self._life)

    async def stop(self) -> None:
        await self._life.go_on()
        await self._consumer.stop()


class _Delivery:
    def __init__(self, delivery: MemoryDelivery, life: Life) -> None:
        self._delivery = delivery
        self._life = life
        self.message: Message = delivery.message
        self.lane: Lane = delivery.lane
        self.redelivered: bool = delivery.redelivered

    async def ack(self) -> None:
        await self._life.go_on()
        await self._delivery.ack()

    async def retry(self, message: Message, delay: int, lane: Lane | None = None) -> None:
        await self._life.go_on()
        await self._delivery.retry(message, delay, lane)

    async def park(self, message: Message, failure: Failure) -> None:
        await self._life.go_on()
        await self._delivery.park(message, failure)

    async def release(self) -> None:
        await self._life.go_on()
        await self._delivery.release()
