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

    Between answers it goes on by a clock that nobody can set, and each answer moves it no further than it must: so it
    does not jitter by what whole seconds leave open, and grows exact to a round trip. Of answers that disagree the
    middle one counts, and of two the earlier: what is taken for younger than it is costs a call, what is taken for
    older may cost a customer.
    """

    def __init__(self, clock: Clock, steady: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._steady = steady
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        """By how much the other clock is ahead of the steady one, at the least and at the most, by the last answers."""
        self._ahead: float | None = None

    def heard(self, told: float, asked: float, answered: float, *, unit: float = 1.0) -> None:
        """
        Note that an answer told the time *told*, in Unix seconds cut off to a whole *unit*.

        It was *asked* for and *answered* at these times of the steady clock, and is of some moment in between.
        """
        if 0.0 <= answered - asked <= LONGEST_TRIP:
            self._samples.append((told - answered, told + unit - asked))
            self._ahead = self._estimate()

    def time(self) -> float:
        """Return Unix seconds."""
        return self._clock.time() if self._ahead is None else self._steady() + self._ahead

    @property
    def skew(self) -> float | None:
        """By how many seconds this machine's clock is ahead; None while that is not known."""
        return None if self._ahead is None else self._clock.time() - self.time()

    def _estimate(self) -> float:
        """Return what was known, moved as little as the newest answer asks for, while most answers agree to it."""
        if self._ahead is not None:
            low, high = self._samples[-1]
            moved = min(max(self._ahead, low), high)
            if sum(low <= moved <= high for low, high in self._samples) > len(self._samples) / 2:
                return moved
        return median_low([(low + high) / 2 for low, high in self._samples])
