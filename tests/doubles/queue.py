"""
The queue in memory: for tests and simulations, and for nothing that must outlive the process.

It behaves like a broker: what a consumer has room for is fetched ahead, what it holds for too long is taken back with
all else that it holds, and so is what a consumer has that is cut off. Delays run on the event loop's time, so a virtual
loop delivers retries at once.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import inf

from shared.clock import Clock
from shared.domain.errors import DeliveryLost, QueueUnavailable
from shared.domain.events import Lane, replay_lane
from shared.queue.message import Failure, Message
from shared.queue.port import CROWD, DELIVERY_LIMIT, KILLED_ITS_WORKER, RETRY_DELAYS, Depth, Parked


class MemoryQueue:
    """An :class:`~shared.queue.port.EventQueue` without a disk."""

    def __init__(self, clock: Clock, *, held_for: float = inf, delivery_limit: int = DELIVERY_LIMIT) -> None:
        """
        Args:
            held_for: Seconds after which an unsettled delivery, and all that its consumer has, is taken back.
            delivery_limit: Deliveries without a settlement after which a message is parked.
        """
        self._clock = clock
        self._store = _Store(clock, held_for, delivery_limit)

    def refuse(self, *what: str) -> None:
        """Refuse from now on *what* of ``deliver``, ``publish`` (retries and parking too), ``ack`` and ``release``."""
        self._store.refused = frozenset(what)
        for lane in Lane:
            self._store.dispatch(lane)

    def refuses(self, what: str) -> bool:
        """Tell whether *what* is refused."""
        return what in self._store.refused

    def cut(self, consumers: Sequence["MemoryConsumer"]) -> None:
        """Take back what *consumers* have, as when the node that they are connected to goes away."""
        for consumer in consumers:
            consumer.cut()

    def consumers(self) -> list["MemoryConsumer"]:
        """Return who consumes, in the order in which they came."""
        return [consumer for lane in Lane for consumer in self._store.consumers[lane]]

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Put *message* into each of *lanes*."""
        self._store.require("publish")
        for lane in lanes:
            self._store.put(_Entry(message, self._store.admitted(lane)))

    @asynccontextmanager
    async def consume(self, lane: Lane, limit: int) -> AsyncIterator["MemoryConsumer"]:
        """Open a consumer of *lane*; what it leaves unsettled is delivered again."""
        consumer = MemoryConsumer(self._store, lane, limit)
        self._store.consumers[lane].append(consumer)
        self._store.dispatch(lane)
        try:
            yield consumer
        finally:
            self._store.consumers[lane].remove(consumer)
            consumer.close()

    async def depths(self, *, ages: bool = False) -> Sequence[Depth]:
        """Return how much waits in every lane, what is in hand included, in every tier and the parking."""
        del ages  # they cost nothing
        store = self._store
        places = {str(lane): [entry.message for entry in store.unsettled(lane)] for lane in Lane}
        for delay, delayed in store.delayed.items():
            places[f"retry.{delay}"] = [entry.message for entry in delayed]
        places["parked"] = [item.message for item in store.parked.values()]
        now = self._clock.time()
        return [
            Depth(
                name=name,
                messages=len(messages),
                oldest_seconds=now - min(message.first_seen for message in messages) if messages else None,
            )
            for name, messages in places.items()
        ]

    async def parked(self, *, limit: int | None = None) -> AsyncIterator[Parked]:
        """Iterate over what is parked, or the first *limit* of it, oldest first."""
        for item in list(self._store.parked.values())[:limit]:
            yield item

    async def replay(self, ids: Iterable[str]) -> int:
        """Move the parked messages *ids* to where they are done again."""
        moved = list(self._store.unpark(ids))
        for item in moved:
            self._store.put(_Entry(replace(item.message, attempts=0, failure=None), replay_lane(item.lane)))
        return len(moved)

    async def drop(self, ids: Iterable[str]) -> int:
        """Remove the parked messages *ids*."""
        return len(list(self._store.unpark(ids)))

    async def check(self) -> None:
        """Return: memory is always usable."""


@dataclass(slots=True, eq=False)
class _Entry:
    """A message in a lane. ``deliveries`` counts those that ended without a settlement."""

    message: Message
    lane: Lane
    deliveries: int = 0


