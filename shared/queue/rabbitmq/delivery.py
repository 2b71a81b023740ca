"""A delivery from RabbitMQ and its four settlements."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from aiormq import Channel
from aiormq.abc import DeliveredMessage

from shared.amqp.connection import CALL_SECONDS, translated
from shared.domain.errors import DeliveryLost, QueueUnavailable
from shared.domain.events import Lane
from shared.faults import passing
from shared.queue.message import Failure, Message
from shared.queue.port import DELIVERY_LIMIT, RETRY_DELAYS
from shared.queue.rabbitmq.outbox import Outbox
from shared.queue.rabbitmq.wire import deliveries_before, headers_in, lane_in


class RabbitDelivery:
    """
    One message, taken and not yet settled; see :class:`~shared.queue.port.Delivery`.

    When the broker or the link to it went away meanwhile there is nothing left to settle: the message comes again.
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
        self._told = False
        self._replaced = False

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

    def waits_at(self, channel: Channel | None) -> bool:
        """Tell whether *channel* waits for its settlement."""
        return self._raw.channel is channel and not self._told

    @property
    def fresh_copy(self) -> bool:
        """Whether one of us put it into the queue of suspects, rather than the broker that counted its deliveries."""
        return lane_in(headers_in(self._raw)) is not None

    @property
    def redelivered(self) -> bool:
        """Whether this queue delivered it before, released or not. Says nothing before a fresh copy: 4.0 keeps it."""
        return bool(self._raw.redelivered)

    @property
    def trials(self) -> int:
        """How often this fresh copy was tried before and not settled."""
        return deliveries_before(headers_in(self._raw))

    @property
    def due_for_suspicion(self) -> bool:
        """Whether it was delivered so often without a settlement that a queue with a limit would have moved it."""
        return deliveries_before(headers_in(self._raw)) > DELIVERY_LIMIT

    async def ack(self) -> None:
        """Settle it as done."""
        with self._settlement():
            await self._acknowledge()

    async def retry(self, message: Message, delay: int, lane: Lane | None = None) -> None:
        """Replace it by *message*, to come after *delay* seconds: a crash in between leaves both, never none."""
        if delay not in RETRY_DELAYS:
            raise ValueError(f"there is no retry tier of {delay} s")
        with self._settlement():
            await self._replace(lambda: self._outbox.to_tier(message, lane or self._lane, delay))

    async def park(self, message: Message, failure: Failure) -> None:
        """Move it to the parking."""
        with self._settlement():
            await self._replace(lambda: self._outbox.to_parking(message, self._lane, failure))

    async def release(self) -> None:
        """
        Give it back untouched.

        Brokers before 4.3 count this as a delivery without a settlement. A message that has many of those, or is
        suspected already, goes back as a fresh copy instead.
        """
        with self._settlement():
            if self._suspected:
                await self._replace(lambda: self._outbox.to_suspects(self._message, self._lane))
            elif deliveries_before(headers_in(self._raw)) >= DELIVERY_LIMIT // 2:
                await self._replace(lambda: self._outbox.to_lanes(self._message, [self._lane]))
            else:
                await self._requeue()

    async def suspect(self) -> None:
        """Move it to the suspects; no settlement of a worker's, for it is done before a worker sees it."""
        with self._settlement():
            await self._replace(lambda: self._outbox.to_suspects(self._message, self._lane))

    @contextmanager
    def _settlement(self) -> Iterator[None]:
        """Open a settlement. A failure leaves the delivery unsettled: try again."""
        if self._settled:
            raise RuntimeError("the delivery was settled before")
        if self._closed():
            raise DeliveryLost("the consumer was closed before the settlement")
        if self.lost:
            raise DeliveryLost("the channel was closed before the settlement")
        self._settled = True
        try:
            yield
        except BaseException:
            self._settled = False
            raise
        self._told = True
        self._tell_settled(self._raw)

    async def _replace(self, publish: Callable[[], Awaitable[None]]) -> None:
        """Put something in its place, once however often the acknowledgement is tried, and acknowledge it."""
        if not self._replaced:
            await publish()
            passing("delivery.replaced")
            self._replaced = True
        await self._acknowledge()

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
            raise DeliveryLost(str(error)) from error
