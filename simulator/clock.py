"""
The scenario's clock: real time that a test may push forward, so that nobody waits for a token to expire.

Every answer tells it in its ``Date``.
"""

import time
from collections.abc import Callable


class ScenarioClock:
    """Real time plus whatever was added by :meth:`advance`."""

    def __init__(self) -> None:
        self._offset = 0.0
        self._listeners: list[Callable[[], None]] = []

    def time(self) -> float:
        """Return the scenario's Unix seconds."""
        return time.time() + self._offset

    def set_ahead(self, seconds: float) -> None:
        """Be so far ahead of this machine's clock, behind if negative; only before anything has happened."""
        self._offset = seconds

    def advance(self, seconds: float) -> float:
        """Move time forward and return the new time. Time never goes back."""
        if not seconds >= 0:
            raise ValueError("time never goes back")
        self._offset += seconds
        for listener in self._listeners:
            listener()
        return self.time()

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Call *listener* after every advance: whoever waits for a time looks again."""
        self._listeners.append(listener)
