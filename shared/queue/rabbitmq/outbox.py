"""Everything that a queue on RabbitMQ publishes: to lanes, to retry tiers and to the parking, each confirmed."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Final, Self

import structlog

from shared.amqp.connection import AmqpConnection
from shared.amqp.publisher import Publisher, Unroutable
from shared.clock import Clock
from shared.domain.errors import ConfigurationError, QudaoError, QueueUnavailable
from shared.domain.events import Lane
from shared.queue.message import Failure, Message
from shared.queue.port import RETRY_SPREAD
from shared.queue.rabbitmq.topology import Topology, key_of
from shared.queue.rabbitmq.wire import LANE, headers_of, parked_headers

log = structlog.get_logger()

MOURNING_SECONDS: Final = 0.5
"""How long a deleted queue is left alone, so that its consumers are told before it is declared again."""


class Outbox:
    """Publishes messages to where they belong. Every method returns when the message is durable there."""

    def __init__(
        self, connection: AmqpConnection, publisher: Publisher, topology: Topology, clock: Clock, crowd: int
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._topology = topology
        self._clock = clock
        self._crowd = crowd
        self._live = self._coming = 0
        self.crowded = asyncio.Event()
        """Set when so much was published to live that its depth should be looked at."""
        self._tasks = asyncio.TaskGroup()
        self._restoring: asyncio.Task[None] | None = None
        self._closed = False
        self.problem: QudaoError | None = None
        """Why a queue that was found missing could not be declared again; None when nothing is known to be missing."""

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        if self._restoring is not None:
            self._restoring.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def to_lanes(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Put *message* into all of *lanes* with one publish; into bulk for live when it is stale or live is full."""
        now = self._clock.time()
        reached = frozenset(self._admitted(self._lane_at(now, lane, message)) for lane in lanes)
        live = Lane.LIVE in reached
        self._coming += live
        try:
            await self._send(self._topology.jobs, key_of(reached), message.body, headers_of(message))
        except BaseException:
            self._live -= live
            raise
        finally:
            self._coming -= live

    async def to_tier(self, message: Message, lane: Lane, delay: int) -> None:
        """
        Put *message* where it waits for *delay* seconds, or a little longer, and then goes to *lane*.

        It goes to bulk instead of live when it will be stale by then.
        """
        wait = delay * (1 + random.uniform(0, RETRY_SPREAD))  # noqa: S311 - not a secret
        key = self._lane_at(self._clock.time() + wait, lane, message)
        await self._send(self._topology.retry(delay), key, message.body, headers_of(message), wait)

    async def to_parking(self, message: Message, lane: Lane, failure: Failure) -> None:
        """Park *message* from *lane* with *failure* as the reason."""
        headers = parked_headers(message, failure, lane, self._clock.time())
        await self._send(self._topology.parked, "", message.body, headers)

    async def to_suspects(self, message: Message, lane: Lane) -> None:
        """Put *message* from *lane* among the suspects, as if it had never been delivered."""
        await self._send(self._topology.dead, "", message.body, {**headers_of(message), LANE: lane})

    async def restore(self) -> None:
        """
        Declare again what somebody deleted; once for all who notice it at the same time, and it fails for all of them.

        Not at once, and not for the channel that published to the deleted queue: whatever in the broker has not yet
        heard that a quorum queue is gone takes its successor for it, and what passes there is confirmed and lost.

        Raises:
            QueueUnavailable: It cannot be declared; the reason says why.
        """
        if self._closed:
            raise QueueUnavailable("the queue is closed")
        if self._restoring is None:
            self._restoring = self._tasks.create_task(self._restore())
        await asyncio.shield(self._restoring)
        if self.problem is not None:
            raise QueueUnavailable(str(self.problem)) from self.problem

    async def _restore(self) -> None:
        """Declare all that is missing and note what went wrong: an exception would end the tasks beside it."""
        log.error("topology.missing", prefix=self._topology.prefix)
        try:
            await asyncio.sleep(MOURNING_SECONDS)
            await self._topology.declare(self._connection.channel)
        except (QueueUnavailable, ConfigurationError) as error:
            self.problem = error
        else:
            self.problem = None
            self._publisher.renew("queues were declared again")
        finally:
            self._restoring = None

    def note_live(self, waiting: int) -> None:
        """Take over how many messages wait in live."""
        self._live = waiting + self._coming
        self.crowded.clear()

    def _admitted(self, lane: Lane) -> Lane:
        """Return *lane*, or bulk in the place of a live that is full."""
        if lane is not Lane.LIVE:
            return lane
        if self._live >= self._crowd:
            self.crowded.set()
            return Lane.BULK
        self._live += 1
        return lane

    def _lane_at(self, when: float, lane: Lane, message: Message) -> Lane:
        """Return the lane that *message* for *lane* belongs to at the time *when*."""
        stale = lane is Lane.LIVE and when - message.first_seen >= self._topology.stale
        return Lane.BULK if stale else lane

    async def _send(
        self,
        exchange: str,
        key: str,
        body: bytes,
        headers: Mapping[str, str | int],
        expiration: float | None = None,
    ) -> None:
        async def once() -> bool:
            return await self._publisher.publish(
                body, exchange=exchange, routing_key=key, headers=headers, expiration=expiration
            )

        try:
            accepted = await once()
        except Unroutable:
            await self.restore()
            accepted = await once()
        if not accepted:
            raise QueueUnavailable("the broker refused the message: a queue is full")
