"""
Which APIs are held back, and until when: the brake, the breaker and the lowered concurrency of one corp. Pure.

Every worker keeps this state for itself and tells the others what changed. ``now`` is seconds of the worker's own
clock, which nobody can set; a change therefore travels with the seconds that are left, not with a time of day.

A worker that gets no access token can call no API. It stops itself for a minute at a time and shows that to the
others, who go on as long as they get theirs: its secret may be an old one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from shared.domain.errors import (
    CallAborted,
    ConfigurationNeeded,
    Congested,
    MemberHeld,
    RateLimited,
    StaffBlocked,
    WeComError,
)
from shared.quota.port import HoldKind, Limits

MARGIN: Final = 1 / 60
"""Share of the window that a brake lasts longer: WeCom's block may have begun a moment after ours."""

Key = tuple[HoldKind, str, str]
"""Kind of hold, endpoint, and the member it is about: empty for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldChange:
    """
    One hold as it is told to other workers.

    Attributes:
        version: Grows with every change of this hold; the greater one is the newer.
        seconds: How much is left of it; for the breaker until the next probe.
        closed: It is over.
        long: A brake for an hour.
    """

    kind: HoldKind
    endpoint: str
    staff: str = ""
    version: int
    seconds: float
    closed: bool = False
    long: bool = False
    errcode: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One hold as a worker knows it: when it began here, and when it ends or the next probe is due."""

    change: HoldChange
    since: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """
    A call that may not be made now.

    Attributes:
        seconds: How long not; for a breaker until its next probe.
        probe: The call may be made if nobody else probes this minute: claim it under ``key``.
        errcode: What WeCom refused it with, and ``reason`` what that means.
    """

    key: Key
    seconds: float
    probe: bool = False
    errcode: int | None = None
    reason: str = ""

    def error(self, endpoint: str) -> CallAborted:
        """Return what to raise for whoever wanted to call *endpoint*."""
        staff = self.key[2]
        if not staff:
            return CallAborted(endpoint, self.seconds)
        return MemberHeld(endpoint, self.seconds, staff=staff, errcode=self.errcode, meaning=self.reason)


