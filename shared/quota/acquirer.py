"""
Getting leave from a broker that holds the windows and the places in flight.

A call needs a place, a slot of the minute and a slot of the hour, in this order: a process that has no place asks for
no slot, and a full minute costs no slot of the hour. A slot is taken before the call and leaves its window by itself,
so it may leave before the call does over at WeCom, by as much as the call took to get there. Whichever calls that are
at some moment, all of them were in flight one window earlier, and no more than there are places ever are: so the
windows have as many slots less than the limit, and however slow the network is, the limit holds.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Final, Protocol

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota.port import Grant, Limits, share
from shared.quota.turns import Turns


class Window(StrEnum):
    """The four windows of an API: what all lanes share of the minute and of the hour, and what is left to fast."""

    MINUTE = "minute"
    MINUTE_FAST = "minute-fast"
    HOUR = "hour"
    HOUR_FAST = "hour-fast"


PAIRS: Final = ((Window.MINUTE, Window.MINUTE_FAST), (Window.HOUR, Window.HOUR_FAST))

GRACE: Final = 1 / 200
"""Share of the minute that a slot lasts longer: for what a killed process had sent, and for unequal clocks."""

MAX_AGE: Final = 2.0
"""Seconds after which slots are not used: the process was stopped in between."""

FIRST_LOOK: Final = 1 / 600
LAST_LOOK: Final = 1 / 60
"""Shortest and longest pause between two looks at a full minute, in minutes: a tenth of a second and a second."""

HOUR_PATIENCE: Final = 5
"""How much longer the pauses are for a full hour: each look costs a slot of the minute."""

EXPIRY_JITTER: Final = 0.003
"""Seconds after which a slot that expires is gone for certain."""


class Place(Protocol):
    """A place in flight."""

    def release(self) -> None:
        """Give it back. Never waits."""
        ...

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Call *end* once if the broker has taken it back by itself, at once if it has already; None: do not."""
        ...


class Broker(Protocol):
    """What holds the windows and the places, for all processes."""

    async def place(self, endpoint: str, *, urgent: bool) -> Place:
        """
        Wait for a place in flight; *urgent* ones are served before others.

        Raises:
            QueueUnavailable: The broker is away or its queues are gone.
        """
        ...

    async def occupy(self, endpoint: str, window: Window) -> bool:
        """
        Occupy a slot for the length of *window* and the grace; False when it is full.

        Raises:
            QueueUnavailable: It is not known to be occupied.
        """
        ...


