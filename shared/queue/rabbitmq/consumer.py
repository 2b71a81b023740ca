"""Consuming a lane on RabbitMQ, and trying messages that are suspected of killing their workers once more, alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final
from weakref import WeakSet

import structlog
from aiormq.abc import DeliveredMessage

from shared.amqp.connection import AmqpConnection, pause
from shared.clock import Clock
from shared.domain.errors import DeliveryLost, QueueUnavailable
from shared.domain.events import Lane
from shared.queue.port import KILLED_ITS_WORKER, TRIALS
from shared.queue.rabbitmq.delivery import RabbitDelivery
from shared.queue.rabbitmq.outbox import Outbox
from shared.queue.rabbitmq.subscription import Subscription
from shared.queue.rabbitmq.topology import Topology
from shared.queue.rabbitmq.wire import died_in, headers_in, lane_in, message_of
from shared.tasks import beside

log = structlog.get_logger()

_STOPPED: Final = QueueUnavailable("the consumer was stopped")


class Inbox:
    """What was delivered and not yet taken, and at most one word about why nothing comes."""

    def __init__(self) -> None:
        self._items: asyncio.Queue[RabbitDelivery | QueueUnavailable] = asyncio.Queue()
        self._failing = False

    def put(self, delivery: RabbitDelivery) -> None:
        """Hand over *delivery*, and forget what was lost before it was taken."""
        items = [self._items.get_nowait() for _ in range(self._items.qsize())]
        for item in (*items, delivery):
            if not isinstance(item, RabbitDelivery) or not item.lost:
                self._items.put_nowait(item)

    def fail(self, error: QueueUnavailable) -> None:
        """Let one ``take`` raise *error*, unless it was told to already."""
        if not self._failing:
            self._failing = True
            self._items.put_nowait(error)

    def stop(self) -> list[RabbitDelivery]:
        """Let every ``take`` raise from now on, and return what nobody took."""
        left = []
        while not self._items.empty():
            item = self._items.get_nowait()
            if isinstance(item, RabbitDelivery):
                left.append(item)
        self._items.put_nowait(_STOPPED)
        return left

    async def take(self) -> RabbitDelivery:
        """Return the next delivery that is still ours."""
        while True:
            item = await self._items.get()
            if item is _STOPPED:
                self._items.put_nowait(item)
                raise QueueUnavailable(str(item))
            if isinstance(item, QueueUnavailable):
                self._failing = False
                raise item
            if not item.lost:
                return item


class RabbitConsumer:
    """Takes messages from one lane, and now and then a suspect of any lane on top; see :func:`consuming`."""

    def __init__(
        self,
        connection: AmqpConnection,
        outbox: Outbox,
        topology: Topology,
        clock: Clock,
        *,
        lane: Lane,
        limit: int,
    ) -> None:
        self._outbox = outbox
        self._topology = topology
        self._clock = clock
        self._lane = lane
        self._inbox = Inbox()
        self._suspects = Inbox()
        self._due_for_suspicion = Inbox()
        self._deliveries: WeakSet[RabbitDelivery] = WeakSet()
        self._stopped = False
        self._closed = False
        self._subscription = Subscription(
            connection,
            outbox,
            topology.lane(lane),
            limit,
            deliver=self._deliver,
            fail=self._inbox.fail,
            in_hand=lambda: self._in_hand(self._subscription),
        )
        self._suspicion = Subscription(
            connection,
            outbox,
            topology.dead,
            1,
            deliver=self._deliver_suspect,
            fail=self._suspects.fail,
            in_hand=lambda: self._in_hand(self._suspicion),
        )

    @property
    def problem(self) -> str:
        """Why the lane stands still; "" while it does not."""
        return self._subscription.problem

    def _in_hand(self, subscription: Subscription) -> int:
        """Return how many deliveries of *subscription* are still known to somebody who can settle them."""
        return sum(each.waits_at(subscription.channel) for each in self._deliveries)

    async def take(self) -> RabbitDelivery:
        """Return the next delivery, waiting for one."""
        return await self._inbox.take()

    async def stop(self) -> None:
        """Take no more and give back what was fetched ahead."""
        if self._stopped:
            return
        self._stopped = True
        await self._subscription.stop()
        await self._suspicion.stop()
        for delivery in [*self._inbox.stop(), *self._suspects.stop()]:
            with suppress(QueueUnavailable, DeliveryLost):
                await delivery.release()

    async def close(self) -> None:
        """Stop; what is in hand can no longer be settled."""
        await self.stop()
        self._closed = True

    async def run(self) -> None:
        """Fetch messages of the lane, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._subscription.run())
            group.create_task(self._suspect_killers())

    async def run_suspects(self, turn: asyncio.Lock, since: float) -> None:
        """
        Fetch suspects, for ever: one at a time in the whole process, so that a killer takes nobody with it.

        Not before *since* by the loop's clock.
        """
        await asyncio.sleep(since - asyncio.get_running_loop().time())
        async with turn, asyncio.TaskGroup() as group:
            group.create_task(self._suspicion.run())
            group.create_task(self._judge_suspects())

    async def _suspect_killers(self) -> None:
        """Do for the live lane, whose dead letters go to bulk, what a delivery limit does for the others."""
        while True:
            killer = await self._due_for_suspicion.take()
            log.warning("delivery.suspected", event_id=killer.message.event_id, lane=killer.lane)
            await _insist(killer.suspect)

    async def _judge_suspects(self) -> None:
        """Hand over a suspect that is to be tried; park one that was not settled in any of its trials."""
        while not self._stopped:
            try:
                suspect = await self._suspects.take()
            except QueueUnavailable:
                continue  # the lane's own subscription says so too
            if not suspect.fresh_copy:
                await _insist(suspect.release)
            elif suspect.trials >= TRIALS:
                log.error("suspect.parked", event_id=suspect.message.event_id, lane=suspect.lane)
                await _insist(partial(suspect.park, suspect.message, KILLED_ITS_WORKER))
            else:
                log.warning("suspect.tried", event_id=suspect.message.event_id, lane=suspect.lane)
                self._inbox.put(suspect)

    async def _deliver(self, raw: DeliveredMessage) -> None:
        delivery = self._delivery(raw, self._lane, self._subscription)
        (self._due_for_suspicion if delivery.due_for_suspicion else self._inbox).put(delivery)

    async def _deliver_suspect(self, raw: DeliveredMessage) -> None:
        headers = headers_in(raw)
        lane = lane_in(headers) or self._topology.lane_of(died_in(headers)) or Lane.BULK
        self._suspects.put(self._delivery(raw, lane, self._suspicion))

    def _delivery(self, raw: DeliveredMessage, lane: Lane, subscription: Subscription) -> RabbitDelivery:
        delivery = RabbitDelivery(
            raw,
            message_of(raw, now=self._clock.time()),
            lane,
            outbox=self._outbox,
            suspected=subscription is self._suspicion,
            closed=lambda: self._closed,
            settled=subscription.settled,
        )
        self._deliveries.add(delivery)
        return delivery


@asynccontextmanager
async def consuming(consumer: RabbitConsumer, turn: asyncio.Lock, since: float) -> AsyncIterator[RabbitConsumer]:
    """Run *consumer* while the context is open; *turn*, shared by all of the process, is for suspects from *since*."""
    async with beside(consumer.run()), beside(consumer.run_suspects(turn, since)):
        try:
            yield consumer
        finally:
            await consumer.close()


async def _insist(settle: Callable[[], Awaitable[None]]) -> None:
    failures = 0
    while True:
        try:
            return await settle()
        except DeliveryLost:
            return None
        except QueueUnavailable:
            await asyncio.sleep(pause(failures))
            failures += 1
