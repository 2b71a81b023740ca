"""
What a process has of each API where a database counts the calls: who waits, what runs, and one exchange at a time.

An exchange is one transaction: it tells which calls ended, asks for all who wait, and brings what was granted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import uniform
from typing import Final, Self

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota.port import Grant, Permit
from shared.quota.tether import granted
from shared.quota.turns import Turns
from shared.tasks import wait_at_most

LOOK_AGAIN: Final = 1.0
"""Longest wait for room without telling the other processes that somebody still waits."""

HEAD_START: Final = {Lane.FAST: -20.0, Lane.LIVE: 0.0, Lane.BULK: 2.0}
"""Seconds that a process's oldest waiter of a lane counts as younger, when processes compete: fast goes first, and
bulk goes before live once it has waited two seconds longer."""

ASKING: Final = 3.0
"""Seconds of silence after which a process's waiters hold nobody up: it may be stopped."""

SHORTEST: Final = 0.002
"""Shortest pause before a look for room in a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What was granted: lanes with their rows. Beyond that:

    Attributes:
        room_at: When a window has room for the next in line; None when a call must end first.
        shared: Other processes run or wait; their calls may end without our knowing.
        lost: Rows that the process holds and that are no more: it was silent for too long.
    """

    granted: Sequence[tuple[Lane, int]]
    room_at: float | None
    shared: bool
    lost: Collection[int] = ()


Exchange = Callable[[str, Collection[int], "Turns[Slot]"], Awaitable[tuple[Answer, float]]]
"""Given an API, the rows of the calls that run and who waits: returns the answer, and when it was given."""


