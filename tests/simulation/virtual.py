"""An event loop on a clock of its own: when nothing is left to do now, the time jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")


class StuckError(Exception):
    """Everybody waits and no timer is left: nothing would ever happen again."""


class NumberedTask(asyncio.Task[Any]):
    """A task that sets order by its number, not by where it lies in memory: a task group cancels its set of tasks."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs tasks in the order the selector loop does, so the same program takes the same course every time."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))
        self._clock_resolution = 1e-9
        numbers = count()
        self.set_task_factory(
            lambda loop, coroutine, **options: NumberedTask(coroutine, number=next(numbers), loop=loop, **options)
        )

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a file: it lets the time pass instead."""

    TICK = 1e-9
    """Seconds that pass at least: a wait shorter than the clock can tell would otherwise never be over."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise StuckError
        self._loop.jump(max(timeout, self.TICK))
        return []


class VirtualClock:
    """The wall clock of one machine: the loop's time, and whatever somebody set it ahead or back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, start: float = 1_700_000_000.0) -> None:
        self._loop = loop
        self.offset = start

    def time(self) -> float:
        return self._loop.time() + self.offset


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returns, on a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
