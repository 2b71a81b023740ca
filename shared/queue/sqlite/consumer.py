"""
Taking from the embedded queue: consumers, their deliveries, and the turn of suspects.

A claim is written before a message is handed over, so a process that dies leaves its claims behind, and each counts as
a delivery. A message that comes to ``DELIVERY_LIMIT`` of them is a suspect: it gets ``TRIALS`` more, each with
nothing else of its lane and no other suspect in hand, so that the innocent who died beside a killer outlive it. None is
tried by a process that may be about to die of something else: see ``QUIET_SECONDS``.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Final, TypeVar

from apsw import Connection

from shared.clock import Clock, SteadyClock
from shared.domain.errors import DeliveryLost, QueueUnavailable
from shared.domain.events import Lane
from shared.queue.message import Failure, Message
from shared.queue.port import QUIET_SECONDS, RETRY_DELAYS, RETRY_SPREAD
from shared.queue.sqlite import tables
from shared.queue.sqlite.tables import Claim
from shared.sqlite.database import Database

T = TypeVar("T")

POLL_SECONDS: Final = 0.25
"""How soon a message is noticed that another process published."""

Claiming = Callable[[Connection], tuple[list[Claim], float | None]]


class Lanes:
    """What the consumers of one process share: the file, and whose turn it is."""

    def __init__(self, database: Database, clock: Clock, stale: float) -> None:
        self.database = database
        self.clock = clock
        self.waits = SteadyClock(clock)
        self._trials_from = self.waits.time() + QUIET_SECONDS
        self._stale = stale
        self.acknowledge = database.batched(tables.acknowledge)
        self.postpone = database.batched(tables.postpone)
        self.park = database.batched(tables.park)
        self.release = database.batched(tables.release)
        self._consumers: dict[Lane, set[SqliteConsumer]] = {lane: set() for lane in Lane}
        self._suspects: dict[Lane, int] = {}
        self._trial: Lane | None = None

    async def recover(self) -> None:
        """Take back every claim: call it while nobody alive has any."""
        now = self.clock.time()

        def write(connection: Connection) -> dict[Lane, int]:
            tables.shorten_waits(connection, now)
            return tables.recover(connection, tables.claimed(connection), now)

        self._suspects = await self.database.write(write)

    async def take_back(self, *, seen: list[int], unseen: list[int]) -> None:
        """Make ready what a consumer leaves: rows that it handed over, and rows that nobody has seen."""
        now = self.clock.time()

        def write(connection: Connection) -> dict[Lane, int]:
            tables.give_back(connection, unseen)
            return tables.recover(connection, seen, now)

        if seen or unseen:
            self._suspects = await self.database.write(write)

    def join(self, lane: Lane, consumer: "SqliteConsumer") -> None:
        """Count *consumer* in when it is asked who holds messages of *lane*, and wake it."""
        self._consumers[lane].add(consumer)

    def leave(self, lane: Lane, consumer: "SqliteConsumer") -> None:
        """Forget *consumer*."""
        self._consumers[lane].discard(consumer)

    def wake(self, lanes: Iterable[Lane]) -> None:
        """Tell the consumers of *lanes* that there may be something to claim."""
        for lane in lanes:
            for consumer in self._consumers[lane]:
                consumer.wake()

    def next_claim(self, lane: Lane, room: int, *, retries_first: bool) -> Claiming | None:
        """Return what may be claimed from *lane* now; nothing while a suspect is tried or must be."""
        if self._trial is lane:
            return None
        now = self.waits.time()
        if not self._suspects.get(lane) or now < self._trials_from:
            stale = self.clock.time() - self._stale if lane is Lane.LIVE else -inf
            return partial(tables.claim, lane=lane, room=room, now=now, retries_first=retries_first, stale=stale)
        if self._trial is not None or any(consumer.holds_any for consumer in self._consumers[lane]):
            return None
        self._trial = lane
        self._suspects[lane] -= 1
        return partial(tables.claim_suspect, lane=lane)

    def claimed_nothing(self, lane: Lane, *, failed: bool) -> None:
        """Forget the trial that was about to begin in *lane*, if so; a suspect whose claim *failed* is still one."""
        if self._trial is lane:
            self._suspects[lane] = self._suspects.get(lane, 0) + failed
            self.end_trial()

    def end_trial(self) -> None:
        """Let everybody go on."""
        self._trial = None
        self.wake(Lane)


class SqliteConsumer:
    """A :class:`~shared.queue.port.Consumer` that claims as many messages as it has room for."""

    def __init__(self, lanes: Lanes, lane: Lane, limit: int) -> None:
        self._lanes = lanes
        self._lane = lane
        self._limit = limit
        self._ahead: deque[Claim] = deque()
        self._in_hand: dict[int, Claim] = {}
        self._claiming: asyncio.Future[tuple[list[Claim], float | None]] | None = None
        self._retries_first = False
        self._failure: BaseException | None = None
        self._stopped = False
        self._news = False
        self._changed = asyncio.Event()
        self._alarm: asyncio.TimerHandle | None = None
        lanes.join(lane, self)

    @property
    def holds_any(self) -> bool:
        """Tell whether a message is claimed, or being claimed, and not settled."""
        return bool(self._in_hand or self._ahead or self._claiming)

    async def take(self) -> "SqliteDelivery":
        """Return the next delivery, waiting for one; nothing is awaited between choosing it and returning it."""
        while not self._ahead or self._stopped:
            if self._stopped:
                raise QueueUnavailable("the consumer was stopped")
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            self._claim()
            self._changed.clear()
            await self._changed.wait()
        claim = self._ahead.popleft()
        self._in_hand[claim.id] = claim
        return SqliteDelivery(self._lanes, self, self._lane, claim)

    async def stop(self) -> None:
        """Take no more; what was fetched ahead goes back."""
        await self._stop_claiming()
        await self._take_back(seen=False)

    async def close(self) -> None:
        """Stop; what is in hand comes again, too, and can no longer be settled."""
        try:
            await self._stop_claiming()
            await self._take_back(seen=True)
        finally:
            self._lanes.leave(self._lane, self)

    def wake(self) -> None:
        """Look for messages, now or after the claim that is under way."""
        self._news = True
        self._changed.set()

    def require(self, claim: Claim) -> None:
        """
        Return when *claim* may be settled.

        Raises:
            DeliveryLost: The consumer was closed, so the message comes again.
        """
        if claim.id not in self._in_hand:
            raise DeliveryLost("the consumer was closed before the settlement")

    def forget(self, claim: Claim) -> None:
        """Free the place of *claim*, which is settled."""
        if self._in_hand.pop(claim.id, None) is not None:
            self._changed.set()
            if claim.on_trial:
                self._lanes.end_trial()

    def _claim(self) -> None:
        room = min(self._limit - len(self._in_hand), tables.ROWS_AT_ONCE)
        if room <= 0 or self._claiming is not None:
            return
        self._retries_first = not self._retries_first
        claiming = self._lanes.next_claim(self._lane, room, retries_first=self._retries_first)
        if claiming is None:
            self._look_again(POLL_SECONDS)
            return
        self._news = False
        self._claiming = self._lanes.database.submit(claiming)
        self._claiming.add_done_callback(self._claimed)

    def _claimed(self, claiming: "asyncio.Future[tuple[list[Claim], float | None]]") -> None:
        """Keep what was claimed, whoever still waits for it."""
        self._claiming = None
        self._failure = claiming.exception()
        if self._failure is not None:
            self._lanes.claimed_nothing(self._lane, failed=True)
            self._changed.set()
            return
        claims, due = claiming.result()
        self._ahead += claims
        if not claims:
            self._lanes.claimed_nothing(self._lane, failed=False)
        if claims or self._news or self._stopped:
            self._changed.set()
        else:
            wait = POLL_SECONDS if due is None else due - self._lanes.waits.time()
            self._look_again(min(max(wait, 0), POLL_SECONDS))

    def _look_again(self, seconds: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self._changed.set)

    async def _stop_claiming(self) -> None:
        self._stopped = True
        self._changed.set()
        if self._alarm is not None:
            self._alarm.cancel()
        if self._claiming is not None:
            await asyncio.wait({self._claiming})

    async def _take_back(self, *, seen: bool) -> None:
        unseen, in_hand = list(self._ahead), list(self._in_hand.values()) if seen else []
        for claim in in_hand:
            del self._in_hand[claim.id]
        try:
            await self._lanes.take_back(seen=[claim.id for claim in in_hand], unseen=[claim.id for claim in unseen])
        except QueueUnavailable:
            if not seen:
                raise
            # else they stay claimed until the next start, which recovers them
        self._ahead.clear()
        if any(claim.on_trial for claim in (*unseen, *in_hand)):
            self._lanes.end_trial()


class SqliteDelivery:
    """A :class:`~shared.queue.port.Delivery`. A settlement goes on when its caller is cancelled."""

    def __init__(self, lanes: Lanes, consumer: SqliteConsumer, lane: Lane, claim: Claim) -> None:
        self._lanes = lanes
        self._consumer = consumer
        self._lane = lane
        self._claim = claim
        self._settled = False

    @property
    def message(self) -> Message:
        """The message."""
        return self._claim.message

    @property
    def lane(self) -> Lane:
        """The lane it was taken from."""
        return self._lane

    @property
    def redelivered(self) -> bool:
        """Whether it was delivered before and neither settled nor released."""
        return self._claim.deliveries > 1

    async def ack(self) -> None:
        """Settle it as done."""
        await self._settle(self._lanes.acknowledge, self._claim.id)

    async def retry(self, message: Message, delay: int, lane: Lane | None = None) -> None:
        """Replace it by *message* in *lane*, else its own, to be delivered after *delay* seconds."""
        if delay not in RETRY_DELAYS:
            raise ValueError(f"there is no retry tier of {delay} s")
        wait = delay * (1 + random.uniform(0, RETRY_SPREAD))  # noqa: S311 - not a secret
        due = self._lanes.waits.time() + wait
        await self._settle(self._lanes.postpone, (self._claim.id, message, lane or self._lane, delay, due))

    async def park(self, message: Message, failure: Failure) -> None:
        """Move it to the parking."""
        await self._settle(self._lanes.park, (self._claim.id, message, failure, self._lanes.clock.time()))

    async def release(self) -> None:
        """Give it back untouched, to be delivered again at once."""
        await self._settle(self._lanes.release, self._claim.id)
        self._lanes.wake((self._lane,))

    async def _settle(self, write: Callable[[T], "asyncio.Future[None]"], item: T) -> None:
        if self._settled:
            raise RuntimeError("the delivery was settled before")
        self._consumer.require(self._claim)
        writing = write(item)
        self._settled = True
        writing.add_done_callback(self._written)
        await asyncio.shield(writing)

    def _written(self, writing: "asyncio.Future[None]") -> None:
        if writing.exception() is None:
            self._consumer.forget(self._claim)
        else:
            self._settled = False
