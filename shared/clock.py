"""The wall clock as an argument, so that tests and simulations run on their own time."""

import time
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
