"""What a chart of a report shows: at most so many bars along the time, and so many series, the rest put together."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from shared.domain.reports.figures import Dimension, Period, Report, Source, SourceKind


class Interval(StrEnum):
    """How long one bar is."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class Shade(StrEnum):
    """What a series stands for, and so how it is coloured."""

    CHANNEL = "channel"
    REST = "rest"
    """The smaller channels together."""
    UNKNOWN_STATE = "unknown_state"
    FOREIGN_STATE = "foreign_state"
    NO_STATE = "no_state"


_UNKNOWN_LABEL: Final = "codes of no channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Customers of one source, or of several together, bar by bar."""

    label: str
    shade: Shade
    customers: tuple[int, ...]

    @property
    def total(self) -> int:
        """Return the customers of all bars."""
        return sum(self.customers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Customers over time: the largest channel first, those of no channel last."""

    interval: Interval
    bars: tuple[Period, ...]
    series: tuple[Series, ...]

    @property
    def totals(self) -> list[int]:
        """Return the height of each bar."""
        return [sum(each.customers[number] for each in self.series) for number in range(len(self.bars))]


def chart(report: Report, *, bars: int, channels: int) -> Chart:
    """Return the chart of *report* with at most *bars* bars, and with *channels* series for channels at most."""
    interval, periods = divide(report.period, bars)
    place = {day: number for number, period in enumerate(periods) for day in period.days}
    heads = _heads(report, channels)
    heights: dict[tuple[Shade, str], list[int]] = {head: [0] * len(periods) for head in heads.values()}
    for cell in report.cells:
        if cell.source in heads:
            heights[heads[cell.source]][place[cell.day]] += cell.count.customers
    return Chart(
        interval=interval,
        bars=tuple(periods),
        series=tuple(
            Series(label=label, shade=shade, customers=tuple(customers))
            for (shade, label), customers in heights.items()
        ),
    )


def divide(period: Period, at_most: int) -> tuple[Interval, list[Period]]:
    """Return *period* in the shortest steps of which there are not more than *at_most*; in years, there may be more."""
    for interval in Interval:
        parts = list(_parts(period, interval))
        if len(parts) <= at_most:
            break
    return interval, parts


def _heads(report: Report, channels: int) -> dict[Source, tuple[Shade, str]]:
    """Return which series each source with customers belongs to, in the order of the series."""
    sources = [row.source for row in report.rows(Dimension.CHANNEL) if row.source and row.count.customers]
    named = [source for source in sources if source.kind is SourceKind.CHANNEL]
    alone = len(named) if len(named) <= channels else channels - 1
    names = [source.name for source in named]
    heads: dict[Source, tuple[Shade, str]] = {}
    for number, source in enumerate(sources):
        if source.kind is SourceKind.UNKNOWN_STATE:
            heads[source] = Shade.UNKNOWN_STATE, _UNKNOWN_LABEL
        elif source.kind is not SourceKind.CHANNEL:
            heads[source] = Shade(source.kind), source.label
        elif number < alone:
            alike = names.count(source.name) > 1
            heads[source] = Shade.CHANNEL, f"{source.name} ({source.key})" if alike else source.name
        else:
            heads[source] = Shade.REST, f"{len(named) - alone} other channels"
    return heads


def _parts(period: Period, interval: Interval) -> Iterator[Period]:
    since = period.since
    while since <= period.until:
        until = min(_last_day(since, interval), period.until)
        yield Period(since=since, until=until)
        since = until + timedelta(days=1)


def _last_day(day: date, interval: Interval) -> date:
    """Return the last day of the week, which begins on Monday, or of the month or year that *day* is in."""
    match interval:
        case Interval.DAY:
            return day
        case Interval.WEEK:
            return day + timedelta(days=6 - day.weekday())
        case Interval.MONTH:
            return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        case Interval.YEAR:
            return day.replace(month=12, day=31)
