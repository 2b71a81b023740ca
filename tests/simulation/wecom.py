"""What WeCom sees: when each call arrived, and how many were open at once."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.domain.events import Lane


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
            yield lambda: self._arrived[endpoint].append(self._now())
        finally:
            self._open[endpoint] -= 1

    def made(self, endpoint: str) -> int:
        return len(self._arrived[endpoint])

    def most_in(self, endpoint: str, seconds: float) -> int:
        """Return the most calls that arrived within any *seconds*."""
        times = sorted(self._arrived[endpoint])
        return max((bisect_left(times, start + seconds) - index for index, start in enumerate(times)), default=0)

    def most_at_once(self, endpoint: str) -> int:
        return self._most[endpoint]
