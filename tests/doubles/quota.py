"""
The quota in one process: exact, and gone with it. For tests, and where nothing else calls for the corp.

Waiting and the windows run on the event loop's time, so a virtual loop drives both and the wall clock may jump.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.domain.events import Lane
from shared.quota.port import Grant, Limits, Permit, Snapshot, Usage, WorkerSeen
from shared.quota.tether import granted
from shared.quota.turns import Turns


class MemoryQuota:
    """A :class:`~shared.quota.port.Quota` and its :class:`~shared.quota.port.Counters` without a broker or a disk."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._apis: dict[str, _Api] = {}

    def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AbstractAsyncContextManager[Permit]:
        """Wait until *endpoint* may be called once for *lane* and hold one place in flight."""
        del staff  # matters to the valve alone
        return granted(self.acquire, endpoint, lane)

    def require_open(self, endpoint: str, staff: str) -> bool:
        """Tell that it may: nothing is ever held back."""
        del endpoint, staff
        return True

    async def acquire(self, endpoint: str, lane: Lane) -> Grant:
        """Wait for leave to call *endpoint* once for *lane*."""
        api = self._apis.get(endpoint)
        if api is None:
            api = self._apis[endpoint] = _Api(self._limits)
        return await api.acquire(lane)

    async def snapshot(self) -> Snapshot:
        """Return what is used now."""
        usage = [api.usage(endpoint) for endpoint, api in sorted(self._apis.items())]
        return Snapshot(usage=usage, workers=[WorkerSeen(name=f"pid {os.getpid()}", seen=self._clock.time())])


@dataclass(slots=True)
class _Window:
    """
    The calls of one sliding window.

    A call counts while it runs and for the whole window after its end. WeCom sees it somewhere in between, so however
    long the network takes, no window over there ever holds more than are counted here.
    """

    seconds: float
    ends: deque[float] = field(default_factory=deque)

    def used(self, now: float) -> int:
        while self.ends and self.ends[0] + self.seconds <= now:
            self.ends.popleft()
        return len(self.ends)

    def room_at(self, count: int) -> float:
        """Return when no more than *count* of the ended calls are left in the window."""
        return self.ends[len(self.ends) - count - 1] + self.seconds


class _Api:
    """The counts of one API and those who wait for it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._minute = _Window(limits.minute)
        self._hour = _Window(limits.hour)
        self._part = _Window(limits.part)
        self._running = 0
        self._turns: Turns[_Grant] = Turns()
        self._timer: asyncio.TimerHandle | None = None

    async def acquire(self, lane: Lane) -> Grant:
        asyncio.get_running_loop().call_soon(self._serve)
        return await self._turns.wait(lane)

    def release(self) -> None:
        """Count one running call as ended now."""
        now = asyncio.get_running_loop().time()
        self._running -= 1
        self._minute.ends.append(now)
        self._hour.ends.append(now)
        self._part.ends.append(now)
        self._serve()

    def usage(self, endpoint: str) -> Usage:
        now = asyncio.get_running_loop().time()
        return Usage(
            endpoint=endpoint,
            minute=self._minute.used(now) + self._running,
            hour=self._hour.used(now) + self._running,
            in_flight=self._running,
            limits=self._limits,
        )

    def _serve(self) -> None:
        """Let in as many as may come in; come back when a window has room for the next."""
        now = asyncio.get_running_loop().time()
        while self._running < self._limits.in_flight:
            open_lanes = [lane for lane in self._turns.lanes() if self._free_at(lane, now) <= now]
            if not self._turns.give(_Grant(self), open_lanes):
                break
            self._running += 1
        self._wake_later(now)

    def _free_at(self, lane: Lane, now: float) -> float:
        """Return when the windows have room for one more call of *lane*; never while too many are running."""
        at = now
        for window, limit in (
            (self._minute, self._limits.minute_for(lane)),
            (self._hour, self._limits.hour_for(lane)),
            (self._part, self._limits.part_for(lane)),
        ):
            ended = window.used(now)
            allowed = limit - self._running - 1  # ended calls there may be beside the running ones and this one
            if allowed < 0:
                return float("inf")  # a running call must end first, and that serves again
            if ended > allowed:
                at = max(at, window.room_at(allowed))
        return at

    def _wake_later(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lanes = self._turns.lanes()
        if lanes and self._running < self._limits.in_flight:
            at = min(self._free_at(lane, now) for lane in lanes)
            if at < float("inf"):
                self._timer = asyncio.get_running_loop().call_at(at, self._serve)


class _Grant:
    """One running call; never stale, as only the end of the process takes a place away."""

    stale = False

    def __init__(self, api: _Api) -> None:
        self._api: _Api | None = api

    def release(self) -> None:
        """Give the place back."""
        if self._api is not None:
            api, self._api = self._api, None
            api.release()

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Do nothing: it never is."""
