"""
The lock: which contact way belongs to which channel.

WeCom's console does not show ways made by API, and one whose ``config_id`` is lost can never be changed again, so all
we make is written down, and *before* it is made: ``add_contact_way`` has no idempotency key, and a call without an
answer may have made one. Such an intent stays until WeCom was looked at late enough to be sure.

A lock is a value; each step of an apply gives the next one, which the state keeps (``shared.state.ways``).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self

from shared.domain.channels.model import ChannelKey
from shared.domain.channels.ways import Way, WayFields
from shared.domain.ids import ContactWayId, CorpId

SLACK: Final = 120.0
"""Seconds by which our clock and WeCom's may differ."""

SETTLED: Final = 60.0
"""Seconds after which a call that got no answer can no longer make a contact way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWay:
    """
    A contact way of ours.

    Attributes:
        fields: As last applied or read.
        created_at: Unix seconds; None when it was made before this lock.
        sure: False from before a change until its answer came: WeCom must be asked how the way looks.
        duplicate: Made by a repeat of a call that had succeeded after all; nobody ever saw its QR code.
    """

    key: ChannelKey
    state: str
    config_id: ContactWayId
    qr_code: str = ""
    fields: WayFields
    created_at: int | None = None
    sure: bool = True
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """
    A contact way that is being made, or may have been.

    Attributes:
        memos: What the calls said; one unless the file was changed between two of them.
        started_at: When the first call was about to go out, in Unix seconds; ``last_at`` for the last one.
        attempts: Calls that may have made a way each; never more ways than that are ours.
        made: The ways that came of them, as far as known.
    """

    key: ChannelKey
    state: str
    memos: tuple[str, ...]
    is_exclusive: bool | None = None
    started_at: float
    last_at: float
    attempts: int = 1
    made: tuple[ContactWayId, ...] = ()

    def looks_like(self, way: Way) -> bool:
        """Tell whether *way* looks like the one that was to be made."""
        return way.state == self.state and way.fields.memo in self.memos


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedWays:
    """
    What we made for *corp_id*.

    Attributes:
        channels: The way of each channel.
        retired: Ways that were a channel's once.
        intents: Ways that are being made or may have been, by state.
        pruned: States of ways that were deleted on demand; customers of theirs go on to have them.
    """

    corp_id: CorpId
    channels: Mapping[ChannelKey, LockedWay] = field(default_factory=dict)
    retired: tuple[LockedWay, ...] = ()
    intents: Mapping[str, Intent] = field(default_factory=dict)
    pruned: tuple[str, ...] = ()

    def ways(self) -> Iterator[LockedWay]:
        """Return all ways of ours, those in use first."""
        yield from self.channels.values()
        yield from self.retired

    def ids(self) -> frozenset[ContactWayId]:
        """Return the ids of all ways of ours."""
        return frozenset(way.config_id for way in self.ways())

    def duplicates(self) -> tuple[LockedWay, ...]:
        """Return the ways that were made twice and must go."""
        return tuple(way for way in self.retired if way.duplicate)

    # Making a way

    def begun(self, key: ChannelKey, state: str, fields: WayFields, *, now: float) -> Self:
        """Return the lock to write before a call that makes a way."""
        intent = self.intents.get(state)
        if intent is None:
            intent = Intent(key=key, state=state, memos=(), started_at=now, last_at=now, attempts=0)
        memos = tuple(dict.fromkeys((*intent.memos, fields.memo)))
        return self.with_intent(
            replace(
                intent,
                key=key,
                memos=memos,
                is_exclusive=fields.is_exclusive,
                last_at=now,
                attempts=intent.attempts + 1,
            )
        )

    def refused(self, state: str) -> Self:
        """Return the lock after WeCom said that it did not make the way."""
        intent = self.intents[state]
        return self.with_intent(replace(intent, attempts=intent.attempts - 1))

    def made(self, way: LockedWay) -> Self:
        """Return the lock after WeCom named the way it made; what the channel had is retired."""
        intent = self.intents[way.state]
        return self.assigned(way).with_intent(replace(intent, made=(*intent.made, way.config_id)))

    def resolved(self, state: str, found: Iterable[Way], *, now: float) -> Self:
        """
        Return the lock after a look for what the intent for *state* may have made.

        *found* are ways that came since its start, are not in the lock, and look like it. The first becomes the
        channel's way unless it has it already; others are duplicates. More than we can have made are left alone:
        then another machine made some of them.
        """
        intent = self.intents[state]
        ways = sorted(found, key=lambda way: way.config_id)
        lock = self
        if len(ways) <= intent.attempts - len(intent.made):
            for way in ways:
                locked = locked_way(
                    intent.key, way, is_exclusive=intent.is_exclusive, created_at=int(intent.started_at)
                )
                if intent.made:
                    lock = replace(lock, retired=(*lock.retired, replace(locked, duplicate=True)))
                else:
                    lock = lock.assigned(locked)
                intent = replace(intent, made=(*intent.made, way.config_id))
        return lock.without_intent(state) if now >= intent.last_at + SETTLED else lock.with_intent(intent)

    def with_intent(self, intent: Intent) -> Self:
        """Return the lock with *intent* or without the one for its state once every call is accounted for."""
        if intent.attempts <= len(intent.made):
            return self.without_intent(intent.state)
        return replace(self, intents={**self.intents, intent.state: intent})

    def without_intent(self, state: str) -> Self:
        """Return the lock without the intent for *state*."""
        return replace(self, intents={other: kept for other, kept in self.intents.items() if other != state})

    # Ways that are there

    def assigned(self, way: LockedWay) -> Self:
        """Return the lock with *way* as its channel's; another one that the channel had is retired."""
        rest = self.without(way.config_id)
        before = rest.channels.get(way.key)
        retired = rest.retired if before is None else (*rest.retired, before)
        return replace(rest, channels={**rest.channels, way.key: replace(way, duplicate=False)}, retired=retired)

    def changed(self, way: LockedWay) -> Self:
        """Return the lock with *way* in place of the one with its id."""
        return replace(
            self,
            channels={key: way if old.config_id == way.config_id else old for key, old in self.channels.items()},
            retired=tuple(way if old.config_id == way.config_id else old for old in self.retired),
        )

    def without(self, *gone: ContactWayId) -> Self:
        """Return the lock without the ways *gone*."""
        return replace(
            self,
            channels={key: way for key, way in self.channels.items() if way.config_id not in gone},
            retired=tuple(way for way in self.retired if way.config_id not in gone),
        )

    def deleted(self, way: LockedWay) -> Self:
        """Return the lock without *way*, which was deleted; its state is noted unless it was a duplicate."""
        rest = self.without(way.config_id)
        if way.duplicate or way.state in rest.pruned:
            return rest
        return replace(rest, pruned=(*rest.pruned, way.state))


def locked_way(
    key: ChannelKey, way: Way, *, is_exclusive: bool | None = None, created_at: int | None = None
) -> LockedWay:
    """Return *way* as one of ours, the one of the channel *key*."""
    return LockedWay(
        key=key,
        state=way.state,
        config_id=way.config_id,
        qr_code=way.qr_code,
        fields=replace(way.fields, is_exclusive=is_exclusive),
        created_at=created_at,
    )
