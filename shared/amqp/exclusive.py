"""One process of all at a broker at a time, by a queue that is declared exclusive."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiormq import Channel
from aiormq.exceptions import ChannelLockedResource

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, pause, translated
from shared.domain.errors import QueueUnavailable

IMPATIENT: Final = 1 / 5
"""Share of a connection's pauses between two tries: whoever has the queue is quick."""


@asynccontextmanager
async def exclusively(connection: AmqpConnection, name: str) -> AsyncIterator[Channel]:
    """
    Wait until no other process is in here under *name*; yield a channel to work on.

    An exclusive queue ends with the connection of whoever declared it, so nobody waits for the dead.

    Raises:
        QueueUnavailable: The broker is away.
    """
    channel = await _declared(connection, name)
    try:
        yield channel
    finally:
        with suppress(QueueUnavailable), translated(f"delete the queue {name}"):
            await channel.queue_delete(name, timeout=CALL_SECONDS)
        await close_channel(channel)


async def _declared(connection: AmqpConnection, name: str) -> Channel:
    while True:
        channel = await connection.channel()
        try:
            with translated(f"declare the queue {name}"):
                await channel.queue_declare(name, exclusive=True, timeout=CALL_SECONDS)
        except BaseException as error:
            await close_channel(channel)
            if not isinstance(error.__cause__, ChannelLockedResource):
                raise
            await asyncio.sleep(pause(0) * IMPATIENT)
        else:
            return channel
