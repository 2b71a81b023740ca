"""
Reports: where customers came from, grouped by channel, day and member.

A *relation* is one member's contact with one customer. A *customer* is counted once, where they came first in the
period; so both add up to the same total, whatever they are grouped by. ``shared.domain.reports.census``
does the counting.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Final

from shared.domain.channels.model import ChannelKey
from shared.domain.ids import StaffUserId


class Dimension(StrEnum):
    """What customers are grouped by."""

    CHANNEL = "channel"
    DAY = "day"
    STAFF = "staff"


BY_CHANNEL: Final = (Dimension.CHANNEL,)
"""How a report is grouped when nobody says."""


class ReadFrom(StrEnum):
    """Who was asked for a report."""

    JOURNAL = "journal"
    WECOM = "wecom"


class SourceKind(StrEnum):
    """What is known of where customers came from, in the order of a report."""

    CHANNEL = "channel"
    UNKNOWN_STATE = "unknown_state"
    """The state looks like one of ours, but no channel has it."""
    FOREIGN_STATE = "foreign_state"
    """Other systems' states, all together: some systems make one for each customer."""
    NO_STATE = "no_state"


def printable(state: str) -> str:
    """Return *state*, which anybody may have put into a link, without what could move a terminal's cursor."""
    return "".join(character if character.isprintable() else "\ufffd" for character in state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where customers came from: a channel, or why none is known. ``state`` is empty where there is not just one."""

    kind: SourceKind
    state: str = ""
    key: ChannelKey | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """Return what a person reads."""
        return self.name or printable(self.state) or _LABELS[self.kind]


FOREIGN: Final = Source(kind=SourceKind.FOREIGN_STATE)
NO_STATE: Final = Source(kind=SourceKind.NO_STATE)
MORE_UNKNOWN: Final = Source(kind=SourceKind.UNKNOWN_STATE)
_LABELS: Final = {
    SourceKind.UNKNOWN_STATE: "more unknown states",
    SourceKind.FOREIGN_STATE: "other systems' codes",
    SourceKind.NO_STATE: "no channel code",
}
_KINDS: Final = list(SourceKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """
    How many there are in a group.

    Attributes:
        customers: Those who came first here: each is counted in one group.
        to_mark: Relations that came through a channel; the next three are among them.
        marked: Relations whose remark and description are as their channel wants them; tags are not looked at.
        person_wrote: Relations whose remark a person wrote, and the channel leaves it alone.
        ours_older: Relations whose remark is what another of the channels makes.
        lost: Of all relations, those that have ended since; WeCom does not tell.
    """

    customers: int = 0
    relations: int = 0
    to_mark: int = 0
    marked: int = 0
    person_wrote: int = 0
    ours_older: int = 0
    lost: int = 0

    def __add__(self, other: "Count") -> "Count":
        return sum_of((self, other))


COUNTS: Final = tuple(each.name for each in fields(Count))
"""What is counted, by the names of the attributes and in their order."""

_FIGURES: Final = attrgetter(*COUNTS)


def sum_of(counts: Iterable[Count]) -> Count:
    """Return the count of groups that have nobody in common; by columns, for there may be half a million."""
    columns = zip(*map(_FIGURES, counts), strict=True)
    return Count(**dict(zip(COUNTS, map(sum, columns), strict=False)))  # no columns where there is no group


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Whole days, both ends included."""

    since: date
    until: date

    @property
    def days(self) -> list[date]:
        """Return each day."""
        return [self.since + timedelta(days=number) for number in range((self.until - self.since).days + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The finest group of a report, never empty."""

    source: Source
    day: date
    staff: StaffUserId
    count: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A group of a report; what it was not grouped by is None."""

    count: Count
    source: Source | None = None
    day: date | None = None
    staff: StaffUserId | None = None


_Group = tuple[Source | None, date | None, StaffUserId | None]
"""What makes a row, apart from its count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """A state that no channel has, and the state of a channel that it resembles."""

    state: str
    relations: int
    hint: str

    @property
    def label(self) -> str:
        """Return the state as a person reads it."""
        return printable(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    What was counted.

    Attributes:
        cells: The finest groups, by channel, day and member.
        channels: Those that were asked about, with customers or without.
        slips: States that look like typing errors, the most frequent first.
        outside: Relations that were read and belong to other days.
        zone: Whose days they are.
        undated: Relations for which WeCom told no day; they are in no group.
        unread: Members whom WeCom refused to list; their customers are missing.
        read_from: Who told. Only the journal knows who was lost.
    """

    period: Period
    cells: tuple[Cell, ...]
    channels: tuple[Source, ...]
    slips: tuple[Slip, ...] = ()
    outside: int = 0
    undated: int = 0
    zone: str = ""
    unread: tuple[StaffUserId, ...] = ()
    read_from: ReadFrom = ReadFrom.WECOM

    @property
    def knows_lost(self) -> bool:
        """Tell whether ``lost`` says anything."""
        return self.read_from is ReadFrom.JOURNAL

    @property
    def total(self) -> Count:
        """Return the count of all groups together."""
        return sum_of(cell.count for cell in self.cells)

    def rows(self, *by: Dimension) -> list[Row]:
        """
        Return the groups by any of channel, day and member, sorted in the order that *by* names them.

        Channels and members come by size, days in time. By channel alone, or by day alone, empty groups are there too.
        """
        groups: dict[_Group, list[Count]] = defaultdict(list, {group: [] for group in self._empty(by)})
        channel, day, staff = (each in by for each in (Dimension.CHANNEL, Dimension.DAY, Dimension.STAFF))
        for cell in self.cells:
            group = cell.source if channel else None, cell.day if day else None, cell.staff if staff else None
            groups[group].append(cell.count)
        rows = [Row(source=of[0], day=of[1], staff=of[2], count=sum_of(counts)) for of, counts in groups.items()]
        return self._sorted(rows, by)

    def _empty(self, by: Sequence[Dimension]) -> list[_Group]:
        match by:
            case (Dimension.CHANNEL,):
                return [(source, None, None) for source in self.channels]
            case (Dimension.DAY,):
                return [(None, day, None) for day in self.period.days]
            case _:
                return []

    def _sizes(self, by: Sequence[Dimension]) -> dict[Source | StaffUserId | None, Count]:
        """Return how large each channel and member is, in so far as they are sorted by it."""
        counts: dict[Source | StaffUserId | None, list[Count]] = defaultdict(list)
        for cell in self.cells:
            if Dimension.CHANNEL in by:
                counts[cell.source].append(cell.count)
            if Dimension.STAFF in by:
                counts[cell.staff].append(cell.count)
        return {name: sum_of(each) for name, each in counts.items()}

    def _sorted(self, rows: list[Row], by: Sequence[Dimension]) -> list[Row]:
        sizes = defaultdict(Count, self._sizes(by))
        order = {source: number for number, source in enumerate(self.channels)}

        def place(row: Row, dimension: Dimension) -> tuple[int | str, ...]:
            match dimension:
                case Dimension.DAY:
                    return (row.day.toordinal() if row.day else 0,)
                case Dimension.STAFF:
                    size = sizes[row.staff]
                    return -size.customers, -size.relations, row.staff or ""
                case Dimension.CHANNEL:
                    size, source = sizes[row.source], row.source or NO_STATE
                    kind = _KINDS.index(source.kind)
                    return (
                        kind,
                        source == MORE_UNKNOWN,
                        -size.customers,
                        -size.relations,
                        order.get(source, 0),
                        source.state,
                    )

        return sorted(rows, key=lambda row: [place(row, dimension) for dimension in by])