class Reservations:
    """The slots of all APIs that this process calls, served while the context is open; what both databases build on."""

    def __init__(self, exchange: Exchange, lease: "Lease", *, poll: float, linger: float = 0.0) -> None:
        """
        Args:
            exchange: Settles what ended and reserves for those who wait.
            lease: What this process holds its places by.
            poll: Seconds between looks while other processes hold places.
            linger: Seconds that what ended may wait for somebody who asks.
        """
        self._exchange = exchange
        self._lease = lease
        self._poll = poll
        self._linger = linger
        self._apis: dict[str, Slots] = {}

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Grant nothing more, and return once what ended is settled. Errors of the context leave it unwrapped."""
        for api in self._apis.values():
            api.stop()
        await self._tasks.__aexit__(None, None, None)

    def __iter__(self) -> Iterator[tuple[str, "Slots"]]:
        return iter(self._apis.items())

    def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AbstractAsyncContextManager[Permit]:
        """Wait until *endpoint* may be called once for *lane* and hold one place in flight."""
        del staff  # matters to the valve alone
        return granted(self.acquire, endpoint, lane)

    async def acquire(self, endpoint: str, lane: Lane) -> Grant:
        """Wait for leave to call *endpoint* once for *lane*."""
        api = self._apis.get(endpoint)
        if api is None:
            api = self._apis[endpoint] = Slots(
                endpoint, self._exchange, self._lease, self._tasks, poll=self._poll, linger=self._linger
            )
        while True:
            grant = await api.acquire(lane)
            if not grant.stale:
                return grant
            grant.release()


class Slots:
    """
    Those in this process who wait for one API, and the calls of this process that run.

    Attributes:
        turns: Who waits.
        held: The rows of the calls that run.
    """

    def __init__(
        self,
        endpoint: str,
        exchange: Exchange,
        lease: "Lease",
        tasks: asyncio.TaskGroup,
        *,
        poll: float,
        linger: float,
    ) -> None:
        """Serve *endpoint* in a task of *tasks*; the rest as in :class:`Reservations`."""
        self._linger = linger
        self._lease = lease
        self._endpoint = endpoint
        self._exchange = exchange
        self._poll = poll
        self.turns: Turns[Slot] = Turns()
        self.held: dict[int, Slot] = {}
        self._stopped = False
        tasks.create_task(self._serve(), name=f"quota.{endpoint}")

    async def acquire(self, lane: Lane) -> "Slot":
        """
        Return a slot for a call in *lane* once there is one.

        Raises:
            QueueUnavailable: The counters cannot be reached, or are closed.
        """
        if self._stopped:
            raise QueueUnavailable("the quota is closed")
        return await self.turns.wait(lane)

    def release(self, row: int) -> None:
        """Note that the call of *row* ended."""
        self.held.pop(row, None)
        self.turns.changed.set()

    def stop(self) -> None:
        """Grant nothing more, and end once what ended is settled."""
        self._stopped = True
        self.turns.fail(QueueUnavailable("the quota is closed"))
        self.turns.changed.set()

    async def _serve(self) -> None:
        """Reserve whenever somebody waits, settle whenever a call ended, until stopped and settled."""
        pause: float | None = None
        while not self._stopped:
            await wait_at_most(self.turns.changed, pause)
            self.turns.changed.clear()
            if self._linger and not len(self.turns) and not self._stopped:
                await wait_at_most(self.turns.changed, self._linger)
                self.turns.changed.clear()
            try:
                answer, now = await self._exchange(self._endpoint, self.held, self.turns)
            except QueueUnavailable as error:
                self.turns.fail(error)
                pause = LOOK_AGAIN  # what ended is not settled yet
            else:
                self._hand_out(answer, now)
                pause = self._pause(answer, now)

    def _hand_out(self, answer: Answer, now: float) -> None:
        self._lease.renew(now)
        for row in answer.lost:
            if row in self.held:
                self.held[row].lose()
        for lane, row in answer.granted:
            grant = self.held[row] = Slot(self, row, self._lease)
            if not self.turns.give(grant, [lane]):
                grant.release()  # whoever wanted it gave up

    def _pause(self, answer: Answer, now: float) -> float | None:
        """Return how long to wait for something to happen in this process before looking again."""
        if not len(self.turns):
            return None
        if answer.room_at is not None:
            return min(max(answer.room_at - now, SHORTEST), LOOK_AGAIN)
        return self._poll * uniform(0.5, 1.5) if answer.shared else LOOK_AGAIN  # noqa: S311 - jitter


class Slot:
    """One running call: its row, and the lease that it is held by."""

    def __init__(self, api: Slots, row: int, lease: "Lease") -> None:
        self._lease = lease
        self._term = lease.term
        self._api: Slots | None = api
        self._row = row
        self._lost = False
        self._end: Callable[[], None] | None = None

    @property
    def stale(self) -> bool:
        """Whether this process was silent for so long that its place may have been given to another."""
        return self._lost or self._lease.expired or self._lease.term != self._term

    def release(self) -> None:
        """Give the place back."""
        if self._api is not None:
            api, self._api = self._api, None
            api.release(self._row)

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Call *end* once if this process was silent for so long that it lost the place; at once if it has."""
        self._end = end
        if self._lost and end is not None:
            end()

    def lose(self) -> None:
        """Note that the place was given to others."""
        if not self._lost:
            self._lost = True
            if self._end is not None:
                self._end()


class Lease:
    """
    What a process holds its places by: the others must hear of it again within so many *seconds*.

    A process that was stopped finds here, before it asks anybody, that others may have its places by now. The time is
    that of *now*.

    Attributes:
        term: Grows when it was renewed after it had expired: what was held before may be gone.
    """

    def __init__(self, seconds: float, now: Callable[[], float]) -> None:
        self._seconds = seconds
        self._now = now
        self._renewed = now()
        self.term = 0

    @property
    def expired(self) -> bool:
        """Whether nobody heard of this process for too long."""
        return self._now() - self._renewed > self._seconds

    def renew(self, at: float) -> None:
        """Note that the others heard of this process *at* that time or later."""
        if at - self._renewed > self._seconds:
            self.term += 1
        self._renewed = max(self._renewed, at)
