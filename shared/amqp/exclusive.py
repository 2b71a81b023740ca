"""A lock that all processes at one broker respect."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aio_pika.abc import AbstractChannel
from aiormq.exceptions import ChannelLockedResource

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, pause, translated
from shared.domain.errors import QueueUnavailable

IMPATIENT: Final = 1 / 5
"""Share of a connection's pauses between two tries: whoever holds a lock is quick."""


@asynccontextmanager
async def exclusively(connection: AmqpConnection, name: str) -> AsyncIterator[AbstractChannel]:
    """
    Wait for the lock *name* and hold it for as long as the context is open; yield a channel to work on.

    The lock is an exclusive queue, so that it ends with the connection of whoever holds it.

    Raises:
        QueueUnavailable: The broker is away.
    """
    channel = await _locked(connection, name)
    try:
        yield channel
    finally:
        with suppress(QueueUnavailable), translated(f"unlock {name}"):
            await channel.queue_delete(name, timeout=CALL_SECONDS)
        await close_channel(channel)


async def _locked(connection: AmqpConnection, name: str) -> AbstractChannel:
    while True:
        channel = await connection.channel()
        try:
            with translated(f"lock {name}"):
                async with asyncio.timeout(CALL_SECONDS):
                    await channel.declare_queue(name, exclusive=True)
        except BaseException as error:
            await close_channel(channel)
            if not isinstance(error.__cause__, ChannelLockedResource):
                raise
            await asyncio.sleep(pause(0) * IMPATIENT)
        else:
            return channel
