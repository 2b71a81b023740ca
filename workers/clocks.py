"""
Watches this machine's clock: how far it is from WeCom's and from the state's, as a metric and as an alarm.

What rests on the time at WeCom goes by the clock that is heard from there. The alarm is for the rest: the ingress's
stamps, logs, and whatever else runs on the machine.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from shared.clock import Clock, HeardClock
from shared.domain.errors import QueueUnavailable

log = structlog.get_logger()

LOOK_SECONDS: Final = 5.0
"""Between two looks."""

ALARM_SECONDS: Final = 5.0
"""Skew from which somebody should see to the clock: a welcome has twenty."""

AGAIN_SECONDS: Final = 600.0
"""Between two alarms about one skew that lasts."""

REMEDY: Final = "Let NTP set this machine's clock (timedatectl set-ntp true), or the other's if that one is wrong."

TellTime = Callable[[], Awaitable[float]]


class Clocks:
    """The clocks that this machine's is compared with."""

    def __init__(
        self,
        registry: CollectorRegistry,
        wecom: HeardClock,
        own: Clock,
        tell_time: TellTime | None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            wecom: WeCom's clock as it is heard.
            own: This machine's clock.
            tell_time: Asks the state for its time, if it has a clock of its own.
            steady: A clock that nobody can set.
        """
        self._steady = steady
        self._heard = {"wecom": wecom}
        self._tell_time = tell_time
        if tell_time is not None:
            self._heard["state"] = HeardClock(own, steady)
        self._alarmed_at: dict[str, float] = {}
        self._skew = Gauge(
            "qudao_clock_skew_seconds",
            "Seconds by which this machine's clock is ahead of another's: of WeCom's, and of the state's.",
            ["source"],
            registry=registry,
        )

    async def watch(self) -> None:
        """Compare for ever."""
        while True:
            if self._tell_time is not None:
                await self._ask(self._tell_time)
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _ask(self, tell_time: TellTime) -> None:
        asked = self._steady()
        try:
            told = await tell_time()
        except QueueUnavailable:
            return
        self._heard["state"].heard(told, asked, self._steady(), unit=0.0)

    def look(self) -> None:
        """Show every skew, and say loudly which are large, and when one is over."""
        now = self._steady()
        for source, clock in self._heard.items():
            skew = clock.skew
            if skew is None:
                continue
            self._skew.labels(source).set(skew)
            if abs(skew) < ALARM_SECONDS:
                if self._alarmed_at.pop(source, None) is not None:
                    log.info("clock.right", source=source)
            elif now - self._alarmed_at.get(source, -AGAIN_SECONDS) >= AGAIN_SECONDS:
                self._alarmed_at[source] = now
                log.error("clock.skewed", source=source, seconds=round(skew, 1), remedy=REMEDY)
