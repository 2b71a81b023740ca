"""A delivery from RabbitMQ and its four settlements."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
from aiormq.abc import DeliveredMessage

from shared.amqp.connection import CALL_SECONDS, translated
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.queue.message import Failure, Message
from shared.queue.port import DELIVERY_LIMIT, RETRY_DELAYS
from shared.queue.rabbitmq.outbox import Outbox
from shared.queue.rabbitmq.wire import deliveries_before, headers_in, lane_in

log = structlog.get_logger()


class RabbitDelivery:
    """
    One message, taken and not yet settled; see :class:`~shared.queue.port.Delivery`.

    When the broker or the link to it went away meanwhile there is nothing left to settle: the message comes again,
    and every settlement returns after saying so in the log.
    """

    def __init__(
        self,
        raw: DeliveredMessage,
        message: Message,
        lane: Lane,
        *,
        outbox: Outbox,
        suspected: bool,
        closed: Callable[[], bool],
        settled: Callable[[DeliveredMessage], None],
    ) -> None:
        """
        Args:
            suspected: Whether it came from the suspects' queue instead of its lane's.
            closed: Whether the consumer was closed.
            settled: Is told when it was settled.
        """
        self._raw = raw
        self._message = message
        self._lane = lane
        self._outbox = outbox
        self._suspected = suspected
        self._closed = closed
        self._tell_settled = settled
        self._settled = False

    @property
    def message(self) -> Message:
        """The message."""
        return self._message

    @property
    def lane(self) -> Lane:
        """The lane it was taken from."""
        return self._lane

    @property
    def lost(self) -> bool:
        """Whether its channel is gone, so that the broker delivers it again."""
        return self._raw.channel.is_closed

    @property
    def fresh_copy(self) -> bool:
        """Whether one of us put it into the queue of suspects, rather than the broker that counted its deliveries."""
        return lane_in(headers_in(self._raw)) is not None

    @property
    def redelivered(self) -> bool:
        """Whether this queue delivered it before, released or not. Says nothing before a fresh copy: 4.0 keeps it."""
        return bool(self._raw.redelivered)

    @property
    def due_for_suspicion(self) -> bool:
        """Whether it was delivered so often without a settlement that a queue with a limit would have moved it."""
        return deliveries_before(headers_in(self._raw)) > DELIVERY_LIMIT

    async def ack(self) -> None:
        """Settle it as done."""
        with self._settlement() as unsettled:
            if unsettled:
                await self._acknowledge()

    async def retry(self, message: Message, delay: int, lane: Lane | None = None) -> None:
        """Replace it by *message*, to come after *delay* seconds: a crash in between leaves both, never none."""
        if delay not in RETRY_DELAYS:
            raise ValueError(f"there is no retry tier of {delay} s")
        with self._settlement() as unsettled:
            if unsettled:
                await self._outbox.to_tier(message, lane or self._lane, delay)
                await self._acknowledge()

    async def park(self, message: Message, failure: Failure) -> None:
        """Move it to the parking."""
        with self._settlement() as unsettled:
            if unsettled:
                await self._outbox.to_parking(message, self._lane, failure)
                await self._acknowledge()

    async def release(self) -> None:
        """
        Give it back untouched.

        Brokers before 4.3 count this as a delivery without a settlement. A message that has many of those, or is
        suspected already, goes back as a fresh copy instead.
        """
        with self._settlement() as unsettled:
            if not unsettled:
                return
            if self._suspected:
                await self._outbox.to_suspects(self._message, self._lane)
                await self._acknowledge()
            elif deliveries_before(headers_in(self._raw)) >= DELIVERY_LIMIT // 2:
                await self._outbox.to_lanes(self._message, [self._lane])
                await self._acknowledge()
            else:
                await self._requeue()

    async def suspect(self) -> None:
        """Move it to the suspects; no settlement of a worker's, for it is done before a worker sees it."""
        with self._settlement() as unsettled:
            if unsettled:
                await self._outbox.to_suspects(self._message, self._lane)
                await self._acknowledge()

    @contextmanager
    def _settlement(self) -> Iterator[bool]:
        """Yield whether there is anything to settle still. A failure leaves it unsettled: try again."""
        if self._settled:
            raise RuntimeError("the delivery was settled before")
        if self._closed():
            raise QueueUnavailable("the consumer was closed before the settlement")
        self._settled = True
        if self.lost:
            self._say_lost("the channel was closed before")
            yield False
            return
        try:
            yield True
        except BaseException:
            self._settled = False
            raise
        self._tell_settled(self._raw)

    async def _acknowledge(self) -> None:
        tag = self._raw.delivery_tag
        if tag is not None:
            await self._answer(lambda: self._raw.channel.basic_ack(tag, wait=False))

    async def _requeue(self) -> None:
        tag = self._raw.delivery_tag
        if tag is not None:
            await self._answer(lambda: self._raw.channel.basic_nack(tag, requeue=True, wait=False))

    async def _answer(self, send: Callable[[], Awaitable[None]]) -> None:
        try:
            with translated("settle a delivery"):
                async with asyncio.timeout(CALL_SECONDS):
                    await send()
        except QueueUnavailable as error:
            if not self.lost:
                raise
            self._say_lost(str(error))

    def _say_lost(self, reason: str) -> None:
        log.warning("delivery.lost", event_id=self._message.event_id, lane=self._lane, reason=reason)
