"""The wall clock as an argument, so that tests and simulations run on their own time."""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Waiting is asyncio's business: a virtual event loop advances both."""

    def time(self) -> float:
        """Return Unix seconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        """Return Unix seconds."""
        return time.time()


class SteadyClock:
    """A clock as it was at the start, and on from there by one that nobody can set: for waits."""

    def __init__(self, clock: Clock, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._ahead = clock.time() - steady()

    def time(self) -> float:
        """Return Unix seconds, if *clock* was right at the start."""
        return self._steady() + self._ahead
