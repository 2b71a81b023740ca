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
        self._claims: dict[str, tuple[float, str]] = {}

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

    async def claim(self, name: str, seconds: float, owner: str = "") -> bool:
        """Return True to one within *seconds*, and again to its *owner*."""
        now = _now()
        until, held_by = self._claims.get(name, (now, ""))
        if until > now and not (owner and owner == held_by):
            return False
        self._claims[name] = (now + seconds, owner)
        return True

    def owner(self, name: str) -> str:
        """Return who claimed *name* last."""
        return self._claims.get(name, (0.0, ""))[1]

    async def release(self, name: str, owner: str) -> None:
        """Let others claim *name* if *owner* has it."""
        if self._claims.get(name, (0.0, ""))[1] == owner:
            del self._claims[name]


def _now() -> float:
    return asyncio.get_running_loop().time()
