"""
The parking on RabbitMQ: a queue that people look into.

A queue cannot be looked at without taking: messages are held unacknowledged and go back when the channel closes. So a
look is short and complete: all is fetched before the first is shown, and one process looks at a time.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Final, cast
from uuid import uuid4

from aiormq import Channel
from aiormq.abc import DeliveredMessage

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, translated
from shared.amqp.exclusive import exclusively
from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import replay_lane
from shared.queue.port import Parked
from shared.queue.rabbitmq.outbox import Outbox
from shared.queue.rabbitmq.topology import Topology
from shared.queue.rabbitmq.wire import parked_of

PAGE: Final = 1000
PATIENCE: Final = 20.0
"""Seconds for the next message to arrive, and for all to be back: a busy broker moves thousands in some seconds."""

ALL: Final = 0
"""The delivery tag that, with ``multiple``, means every message held."""


class Parking:
    """Lists, replays and drops what is parked."""

    def __init__(self, connection: AmqpConnection, outbox: Outbox, topology: Topology, clock: Clock) -> None:
        self._connection = connection
        self._outbox = outbox
        self._topology = topology
        self._clock = clock
        self._turn = asyncio.Lock()

    async def parked(self, limit: int | None) -> AsyncIterator[Parked]:
        """Iterate over what is parked, or some *limit* of it, oldest first, leaving it parked."""
        async with self._look(limit) as look:
            found = [item for _, item in look.kept]
        for item in sorted(found, key=lambda item: item.parked_at)[:limit]:
            yield item

    async def replay(self, ids: Iterable[str]) -> int:
        """Move the parked messages *ids* to where they are done again."""

        async def move(item: Parked) -> None:
            await self._outbox.to_lanes(replace(item.message, attempts=0, failure=None), [replay_lane(item.lane)])

        return await self._remove(set(ids), move)

    async def drop(self, ids: Iterable[str]) -> int:
        """Remove the parked messages *ids* for good."""

        async def forget(_: Parked) -> None:
            return

        return await self._remove(set(ids), forget)

    async def _remove(self, ids: set[str], first: Callable[[Parked], Awaitable[None]]) -> int:
        """Acknowledge each message of *ids* after *first* was done with it, many at a time."""
        removed = 0

        async def remove(look: _Look, raw: DeliveredMessage, item: Parked) -> None:
            nonlocal removed
            await first(item)
            await look.remove(raw)
            removed += 1

        try:
            async with self._look(ids=ids) as look, asyncio.TaskGroup() as group:
                for raw, item in look.kept:
                    group.create_task(remove(look, raw, item))
        except* QueueUnavailable as errors:
            raise QueueUnavailable(str(errors.exceptions[0])) from errors
        return removed

    @asynccontextmanager
    async def _look(self, limit: int | None = None, ids: set[str] | None = None) -> AsyncIterator["_Look"]:
        """
        Hold everything that is parked, or *limit* of it, one look at a time; what is not removed goes back.

        Of that only *ids* are kept in memory, if there are any: the broker has the rest.
        """
        async with self._turn, exclusively(self._connection, self._topology.looking) as channel:
            look = _Look(channel, self._topology.parked, self._clock)
            await look.fetch(limit, ids)
            yield look
            await look.give_back()


class _Look:
    """What is in a queue, held unacknowledged on one channel."""

    def __init__(self, channel: Channel, queue: str, clock: Clock) -> None:
        self._channel = channel
        self._queue = queue
        self._clock = clock
        self._tags: list[str] = []
        self._removed = 0
        self._left_there = 0
        self._held = 0
        self.kept: list[tuple[DeliveredMessage, Parked]] = []

    async def fetch(self, limit: int | None, ids: set[str] | None) -> None:
        """
        Fetch page by page, each with a consumer of its own: a quorum queue gives one no more than 2,000.

        After the page with which there are *limit* it is enough.
        """
        arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        page = PAGE if limit is None else min(PAGE, limit)
        with translated("look into the parking", needs="read"):
            await self._channel.basic_qos(prefetch_count=page, timeout=CALL_SECONDS)
            while waiting := await self._waiting():
                if limit is not None and self._held >= limit:
                    self._left_there = waiting
                    break
                self._tags.append(uuid4().hex)
                await self._channel.basic_consume(
                    self._queue, arrived.put, consumer_tag=self._tags[-1], timeout=CALL_SECONDS
                )
                try:
                    for _ in range(min(waiting, page)):
                        async with asyncio.timeout(PATIENCE):
                            raw = await arrived.get()
                        self._held += 1
                        item = parked_of(raw, now=self._clock.time())
                        if ids is None or item.id in ids:
                            self.kept.append((raw, item))
                except TimeoutError:
                    if await self._waiting():
                        raise
                    break  # somebody else was given the rest

    async def remove(self, raw: DeliveredMessage) -> None:
        """Acknowledge *raw*, so that it does not go back."""
        with translated("remove a parked message"):
            await self._channel.basic_ack(cast("int", raw.delivery_tag), wait=False)
        self._removed += 1

    async def give_back(self) -> None:
        """
        Give back the rest and return when it is back, so that the next look finds it.

        Closing the channel gives it back as well, but some time later.
        """
        left = self._held - self._removed
        if not left:
            return
        with suppress(QueueUnavailable), translated("give back parked messages"):
            async with asyncio.timeout(PATIENCE):
                for tag in self._tags:
                    await self._channel.basic_cancel(tag)
                await self._channel.basic_nack(ALL, multiple=True, requeue=True)
                while await self._waiting() < left + self._left_there:  # noqa: ASYNC110 - the broker tells nobody
                    await asyncio.sleep(0.01)

    async def _waiting(self) -> int:
        state = await self._channel.queue_declare(self._queue, passive=True, timeout=CALL_SECONDS)
        return state.message_count or 0
