"""A publisher whose answers can be trusted: True means the broker has the message, whatever went wrong around it."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Final, Self
from uuid import uuid4

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity, DeliveryError, PublishError
from aiormq import Channel
from pamqp.commands import Basic

from shared.amqp.connection import AmqpConnection, close_channel, pause, said, translated
from shared.domain.errors import QueueUnavailable
from shared.tasks import beside

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
        self._slots = asyncio.Semaphore(in_flight)
        self._attempts = asyncio.TaskGroup()
        self._stack = AsyncExitStack()
        self._channel: Channel | None = None
        self._broken = asyncio.Event()
        self._ready = asyncio.Event()
        self._silent = ""

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(beside(self._keep()))
        await self._attempts.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._silent = "the publisher is closed"
        await self._attempts.__aexit__(None, None, None)
        await self._stack.aclose()

    async def ready(self) -> None:
        """Return once there is a channel to publish on."""
        await self._ready.wait()

    def renew(self, reason: str) -> None:
        """Replace the channel. What waits for a confirm on it fails."""
        if self._channel is not None:
            log.warning("amqp.channel_replaced", reason=reason)
            self._channel = None
            self._ready.clear()
            self._broken.set()

    async def publish(
        self,
        body: bytes,
        *,
        exchange: str,
        routing_key: str,
        headers: Mapping[str, Any] | None = None,
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
        await self._slots.acquire()
        try:
            channel = await self._usable_channel()
        except BaseException:
            self._slots.release()
            raise
        properties = Basic.Properties(
            message_id=uuid4().hex,
            delivery_mode=2 if persistent else 1,
            headers=dict(headers or {}),
            expiration=None if expiration is None else str(round(expiration * 1000)),
        )
        attempt = self._attempts.create_task(self._attempt(channel, body, exchange, routing_key, properties))
        outcome = await asyncio.shield(attempt)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _attempt(
        self, channel: Channel, body: bytes, exchange: str, routing_key: str, properties: Basic.Properties
    ) -> bool | Exception:
        """Publish once and return what came of it, failures too: an exception would end the other attempts."""
        try:
            with translated("publish", needs="write"):
                await channel.basic_publish(
                    body,
                    exchange=exchange,
                    routing_key=routing_key,
                    properties=properties,
                    mandatory=True,
                    timeout=self._seconds,
                    wait=False,
                )
        except QueueUnavailable as error:
            return self._judge(channel, error, routing_key)
        except Exception as error:  # noqa: BLE001 - the caller gets it: nothing was sent
            return error
        finally:
            self._slots.release()
        return True

    def _judge(self, channel: Channel, error: QueueUnavailable, routing_key: str) -> bool | QueueUnavailable:
        """Return what a failed publish means; give its channel up unless the broker answered clearly."""
        match error.__cause__:
            case PublishError():
                return Unroutable(f"no queue takes the routing key {routing_key!r}")
            case DeliveryError():
                return False
            case ChannelNotFoundEntity() as cause:
                error = Unroutable(said(cause))
            case TimeoutError() if channel is self._channel:
                self._silent = str(self._connection.problem or error)
        if channel is self._channel:
            self.renew(str(error))
        return error

    async def _usable_channel(self) -> Channel:
        """Return the channel; wait a moment for one that is being replaced, but not for a broker that is away."""
        problem = str(self._connection.problem or self._silent)
        if not problem and self._channel is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(REPLACEMENT_SECONDS):
                    await self._ready.wait()
        if problem or self._channel is None:
            raise QueueUnavailable(problem or "there is no channel to publish on yet")
        return self._channel

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
                self._channel = None
                self._ready.clear()
                await close_channel(channel)

    async def _offer(self, channel: Channel) -> None:
        """Publish on the channel until it breaks."""
        self._broken = broken = asyncio.Event()
        channel.closing.add_done_callback(lambda _: broken.set())
        self._channel, self._silent = channel, ""
        self._ready.set()
        await broken.wait()