def places(limits: Limits) -> int:
    """Return how many calls may be in flight: fewer than the limit says where a minute allows hardly more."""
    return max(1, min(limits.in_flight, limits.per_minute // 2, limits.per_hour // 2))


def capacity(limits: Limits, window: Window) -> int:
    """Return how many slots *window* has; those of all lanes and of fast make the limit less one for each place."""
    minute = window in PAIRS[0]
    total = max(1, (limits.per_minute if minute else limits.per_hour) - places(limits))
    shared = share(total, limits.minute_reserve if minute else limits.hour_reserve)
    return shared if window in (Window.MINUTE, Window.HOUR) else total - shared


def lifetime(limits: Limits, window: Window) -> float:
    """Return for how many seconds a slot of *window* is occupied."""
    return (limits.minute if window in PAIRS[0] else limits.hour) + limits.minute * GRACE


class Acquirer:
    """All that one process wants of one API. Serves those who wait for as long as :meth:`serve` runs."""

    def __init__(self, broker: Broker, endpoint: str, limits: Limits, tasks: asyncio.TaskGroup, random: Random) -> None:
        self._broker = broker
        self._endpoint = endpoint
        self._places = places(limits)
        self._tasks = tasks
        self._turns: Turns[_Grant] = Turns()
        self._fullness = {window: _Fullness(limits, window, random) for window in Window}
        self._pending = 0
        self._urgent = 0
        self._held = 0

    async def acquire(self, lane: Lane) -> Grant:
        """Wait for leave to call once for *lane*."""
        while True:
            grant = await self._turns.wait(lane)
            if _now() - grant.taken <= MAX_AGE:
                return grant
            grant.release()  # this process was stopped in between

    def fail(self, error: QueueUnavailable) -> None:
        """Tell all who wait that nothing can be granted."""
        self._turns.fail(error)

    def released(self) -> None:
        """Note that one of our grants has ended."""
        self._held -= 1
        self._turns.changed.set()

    async def serve(self) -> None:
        """Start attempts for those who wait, as many as can be of use, for ever."""
        while True:
            self._turns.changed.clear()
            look_at = self._start()
            pause = None if look_at is None else max(0.0, look_at - _now())
            try:
                async with asyncio.timeout(pause):
                    await self._turns.changed.wait()
            except TimeoutError:
                continue

    def _start(self) -> float | None:
        """Start what can be started; return when to look again if nothing happens before."""
        now = _now()
        lanes = self._turns.lanes()
        open_at = {lane: self._open_at(lane) for lane in lanes}
        ready = [lane for lane in lanes if open_at[lane] <= now]
        if ready:
            self._launch(ready)
        later = [at for at in open_at.values() if at > now]
        return min(later, default=None)

    def _launch(self, ready: list[Lane]) -> None:
        """Start attempts for the *ready* lanes: no more than can have a place, one by one where a window was full."""
        others = self._turns.count([lane for lane in ready if lane is not Lane.FAST])
        most = min(self._fullness[shared].attempts for shared, _ in PAIRS)
        while self._pending < min(others, self._places - self._held, most):
            self._begin(urgent=False)
        fast = self._turns.count([Lane.FAST]) if Lane.FAST in ready else 0
        while self._urgent < min(fast, self._places):
            self._begin(urgent=True)

    def _begin(self, *, urgent: bool) -> None:
        if urgent:
            self._urgent += 1
        else:
            self._pending += 1
        self._tasks.create_task(self._attempt(urgent=urgent))

    async def _attempt(self, *, urgent: bool) -> None:
        """Get a place and slots, and give them to whoever is next."""
        try:
            place = await self._broker.place(self._endpoint, urgent=urgent)
            try:
                grant, lanes = await self._with_slots(place)
            except BaseException:
                place.release()
                raise
            self._held += 1
            if not lanes or _now() - grant.taken > MAX_AGE / 2 or not self._turns.give(grant, lanes):
                grant.release()
        except QueueUnavailable as error:
            self._turns.fail(error)
        finally:
            if urgent:
                self._urgent -= 1
            else:
                self._pending -= 1
            self._turns.changed.set()

    async def _with_slots(self, place: Place) -> "tuple[_Grant, list[Lane]]":
        """Return a grant for *place* and the lanes it is good for: none when a window was full."""
        grant = _Grant(self, place, _now())
        if not len(self._turns):
            return grant, []
        return grant, await self._take_slots()

    async def _take_slots(self) -> list[Lane]:
        """Occupy a slot of each window and return the lanes they are good for; none when a window is full."""
        lanes = list(Lane)
        for shared, reserved in PAIRS:
            if await self._occupy(shared):
                continue
            if Lane.FAST not in self._turns.lanes() or not await self._occupy(reserved):
                return []
            lanes = [Lane.FAST]
        return lanes

    async def _occupy(self, window: Window) -> bool:
        """Occupy a slot of *window* unless it is known to be full."""
        fullness = self._fullness[window]
        if fullness.open_at > _now():
            return False
        fullness.ask()
        occupied = await self._broker.occupy(self._endpoint, window)
        fullness.answer(occupied)
        return occupied

    def _open_at(self, lane: Lane) -> float:
        """Return when it is worth asking for *lane*."""
        return max(
            min(self._fullness[window].open_at for window in (pair if lane is Lane.FAST else pair[:1]))
            for pair in PAIRS
        )


class _Fullness:
    """
    What one process knows of one window.

    A full window has room again when the oldest slot expires. Of its own slots a process knows when; for those of
    others it looks now and then, one look at a time. A window that had room again is asked by more and more at once.
    """

    def __init__(self, limits: Limits, window: Window, random: Random) -> None:
        self.open_at = 0.0 if capacity(limits, window) else float("inf")
        self._most = self.attempts = places(limits)
        patience = limits.minute * (1 if window in PAIRS[0] else HOUR_PATIENCE)
        self._shortest, self._longest = patience * FIRST_LOOK, patience * LAST_LOOK
        self._lifetime = lifetime(limits, window)
        self._random = random
        self._pause = 0.0
        self._expiries: deque[float] = deque()

    def ask(self) -> None:
        """Note that somebody asks: where the window was full, nobody else does before the answer."""
        if self._pause:
            self.open_at = _now() + self._longest

    def answer(self, occupied: bool) -> None:
        """Learn from the broker's answer."""
        now = _now()
        while self._expiries and self._expiries[0] <= now:
            self._expiries.popleft()
        if occupied:
            self._expiries.append(now + self._lifetime + EXPIRY_JITTER)
            self._pause = 0.0
            self.open_at = 0.0
            self.attempts = min(2 * self.attempts, self._most)
            return
        self._pause = min(max(2 * self._pause, self._shortest), self._longest)
        self.attempts = 1
        self.open_at = now + self._pause * self._random.uniform(0.5, 1.0)
        if self._expiries:
            self.open_at = min(self.open_at, self._expiries[0])


class _Grant:
    """Leave for one call: a place, and slots taken at ``taken``."""

    def __init__(self, acquirer: Acquirer, place: Place, taken: float) -> None:
        self.taken = taken
        self._place: Place | None = place
        self._acquirer = acquirer

    def release(self) -> None:
        """Give the place back."""
        if self._place is not None:
            place, self._place = self._place, None
            place.release()
            self._acquirer.released()

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Call *end* once if the place is taken away while the call runs."""
        if self._place is not None:
            self._place.when_lost(end)


def _now() -> float:
    return asyncio.get_running_loop().time()
