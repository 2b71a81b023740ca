"""
The quota port: who may call which API now.

WeCom limits a corp, not a process (doc 90312): calls in a minute, in an hour, and calls in flight, per API. Everything
that calls WeCom asks here first.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from shared.domain.errors import ConfigurationError
from shared.domain.events import Lane

PARTS: Final = 3
"""Parts of the hour over which ``BULK`` spreads its share, so that what it used leaves steadily, not all at once."""

SETTLE_SECONDS: Final = 3.0
"""How long WeCom may be busy with a call whose process died: the call's place in flight is out of use meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What one corp may use of one API, over all processes together.

    The windows are a minute and an hour unless a simulator scales them down (both in seconds). The reserves are the
    shares of the minute and the hour that only ``FAST`` may touch. ``bulk_reserve`` is the share of the hour that
    ``BULK`` leaves to the others on top: a backfill runs for hours, and whoever scans meanwhile must not wait for it.
    In a part of the hour it calls only as long as no more than that part of its share is used, by whomever.

    Raises:
        ConfigurationError: A limit or a window is not positive, or a reserve leaves nothing.
    """

    per_minute: int = 8000
    per_hour: int = 120_000
    in_flight: int = 3
    minute: float = 60.0
    hour: float = 3600.0
    minute_reserve: float = 0.10
    hour_reserve: float = 0.05
    bulk_reserve: float = 0.25

    def __post_init__(self) -> None:
        positive = ("per_minute", "per_hour", "in_flight", "minute", "hour")
        problems = [f"quota: {name} must be above 0" for name in positive if getattr(self, name) <= 0]
        shares = ("minute_reserve", "hour_reserve", "bulk_reserve")
        problems += [
            f"quota: {name} must be from 0 up to, not including, 1"
            for name in shares
            if not 0 <= getattr(self, name) < 1
        ]
        if problems:
            raise ConfigurationError(problems)

    def minute_for(self, lane: Lane) -> int:
        """Return up to which count of the minute *lane* may call."""
        return self.per_minute if lane is Lane.FAST else share(self.per_minute, self.minute_reserve)

    def hour_for(self, lane: Lane) -> int:
        """Return up to which count of the hour *lane* may call."""
        if lane is Lane.FAST:
            return self.per_hour
        return share(self.per_hour, self.hour_reserve + (self.bulk_reserve if lane is Lane.BULK else 0.0))

    @property
    def part(self) -> float:
        """Return the length of a part of the hour, in seconds."""
        return self.hour / PARTS

    def part_for(self, lane: Lane) -> int:
        """Return up to which count of a part of the hour *lane* may call."""
        return -(-self.hour_for(lane) // PARTS) if lane is Lane.BULK else self.per_hour


def share(limit: int, reserve: float) -> int:
    """Return what is left of *limit* beside the reserve: at least one, or a small limit would stop a lane for ever."""
    return max(1, int(limit * (1 - reserve) + 1e-9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How much of one API's quota is used now."""

    endpoint: str
    minute: int
    hour: int
    in_flight: int
    limits: Limits


class HoldKind(StrEnum):
    """Why calls are held back."""

    BRAKE = "brake"
    """WeCom said 45009: nobody calls the API until the window is over."""

    BREAKER = "breaker"
    """A person must act first (secret, permission, trusted address): one probe a minute."""

    LOWERED = "lowered"
    """WeCom said 45033 or 45035: fewer calls at once for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """
    One API that is held back, for ``qudao status``.

    Attributes:
        staff: The one member it concerns; empty when all.
        until: Unix seconds; for the breaker the next probe.
        reason: What WeCom's code means and what to do; a constant, free of personal data.
    """

    endpoint: str
    kind: HoldKind
    until: float
    staff: str = ""
    errcode: int | None = None
    reason: str = ""


FileInUse = Callable[[], str]
"""Returns the hash of the channels file that this process goes by."""


def no_file() -> str:
    """Go by no channels file."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """
    A process that uses the quota.

    Attributes:
        seen: When it last said so, in Unix seconds.
        file: Hash of the channels file that it goes by; empty when it goes by none: a command.
    """

    name: str
    seen: float
    file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The deployment's quota at one moment."""

    usage: Sequence[Usage]
    workers: Sequence[WorkerSeen]
    holds: Sequence[Hold] = ()


class Permit(Protocol):
    """Leave for one call."""

    @property
    def stale(self) -> bool:
        """Whether no call may begin with it any more: the process was stopped since, and others may have its place."""
        ...


class Grant(Permit, Protocol):
    """Leave for one call, and its place in flight."""

    def release(self) -> None:
        """Give the place back: the call has ended, or was never made. Never waits; a second time does nothing."""
        ...

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Call *end* once if the place is taken away while the call runs, at once if it has been; None: do not."""
        ...


class Counters(Protocol):
    """Where the calls of all processes are counted: what an adapter provides and the valve builds on."""

    async def acquire(self, endpoint: str, lane: Lane) -> Grant:
        """
        Wait for leave to call *endpoint* once for *lane*. The call must follow at once. Safe to cancel.

        Raises:
            QueueUnavailable: The shared counters cannot be reached; nothing may be called.
        """
        ...

    async def snapshot(self) -> Snapshot:
        """Return what is used now, over all processes."""
        ...


class Quota(Protocol):
    """The corp's quota, shared by every process of the deployment."""

    def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AbstractAsyncContextManager[Permit]:
        """
        Wait until *endpoint* may be called once for *lane*, and hold one place in flight while the context is open.

        ``FAST`` may use everything; other lanes leave the last tenth of the minute and twentieth of the hour.
        An exception that leaves the context is how the quota learns what WeCom said. *staff* is the member that the
        call acts for, where there is one: WeCom can block a single member.

        Raises:
            CallAborted: The API is held back for long; carries ``retry_after``.
            QueueUnavailable: The shared counters cannot be reached; nothing may be called.
        """
        ...

    def require_open(self, endpoint: str, staff: str) -> bool:
        """
        Tell whether *endpoint* may be called for *staff* as far as is known; False when only as a probe. Never waits.

        Raises:
            CallAborted, MemberHeld: It is held back; carry ``retry_after``.
        """
        ...
