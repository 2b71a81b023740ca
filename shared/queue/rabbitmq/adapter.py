"""
The queue over RabbitMQ: quorum queues, confirmed publishes, retries by fixed delay queues (design.md 5).

Two connections: a broker that is short of memory stops reading from whoever publishes, and acknowledgements must not
wait behind that.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import cycle
from typing import Final, Self

import structlog
from aio_pika.abc import AbstractConnection

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, channel_for_now, open_channel, translated
from shared.amqp.looks import PassiveLooks
from shared.amqp.publisher import CONFIRM_SECONDS, Publisher
from shared.clock import Clock, SystemClock
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane
from shared.queue.message import Message
from shared.queue.port import CROWD, QUIET_SECONDS, STALE_SECONDS, Depth, Parked
from shared.queue.rabbitmq.consumer import RabbitConsumer, consuming
from shared.queue.rabbitmq.outbox import Outbox
from shared.queue.rabbitmq.parking import Parking
from shared.queue.rabbitmq.topology import Topology
from shared.queue.rabbitmq.wire import message_of
from shared.tasks import beside, wait_at_most

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
LOOK_AGAIN_SECONDS: Final = 0.1
"""Seconds between looks at the lanes; and at the least, while more is published than live has room for."""

START_SECONDS: Final = 10.0
"""Longest that opening the queue waits for a broker; after that it goes on trying in the background."""


class RabbitQueue:
    """An :class:`~shared.queue.port.EventQueue` on a RabbitMQ broker or cluster, 3.10 or later."""

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        *,
        prefix: str = "qudao",
        settling: float = 2.0,
        stale: float = STALE_SECONDS,
        crowd: int = CROWD,
        confirm: float = CONFIRM_SECONDS,
    ) -> None:
        """
        Args:
            url: ``amqp://user:password@host:port/vhost`` or ``amqps://…``.
            clock: Tells when a message was parked; the machine's clock if there is none.
            prefix: Begins every queue's name, so that deployments can share a vhost.
            settling: Seconds to wait after queues were created. RabbitMQ 3.10 notes a new quorum queue on disk up
                to a second late and, killed before, comes back without its messages, confirmed ones too.
            stale: Seconds after which a live message goes on in bulk; the same for all who use *prefix*.
            crowd: Waiting live messages from which on others go to bulk.
            confirm: Longest wait, in seconds, for the broker's word that it has a message.
        """
        clock = clock or SystemClock()
        self._topology = Topology(prefix=prefix, stale=stale)
        self._publishing = AmqpConnection(url, f"{prefix} publishing", self._prepare)
        self._consuming = AmqpConnection(url, f"{prefix} consuming")
        self._looks = PassiveLooks(self._consuming.channel)
        self._publisher = Publisher(self._publishing, seconds=confirm)
        self._outbox = Outbox(self._publishing, self._publisher, self._topology, clock, crowd)
        self._parking = Parking(self._consuming, self._outbox, self._topology, clock)
        self._clock = clock
        self._settling = settling
        self._turn = asyncio.Lock()
        self._trials_from = 0.0
        self._consumers: set[RabbitConsumer] = set()
        self._declared = False
        self._places = cycle(self._topology.places().values())
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """
        Connect and declare the queues. A broker that is away is no error: it may come later.

        Raises:
            ConfigurationError: The broker refuses the login or a right, or has a queue of ours with other arguments.
        """
        self._trials_from = asyncio.get_running_loop().time() + QUIET_SECONDS
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._publishing)
            await stack.enter_async_context(self._consuming)
            await stack.enter_async_context(self._publisher)
            await stack.enter_async_context(self._outbox)
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._publishing.tried()
                    await self._consuming.tried()
                    if self._publishing.problem is None:
                        await self._publisher.ready()
            except TimeoutError:
                log.warning("queue.slow_start", reason=str(self._publishing.problem))
            if isinstance(self._publishing.problem, ConfigurationError):
                raise self._publishing.problem
            await stack.enter_async_context(beside(self._watch()))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Put *message* into each of *lanes*; one confirm of the broker covers them all."""
        if lanes:
            await self._outbox.to_lanes(message, lanes)

    async def agree(self, corp: str, state: str) -> None:
        """
        Make sure that all of *corp* who use these queues have the *state* of this name.

        Raises:
            ConfigurationError: Somebody has another one.
            QueueUnavailable: The broker is away.
        """
        await self._topology.agree(self._publishing.channel, corp, state)

    def consume(self, lane: Lane, limit: int) -> AbstractAsyncContextManager[RabbitConsumer]:
        """
        Return a consumer of *lane* with at most *limit* unsettled deliveries.

        On top of these, one consumer of the process tries suspects, one at a time; they keep their own lane.
        """
        consumer = RabbitConsumer(self._consuming, self._outbox, self._topology, self._clock, lane=lane, limit=limit)
        return self._counted(consumer)

    @asynccontextmanager
    async def _counted(self, consumer: RabbitConsumer) -> AsyncIterator[RabbitConsumer]:
        async with consuming(consumer, self._turn, self._trials_from):
            self._consumers.add(consumer)
            try:
                yield consumer
            finally:
                self._consumers.discard(consumer)

    async def depths(self, *, ages: bool = False) -> Sequence[Depth]:
        """
        Return how much waits in every place; what is in workers' hands is not counted.

        An age is that of the first in line, which is taken and given back at once. So it is told of tiers and parking
        alone: in a lane that would count as a delivery.
        """
        depths = []
        for name, queue in self._topology.places().items():
            counted = await self._waiting(queue)
            age = await self._first_age(queue) if ages and counted and not self._topology.counts(queue) else None
            depths.append(Depth(name=name, messages=counted, oldest_seconds=age))
        return depths

    async def _waiting(self, queue: str) -> int:
        counted = await self._looks.waiting(queue)
        if counted is None:
            raise QueueUnavailable(f"the queue {queue} is missing")
        return counted

    async def _first_age(self, queue: str) -> float | None:
        async with channel_for_now(self._consuming.channel) as channel:
            with translated(f"look into {queue}"):
                raw = await channel.basic_get(queue, timeout=CALL_SECONDS)
                if raw.delivery_tag is None:
                    return None  # somebody took it meanwhile
                await channel.basic_nack(raw.delivery_tag, requeue=True)
        now = self._clock.time()
        return now - message_of(raw, now=now).first_seen

    def parked(self, *, limit: int | None = None) -> AsyncIterator[Parked]:
        """Iterate over what is parked, oldest first, leaving it parked; one process looks at a time."""
        return self._parking.parked(limit)

    async def replay(self, ids: Iterable[str]) -> int:
        """Move the parked messages *ids* to bulk; a welcome, which is no mark, goes back to the fast lane."""
        return await self._parking.replay(ids)

    async def drop(self, ids: Iterable[str]) -> int:
        """Remove the parked messages *ids* for good."""
        return await self._parking.drop(ids)

    async def check(self) -> None:
        """Return when we can publish, the broker answers, no queue was found missing and no lane stands still."""
        problem = self._publishing.problem or self._consuming.problem or self._outbox.problem
        if problem is not None:
            raise QueueUnavailable(str(problem)) from problem
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self._publisher.ready()
        except TimeoutError as error:
            raise QueueUnavailable("the broker does not answer") from error
        for consumer in self._consumers:
            if consumer.problem:
                raise QueueUnavailable(consumer.problem)
        await self._waiting(self._topology.lane(Lane.LIVE))

    async def _watch(self) -> None:
        """
        Notice a full live lane, and a deleted queue before somebody needs it, for ever.

        A message for two lanes of which one is missing is confirmed all the same: it reached somebody.
        """
        while True:
            await self._publishing.usable()
            try:
                await self._look_around()
            except QueueUnavailable as error:
                log.warning("topology.unknown", prefix=self._topology.prefix, reason=str(error))
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            await wait_at_most(self._outbox.crowded, LOOK_SECONDS)

    async def _look_around(self) -> None:
        """Look at the lanes and at one more place; have declared again what is missing."""
        waiting = await self._topology.waiting(self._looks)
        if waiting is not None:
            self._outbox.note_live(waiting[Lane.LIVE])
        if waiting is None or self._outbox.problem or await self._looks.waiting(next(self._places)) is None:
            await self._outbox.restore()

    async def _prepare(self, connection: AbstractConnection) -> None:
        """Declare the queues on every new connection: a broker may have been restored empty."""
        looks = PassiveLooks(lambda: open_channel(connection))
        missing = await self._topology.waiting(looks) is None
        await looks.close()
        await self._topology.declare(lambda: open_channel(connection))
        await self._topology.probe(lambda: open_channel(connection, confirms=True))
        if missing:
            level = log.error if self._declared else log.info
            level("topology.created", prefix=self._topology.prefix, again=self._declared)
            await asyncio.sleep(self._settling)
        self._declared = True