class Holds:
    """What is held back, as one worker knows it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[Key, Held] = {}
        self._needed = ""
        """The API that each call needs first, where it refused us last time: gettoken."""

    def pause(self, endpoint: str, staff: str, now: float) -> Pause | None:
        """Return what keeps *endpoint* from being called for *staff* now; None when nothing does."""
        for api in filter(None, (self._needed, endpoint)):
            brake = self._held.get((HoldKind.BRAKE, api, ""))
            if brake is not None and brake.until > now:
                return Pause(key=hold_key(brake.change), seconds=brake.until - now)
        for who in ("", staff.casefold()):
            breaker = self._held.get((HoldKind.BREAKER, endpoint, who))
            if breaker is not None and not breaker.change.closed:
                left = breaker.until - now
                return Pause(
                    key=hold_key(breaker.change),
                    seconds=max(left, 0.0),
                    probe=left <= 0,
                    errcode=breaker.change.errcode,
                    reason=breaker.change.reason,
                )
        return None

    def failed(self, error: WeComError, endpoint: str, staff: str, started: float, now: float) -> HoldChange | None:
        """Note that a call of *endpoint* which began at *started* failed; return what changed, for the others."""
        needed = error.endpoint if error.endpoint != endpoint else ""
        self._needed = needed or self._needed
        match error:
            case ConfigurationNeeded() if needed:
                return self._for_a_minute(HoldKind.BRAKE, error, started, now)
            case RateLimited():
                return self._brake(error, started, now)
            case StaffBlocked() if staff:
                return self._open(error, staff.casefold(), now)
            case StaffBlocked():
                return None  # nobody knows whom it concerns
            case ConfigurationNeeded():
                return self._open(error, "", now)
            case Congested():
                return self._for_a_minute(HoldKind.LOWERED, error, started, now)
        return None

    def succeeded(self, endpoint: str, staff: str, started: float, now: float) -> list[HoldChange]:
        """
        Note that a call which began at *started* succeeded.

        A person has put right what kept a breaker open; and a brake is really over, so that another 45009 is not the
        same block still, but a new one.
        """
        changes = []
        for key in dict.fromkeys(
            (
                (HoldKind.BREAKER, endpoint, ""),
                (HoldKind.BREAKER, endpoint, staff.casefold()),
                (HoldKind.BRAKE, endpoint, ""),
                (HoldKind.BRAKE, self._needed, ""),
            )
        ):
            held = self._held.get(key)
            if held is None or held.change.closed:
                continue
            if started > (held.until if held.change.kind is HoldKind.BRAKE else held.since):
                change = replace(held.change, version=held.change.version + 1, closed=True, seconds=0.0)
                changes.append(self._set(change, now))
        self._needed = ""
        return changes

    def probing(self, key: Key, now: float, *, mine: bool) -> HoldChange | None:
        """Note that somebody probes: after *mine* the next is due in a minute; another's may be told to us any time."""
        held = self._held.get(key)
        if held is None or held.change.closed:
            return None
        if mine:
            return self._set(replace(held.change, version=held.change.version + 1, seconds=self._limits.minute), now)
        self._held[key] = replace(held, until=now + self._limits.minute / 6)
        return None

    def merge(self, change: HoldChange, now: float) -> bool:
        """Take over what another worker told; tell whether it was news."""
        known = self._held.get(hold_key(change))
        if known is not None:
            newer = change.version > known.change.version
            longer = change.version == known.change.version and now + change.seconds > known.until + 0.001
            if not newer and not (longer and change.kind is not HoldKind.BREAKER):
                return False
            if change.kind is not HoldKind.BREAKER and now + change.seconds < known.until:
                change = replace(change, seconds=known.until - now)
        self._set(change, now)
        return True

    def changes(self, now: float) -> list[HoldChange]:
        """Return all that is held back now, for workers that join."""
        return [replace(held.change, seconds=max(0.0, held.until - now)) for held in self._active(now)]

    def _brake(self, error: RateLimited, started: float, now: float) -> HoldChange | None:
        """
        Stop the API for a minute; for an hour when it is refused again after the minute, and no call got through.

        Calls that were in flight when the brake began fail too and mean nothing new.
        """
        known = self._held.get((HoldKind.BRAKE, error.endpoint, ""))
        if known is not None and started <= known.since:
            return None
        again = known is not None and not known.change.closed and started <= known.until + self._limits.minute
        window = self._limits.hour if again else self._limits.minute
        change = self._changed(HoldKind.BRAKE, error, "", window * (1 + MARGIN))
        return self._set(replace(change, long=again), now)

    def _open(self, error: ConfigurationNeeded, staff: str, now: float) -> HoldChange | None:
        known = self._held.get((HoldKind.BREAKER, error.endpoint, staff))
        if known is not None and not known.change.closed and known.until > now:
            return None  # a call that was under way when it opened, or the probe: told already
        return self._set(self._changed(HoldKind.BREAKER, error, staff, self._limits.minute), now)

    def _for_a_minute(self, kind: HoldKind, error: WeComError, started: float, now: float) -> HoldChange | None:
        known = self._held.get((kind, error.endpoint, ""))
        if known is not None and started <= known.since:
            return None
        return self._set(self._changed(kind, error, "", self._limits.minute), now)

    def _changed(self, kind: HoldKind, error: WeComError, staff: str, seconds: float) -> HoldChange:
        known = self._held.get((kind, error.endpoint, staff))
        return HoldChange(
            kind=kind,
            endpoint=error.endpoint,
            staff=staff,
            version=known.change.version + 1 if known is not None else 1,
            seconds=seconds,
            errcode=error.errcode,
            reason=error.meaning,
        )

    def _set(self, change: HoldChange, now: float) -> HoldChange:
        known = self._held.get(hold_key(change))
        goes_on = known is not None and change.kind is HoldKind.BREAKER and not known.change.closed
        since = known.since if goes_on and known is not None else now
        self._held[hold_key(change)] = Held(change=change, since=since, until=now + change.seconds)
        return change

    def held(self, now: float) -> list[Held]:
        """Return what holds now, for people."""
        return [
            held
            for held in self._held.values()
            if not held.change.closed and (held.change.kind is HoldKind.BREAKER or held.until > now)
        ]

    def _active(self, now: float) -> Iterator[Held]:
        """Yield what holds, and what is over but still tells how the next failure is to be taken."""
        for held in self._held.values():
            kept = self._limits.minute if held.change.kind is HoldKind.BRAKE else 0.0
            if held.change.kind is HoldKind.BREAKER or held.until + kept > now:
                yield held


def hold_key(change: HoldChange) -> Key:
    """Return which hold *change* is about."""
    return change.kind, change.endpoint, change.staff
