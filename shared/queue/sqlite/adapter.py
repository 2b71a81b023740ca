"""
The embedded queue: every message a row of one SQLite file, durable with the commit that ``publish`` waits for.

One process at a time may consume, so that on its start whatever is claimed can only belong to the dead. Others may
publish, look, replay and drop meanwhile.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from shared.clock import Clock
from shared.domain.errors import ConfigurationError
from shared.domain.events import Lane, replay_lane
from shared.queue.message import Message
from shared.queue.port import CROWD, STALE_SECONDS, Consumer, Depth, Parked
from shared.queue.sqlite import tables
from shared.queue.sqlite.consumer import Lanes, SqliteConsumer
from shared.sqlite.database import Database
from shared.sqlite.hold import hold


class SqliteQueue:
    """An :class:`~shared.queue.port.EventQueue` in the file of *database*; entering it brings its tables up to date."""

    def __init__(
        self, database: Database, clock: Clock, *, stale: float = STALE_SECONDS, crowd: int | None = CROWD
    ) -> None:
        """
        Args:
            stale: Seconds after which a live message goes on in bulk.
            crowd: Waiting live messages from which on others go to bulk; None: they never do.
        """
        self._database = database
        self._clock = clock
        self._insert = database.batched(partial(tables.insert, crowd=crowd), grows=True)
        self._lanes = Lanes(database, clock, stale)
        self._consumers = 0
        self._consuming = asyncio.Lock()
        self._consumer_file: int | None = None

    async def __aenter__(self) -> Self:
        await self._database.migrate("queue", tables.SCHEMA)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave the database open: it is its opener's."""

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Put *message* into each of *lanes*, all or none of it durable."""
        if lanes:
            await self._insert((lanes, tables.row_of(message)))
            self._lanes.wake(lanes)

    @asynccontextmanager
    async def consume(self, lane: Lane, limit: int) -> AsyncIterator[Consumer]:
        """
        Open a consumer of *lane*.

        Raises:
            ConfigurationError: Another process consumes from this file.
        """
        await self._begin_consuming()
        consumer = SqliteConsumer(self._lanes, lane, limit)
        try:
            yield consumer
        finally:
            try:
                await consumer.close()
            finally:
                self._end_consuming()

    async def depths(self, *, ages: bool = False) -> Sequence[Depth]:
        """Return how much waits in every lane, what is in hand included, in every tier and the parking."""
        del ages  # they cost nothing
        now = self._clock.time()
        return await self._database.read(lambda connection: tables.depths(connection, now))

    async def parked(self, *, limit: int | None = None) -> AsyncIterator[Parked]:
        """Iterate over what is parked, or the first *limit* of it, oldest first."""
        last, seen = 0, 0
        while page := (await self._parked_after(last))[: None if limit is None else limit - seen]:
            for item in page:
                yield item
            last = int(page[-1].id)
            seen += len(page)

    async def replay(self, ids: Iterable[str]) -> int:
        """Move the parked messages *ids* to where they are done again."""
        chosen = list(ids)
        moved = await self._database.write(lambda connection: tables.replay(connection, chosen))
        self._lanes.wake({replay_lane(lane) for lane in Lane})
        return moved

    async def drop(self, ids: Iterable[str]) -> int:
        """Remove the parked messages *ids*."""
        chosen = list(ids)
        return await self._database.write(lambda connection: tables.drop(connection, chosen))

    async def check(self) -> None:
        """Return when the file can be written."""
        now = self._clock.time()
        await self._database.write(lambda connection: tables.probe(connection, now), grows=True)

    async def _parked_after(self, last: int) -> list[Parked]:
        return await self._database.read(lambda connection: tables.parked_after(connection, last))

    async def _begin_consuming(self) -> None:
        """Become the one process that consumes, and recover what a dead one had claimed."""
        async with self._consuming:
            if self._consumer_file is None:
                consumer_file = _hold(self._database.path)
                try:
                    await self._lanes.recover()
                except BaseException:
                    os.close(consumer_file)
                    raise
                self._consumer_file = consumer_file
            self._consumers += 1

    def _end_consuming(self) -> None:
        self._consumers -= 1
        if not self._consumers and self._consumer_file is not None:
            os.close(self._consumer_file)
            self._consumer_file = None


def _hold(database: Path) -> int:
    held = hold(database.with_name(f"{database.name}.consumer"))
    if held is None:
        raise ConfigurationError(
            [f"another process consumes from {database}: stop it, or set QUDAO_QUEUE_URL to a RabbitMQ"]
        )
    return held
