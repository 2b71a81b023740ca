"""
The plan: what to do so that WeCom has the contact ways that ``channels.toml`` describes. A pure difference.

Ways that are not in the lock are nobody's business here: never changed, never deleted. Of ours, what no channel has any
more stays until pruned, for its code may hang on a wall somewhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from shared.domain.channels.lock import LockedWay, LockedWays, locked_way
from shared.domain.channels.model import Channel, ChannelKey, Channels
from shared.domain.channels.ways import FieldChange, Way, WayFields, changes, fixed_differences
from shared.domain.ids import ContactWayId

MOST_DELETIONS: Final = 10
MOST_DELETED_SHARE: Final = 0.20
"""Deleting more than either of our ways is unsafe, unless it is one way alone."""


class StepKind(StrEnum):
    """What is done about one channel or way."""

    CREATE = "create"
    REPLACE = "replace"
    """Make a new way; the old one stays and works until pruned."""
    UPDATE = "update"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    LEFT = "left"
    """A way of ours that no channel has any more, not deleted."""


_NOTHING: Final = frozenset({StepKind.UNCHANGED, StepKind.LEFT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    One step of a plan.

    Attributes:
        state: Of the way that will be there afterwards, or that is deleted or left.
        way: The way as the lock has it; None for one that is to be made.
        fields: How the way will look; None when it is deleted or left.
    """

    kind: StepKind
    key: ChannelKey
    state: str
    way: LockedWay | None = None
    fields: WayFields | None = None
    changes: tuple[FieldChange, ...] = ()
    reason: str = ""

    @property
    def does_something(self) -> bool:
        """Tell whether WeCom is called for it."""
        return self.kind not in _NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """
    What WeCom showed.

    Attributes:
        ways: Those that were read, by id.
        others: The states of ways that are not in the lock, as far as they were asked for.
        gone: Those of the lock that do not exist any more.
        recent: Ids listed as made since the oldest open intent.
        now: When, in Unix seconds.
    """

    ways: Mapping[ContactWayId, Way] = field(default_factory=dict)
    others: Mapping[ContactWayId, str] = field(default_factory=dict)
    gone: frozenset[ContactWayId] = frozenset()
    recent: frozenset[ContactWayId] = frozenset()
    now: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What is to be done, in order, and the lock to begin with.

    Attributes:
        unsafe: Why it should not be applied as it stands; each names what to do instead.
        notes: What else a person should know.
    """

    steps: tuple[Step, ...]
    lock: LockedWays
    unsafe: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_do(self) -> tuple[Step, ...]:
        """Return the steps that call WeCom."""
        return tuple(step for step in self.steps if step.does_something)

    def count(self, kind: StepKind) -> int:
        """Return how many steps are of *kind*."""
        return sum(step.kind is kind for step in self.steps)


def resolve(lock: LockedWays, observed: Observed) -> LockedWays:
    """Return *lock* with what interrupted calls turned out to have made."""
    for state, intent in lock.intents.items():
        unknown = observed.recent - lock.ids()
        ways = (observed.ways[config_id] for config_id in unknown if config_id in observed.ways)
        lock = lock.resolved(state, filter(intent.looks_like, ways), now=observed.now)
    return lock


def refresh(lock: LockedWays, observed: Observed) -> LockedWays:
    """Return *lock* without the ways that are gone, and with the others as they were read."""
    lock = lock.without(*observed.gone)
    for locked in tuple(lock.ways()):
        read = observed.ways.get(locked.config_id)
        if read is not None:
            exclusive = locked.fields.is_exclusive  # WeCom does not show it
            fields = replace(read.fields, is_exclusive=exclusive)
            qr_code = read.qr_code or locked.qr_code
            lock = lock.changed(replace(locked, state=read.state, fields=fields, qr_code=qr_code, sure=True))
    return lock


def lacks_a_way(channels: Channels, lock: LockedWays) -> bool:
    """Tell whether a channel has no way in *lock*, so that those of others must be looked at before one is made."""
    return any(not _fitting(channel, lock.ways()) for channel in channels.with_ways)


def make_plan(channels: Channels, lock: LockedWays, observed: Observed, *, prune: bool = False) -> Plan:
    """
    Return what to do so that WeCom has the ways that *channels* describe.

    A way that was a channel's once and fits again is used again. With *prune* ways that no channel has are deleted;
    duplicates of our own making always are.
    """
    lock = refresh(resolve(lock, observed), observed)
    before = lock
    steps: list[Step] = []
    for channel in channels.with_ways:
        way = _best(channel, before)
        if way is not None:
            lock = lock.assigned(replace(way, key=channel.key))
        steps.append(_keep(channel, way) if way else _create(channel, before.channels.get(channel.key)))
    used = {step.way.config_id for step in steps if step.way and step.kind is not StepKind.REPLACE}
    left = [way for way in lock.ways() if way.config_id not in used]
    steps += [_leave(way, channels, prune=prune) for way in left]
    return Plan(
        steps=tuple(steps),
        lock=lock,
        unsafe=(*_strangers(steps, lock, observed), *_too_many(steps, len(list(lock.ways())))),
        notes=tuple(_notes(steps, channels)),
    )


def _fitting(channel: Channel, ways: Iterable[LockedWay]) -> list[LockedWay]:
    """Return the ways that can be the channel's: its state, and nothing wrong that cannot be changed."""
    wanted = channel.way
    return [
        way
        for way in ways
        if way.state == channel.state and not way.duplicate and not fixed_differences(way.fields, wanted)
    ]


def _best(channel: Channel, lock: LockedWays) -> LockedWay | None:
    """Return the way that the channel has, or an earlier one that fits, before making another."""
    fitting = _fitting(channel, lock.ways())
    return next((way for way in fitting if way == lock.channels.get(channel.key)), fitting[0] if fitting else None)


