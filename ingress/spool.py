"""
The spool: where events wait, durable on the ingress's own disk, while the broker cannot take them.

The broker always comes first; it fails within two seconds when it has just vanished and at once from then on. What is
spooled is published by itself when the broker is back, while new events already pass by.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.queue.message import Message
from shared.queue.port import Consumer, EventQueue

log = structlog.get_logger()

DRAINING: Final = 64
"""Spooled events published at a time, per lane: the broker keeps room for new ones."""

PAUSE: Final = 1.0
"""Seconds between tries to drain while the broker is away."""


class Intake(Protocol):
    """Where the ingress puts events: a queue, or a queue with its spool."""

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Put *message* into each of *lanes*; raises QueueUnavailable when it is not durable."""
        ...

    async def check(self) -> None:
        """Return when events can be made durable; raises QueueUnavailable when not."""
        ...


class SpooledQueue:
    """Publishes to *queue*, or to *store* while that cannot take it."""

    def __init__(self, queue: EventQueue, store: EventQueue, registry: CollectorRegistry) -> None:
        self._queue = queue
        self._store = store
        self._spooled = Counter("qudao_spooled", "Events that went to the spool", registry=registry)
        self._waiting = Gauge("qudao_spool_waiting", "Events that wait in the spool", registry=registry)

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """
        Put *message* into each of *lanes*; it is durable on return, in the broker or in the spool.

        Raises:
            QueueUnavailable: Neither could take it.
        """
        try:
            await self._queue.publish(message, lanes)
        except QueueUnavailable as error:
            await self._store.publish(message, lanes)
            self._spooled.inc()
            log.warning("event.spooled", event_id=message.event_id, reason=str(error))

    async def check(self) -> None:
        """Return when events can be made durable, in the broker or in the spool."""
        try:
            await self._queue.check()
        except QueueUnavailable:
            await self._store.check()

    async def drain(self) -> None:
        """Publish what is spooled, for ever."""
        async with asyncio.TaskGroup() as group:
            for lane in Lane:
                group.create_task(self._drain(lane))
            while True:
                self._waiting.set(sum(depth.messages for depth in await self._store.depths()))
                await asyncio.sleep(PAUSE)

    async def _drain(self, lane: Lane) -> None:
        async with self._store.consume(lane, DRAINING) as consumer, asyncio.TaskGroup() as group:
            for _ in range(DRAINING):
                group.create_task(self._carry(lane, consumer))

    async def _carry(self, lane: Lane, consumer: Consumer) -> None:
        """Move one event after the other; a crash in between leaves it in both places, never in none."""
        while True:
            delivery = await consumer.take()
            while True:
                try:
                    await self._queue.publish(delivery.message, [lane])
                    await delivery.ack()
                except QueueUnavailable:
                    await asyncio.sleep(PAUSE)
                else:
                    log.info("event.unspooled", event_id=delivery.message.event_id, lane=lane)
                    break


@asynccontextmanager
async def spooled(queue: EventQueue, store: EventQueue, registry: CollectorRegistry) -> AsyncIterator[SpooledQueue]:
    """Yield *queue* with *store* as its spool, which is drained while the context is open."""
    spool = SpooledQueue(queue, store, registry)
    async with asyncio.TaskGroup() as group:
        draining = group.create_task(spool.drain())
        yield spool
        draining.cancel()
