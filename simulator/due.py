"""The events on their way out: ordered by when they are due, on the scenario's clock."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from heapq import heappop, heappush

from simulator.clock import ScenarioClock
from simulator.corp import App


@dataclass(slots=True, kw_only=True)
class DueCallback:
    """One event for one app. ``envelope`` is kept once made if repeats are to be identical."""

    app: App
    message: bytes
    change: str
    userid: str = ""
    external_userid: str = ""
    attempt: int = 0
    envelope: tuple[str, bytes] | None = None


class DueCallbacks:
    """A queue by due time. Everything runs in one event loop, so no locks."""

    def __init__(self, clock: ScenarioClock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, DueCallback]] = []
        self._numbers = 0
        self._under_way = 0
        self._changed = asyncio.Event()
        self._finished = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        clock.on_advance(self._changed.set)

    def __len__(self) -> int:
        """Return how many deliveries are due, held back or under way."""
        return len(self._heap) + self._under_way

    def put(self, delivery: DueCallback, due: float) -> None:
        """Send *delivery* at the scenario's time *due*."""
        self._numbers += 1
        heappush(self._heap, (due, self._numbers, delivery))
        self._changed.set()
        self._settled.clear()

    async def take(self) -> DueCallback:
        """Wait for the next delivery that is due. For one taker; call :meth:`done` when it is dealt with."""
        while True:
            self._changed.clear()
            if not self._heap:
                await self._changed.wait()
            elif (due := self._heap[0][0]) <= self._clock.time():
                self._under_way += 1
                return heappop(self._heap)[2]
            else:
                await self._wait_until(due)

    async def _wait_until(self, due: float) -> None:
        """Wait until *due*, or until something is put or the clock is pushed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(due - self._clock.time()):
                await self._changed.wait()

    def done(self) -> None:
        """Tell that a delivery that was taken is dealt with; a retry has been put before."""
        self._under_way -= 1
        self._finished.set()
        if not len(self):
            self._settled.set()

    async def room(self, limit: int) -> None:
        """Wait until fewer than *limit* deliveries are on their way."""
        while len(self) >= limit:
            self._finished.clear()
            await self._finished.wait()

    async def settled(self) -> None:
        """Wait until every event was delivered or lost, those held back included."""
        await self._settled.wait()
