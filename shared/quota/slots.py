"""
What a process has of one API where a database counts the calls: who waits, what runs, and one exchange at a time.

An exchange is one transaction: it tells which calls ended, asks for all who wait, and brings what was granted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from random import uniform
from typing import Final

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota.ledger import Answer
from shared.quota.turns import Turns

MAX_AGE: Final = 2.0
"""Seconds after which a grant is not used: the process was stopped in between."""

LOOK_AGAIN: Final = 1.0
"""Longest wait for room without telling the other processes that somebody still waits."""

SHORTEST: Final = 0.002
"""Shortest pause before a look for room in a window."""

Exchange = Callable[[str, Collection[int], "Turns[Slot]"], Awaitable[tuple[Answer, float]]]
"""Given an API, the rows of the calls that run and who waits: returns the answer, and when it was given."""


class Slots:
    """
    Those in this process who wait for one API, and the calls of this process that run.

    Attributes:
        turns: Who waits.
        held: The rows of the calls that run.
    """

    def __init__(
        self, endpoint: str, exchange: Exchange, tasks: asyncio.TaskGroup, *, poll: float, linger: float = 0.0
    ) -> None:
        """
        Serve *endpoint* in a task of *tasks*.

        Args:
            exchange: Settles what ended and reserves for those who wait.
            poll: Seconds between looks while other processes hold places.
            linger: Seconds that what ended may wait for somebody who asks.
        """
        self._linger = linger
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
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.turns.changed.wait()
            self.turns.changed.clear()
            if self._linger and not len(self.turns) and not self._stopped:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._linger):
                        await self.turns.changed.wait()
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
        for row in answer.lost:
            if row in self.held:
                self.held[row].lose()
        for lane, row in answer.granted:
            grant = self.held[row] = Slot(self, row, now)
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
    """One running call: its row, and when that was written, in seconds of this process."""

    def __init__(self, api: Slots, row: int, reserved: float) -> None:
        self.reserved = reserved
        self._api: Slots | None = api
        self._row = row
        self._lost = False
        self._end: Callable[[], None] | None = None

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