def _keep(channel: Channel, way: LockedWay) -> Step:
    wanted = channel.way
    differences = changes(way.fields, wanted)
    return Step(
        kind=StepKind.UPDATE if differences else StepKind.UNCHANGED,
        key=channel.key,
        state=channel.state,
        way=replace(way, key=channel.key),
        fields=replace(wanted, type=way.fields.type, is_exclusive=way.fields.is_exclusive),
        changes=differences,
    )


def _create(channel: Channel, old: LockedWay | None) -> Step:
    wanted = channel.way
    if old is None:
        return Step(kind=StepKind.CREATE, key=channel.key, state=channel.state, fields=wanted)
    fixed = fixed_differences(old.fields, wanted)
    differing = (["state"] if old.state != channel.state else []) + fixed
    differences = [
        FieldChange(field=name, before=getattr(old.fields, name), after=getattr(wanted, name)) for name in fixed
    ]
    if old.state != channel.state:
        differences.insert(0, FieldChange(field="state", before=old.state, after=channel.state))
    return Step(
        kind=StepKind.REPLACE,
        key=channel.key,
        state=channel.state,
        way=old,
        fields=wanted,
        changes=tuple(differences),
        reason=f"{' and '.join(differing)} of a live contact way cannot be changed: a new one, with a new QR code",
    )


def _leave(way: LockedWay, channels: Channels, *, prune: bool) -> Step:
    if way.duplicate:
        kind, reason = StepKind.DELETE, "made twice by a call that was interrupted; nobody has its QR code"
    else:
        kind = StepKind.DELETE if prune else StepKind.LEFT
        reason = "an earlier way of this channel" if way.key in channels.by_key else "no channel has it"
    return Step(kind=kind, key=way.key, state=way.state, way=way, reason=reason)


def _strangers(steps: Iterable[Step], lock: LockedWays, observed: Observed) -> Iterator[str]:
    """Tell which ways are about to be made although one with their state is there that the lock does not know."""
    ours = lock.ids()
    known: dict[str, ContactWayId] = {}
    states = {**observed.others, **{config_id: way.state for config_id, way in observed.ways.items()}}
    for config_id, state in states.items():
        if config_id not in ours:
            known.setdefault(state, config_id)
    for step in steps:
        if step.kind in (StepKind.CREATE, StepKind.REPLACE) and step.state in known:
            yield (
                f"channels.{step.key}: a contact way with the state {step.state!r} exists already that is "
                f"not among ours (config_id {known[step.state]}); `qudao channels import` takes it over"
            )


def _too_many(steps: Iterable[Step], ours: int) -> Iterator[str]:
    doomed = [step for step in steps if step.kind is StepKind.DELETE]
    count = sum(not (step.way and step.way.duplicate) for step in doomed)
    if count > MOST_DELETIONS or count > max(1.0, ours * MOST_DELETED_SHARE):
        yield (
            f"{count} of {ours} contact ways would be deleted, and every printed copy of their QR codes with them; "
            f"more than {MOST_DELETIONS}, or more than one and {MOST_DELETED_SHARE:.0%}, takes --force"
        )


def _notes(steps: Iterable[Step], channels: Channels) -> Iterator[str]:
    for step in steps:
        if step.kind is StepKind.REPLACE and step.way and channels.by_state(step.way.state) is None:
            yield (
                f"channels.{step.key}: whoever scans a printed copy of the old code ({step.way.state}) will be in no "
                f'channel; `states = ["{step.way.state}"]` keeps them in this one'
            )
        kept = step.kind in (StepKind.UNCHANGED, StepKind.UPDATE)
        unknown = kept and step.fields is not None and step.fields.is_exclusive is None
        if unknown and channels.by_key[step.key].way.is_exclusive:
            yield f"channels.{step.key}: whether this way is exclusive is not known: WeCom does not show it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """
    A lock rebuilt from what WeCom has.

    Attributes:
        unknown: Ways whose state no channel has.
        spare: Ways whose state a channel has, but which are not the one that was taken; left alone.
    """

    lock: LockedWays
    unknown: tuple[Way, ...] = ()
    spare: tuple[Way, ...] = ()


def rebuild(channels: Channels, lock: LockedWays, observed: Observed) -> Imported:
    """
    Return the lock as WeCom alone tells it: for each channel the way with its state.

    Of several the one that *lock* has counts, then the one that differs least. What the old lock knows of ways that are
    still there is kept.
    """
    lock = refresh(resolve(lock, observed), observed)
    by_state: dict[str, list[Way]] = {}
    for way in observed.ways.values():
        by_state.setdefault(way.state, []).append(way)
    for channel in channels.with_ways:
        if _best(channel, lock) is None and (found := by_state.get(channel.state)):
            strangers = [way for way in found if way.config_id not in lock.ids()]
            if strangers:
                nearest = min(strangers, key=lambda way: _distance(way, channel))
                lock = lock.assigned(locked_way(channel.key, nearest))
    ours = lock.ids()
    others = sorted((way for way in observed.ways.values() if way.config_id not in ours), key=_shown_first)
    return Imported(
        lock=lock,
        unknown=tuple(way for way in others if channels.by_state(way.state) is None),
        spare=tuple(way for way in others if channels.by_state(way.state) is not None),
    )


def _distance(way: Way, channel: Channel) -> tuple[int, int, str]:
    wanted = channel.way
    return len(fixed_differences(way.fields, wanted)), len(changes(way.fields, wanted)), way.config_id


def _shown_first(way: Way) -> tuple[str, str]:
    return way.state, way.config_id
