"""
The valve in front of the counters: it learns from what WeCom answers and holds calls back for all workers.

45009 stops an API for the window (the brake); 45033 and 45035 take a place in flight out of use for a while; an error
that a person must fix opens the breaker, and one probe a minute finds out when it is fixed. ``shared.quota.holds`` has
the rules, ``shared.quota.notices`` carries the news.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import structlog

from shared.clock import Clock
from shared.domain.errors import QueueUnavailable, WeComError
from shared.domain.events import Lane
from shared.quota.holds import Held, HoldChange, Holds, Pause
from shared.quota.notices import Notices
from shared.quota.port import SETTLE_SECONDS, Counters, Grant, Hold, HoldKind, Limits, Permit, Snapshot
from shared.quota.tether import Tether

log = structlog.get_logger()

HURRY: Final = 1.0
"""Seconds that a call for the fast lane waits for a brake to end: a welcome has twenty."""


class Valve:
    """A :class:`~shared.quota.port.Quota` over counters, with brake and breaker."""

    def __init__(
        self,
        counters: Counters,
        notices: Notices,
        limits: Limits,
        clock: Clock,
        *,
        patience: float | None = None,
    ) -> None:
        """
        Args:
            patience: Longest brake, in seconds, that a call waits for instead of being put back; a bit more than the
                minute unless said otherwise.
        """
        self._counters = counters
        self._notices = notices
        self._limits = limits
        self._clock = clock
        self._patience = limits.minute * 1.05 if patience is None else patience
        self._holds = Holds(limits)
        self._changed = asyncio.Event()
        notices.listen(self._hear)

    @asynccontextmanager
    async def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AsyncIterator[Permit]:
        """
        Wait until *endpoint* may be called once for *lane*, and hold one place in flight while the context is open.

        Raises:
            CallAborted: The API is held back for long.
            QueueUnavailable: The shared counters cannot be reached.
        """
        grant = await self._grant(endpoint, lane, staff)
        started = _now()
        try:
            with Tether(grant):
                yield grant
        except WeComError as error:
            keep = False
            try:
                keep = await self._failed(error, endpoint, staff, started)
            finally:
                self._keep(grant, self._limits.minute) if keep else grant.release()
            raise
        except asyncio.CancelledError:
            self._keep(grant, SETTLE_SECONDS)  # nobody waits for the answer, and WeCom may be busy with the call
            raise
        except BaseException:
            grant.release()
            raise
        grant.release()
        changes = self._holds.succeeded(endpoint, staff, started, _now())
        if changes:
            await self._tell(changes)

    def require_open(self, endpoint: str, staff: str) -> bool:
        """
        Tell whether *endpoint* may be called for *staff* as far as this process knows; False when only as a probe.

        A brake is waited for where the call is made, so it does not count here.

        Raises:
            CallAborted, MemberHeld: A breaker is open.
        """
        pause = self._holds.pause(endpoint, staff, _now())
        if pause is None or pause.key[0] is not HoldKind.BREAKER:
            return True
        if not pause.probe:
            raise pause.error(endpoint)
        return False

    def held_until(self, endpoint: str, staff: str = "") -> float | None:
        """Return when *endpoint* may next be called, in Unix seconds; None when it may be called now."""
        pause = self._holds.pause(endpoint, staff, _now())
        return None if pause is None or pause.probe else self._clock.time() + pause.seconds

    async def wait_open(self, endpoints: Collection[str]) -> None:
        """Return once none of *endpoints* is held back, or a probe of it is due: then work may be taken again."""
        while True:
            await self._refresh()
            now = _now()
            pauses = [self._holds.pause(endpoint, "", now) for endpoint in endpoints]
            seconds = max((pause.seconds for pause in pauses if pause is not None), default=0.0)
            if seconds <= 0:
                return
            await self._news_within(min(seconds, self._limits.minute / 60))

    async def snapshot(self) -> Snapshot:
        """Return what is used and what is held back."""
        await self._refresh()
        snapshot = await self._counters.snapshot()
        now, wall = _now(), self._clock.time()
        return replace(snapshot, holds=[_shown(held, wall + held.until - now) for held in self._holds.held(now)])

    async def _grant(self, endpoint: str, lane: Lane, staff: str) -> Grant:
        """Return a grant once nothing holds the API back; looked at again when the grant is there."""
        while True:
            await self._wait_for_brake(endpoint, lane, staff)
            grant = await self._counters.acquire(endpoint, lane)
            try:
                await self._notices.refresh()
                pause = self._holds.pause(endpoint, staff, _now())
                if (pause is None or await self._may_probe(pause)) and not grant.stale:
                    return grant
            except BaseException:
                grant.release()
                raise
            grant.release()

    async def _wait_for_brake(self, endpoint: str, lane: Lane, staff: str) -> None:
        await self._notices.refresh()
        patience = min(HURRY, self._patience) if lane is Lane.FAST else self._patience
        while (pause := self._holds.pause(endpoint, staff, _now())) is not None and not pause.probe:
            if pause.key[0] is HoldKind.BREAKER or pause.seconds > patience:
                raise pause.error(endpoint)
            await self._news_within(pause.seconds)

    async def _may_probe(self, pause: Pause) -> bool:
        """Tell whether we are the one to probe this minute."""
        if not pause.probe:
            return False
        mine = await self._notices.claim("/".join(("probe", *pause.key[1:])), self._limits.minute)
        change = self._holds.probing(pause.key, _now(), mine=mine)
        if change is not None:
            await self._tell([change])
        return mine

    async def _failed(self, error: WeComError, endpoint: str, staff: str, started: float) -> bool:
        """Note what WeCom said and tell the others; return True when the call's place is to stay out of use."""
        change = self._holds.failed(error, endpoint, staff, started, _now())
        if change is None:
            return False
        self._changed.set()
        log.warning("api.held_back", endpoint=change.endpoint, kind=change.kind, seconds=change.seconds)
        await self._tell([change])
        return change.kind is HoldKind.LOWERED and await self._may_lower(change)

    async def _may_lower(self, change: HoldChange) -> bool:
        """Tell whether one more place may be taken out of use; at least one always stays."""
        for place in range(1, self._limits.in_flight):
            try:
                if await self._notices.claim(f"lowered/{change.endpoint}/{place}", change.seconds):
                    return True
            except QueueUnavailable:
                return False
        return False

    def _keep(self, grant: Grant, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, grant.release)

    async def _tell(self, changes: Sequence[HoldChange]) -> None:
        try:
            await self._notices.tell(changes)
        except QueueUnavailable as error:
            log.warning("api.news_not_told", reason=str(error))

    async def _refresh(self) -> None:
        try:
            await self._notices.refresh()
        except QueueUnavailable:
            return  # what we know still holds, and no call is made without the counters

    def _hear(self, changes: Sequence[HoldChange]) -> None:
        now = _now()
        news = [change for change in changes if self._holds.merge(change, now)]
        if news:
            self._changed.set()

    async def _news_within(self, seconds: float) -> None:
        """Wait until something changes, at most *seconds*."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return


def _shown(held: Held, until: float) -> Hold:
    change = held.change
    return Hold(
        endpoint=change.endpoint,
        kind=change.kind,
        until=until,
        staff=change.staff,
        errcode=change.errcode,
        reason=change.reason,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
