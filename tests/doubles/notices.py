"""Notices among the workers of one process: for tests and simulations."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from shared.quota.holds import HoldChange, Key, hold_key
from shared.quota.notices import Listener


class MemoryNotices:
    """Among the workers of one process that share this object."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._told: dict[Key, tuple[HoldChange, float]] = {}
        self._claims: dict[str, float] = {}

    def listen(self, listener: Listener) -> None:
        """Call *listener* with whatever is told, and with what was told before."""
        self._listeners.append(listener)
        now = _now()
        listener([replace(change, seconds=max(0.0, until - now)) for change, until in self._told.values()])

    async def refresh(self) -> None:
        """Return: everything is heard at once."""

    async def tell(self, changes: Sequence[HoldChange]) -> None:
        """Tell all workers."""
        for change in changes:
            known = self._told.get(hold_key(change))
            if known is None or known[0].version <= change.version:
                self._told[hold_key(change)] = (change, _now() + change.seconds)
        for listener in self._listeners:
            listener(changes)

    async def claim(self, name: str, seconds: float) -> bool:
        """Return True to one within *seconds*."""
        now = _now()
        if self._claims.get(name, now) > now:
            return False
        self._claims[name] = now + seconds
        return True


def _now() -> float:
    return asyncio.get_running_loop().time()
