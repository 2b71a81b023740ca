"""Ends a call whose place in flight was taken away: another worker may be calling in its stead."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota.port import Grant, Permit

Acquire = Callable[[str, Lane], Awaitable[Grant]]


class Tether:
    """A context that is cancelled when *grant* is lost, and then raises QueueUnavailable; see ``asyncio.timeout``."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self._task: asyncio.Task[object] | None = None
        self._cut = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self._grant.when_lost(self._lose)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._grant.when_lost(None)
        if not self._cut or self._task is None:
            return
        asked_by_others = self._task.uncancel() > self._cancelling
        if kind is not None and issubclass(kind, asyncio.CancelledError) and not asked_by_others:
            raise QueueUnavailable("the place in flight was lost during the call") from error

    def _lose(self) -> None:
        if self._task is not None and not self._cut:
            self._cut = True
            self._task.cancel()


@asynccontextmanager
async def granted(acquire: Acquire, endpoint: str, lane: Lane) -> AsyncIterator[Permit]:
    """
    Wait until *endpoint* may be called once for *lane* and hold one place in flight, without brake or breaker.

    Raises:
        QueueUnavailable: The counters cannot be reached, or the place was lost meanwhile.
    """
    grant = await acquire(endpoint, lane)
    try:
        with Tether(grant):
            yield grant
    finally:
        grant.release()