class _Store:
    """Where the entries are."""

    def __init__(self, clock: Clock, held_for: float, delivery_limit: int) -> None:
        self._clock = clock
        self._parked_ever = 0
        self.held_for = held_for
        self._delivery_limit = delivery_limit
        self.refused: frozenset[str] = frozenset()
        self.ready: dict[Lane, deque[_Entry]] = {lane: deque() for lane in Lane}
        self.delayed: dict[int, dict[_Entry, None]] = {delay: {} for delay in RETRY_DELAYS}
        self.parked: dict[str, Parked] = {}
        self.consumers: dict[Lane, deque[MemoryConsumer]] = {lane: deque() for lane in Lane}

    def require(self, what: str) -> None:
        """Raise QueueUnavailable while *what* is refused."""
        if what in self.refused:
            raise QueueUnavailable(f"the broker does not {what}")

    def unsettled(self, lane: Lane) -> Iterator[_Entry]:
        """Return what is ready in *lane* and what consumers have."""
        yield from self.ready[lane]
        for consumer in self.consumers[lane]:
            yield from (*consumer.ahead, *consumer.in_hand)

    def admitted(self, lane: Lane) -> Lane:
        """Return *lane*, or bulk in the place of a live that is full."""
        waiting = sum(1 for _ in self.unsettled(lane)) if lane is Lane.LIVE else 0
        return Lane.BULK if waiting >= CROWD else lane

    def put(self, entry: _Entry) -> None:
        self.ready[entry.lane].append(entry)
        self.dispatch(entry.lane)

    def put_later(self, entry: _Entry, delay: int) -> None:
        self.delayed[delay][entry] = None
        asyncio.get_running_loop().call_later(delay, self._put_due, entry, delay)

    def _put_due(self, entry: _Entry, delay: int) -> None:
        del self.delayed[delay][entry]
        self.put(entry)

    def dispatch(self, lane: Lane) -> None:
        """Hand what is ready in *lane* to those who have room for it, one after the other."""
        consumers = self.consumers[lane]
        while self.ready[lane] and "deliver" not in self.refused:
            free = next((consumer for consumer in consumers if consumer.has_room), None)
            if free is None:
                return
            consumers.remove(free)
            consumers.append(free)
            free.receive(self.ready[lane].popleft())

    def take_back(self, entry: _Entry) -> None:
        """Queue *entry* again, which was delivered and never settled, unless that happens every time."""
        if entry.deliveries >= self._delivery_limit:
            self.park(entry.message, entry.lane, KILLED_ITS_WORKER)
        else:
            self.put(replace(entry, deliveries=entry.deliveries + 1))

    def park(self, message: Message, lane: Lane, failure: Failure) -> None:
        self._parked_ever += 1
        name = str(self._parked_ever)
        now = self._clock.time()
        self.parked[name] = Parked(id=name, message=message, lane=lane, failure=failure, parked_at=now)

    def unpark(self, ids: Iterable[str]) -> Iterator[Parked]:
        """Remove and return those of *ids* that are parked."""
        for name in ids:
            if (item := self.parked.pop(name, None)) is not None:
                yield item


class MemoryConsumer:
    """A :class:`~shared.queue.port.Consumer` that fetches ahead whatever it has room for."""

    def __init__(self, store: _Store, lane: Lane, limit: int) -> None:
        self._store = store
        self._lane = lane
        self._limit = limit
        self.ahead: deque[_Entry] = deque()
        self.in_hand: dict[_Entry, None] = {}
        self._failing = False
        self._stopped = False
        self._changed = asyncio.Event()

    @property
    def has_room(self) -> bool:
        """Whether one more may be delivered."""
        return not self._stopped and len(self.ahead) + len(self.in_hand) < self._limit

    def receive(self, entry: _Entry) -> None:
        """Fetch *entry* ahead."""
        self.ahead.append(entry)
        self._changed.set()
        if self._store.held_for < inf:
            asyncio.get_running_loop().call_later(self._store.held_for, self._cut_if_held, entry)

    async def take(self) -> "MemoryDelivery":
        while not self.ahead or self._failing or self._stopped:
            if self._stopped:
                raise QueueUnavailable("the consumer was stopped")
            if self._failing:
                self._failing = False
                raise QueueUnavailable("the channel was closed")
            self._changed.clear()
            await self._changed.wait()
        entry = self.ahead.popleft()
        self.in_hand[entry] = None
        return MemoryDelivery(self._store, self, entry)

    async def stop(self) -> None:
        self._stopped = True
        self._changed.set()
        while self.ahead:
            self._store.put(self.ahead.popleft())

    def close(self) -> None:
        """Stop, and give back what was never settled."""
        self._stopped = True
        self.cut()

    def cut(self) -> None:
        """Lose all that was delivered; the next ``take`` says so."""
        lost = [*self.in_hand, *self.ahead]
        self.ahead.clear()
        self.in_hand.clear()
        self._failing = True
        self._changed.set()
        for entry in lost:
            self._store.take_back(entry)

    def settle(self, entry: _Entry, what: str) -> None:
        """
        Free the place of *entry*.

        Raises:
            QueueUnavailable: Not now: *what* is refused.
            DeliveryLost: It was taken back, so the message comes again.
        """
        if entry not in self.in_hand:
            raise DeliveryLost("the delivery was taken back before the settlement")
        self._store.require(what)
        del self.in_hand[entry]
        self._store.dispatch(self._lane)

    def _cut_if_held(self, entry: _Entry) -> None:
        if entry in self.in_hand or entry in self.ahead:
            self.cut()


class MemoryDelivery:
    """A :class:`~shared.queue.port.Delivery`."""

    def __init__(self, store: _Store, consumer: MemoryConsumer, entry: _Entry) -> None:
        self._store = store
        self._consumer = consumer
        self._entry = entry
        self._settled = False

    @property
    def message(self) -> Message:
        return self._entry.message

    @property
    def lane(self) -> Lane:
        return self._entry.lane

    @property
    def redelivered(self) -> bool:
        return self._entry.deliveries > 0

    async def ack(self) -> None:
        self._settle("ack")

    async def retry(self, message: Message, delay: int, lane: Lane | None = None) -> None:
        if delay not in RETRY_DELAYS:
            raise ValueError(f"there is no retry tier of {delay} s")
        self._settle("publish")
        self._store.put_later(_Entry(message, lane or self.lane), delay)

    async def park(self, message: Message, failure: Failure) -> None:
        self._settle("publish")
        self._store.park(message, self.lane, failure)

    async def release(self) -> None:
        self._settle("release")
        self._store.put(self._entry)

    def _settle(self, what: str) -> None:
        if self._settled:
            raise RuntimeError("the delivery was settled before")
        self._consumer.settle(self._entry, what)
        self._settled = True
