"""A publisher whose answers can be trusted: True means the broker has the message, whatever went wrong around it."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Final, Self

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq import Channel

from shared.amqp.batches import Batches
from shared.amqp.connection import AmqpConnection, close_channel, pause, said, translated
from shared.domain.errors import QueueUnavailable
from shared.tasks import beside, wait_at_most

log = structlog.get_logger()

CONFIRM_SECONDS: Final = 1.5
"""Longest wait for a confirm: WeCom gives a callback five seconds."""

REPLACEMENT_SECONDS: Final = 0.4
"""Longest wait for a channel that is just being replaced."""


class Unroutable(QueueUnavailable):
    """The broker has no queue or no exchange for the message: it was deleted, or never declared."""


class Publisher:
    """
    Publishes with confirms on a channel of its own, many at a time.

    A publish is never cancelled half way: it goes on when its caller is cancelled. When one gets no answer, its
    channel is replaced: whatever the broker says there later could be about another message.
    """

    def __init__(self, connection: AmqpConnection, *, seconds: float = CONFIRM_SECONDS, in_flight: int = 500) -> None:
        """
        Args:
            seconds: Longest wait for a confirm.
            in_flight: Publishes that may wait for their confirm at a time; others wait for their turn.
        """
        self._connection = connection
        self._seconds = seconds
        self._in_flight = in_flight
        self._stack = AsyncExitStack()
        self._batches: Batches | None = None
        self._broken = asyncio.Event()
        self._ready = asyncio.Event()
        self._silent = ""

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(beside(self._keep()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._silent = "the publisher is closed"
        if self._batches is not None:
            await self._batches.ended()
        await self._stack.aclose()

    async def ready(self) -> None:
        """Return once there is a channel to publish on."""
        await self._ready.wait()

    def renew(self, reason: str) -> None:
        """Replace the channel. What waits for a confirm on it fails."""
        if self._batches is not None:
            self._give_up(self._batches, QueueUnavailable(reason))

    async def publish(
        self,
        body: bytes,
        *,
        exchange: str,
        routing_key: str,
        headers: Mapping[str, str | int] | None = None,
        expiration: float | None = None,
        persistent: bool = True,
    ) -> bool:
        """
        Publish a message; return True when the broker has it, False when a queue refused it (full).

        Args:
            expiration: Seconds after which a queue drops or dead-letters it.
            persistent: Whether it outlives a restart of the broker.

        Raises:
            Unroutable: No queue or exchange takes it.
            QueueUnavailable: It is not known to be durable; within 2 s, and at once while the broker is known
                to be away. Publishing again is the caller's choice.
        """
        batches = await self._usable()
        try:
            with translated("publish", needs="write"):
                await batches.publish(
                    body,
                    exchange=exchange,
                    routing_key=routing_key,
                    headers=headers or {},
                    expiration=expiration,
                    persistent=persistent,
                )
        except QueueUnavailable as error:
            match error.__cause__:
                case PublishError():
                    raise Unroutable(f"no queue takes the routing key {routing_key!r}") from error
                case DeliveryError():
                    return False
                case ChannelNotFoundEntity() as cause:
                    raise Unroutable(said(cause)) from error
            raise
        return True

    async def _usable(self) -> Batches:
        """Return what to publish with; wait a moment for a new channel, but not for a broker that is away."""
        problem = str(self._connection.problem or self._silent)
        if not problem and self._batches is None:
            await wait_at_most(self._ready, REPLACEMENT_SECONDS)
        if problem or self._batches is None:
            raise QueueUnavailable(problem or "there is no channel to publish on yet")
        return self._batches

    async def _keep(self) -> None:
        """Keep one channel open and replace it when it breaks, for ever."""
        while True:
            await self._connection.usable()
            try:
                channel = await self._connection.channel(confirms=True)
            except QueueUnavailable as error:
                self._silent = str(error)
                await asyncio.sleep(pause(0))
                continue
            try:
                await self._offer(channel)
            finally:
                await close_channel(channel)

    async def _offer(self, channel: Channel) -> None:
        """Publish on the channel until it breaks."""
        batches = Batches(
            channel,
            seconds=self._seconds,
            in_flight=self._in_flight,
            on_silence=lambda: self._give_up(batches, TimeoutError()),
        )
        self._broken = asyncio.Event()
        channel.closing.add_done_callback(lambda closed: self._give_up(batches, _reason(closed)))
        self._batches, self._silent = batches, ""
        self._ready.set()
        try:
            async with beside(batches.send()):
                await self._broken.wait()
        finally:
            self._batches = None
            self._ready.clear()
            batches.fail(QueueUnavailable("the publisher is closed"))

    def _give_up(self, batches: Batches, error: BaseException) -> None:
        """Publish no more with *batches*; all who wait there fail with *error*."""
        if batches is self._batches:
            if isinstance(error, TimeoutError):
                self._silent = str(self._connection.problem or "the broker does not answer")
            log.warning("amqp.channel_replaced", reason=said(error))
            self._batches = None
            self._ready.clear()
            self._broken.set()
            batches.fail(error)


def _reason(closed: "asyncio.Future[None]") -> BaseException:
    """Return why a channel closed."""
    error = None if closed.cancelled() else closed.exception()
    return error if isinstance(error, Exception) else ConnectionError("the connection closed")
