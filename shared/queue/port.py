"""
The queue port: what ingress, workers and commands may ask of a queue, and what they may rely on.

Delivery is at least once. A message is durable when ``publish`` returns; an unsettled delivery comes again when its
consumer dies. No order is promised.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.domain.events import Lane
from shared.queue.message import Failure, Message

LOOK_SECONDS: int = 90
"""Delay after which what was written is looked at once more. A tier of its own, for no trouble waits there."""

RETRY_DELAYS: tuple[int, ...] = (1, 3, 10, 30, 60, LOOK_SECONDS, 120, 300, 600, 1800, 3600, 7200, 21600)
"""Every delay a queue offers for a retry, in seconds: one tier each. Part of the topology: add, never change."""

RETRY_SPREAD = 0.1
"""Share of a delay that chance may add to it, so that what failed together does not come back together."""

STALE_SECONDS = 300.0
"""
Age from which a live message makes room. After an outage the live lane is full of old customers; they move to bulk, at
no API call, so that whoever scans now is marked now. Part of the topology, too.
"""

CROWD = 1000
"""
Waiting live messages from which on what is published to live goes to bulk, unless said otherwise. So however many come
at once, whoever comes after them waits no longer than these take.
"""

DELIVERY_LIMIT = 20
"""Deliveries without a settlement after which a message is suspected of killing its workers."""

TRIALS = 2
"""How often a suspect is tried alone: one that was not settled then either is parked."""

QUIET_SECONDS = 10.0
"""
How long a process must have lived until it tries a suspect. What dies sooner dies of something else: in a crash loop
nobody would be innocent.
"""

KILLED_ITS_WORKER = Failure(reason="killed its worker")
"""Why a suspect is parked that was not settled when it was tried alone."""


class Delivery(Protocol):
    """
    One message, taken and not yet settled. One of the four settlements ends it; each is durable on return.

    Every settlement raises:
        QueueUnavailable: Not now. The delivery keeps its place: settle it the same way again, until it is done.
        DeliveryLost: Never. The consumer was closed, or the queue took the delivery back; the message comes again.
    """

    @property
    def message(self) -> Message:
        """The message."""
        ...

    @property
    def lane(self) -> Lane:
        """The lane it was taken from."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before and not settled: WeCom may be busy with a call of whoever had it and died."""
        ...

    async def ack(self) -> None:
        """Settle it as done."""
        ...

    async def retry(self, message: Message, delay: int, lane: Lane | None = None) -> None:
        """Replace it by *message* in *lane*, else its own, to come after *delay* seconds, one of ``RETRY_DELAYS``."""
        ...

    async def park(self, message: Message, failure: Failure) -> None:
        """Move it to the parking for people to look at, with *failure* as the reason."""
        ...

    async def release(self) -> None:
        """Give it back untouched, to be delivered again at once."""
        ...


class Consumer(Protocol):
    """Takes messages from one lane; at most ``limit`` are unsettled at a time."""

    async def take(self) -> Delivery:
        """
        Return the next delivery, waiting for one. Safe to cancel: a delivery is handed over or stays queued.

        Raises:
            QueueUnavailable: The queue cannot be reached or was found changed; the reason says which. Take again later.
        """
        ...

    async def stop(self) -> None:
        """
        Take no more; what was fetched ahead goes back, and does not count. Deliveries in hand can still be settled.

        Raises:
            QueueUnavailable: Not all of it could be given back. Stop again; else it goes back when the consumer closes.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much waits in one place: ``name`` is a lane, ``retry.<seconds>``, ``parked`` or ``dead``."""

    name: str
    messages: int
    oldest_seconds: float | None
    """Age of the oldest message since it was accepted, or of the first in line; None when empty or not to be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A parked message: ``id`` names it for commands, ``failure`` says why, ``lane`` where it came from."""

    id: str
    message: Message
    lane: Lane
    failure: Failure
    parked_at: float


class EventQueue(Protocol):
    """
    A queue with three lanes, delayed retries and a parking.

    A live message that was accepted ``STALE_SECONDS`` ago goes on in bulk, otherwise unchanged. A queue moves what it
    can before anybody takes it, and promises no more: a stale one may still come from live, and memory moves none.
    What is published to live while about ``CROWD`` others wait there goes to bulk at once.
    """

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """
        Put *message* into each of *lanes*, all or none of it durable.

        Raises:
            QueueUnavailable: It is not durable in every lane. Publishing again is always safe.
        """
        ...

    def consume(self, lane: Lane, limit: int) -> AbstractAsyncContextManager[Consumer]:
        """Return a consumer of *lane* with at most *limit* unsettled deliveries; leaving the context closes it."""
        ...

    async def depths(self, *, ages: bool = False) -> Sequence[Depth]:
        """
        Return how much waits in every lane, retry tier and the parking.

        Ask for *ages* where a person wants to know: a broker must hand out a message to tell how old it is. Where that
        would count as a delivery it does not tell.
        """
        ...

    def parked(self, *, limit: int | None = None) -> AsyncIterator[Parked]:
        """
        Iterate over what is parked, oldest first, leaving it parked.

        Of *limit* of them at the most, which ones is not promised.
        """
        ...

    async def replay(self, ids: Iterable[str]) -> int:
        """
        Move the parked messages *ids* to their ``replay_lane`` with fresh attempts and return how many were moved.

        A crash in between may leave a message in both places, never in none. Unknown ids are ignored.
        """
        ...

    async def drop(self, ids: Iterable[str]) -> int:
        """Remove the parked messages *ids* for good and return how many there were."""
        ...

    async def check(self) -> None:
        """
        Return when the queue is usable as configured.

        Raises:
            QueueUnavailable: It is not, and says why.
        """
        ...
