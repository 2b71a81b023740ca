"""
The parking on RabbitMQ: a queue that people look into.

A queue cannot be looked at without taking: messages are fetched one by one, kept unacknowledged and go back to their
place when the channel closes. So a look is short and complete: all is fetched before the first is shown. Another
process that looks at the same moment sees the rest only.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

from aiormq import Channel as RawChannel
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, translated
from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.queue.port import Parked
from shared.queue.rabbitmq_outbox import Outbox
from shared.queue.rabbitmq_topology import Topology
from shared.queue.rabbitmq_wire import parked_of


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
        async with self._opened() as queue:
            found = [parked_of(raw, now=self._clock.time()) async for raw in self._fetch(queue)]
        for item in found:
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
            async with self._opened() as queue, asyncio.TaskGroup() as group:
                async for raw in self._fetch(queue):
                    item = parked_of(raw, now=self._clock.time())
                    if item.id in ids:
                        ids.discard(item.id)
                        group.create_task(remove(raw, item))
                    if not ids:
                        break
        except* QueueUnavailable as errors:
            raise QueueUnavailable(str(errors.exceptions[0])) from errors
        return removed

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[RawChannel]:
        """Open a channel to fetch on, one at a time; what is unacknowledged when it closes goes back."""
        async with self._turn:
            channel = await self._connection.channel()
            try:
                yield cast("RawChannel", await channel.get_underlay_channel())
            finally:
                await close_channel(channel)

    async def _fetch(self, channel: RawChannel) -> AsyncIterator[DeliveredMessage]:
        while True:
            with translated("fetch a parked message"):
                message = await channel.basic_get(self._topology.parked, timeout=CALL_SECONDS)
            if isinstance(message.delivery, Basic.GetEmpty):
                return
            yield message
