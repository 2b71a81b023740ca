"""Trying again within a process: one engine, and how patient it is with WeCom and with the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from random import uniform
from typing import Final, TypeVar

from shared.domain.errors import CallAborted, MemberHeld, QudaoError, QueueUnavailable, RateLimited, TransientError

T = TypeVar("T")
Notify = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """
    How patient to be.

    Attributes:
        on: The errors after which a repeat may succeed.
        pauses: Seconds before each new try; after the last one it is enough.
        endless: It is never enough: the last pause repeats.
        jitter: Each pause is cut by up to this share, by chance.
        longest: Seconds that are waited because the error says so; rather than longer, it is enough.
    """

    on: tuple[type[QudaoError], ...]
    pauses: tuple[float, ...]
    endless: bool = False
    jitter: float = 0.0
    longest: float = inf

    def pause(self, error: QudaoError, failures: int) -> float | None:
        """
        Return the seconds to wait after *error*, which so many *failures* in a row came before; None: enough.

        For a member who is refused nobody waits: that takes a person, and other members' work is to be done.
        """
        if isinstance(error, MemberHeld):
            return None
        if failures >= len(self.pauses) and not self.endless:
            return None
        pause = self.pauses[min(failures, len(self.pauses) - 1)] * uniform(1 - self.jitter, 1)  # noqa: S311 - jitter
        if isinstance(error, RateLimited | CallAborted):
            pause = max(error.retry_after, pause)
        return pause if pause <= self.longest else None


WITH_WECOM: Final = Patience(
    on=(TransientError, CallAborted, QueueUnavailable),
    pauses=(0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
    jitter=0.5,
    longest=120.0,
)
"""For what a person or the clock started: calls of a job, one after the other."""

WITH_QUEUE: Final = Patience(on=(QueueUnavailable,), pauses=(0.2, 0.5, 1.0, 2.0, 5.0))
"""For a queue that cannot be reached: a node that restarts is back within seconds."""


async def retried(
    call: Callable[[], Awaitable[T]],
    patience: Patience,
    *,
    told: Callable[[QudaoError, float], None],
    sleep: Sleep = asyncio.sleep,
) -> T:
    """
    Return what *call* returns, trying again as long as *patience* lasts; *told* hears of each failure and pause.

    Raises:
        QudaoError: The last failure, when it was enough; any that *patience* is not about, at once.
    """
    failures = 0
    while True:
        try:
            return await call()
        except patience.on as error:
            await wait_out(error, failures, patience, told=told, sleep=sleep)
            failures += 1


async def wait_out(
    error: QudaoError,
    failures: int,
    patience: Patience,
    *,
    told: Callable[[QudaoError, float], None],
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Wait before the next try, after so many *failures* in a row and this *error*; raise it when that is enough."""
    pause = patience.pause(error, failures)
    if pause is None:
        raise error
    told(error, pause)
    await sleep(pause)


async def patiently(
    call: Callable[[], Awaitable[T]], *, notify: Notify = lambda _: None, sleep: Sleep = asyncio.sleep
) -> T:
    """Return what *call*, to WeCom, returns, being patient; a person who waits is told why by *notify*."""
    return await retried(call, WITH_WECOM, told=in_words(notify), sleep=sleep)


def in_words(notify: Notify) -> Callable[[QudaoError, float], None]:
    """Return what tells *notify* of a failure and a pause in a sentence."""
    return lambda error, pause: notify(f"{error}; trying again in {pause:.0f} s")
