"""
The parking on RabbitMQ: a queue that people look into.

A queue cannot be looked at without taking: messages are held unacknowledged and go back when the channel closes. So a
look is short and complete: all is fetched before the first is shown. Another process that looks at the same moment
sees the rest only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final, cast

from aio_pika.abc import AbstractChannel
from aiormq import Channel as RawChannel
from aiormq.abc import DeliveredMessage

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, translated
from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.queue.port import Parked
from shared.queue.rabbitmq_outbox import Outbox
from shared.queue.rabbitmq_topology import Topology
from shared.queue.rabbitmq_wire import parked_of

PAGE: Final = 1000


class Parking:
    """Lists, replays and drops what is parked."""

    def __init__(self, connection: AmqpConnection, outbox: Outbox, topology: Topology, clock: Clock) -> None:
        self._connection = connection
        self._outbox = outbox
        self._topology = topology
        self._clock = clock
        self._turn = asyncio.Lock()

    async def parked(self) -> AsyncIterator[Parked]:
        """Iterate over what is parked, oldest first, leaving it parked."""
        async with self._all() as held:
            found = [item for _, item in held]
        for item in sorted(found, key=lambda item: item.parked_at):
            yield item

    async def replay(self, ids: Iterable[str]) -> int:
        """Move the parked messages *ids* to bulk; a welcome, which is no mark, goes back to the fast lane."""

        async def move(item: Parked) -> None:
            lane = Lane.FAST if item.lane is Lane.FAST else Lane.BULK
            await self._outbox.to_lanes(replace(item.message, attempts=0, failure=None), [lane])

        return await self._remove(set(ids), move)

    async def drop(self, ids: Iterable[str]) -> int:
        """Remove the parked messages *ids* for good."""

        async def forget(_: Parked) -> None:
            return

        return await self._remove(set(ids), forget)

    async def _remove(self, ids: set[str], first: Callable[[Parked], Awaitable[None]]) -> int:
        """Acknowledge each message of *ids* after *first* was done with it, many at a time."""
        removed = 0

        async def remove(raw: DeliveredMessage, item: Parked) -> None:
            nonlocal removed
            await first(item)
            with translated("remove a parked message"):
                await raw.channel.basic_ack(cast("int", raw.delivery_tag), wait=False)
            removed += 1

        try:
            async with self._all() as held, asyncio.TaskGroup() as group:
                for raw, item in held:
                    if item.id in ids:
                        group.create_task(remove(raw, item))
        except* QueueUnavailable as errors:
            raise QueueUnavailable(str(errors.exceptions[0])) from errors
        return removed

    @asynccontextmanager
    async def _all(self) -> AsyncIterator[list[tuple[DeliveredMessage, Parked]]]:
        """Hold everything that is parked; what was not acknowledged goes back at the end."""
        async with self._turn:
            channel = await self._connection.channel()
            try:
                held = await self._fetch(channel)
                yield [(raw, parked_of(raw, now=self._clock.time())) for raw in held]
            finally:
                await close_channel(channel)

    async def _fetch(self, channel: AbstractChannel) -> list[DeliveredMessage]:
        """Fetch page by page, each with a consumer of its own: a quorum queue gives one consumer no more than 2,000."""
        arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        held: list[DeliveredMessage] = []
        with translated("look into the parking"):
            raw = cast("RawChannel", await channel.get_underlay_channel())
            await channel.set_qos(prefetch_count=PAGE, timeout=CALL_SECONDS)
            while waiting := await self._waiting(raw):
                await raw.basic_consume(self._topology.parked, arrived.put, timeout=CALL_SECONDS)
                try:
                    for _ in range(min(waiting, PAGE)):
                        async with asyncio.timeout(CALL_SECONDS):
                            held.append(await arrived.get())
                except TimeoutError:  # somebody else was given the rest
                    break
        return held

    async def _waiting(self, raw: RawChannel) -> int:
        state = await raw.queue_declare(self._topology.parked, passive=True, timeout=CALL_SECONDS)
        return state.message_count or 0
