"""
How the broker's queues for the quota are called. Pure.

A queue's arguments cannot be changed, so they are part of its name: workers with other limits have other queues, and
respect both as long as both count.
"""

import re
from dataclasses import asdict
from hashlib import sha256
from typing import Final

from shared.quota.acquirer import Window, capacity, lifetime, places
from shared.quota.port import Limits

_PLAIN: Final = re.compile(r"[a-z0-9_]{1,40}(/[a-z0-9_]{1,40}){0,2}")


class Names:
    """The names for one corp."""

    def __init__(self, corp: str, prefix: str = "qudao") -> None:
        """*prefix* begins every name, so that deployments can share a vhost."""
        self._root = f"{prefix}.quota.{_safe(corp)}"
        self.notices = f"{self._root}.notices.v1"
        self.state = f"{self._root}.state.v1"

    def window(self, endpoint: str, window: Window, limits: Limits) -> str:
        """Return the queue whose messages are the occupied slots of *window*."""
        milliseconds = round(lifetime(limits, window) * 1000)
        return f"{self._root}.{_safe(endpoint)}.{window}.{capacity(limits, window)}.{milliseconds}.v1"

    def places(self, endpoint: str, limits: Limits) -> str:
        """Return the queue that holds one message for each place in flight."""
        return f"{self._root}.{_safe(endpoint)}.places.{places(limits)}.v2"

    def claim(self, name: str, seconds: float) -> str:
        """Return the queue that holds at most one message: of whoever claimed *name*."""
        return f"{self._root}.claim.{_safe(name)}.{round(seconds * 1000)}.v1"


def written(limits: Limits) -> dict[str, float]:
    """Return *limits* as workers tell them to each other."""
    return asdict(limits)


def _safe(name: str) -> str:
    """Return *name* as part of a queue's name: short, plain, and never the same for two names."""
    if _PLAIN.fullmatch(name):
        return name.replace("/", ".")
    readable = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:40]
    return f"{readable}:{sha256(name.encode()).hexdigest()[:16]}"
