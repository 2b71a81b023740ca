"""Frequency and concurrency limits (doc 90312): sliding windows with blocks, and calls in flight."""

from collections import Counter, deque
from dataclasses import dataclass, field

from simulator.config import SimulatorConfig


@dataclass(slots=True)
class SlidingWindow:
    """The times of the calls in one window, the block that an overrun brings, and the fullest it ever was."""

    times: deque[float] = field(default_factory=deque)
    blocked_until: float = 0.0
    fullest: int = 0

    def used(self, now: float, seconds: float) -> int:
        """Return how many calls lie in the window that ends now."""
        while self.times and self.times[0] <= now - seconds:
            self.times.popleft()
        return len(self.times)

    def refuses(self, now: float, limit: int, seconds: float) -> bool:
        """Tell whether one more call is too many; the first that is starts a block as long as the window."""
        if now < self.blocked_until:
            return True
        if self.used(now, seconds) < limit:
            return False
        self.blocked_until = now + seconds
        return True

    def add(self, now: float) -> None:
        """Count a call."""
        self.times.append(now)
        self.fullest = max(self.fullest, len(self.times))


class FrequencyLimits:
    """
    One corp's counters per API, and of everything in flight.

    Those per address and API are kept in *by_address*, which all corps share.
    """

    def __init__(self, by_address: dict[tuple[str, str, str], SlidingWindow] | None = None) -> None:
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight: Counter[str] = Counter()
        self._windows: dict[tuple[str, str, str], SlidingWindow] = {}
        self._by_address = {} if by_address is None else by_address
        self._busy: set[tuple[str, ...]] = set()

    def window(self, scope: str, endpoint: str, span: str) -> SlidingWindow:
        """Return the window of *scope* (``corp`` or an address), *endpoint* and *span* (minute, hour, debug)."""
        key = (scope, endpoint, span)
        windows = self._windows if scope == "corp" else self._by_address
        found = windows.get(key)
        if found is None:
            found = windows[key] = SlidingWindow()
        return found

    def admits(self, endpoint: str, address: str, now: float, config: SimulatorConfig) -> bool:
        """Count the call unless one of its four windows is full or blocked; False means 45009."""
        plan = (
            ("corp", "minute", config.corp_per_minute, config.minute_window),
            ("corp", "hour", config.corp_per_hour, config.hour_window),
            (address, "minute", config.ip_per_minute, config.minute_window),
            (address, "hour", config.ip_per_hour, config.hour_window),
        )
        windows = [(self.window(scope, endpoint, span), limit, seconds) for scope, span, limit, seconds in plan]
        if any([window.refuses(now, limit, seconds) for window, limit, seconds in windows]):  # noqa: C419 - every window must see the call
            return False
        for window, _, _ in windows:
            window.add(now)
        return True

    def admits_debug(self, endpoint: str, now: float, config: SimulatorConfig) -> bool:
        """Count a call with ``debug=1``; False means 45009."""
        window = self.window("corp", endpoint, "debug")
        if window.refuses(now, config.debug_per_minute, config.minute_window):
            return False
        window.add(now)
        return True

    def enter(self, endpoint: str) -> int:
        """Begin a call and return how many of *endpoint* are in flight now."""
        self.in_flight[endpoint] += 1
        level = self.in_flight[endpoint]
        self.most_in_flight[endpoint] = max(level, self.most_in_flight[endpoint])
        return level

    def leave(self, endpoint: str) -> None:
        """End a call."""
        self.in_flight[endpoint] -= 1

    def occupy(self, key: tuple[str, ...]) -> bool:
        """Take *key* (a relation, a WelcomeCode) for the length of a call; False when another call holds it."""
        if key in self._busy:
            return False
        self._busy.add(key)
        return True

    def free(self, key: tuple[str, ...]) -> None:
        """Give *key* back."""
        self._busy.discard(key)

    def fullest(self, span: str) -> dict[str, int]:
        """Return, per endpoint, the most calls accepted in any *span* (minute or hour) of the corp."""
        return {
            endpoint: window.fullest for (_, endpoint, its_span), window in self._windows.items() if its_span == span
        }
