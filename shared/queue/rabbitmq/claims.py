"""
Claims in RabbitMQ: an exclusive queue for each, which the broker deletes when its owner's connection ends.

Nothing is ever put into these queues. Declaring one's own again changes nothing; somebody else's is refused.
"""

import asyncio
from types import TracebackType
from typing import Self

from aiormq.exceptions import ChannelLockedResource

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, translated
from shared.domain.errors import QueueUnavailable


class RabbitClaims:
    """:class:`~shared.queue.claims.Claims` among the users of one broker and *prefix*; enter it to use it."""

    def __init__(self, url: str, *, prefix: str) -> None:
        """
        Args:
            url: ``amqp://user:password@host:port/vhost`` or ``amqps://…``.
            prefix: Begins every queue's name.
        """
        self._connection = AmqpConnection(url, f"{prefix} claims")
        self._prefix = prefix

    async def __aenter__(self) -> Self:
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give up every claim."""
        await self._connection.__aexit__(kind, error, traceback)

    async def claim(self, name: str) -> bool:
        """Tell whether this process is the one that does *name*."""
        await self._connection.tried()
        channel = await self._connection.channel()
        try:
            with translated("claim"):
                async with asyncio.timeout(CALL_SECONDS):
                    await channel.declare_queue(f"{self._prefix}.claim.{name}", exclusive=True)
        except QueueUnavailable as error:
            if isinstance(error.__cause__, ChannelLockedResource):
                return False
            raise
        finally:
            await close_channel(channel)
        return True
