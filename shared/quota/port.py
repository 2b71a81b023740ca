"""
The quota port: who may call which API now.

WeCom limits a corp, not a process (doc 90312): calls in a minute, in an hour, and calls in flight, per API. Everything
that calls WeCom asks here first.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.domain.events import Lane


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What one corp may use of one API, over all processes together.

    The windows are a minute and an hour unless a simulator scales them down (both in seconds).
    """

    per_minute: int = 8000
    per_hour: int = 120_000
    in_flight: int = 3
    minute: float = 60.0
    hour: float = 3600.0


class Quota(Protocol):
    """The corp's quota, shared by every process of the deployment."""

    def permit(self, endpoint: str, lane: Lane) -> AbstractAsyncContextManager[None]:
        """
        Wait until *endpoint* may be called once for *lane*, and hold one place in flight while the context is open.

        ``FAST`` may use everything; other lanes leave the last tenth of the minute and twentieth of the hour.

        Raises:
            QueueUnavailable: The shared counters cannot be reached; nothing may be called.
        """
        ...
