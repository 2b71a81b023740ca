"""Publishes what is in a file of the spool, freshest first, as fast as the broker keeps room for new events."""

import asyncio
from contextlib import suppress
from typing import Final

from ingress.spool.file import Spooled, SpoolFile
from ingress.spool.log import SpoolLog
from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.faults import passing
from shared.queue.port import EventQueue

AT_ONCE: Final = 128
"""Entries published at a time: the broker keeps room for new ones."""

TRYING: Final = 4
"""Entries published at a time while the broker takes none: one that it never takes holds up nobody behind it."""

LATE_AT_ONCE: Final = 100
"""Late welcomes published a second: workers only record them, and a fresh one stands behind no more than these."""

PAUSE: Final = 1.0
"""Seconds between looks, and between tries while the broker is away."""


async def drain(file: SpoolFile, queue: EventQueue, clock: Clock, told: SpoolLog, *, until_empty: bool = False) -> None:
    """
    Publish what is in *file*, for ever or *until_empty*.

    A crash in between leaves an entry in both places, never in none.

    Raises:
        QueueUnavailable: The file cannot be used.
    """
    loop = asyncio.get_running_loop()
    room, look_at = AT_ONCE, 0.0
    while True:
        if loop.time() >= look_at:
            told.waits(file.path, await file.depths(clock.time()))
            look_at = loop.time() + PAUSE
        items = await file.first(clock.time(), room)
        late = bool(items) and items[0].late
        if late:
            items = items[:LATE_AT_ONCE]
        done = await _publish(items, queue)
        if done:
            passing("spool.published")
            await file.remove(done)
            told.gave(len(done))
        elif until_empty and not items:
            return
        room = AT_ONCE if len(done) == len(items) else TRYING
        if late or len(done) < len(items) or not items:
            await asyncio.sleep(PAUSE)


async def _publish(items: list[Spooled], queue: EventQueue) -> list[Spooled]:
    """Publish *items* together and return those that are durable in the broker."""

    done: list[Spooled] = []

    async def publish(item: Spooled) -> None:
        with suppress(QueueUnavailable):
            await queue.publish(item.message, [item.lane])
            done.append(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(publish(item))
    return done
