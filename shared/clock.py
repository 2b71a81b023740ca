"""The wall clock as an argument, so that tests and simulations run on their own time."""

import time
from collections import deque
from collections.abc import Callable
from statistics import median_low
from typing import Final, Protocol

SAMPLES: Final = 9
"""Answers that a heard clock rests on: fewer than half of them may be wrong."""

LONGEST_TRIP: Final = 5.0
"""Seconds from question to answer beyond which an answer tells no time: nobody knows when on its way it was given."""


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


class HeardClock:
    """
    Another machine's clock, as its answers tell it; *clock*, this machine's, until there is one.

    Between answers it goes on by a clock that nobody can set. Of answers that disagree the middle one counts, and of
    two the earlier: what is taken for younger than it is costs a call, what is taken for older may cost a customer.
    """

    def __init__(self, clock: Clock, steady: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steady = steady
        self._ahead: deque[float] = deque(maxlen=SAMPLES)
        """By how much each of the last answers was ahead of the steady clock."""

    def heard(self, told: float, asked: float, answered: float, *, unit: float = 1.0) -> None:
        """
        Note that an answer told the time *told*, in Unix seconds cut off to a whole *unit*.

        It was *asked* for and *answered* at these times of the steady clock, and is taken to be of the middle.
        """
        if 0.0 <= answered - asked <= LONGEST_TRIP:
            self._ahead.append(told + unit / 2 - (asked + answered) / 2)

    def time(self) -> float:
        """Return Unix seconds."""
        return self._steady() + median_low(self._ahead) if self._ahead else self._clock.time()

    @property
    def skew(self) -> float | None:
        """By how many seconds this machine's clock is ahead; None while that is not known."""
        return self._clock.time() - self.time() if self._ahead else None
