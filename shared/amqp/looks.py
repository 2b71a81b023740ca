"""Looks at queues that change nothing, all on one channel: a channel for each would be many a second."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import Channel

from shared.amqp.connection import close_channel, translated

LOOK_SECONDS: Final = 2.0


class PassiveLooks:
    """Looks at queues over one connection, one at a time; the channel is replaced when a look fails."""

    def __init__(self, open_channel: Callable[[], Awaitable[Channel]]) -> None:
        self._open_channel = open_channel
        self._turn = asyncio.Lock()
        self._channel: Channel | None = None

    async def waiting(self, queue: str) -> int | None:
        """
        Return how many messages wait in *queue*; None when there is no such queue.

        Raises:
            QueueUnavailable: The broker is away or does not answer.
        """
        async with self._turn:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._open_channel()
            try:
                with translated(f"look at {queue}"):
                    state = await self._channel.queue_declare(queue, passive=True, timeout=LOOK_SECONDS)
            except BaseException as error:
                await self._close()
                if isinstance(error.__cause__, ChannelNotFoundEntity):
                    return None
                raise
        return state.message_count or 0

    async def close(self) -> None:
        """Give the channel back; the next look opens another."""
        async with self._turn:
            await self._close()

    async def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await close_channel(channel)
