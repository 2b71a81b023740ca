"""
Count relations for a report while they stream by.

What is kept grows by a few numbers for each customer and relation of the period, and by one group for each channel, day
and member that meet; nothing of what WeCom tells of a customer is kept.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import islice
from typing import Final

from shared.domain.channels.model import ChannelKey, Channels, looks_like_ours
from shared.domain.events import RelationFound
from shared.domain.ids import CorpId, StaffUserId
from shared.domain.marks import Skip, SkipReason, decide_mark
from shared.domain.relations import Relation
from shared.domain.reports.figures import (
    COUNTS,
    FOREIGN,
    MORE_UNKNOWN,
    NO_STATE,
    Cell,
    Count,
    Period,
    Report,
    Slip,
    Source,
    SourceKind,
)
from shared.domain.spelling import did_you_mean
from shared.domain.templates import moment_in

_SECONDS_OF_A_DAY: Final = 86_400
_QUARTER: Final = 900
_EPOCH: Final = date(1970, 1, 1).toordinal()
_STATES_REMEMBERED: Final = 1000
_STATES_COMPARED: Final = 200
_SLIPS_TOLD: Final = 10
_UNKNOWN_SHOWN: Final = 20


@dataclass(slots=True)
class _Cell:
    """A group in the making, with its counts so far."""

    source: Source
    day: int
    staff: StaffUserId
    customers: int = 0
    relations: int = 0
    to_mark: int = 0
    marked: int = 0
    person_wrote: int = 0
    ours_older: int = 0

    def finished(self, source: Source) -> Cell:
        count = Count(**{name: getattr(self, name) for name in COUNTS})
        return Cell(source=source, day=date.fromordinal(self.day), staff=self.staff, count=count)


PRUNED: Final = "its contact way was pruned; a channel's `states` takes its customers in"
"""What to say of a state that no channel has any more."""


class Census:
    """
    The count of relations with customers who came in *period*, in whatever order they are added.

    With *only*, other channels' relations, and those of no channel, are left out. *pruned* are states of contact ways
    that were deleted: no misspelt ones.

    Attributes:
        read: How many relations were added, counted or left out.
    """

    def __init__(
        self, channels: Channels, period: Period, only: Collection[ChannelKey] = (), pruned: Collection[str] = ()
    ) -> None:
        self._pruned = frozenset(pruned)
        # Without the tags, whose ids a listing holds and whose names it does not.
        self._channels = Channels(tuple(replace(channel, tags=()) for channel in channels.all), channels.zone)
        self._period = period
        self._zone = channels.zone
        self._offsets: dict[int, int] = {}
        self._first_day, self._last_day = period.since.toordinal(), period.until.toordinal()
        self._only = bool(only)
        self._sources = {
            channel.key: Source(kind=SourceKind.CHANNEL, key=channel.key, name=channel.name, state=channel.state)
            for channel in channels.all
            if not only or channel.key in only
        }
        self._cells: dict[tuple[Source, int, str], _Cell] = {}
        self._first: dict[int, tuple[int, _Cell]] = {}
        self._strays: Counter[str] = Counter()
        self._outside = 0
        self._undated = 0
        self.read = 0

    def add(self, relation: Relation) -> None:
        """Count *relation*, which must not have been counted before."""
        self.read += 1
        source = self._source(relation.state)
        if source is None:
            return
        day = self._day(relation.created_at)
        if not relation.created_at:
            self._undated += 1
        elif self._first_day <= day <= self._last_day:
            self._count(relation, source, day)
        else:
            self._outside += 1

    def _day(self, created_at: int) -> int:
        """Return the ordinal of the day; a zone's offset changes on a quarter of an hour at the finest."""
        quarter = created_at // _QUARTER
        offset = self._offsets.get(quarter)
        if offset is None:
            moment = moment_in(quarter * _QUARTER, self._zone)
            offset = self._offsets[quarter] = int((moment.utcoffset() or timedelta()).total_seconds())
        return _EPOCH + (created_at + offset) // _SECONDS_OF_A_DAY

    def report(self) -> Report:
        """Return what was counted so far."""
        shown = self._unknown_shown()
        return Report(
            zone=str(self._zone),
            period=self._period,
            cells=tuple(cell.finished(shown.get(cell.source, cell.source)) for cell in self._cells.values()),
            channels=tuple(self._sources.values()),
            slips=tuple(islice(self._slips(), _SLIPS_TOLD)),
            outside=self._outside,
            undated=self._undated,
        )

    def _source(self, state: str) -> Source | None:
        """Return where a customer with *state* came from, or None when nobody asked."""
        channel = self._channels.by_state(state)
        known = self._sources.get(channel.key) if channel else None
        if known or self._only:
            return known
        if not state:
            return NO_STATE
        return Source(kind=SourceKind.UNKNOWN_STATE, state=state) if looks_like_ours(state) else FOREIGN

    def _count(self, relation: Relation, source: Source, day: int) -> None:
        cell = self._cells.setdefault(
            (source, day, relation.staff.casefold()), _Cell(source=source, day=day, staff=relation.staff)
        )
        cell.relations += 1
        if source.kind is SourceKind.CHANNEL:
            self._judge(relation, cell)
        elif relation.state and (relation.state in self._strays or len(self._strays) < _STATES_REMEMBERED):
            self._strays[relation.state] += 1
        self._claim(relation, cell)

    def _judge(self, relation: Relation, cell: _Cell) -> None:
        found = RelationFound(
            corp=CorpId(""),
            staff=relation.staff,
            customer=relation.customer,
            created_at=relation.created_at,
            state=relation.state,
        )
        cell.to_mark += 1
        decision = decide_mark(found, relation, self._channels)
        if isinstance(decision, Skip):
            cell.marked += decision.reason is SkipReason.ALREADY_RIGHT
            cell.person_wrote += decision.reason is SkipReason.PERSON_WROTE
            cell.ours_older += decision.reason is SkipReason.OURS_OLDER

    def _claim(self, relation: Relation, cell: _Cell) -> None:
        """Count the customer in *cell* if no earlier relation has them; of two at once, one and always the same."""
        customer = hash(relation.customer)
        before = self._first.get(customer)
        if before is not None:
            at, other = before
            if (at, _tie(other)) <= (relation.created_at, _tie(cell)):
                return
            other.customers -= 1
        cell.customers += 1
        self._first[customer] = (relation.created_at, cell)

    def _unknown_shown(self) -> dict[Source, Source]:
        """Return what to show the rarer unknown states as, when there are too many to show each."""
        sizes: Counter[Source] = Counter()
        for cell in self._cells.values():
            if cell.source.kind is SourceKind.UNKNOWN_STATE:
                sizes[cell.source] += cell.relations
        return {source: MORE_UNKNOWN for source, _ in sizes.most_common()[_UNKNOWN_SHOWN:]}

    def _slips(self) -> Iterable[Slip]:
        known = [channel.state for channel in self._channels.all]
        for state, relations in self._strays.most_common(_STATES_COMPARED):
            hint = PRUNED if state in self._pruned else did_you_mean(state, known).removeprefix("; ")
            if hint:
                yield Slip(state=state, relations=relations, hint=hint)


def _tie(cell: _Cell) -> tuple[str, str]:
    return cell.staff.casefold(), cell.source.state
