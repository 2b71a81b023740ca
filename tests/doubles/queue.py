"""
The queue in memory: for tests and simulations, and for nothing that must outlive the process.

Delays run on the event loop's time, so a virtual loop delivers retries at once. A consumer that is closed with
deliveries in hand stands for a worker that died.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane, replay_lane
from shared.queue.message import Failure, Message
from shared.queue.port import CROWD, DELIVERY_LIMIT, KILLED_ITS_WORKER, RETRY_DELAYS, Consumer, Depth, Parked


class MemoryQueue:
    """An :class:`~shared.queue.port.EventQueue` without a disk."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._store = _Store(clock)

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Put *message* into each of *lanes*."""
        for lane in lanes:
            self._store.put(_Entry(message, self._store.admitted(lane)))

    @asynccontextmanager
    async def consume(self, lane: Lane, limit: int) -> AsyncIterator[Consumer]:
        """Open a consumer of *lane*; what it leaves unsettled is delivered again."""
        consumer = _MemoryConsumer(self._store, self._store.ready[lane], limit)
        self._store.consumers.add(consumer)
        try:
            yield consumer
        finally:
            self._store.consumers.discard(consumer)
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

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parked_ever = 0
        self.ready: dict[Lane, deque[_Entry]] = {lane: deque() for lane in Lane}
        self.delayed: dict[int, set[_Entry]] = {delay: set() for delay in RETRY_DELAYS}
        self.parked: dict[str, Parked] = {}
        self.consumers: set[_MemoryConsumer] = set()

    def unsettled(self, lane: Lane) -> Iterator[_Entry]:
        """Return what is ready in *lane* and what is in hand."""
        yield from self.ready[lane]
        for consumer in self.consumers:
            yield from (entry for entry in consumer.in_hand if entry.lane is lane)

    def admitted(self, lane: Lane) -> Lane:
        """Return *lane*, or bulk in the place of a live that is full."""
        return Lane.BULK if lane is Lane.LIVE and len(self.ready[lane]) >= CROWD else lane

    def put(self, entry: _Entry) -> None:
        self.ready[entry.lane].append(entry)
        for consumer in self.consumers:
            consumer.wake()

    def put_later(self, entry: _Entry, delay: int) -> None:
        self.delayed[delay].add(entry)
        asyncio.get_running_loop().call_later(delay, self._put_due, entry, delay)

    def _put_due(self, entry: _Entry, delay: int) -> None:
        self.delayed[delay].discard(entry)
        self.put(entry)

    def take_back(self, entry: _Entry) -> None:
        """Queue *entry* again, which was delivered and never settled, unless that happens every time."""
        entry.deliveries += 1
        if entry.deliveries > DELIVERY_LIMIT:
            self.park(entry.message, entry.lane, KILLED_ITS_WORKER)
        else:
            self.put(entry)

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


class _MemoryConsumer:
    def __init__(self, store: _Store, entries: deque[_Entry], limit: int) -> None:
        self._store = store
        self._entries = entries
        self._limit = limit
        self.in_hand: set[_Entry] = set()
        self._stopped = False
        self._changed = asyncio.Event()

    async def take(self) -> "_MemoryDelivery":
        while not (self._entries and len(self.in_hand) < self._limit) or self._stopped:
            if self._stopped:
                raise QueueUnavailable("the consumer was stopped")
            self._changed.clear()
            await self._changed.wait()
        entry = self._entries.popleft()
        self.in_hand.add(entry)
        return _MemoryDelivery(self._store, self, entry)

    async def stop(self) -> None:
        self._stopped = True
        self.wake()

    def wake(self) -> None:
        """Let everybody waiting in ``take`` look again."""
        self._changed.set()

    def close(self) -> None:
        """Stop, and give back what was never settled."""
        self._stopped = True
        self.wake()
        while self.in_hand:
            self._store.take_back(self.in_hand.pop())

    def settle(self, entry: _Entry) -> None:
        """
        Free the place of *entry*.

        Raises:
            QueueUnavailable: The consumer was closed, so the message comes again.
        """
        if entry not in self.in_hand:
            raise QueueUnavailable("the consumer was closed before the settlement")
        self.in_hand.discard(entry)
        self.wake()


class _MemoryDelivery:
    def __init__(self, store: _Store, consumer: _MemoryConsumer, entry: _Entry) -> None:
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
        self._settle()

    async def retry(self, message: Message, delay: int, lane: Lane | None = None) -> None:
        if delay not in RETRY_DELAYS:
            raise ValueError(f"there is no retry tier of {delay} s")
        self._settle()
        self._store.put_later(_Entry(message, lane or self.lane), delay)

    async def park(self, message: Message, failure: Failure) -> None:
        self._settle()
        self._store.park(message, self.lane, failure)

    async def release(self) -> None:
        self._settle()
        self._store.put(self._entry)

    def _settle(self) -> None:
        if self._settled:
            raise RuntimeError("the delivery was settled before")
        self._consumer.settle(self._entry)
        self._settled = True
