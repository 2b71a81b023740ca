"""What WeCom sees, and a WeCom for the simulation that counts strictly and is unwell now and then."""

import asyncio
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from shared.domain.errors import ConfigurationNeeded, Congested, RateLimited, TransientError
from shared.domain.events import Lane
from shared.quota.port import Limits


class Calls:
    """A journal of calls, by API."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._arrived: defaultdict[str, list[float]] = defaultdict(list)
        self._open: defaultdict[str, int] = defaultdict(int)
        self._most: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def call(self, endpoint: str, lane: Lane = Lane.LIVE) -> Iterator[Callable[[], None]]:
        """Open a call for as long as the context is; it arrives when the yielded function is called."""
        self._open[endpoint] += 1
        self._most[endpoint] = max(self._most[endpoint], self._open[endpoint])
        try:
            yield lambda: insort(self._arrived[endpoint], self._now())
        finally:
            self._open[endpoint] -= 1

    def made(self, endpoint: str) -> int:
        return len(self._arrived[endpoint])

    def last(self, endpoint: str, seconds: float) -> int:
        """Return how many calls arrived within the last *seconds*, this moment included."""
        times = self._arrived[endpoint]
        return len(times) - bisect_left(times, self._now() - seconds + 1e-6)

    def most_in(self, endpoint: str, seconds: float) -> int:
        """Return the most calls that arrived within any *seconds*."""
        times = self._arrived[endpoint]
        return max((bisect_left(times, start + seconds - 1e-6) - index for index, start in enumerate(times)), default=0)

    def most_at_once(self, endpoint: str) -> int:
        return self._most[endpoint]

    def endpoints(self) -> list[str]:
        return list(self._arrived)


class FakeWeCom:
    """Counts like WeCom does, and fails as the seed has it."""

    def __init__(self, limits: Limits, random: Random) -> None:
        self.calls = Calls(asyncio.get_running_loop().time)
        self.others = Calls(asyncio.get_running_loop().time)
        self.overruns: list[str] = []
        self.blocked_until: defaultdict[str, float] = defaultdict(float)
        self.forbidden: set[str] = set()
        self.rude: float = 0.0
        self.slow: float = 0.0
        self._limits = limits
        self._random = random

    async def call(self, endpoint: str, lane: Lane) -> None:
        """Make one call: some time to arrive, some time for the answer. It goes on when the caller dies."""
        call = asyncio.get_running_loop().create_task(self._call(endpoint, lane))
        call.add_done_callback(lambda call: call.cancelled() or call.exception())  # nobody may be there to hear it
        await asyncio.shield(call)

    async def _call(self, endpoint: str, lane: Lane) -> None:
        with self.calls.call(endpoint, lane) as arrive:
            await asyncio.sleep(self._seconds())
            arrive()
            self._count(endpoint, lane)
            await asyncio.sleep(self._seconds())
            self._answer(endpoint)

    def _seconds(self) -> float:
        if self._random.random() < self.slow:
            return self._random.uniform(0.2, 1.5)
        return self._random.choice((0.002, 0.01, 0.03))

    def _count(self, endpoint: str, lane: Lane) -> None:
        """Look whether the limits still hold, and what the other lanes leave to fast."""
        limits = self._limits
        if lane is not Lane.FAST:
            with self.others.call(endpoint) as arrive:
                arrive()
        for calls, of in ((self.calls, Lane.FAST), (self.others, Lane.LIVE)):
            for seconds, most in ((limits.minute, limits.minute_for(of)), (limits.hour, limits.hour_for(of))):
                seen = calls.last(endpoint, seconds)
                if seen > most:
                    self.overruns.append(f"{endpoint}: {seen} calls in {seconds} s, {most} allowed up to {of}")
        if self.calls.most_at_once(endpoint) > limits.in_flight:
            self.overruns.append(f"{endpoint}: {self.calls.most_at_once(endpoint)} calls at once")

    def _answer(self, endpoint: str) -> None:
        now = asyncio.get_running_loop().time()
        if self.blocked_until[endpoint] > now:
            raise RateLimited(endpoint, errcode=45009, meaning="too often", retry_after=60)
        if endpoint in self.forbidden:
            raise ConfigurationNeeded(endpoint, errcode=48002, meaning="no permission")
        draw = self._random.random()
        if draw < self.rude / 3:
            raise Congested(endpoint, errcode=45033, meaning="too many at once")
        if draw < self.rude:
            raise TransientError(endpoint, errcode=-1, meaning="system busy")
