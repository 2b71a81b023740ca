"""
Count relations for a report while they stream by.

What is kept grows by a few numbers for each customer of the period who is not closed, and by one group for each
channel, day and member that meet; nothing of what WeCom tells of a customer is kept.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from itertools import islice
from typing import Final

from shared.domain.channels.model import ChannelKey, Channels, looks_like_ours
from shared.domain.events import RelationFound
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
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


class Standing(StrEnum):
    """What is known of the mark of a relation that came through a channel, by the name of the count it goes into."""

    MARKED = "marked"
    PERSON_WROTE = "person_wrote"
    OURS_OLDER = "ours_older"


STANDINGS: Final = {
    SkipReason.ALREADY_RIGHT: Standing.MARKED,
    SkipReason.PERSON_WROTE: Standing.PERSON_WROTE,
    SkipReason.OURS_OLDER: Standing.OURS_OLDER,
}
"""What a decision not to write says of the mark."""


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
    lost: int = 0

    def stands(self, standing: Standing | None) -> None:
        """Count a relation that is to be marked."""
        self.to_mark += 1
        match standing:
            case Standing.MARKED:
                self.marked += 1
            case Standing.PERSON_WROTE:
                self.person_wrote += 1
            case Standing.OURS_OLDER:
                self.ours_older += 1

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
        """Count *relation* as WeCom shows it, which must not have been counted before."""
        cell = self._cell_of(relation.staff, relation.customer, relation.state, relation.created_at)
        if cell is not None and cell.source.kind is SourceKind.CHANNEL:
            cell.stands(self._judge(relation))

    def add_remembered(
        self,
        *,
        staff: StaffUserId,
        customer: ExternalUserId,
        state: str,
        created_at: int,
        standing: Standing | None,
        lost: bool,
    ) -> None:
        """Count a relation as the journal remembers it, which must not have been counted before."""
        cell = self._cell_of(staff, customer, state, created_at)
        if cell is not None:
            cell.lost += lost
            if cell.source.kind is SourceKind.CHANNEL:
                cell.stands(standing)

    def close(self, customer: ExternalUserId) -> None:
        """Keep *customer* in mind no longer: all their relations were added."""
        self._first.pop(hash(customer), None)

    def _cell_of(self, staff: StaffUserId, customer: ExternalUserId, state: str, created_at: int) -> _Cell | None:
        """Return the group that a relation is now counted in; None when it is in none."""
        self.read += 1
        source = self._source(state)
        if source is None:
            return None
        day = self._day(created_at)
        if not created_at:
            self._undated += 1
            return None
        if not self._first_day <= day <= self._last_day:
            self._outside += 1
            return None
        key = (source, day, staff.casefold())
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell(source=source, day=day, staff=staff)
        cell.relations += 1
        if source.kind is not SourceKind.CHANNEL:
            self._note_stray(state)
        self._claim(customer, created_at, cell)
        return cell

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

    def _note_stray(self, state: str) -> None:
        if state and (state in self._strays or len(self._strays) < _STATES_REMEMBERED):
            self._strays[state] += 1

    def _judge(self, relation: Relation) -> Standing | None:
        found = RelationFound(
            corp=CorpId(""),
            staff=relation.staff,
            customer=relation.customer,
            created_at=relation.created_at,
            state=relation.state,
        )
        decision = decide_mark(found, relation, self._channels)
        return STANDINGS.get(decision.reason) if isinstance(decision, Skip) else None

    def _claim(self, customer: ExternalUserId, created_at: int, cell: _Cell) -> None:
        """Count the customer in *cell* if no earlier relation has them; of two at once, one and always the same."""
        key = hash(customer)
        before = self._first.get(key)
        if before is not None:
            at, other = before
            if (at, _tie(other)) <= (created_at, _tie(cell)):
                return
            other.customers -= 1
        cell.customers += 1
        self._first[key] = (created_at, cell)

    def _unknown_shown(self) -> dict[Source, Source]:
        """Return what to show the rarer unknown states as, when there are too many to show each."""
        sizes: Counter[Source] = Counter()
        for cell in self._cells.values():
            if cell.source.kind is SourceKind.UNKNOWN_STATE:
                sizes[cell.source] += cell.relations
        rarer = sorted(sizes, key=lambda source: (-sizes[source], source.state))[_UNKNOWN_SHOWN:]
        return dict.fromkeys(rarer, MORE_UNKNOWN)

    def _slips(self) -> Iterable[Slip]:
        known = [channel.state for channel in self._channels.all]
        strays = sorted(self._strays.items(), key=lambda stray: (-stray[1], stray[0]))
        for state, relations in strays[:_STATES_COMPARED]:
            hint = PRUNED if state in self._pruned else did_you_mean(state, known).removeprefix("; ")
            if hint:
                yield Slip(state=state, relations=relations, hint=hint)


def _tie(cell: _Cell) -> tuple[str, str]:
    return cell.staff.casefold(), cell.source.state
