"""What a chart shows."""

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.channels.model import Channel, ChannelKey, Channels
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.domain.reports.census import Census
from shared.domain.reports.charts import Chart, Interval, Shade, chart, divide
from shared.domain.reports.figures import Period, Report

FIRST = date(2026, 11, 2)
MIDNIGHT = 1793548800
"""When the first day begins in China; a Monday."""
DAY = 86_400


def the_channels(*names: str) -> Channels:
    return Channels.of(
        *(Channel(key=ChannelKey(f"c{number}"), name=name, state=f"qd_c{number}") for number, name in enumerate(names))
    )


def a_report(channels: Channels, states: Sequence[tuple[str, int]], *, days: int = 7) -> Report:
    """Return a report with a customer for each of *states*, who came on the day of that number."""
    census = Census(channels, Period(since=FIRST, until=FIRST + timedelta(days=days - 1)))
    for number, (state, day) in enumerate(states):
        census.add(
            Relation(
                staff=StaffUserId("lin.qiao"),
                customer=ExternalUserId(f"wm{number}"),
                name="Nana",
                created_at=MIDNIGHT + day * DAY + 3600,
                state=state,
            )
        )
    return census.report()


def heads(drawn: Chart) -> list[tuple[str, str, int]]:
    return [(series.shade.value, series.label, series.total) for series in drawn.series]


def test_a_series_for_each_channel() -> None:
    """Each channel with customers has a series, the largest first; then come unknown, foreign and missing states."""
    states = [("", 0), ("", 0), ("", 0), ("crm", 1), ("qd_x", 2), ("qd_y", 2), ("qd_c1", 3), ("qd_c1", 4), ("qd_c0", 6)]
    drawn = chart(a_report(the_channels("展会", "门店", "杂志"), states), bars=10, channels=5)
    assert heads(drawn) == [
        ("channel", "门店", 2),
        ("channel", "展会", 1),
        ("unknown_state", "codes of no channel", 2),
        ("foreign_state", "other systems' codes", 1),
        ("no_state", "no channel code", 3),
    ]
    assert drawn.interval is Interval.DAY
    assert drawn.totals == [3, 1, 2, 1, 1, 0, 1]


def test_the_smaller_channels_together() -> None:
    """Where there are more channels than a chart can tell apart, the smaller ones are one series."""
    states = [(f"qd_c{number}", 0) for number in range(5) for _ in range(5 - number)]
    drawn = chart(a_report(the_channels("a", "b", "c", "d", "e"), states), bars=10, channels=3)
    assert heads(drawn) == [("channel", "a", 5), ("channel", "b", 4), ("rest", "3 other channels", 6)]
    one_bar = chart(a_report(the_channels("a", "b"), states[:3]), bars=1, channels=1)
    assert [series.shade for series in one_bar.series] == [Shade.CHANNEL]


def test_channels_of_the_same_name_are_told_apart() -> None:
    """Two channels that are called the same are told apart by their keys."""
    drawn = chart(a_report(the_channels("店", "店"), [("qd_c0", 0), ("qd_c1", 0)]), bars=10, channels=5)
    assert [series.label for series in drawn.series] == ["店 (c0)", "店 (c1)"]


def test_nobody_came() -> None:
    """Without customers there are bars, all of them empty, and no series."""
    drawn = chart(a_report(the_channels("a"), []), bars=10, channels=5)
    assert drawn.series == ()
    assert drawn.totals == [0] * 7


@pytest.mark.parametrize(
    ("days", "interval", "bars"),
    [
        (31, Interval.DAY, 31),
        (32, Interval.WEEK, 5),
        (240, Interval.MONTH, 8),
        (3000, Interval.YEAR, 10),
    ],
)
def test_longer_periods_have_longer_bars(days: int, interval: Interval, bars: int) -> None:
    """The bars are days while they fit, then weeks from Monday, months, and years."""
    found, periods = divide(Period(since=FIRST, until=FIRST + timedelta(days=days - 1)), 31)
    assert (found, len(periods)) == (interval, bars)


@given(st.dates(date(2016, 1, 1), date(2040, 1, 1)), st.integers(0, 4000), st.integers(1, 70))
def test_bars_cover_each_day_once(since: date, length: int, at_most: int) -> None:
    """Whatever the period, each of its days is in exactly one bar, in order."""
    period = Period(since=since, until=since + timedelta(days=length))
    interval, bars = divide(period, at_most)
    assert [day for bar in bars for day in bar.days] == period.days
    assert len(bars) <= at_most or interval is Interval.YEAR


def test_a_channel_whose_customers_all_came_before() -> None:
    """A channel whose customers had all come through another one first has relations, and no series."""
    census = Census(the_channels("a", "b"), Period(since=FIRST, until=FIRST + timedelta(days=6)))
    for number, staff in enumerate(("lin.qiao", "zhou.yi")):
        census.add(
            Relation(
                staff=StaffUserId(staff),
                customer=ExternalUserId("wm1"),
                name="Nana",
                created_at=MIDNIGHT + number * DAY,
                state=f"qd_c{number}",
            )
        )
    drawn = chart(census.report(), bars=10, channels=5)
    assert heads(drawn) == [("channel", "a", 1)]
