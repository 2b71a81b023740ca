"""Count relations, and group what was counted."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.channels.model import Channel, ChannelKey, Channels, TagName
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.domain.reports.census import PRUNED, Census
from shared.domain.reports.figures import Count, Dimension, Period, Report, Row, SourceKind
from shared.domain.templates import parse_template

EXPO = Channel(
    key=ChannelKey("expo26"),
    name="展会26",
    state="qd_expo26",
    remark=parse_template("{channel}-{name}"),
    tags=(TagName(group="来源", tag="展会"),),
)
SHOP = Channel(key=ChannelKey("shop"), name="南京路店", state="qd_shop", remark=parse_template("{channel}-{name}"))
QUIET = Channel(key=ChannelKey("quiet"), name="杂志", state="summer-2026")
CHANNELS = Channels.of(EXPO, SHOP, QUIET)
PERIOD = Period(since=date(2026, 11, 1), until=date(2026, 11, 30))
NOON = int(datetime(2026, 11, 10, 4, tzinfo=UTC).timestamp())
"""Noon in China."""

Day, Chan, Staff = Dimension.DAY, Dimension.CHANNEL, Dimension.STAFF


def a_relation(**given: Any) -> Relation:
    defaults: dict[str, Any] = {
        "staff": StaffUserId("lin.qiao"),
        "customer": ExternalUserId("wm1"),
        "name": "Nana",
        "remark": "Nana",
        "created_at": NOON,
        "state": "qd_expo26",
    }
    return Relation(**{**defaults, **given})


def report_of(*relations: Relation, **given: Any) -> Report:
    census = Census(**{"channels": CHANNELS, "period": PERIOD, **given})
    for relation in relations:
        census.add(relation)
    return census.report()


def labels(rows: list[Row]) -> list[str]:
    return [row.source.label for row in rows if row.source]


def test_a_day_begins_at_midnight_in_china() -> None:
    """A relation belongs to the day it is in China, and the period has both its ends."""
    first = int(datetime(2026, 10, 31, 16, tzinfo=UTC).timestamp())
    last = int(datetime(2026, 11, 30, 15, 59, 59, tzinfo=UTC).timestamp())
    relations = [
        a_relation(customer=f"wm{number}", created_at=at)
        for number, at in enumerate((first - 1, first, last, last + 1))
    ]
    report = report_of(*relations)
    days = {row.day: row.count.relations for row in report.rows(Day) if row.count.relations}
    assert days == {date(2026, 11, 1): 1, date(2026, 11, 30): 1}
    assert report.outside == 2


def test_a_report_counts_as_a_worker_marks() -> None:
    """The date in a remark is that of the zone, and a state means its channel in any case, former ones too."""
    dated = replace(EXPO, remark=parse_template("{date} {name}"), states=("old_*",))
    west = timezone(timedelta(hours=-8))
    relations = [
        a_relation(customer=f"wm{number}", state=state, remark="2026-11-09 Nana")
        for number, state in enumerate(("qd_expo26", " QD_Expo26", "old_7"))
    ]
    (row,) = report_of(*relations, channels=Channels((dated,), west)).rows(Chan)
    assert (row.count.relations, row.count.marked) == (3, 3)


def test_a_relation_without_a_date_is_told_apart() -> None:
    """A relation for which WeCom tells no time is in no group, and is not taken for one of 1970."""
    report = report_of(a_relation(created_at=0))
    assert (report.undated, report.outside, report.total) == (1, 0, Count())


@pytest.mark.parametrize("at", [-1, 10**12, 10**18])
def test_an_absurd_time_is_outside(at: int) -> None:
    """A time that no calendar holds is outside of every period."""
    assert report_of(a_relation(created_at=at)).outside == 1


def test_a_customer_counts_where_they_came_first() -> None:
    """Of a customer's relations only the earliest counts as the customer, in whatever order they are read."""
    relations = [
        a_relation(staff="lin.qiao", state="qd_expo26", created_at=NOON + 60),
        a_relation(staff="zhou.yi", state="qd_shop", created_at=NOON),
        a_relation(staff="wang.wei", state="", created_at=NOON + 86_400),
    ]
    for order in permutations(relations):
        rows = {row.source.label: row.count for row in report_of(*order).rows(Chan) if row.source}
        assert rows["南京路店"].customers == 1
        assert rows["展会26"].customers == rows["no channel code"].customers == 0
        assert [row.relations for row in rows.values()].count(1) == 3


def test_of_two_relations_at_once_always_the_same_counts() -> None:
    """Which of two relations of the same second counts as the customer does not depend on the order of reading."""
    one, other = a_relation(staff="lin.qiao", state="qd_expo26"), a_relation(staff="zhou.yi", state="qd_shop")
    assert report_of(one, other).rows(Chan, Staff) == report_of(other, one).rows(Chan, Staff)


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"remark": "Nana"}, Count(customers=1, relations=1, to_mark=1)),
        ({"remark": "展会26-Nana"}, Count(customers=1, relations=1, to_mark=1, marked=1)),
        ({"remark": "娜娜 13800000000"}, Count(customers=1, relations=1, to_mark=1, person_wrote=1)),
        ({"state": "summer-2026"}, Count(customers=1, relations=1, to_mark=1, marked=1)),
        ({"state": ""}, Count(customers=1, relations=1)),
        ({"state": "qd_gone"}, Count(customers=1, relations=1)),
        ({"state": "other-crm"}, Count(customers=1, relations=1)),
    ],
)
def test_what_is_marked(given: dict[str, str], count: Count) -> None:
    """Marked is what needs no remark and no description, whatever its tags; only channels are marked for."""
    assert report_of(a_relation(**given)).total == count


def test_channels_first_strangers_last() -> None:
    """Channels come by size, empty ones too; then each unknown state, other systems' together, and none."""
    relations = [
        *(a_relation(customer=f"a{number}", state="") for number in range(9)),
        *(a_relation(customer=f"b{number}", state=f"crm-{number}") for number in range(5)),
        *(a_relation(customer=f"c{number}", state="qd_gone") for number in range(4)),
        *(a_relation(customer=f"d{number}", state="qd_shop") for number in range(2)),
        a_relation(customer="e", state="qd_expo26"),
    ]
    rows = report_of(*relations).rows(Chan)
    expected = ["南京路店", "展会26", "杂志", "qd_gone", "other systems' codes", "no channel code"]
    assert labels(rows) == expected
    assert [row.count.relations for row in rows] == [2, 1, 0, 4, 5, 9]


def test_too_many_unknown_states_are_put_together() -> None:
    """Of very many unknown states the most frequent are named; the rest is one group, and nothing is lost."""
    relations = [
        a_relation(customer=f"{number}-{copy}", state=f"qd_gone{number:02}")
        for number in range(30)
        for copy in range(number + 1)
    ]
    rows = [
        row for row in report_of(*relations).rows(Chan) if row.source and row.source.kind is SourceKind.UNKNOWN_STATE
    ]
    assert labels(rows) == [f"qd_gone{number}" for number in range(29, 9, -1)] + ["more unknown states"]
    assert sum(row.count.relations for row in rows) == len(relations)
    assert rows[-1].count.relations == sum(range(1, 11))


def test_only_what_was_asked_for() -> None:
    """With some channels chosen, neither the others nor relations without a channel are counted or named."""
    states = ("qd_expo26", "qd_shop", "", "crm", "qd_gone")
    relations = [a_relation(customer=state, state=state) for state in states]
    report = report_of(*relations, only={ChannelKey("shop")})
    assert labels(report.rows(Chan)) == ["南京路店"]
    assert report.total.relations == 1
    assert report.slips == ()


def test_states_that_look_misspelt() -> None:
    """A state that resembles a channel's is told with a guess, ours or not; one that resembles none is not."""
    states = ["qd_expo62", "qd_expo62", "sumer-2026", "12345"]
    relations = [a_relation(customer=f"wm{number}", state=state) for number, state in enumerate(states)]
    slips = [(slip.state, slip.relations, slip.hint) for slip in report_of(*relations).slips]
    assert slips == [("qd_expo62", 2, "did you mean 'qd_expo26'?"), ("sumer-2026", 1, "did you mean 'summer-2026'?")]


def test_a_state_that_was_pruned_is_no_slip_of_the_pen() -> None:
    """However near another channel's it is: there was such a code, and its customers are told apart."""
    report = report_of(a_relation(customer="wm1", state="qd_expo25"), pruned=["qd_expo25"])
    (slip,) = report.slips
    assert (slip.state, slip.hint) == ("qd_expo25", PRUNED)


def test_a_state_cannot_move_the_cursor() -> None:
    """A state is shown without control and direction characters, which anybody can put into a link."""
    (row,) = [row for row in report_of(a_relation(state="qd_\x1b[2J\u202eoh\n")).rows(Chan) if row.count.relations]
    assert labels([row]) == ["qd_\ufffd[2J\ufffdoh\ufffd"]


def test_days_and_members() -> None:
    """Each day of the period is there, in time; members come by size, each under one spelling."""
    relations = [
        a_relation(customer="1", staff="zhou.yi"),
        a_relation(customer="2", staff="lin.qiao"),
        a_relation(customer="3", staff="Lin.Qiao"),
    ]
    report = report_of(*relations)
    assert [row.day for row in report.rows(Day)] == [PERIOD.since + timedelta(days=number) for number in range(30)]
    assert [(row.staff, row.count.customers) for row in report.rows(Staff)] == [("lin.qiao", 2), ("zhou.yi", 1)]
    assert [(row.staff, row.day) for row in report.rows(Staff, Day)] == [
        ("lin.qiao", date(2026, 11, 10)),
        ("zhou.yi", date(2026, 11, 10)),
    ]


RELATIONS = st.lists(
    st.builds(
        a_relation,
        staff=st.sampled_from(["lin.qiao", "zhou.yi", "wang.wei"]),
        customer=st.sampled_from([f"wm{number}" for number in range(8)]),
        remark=st.sampled_from(["Nana", "展会26-Nana", "南京路店-Nana", "老王", ""]),
        created_at=st.integers(NOON - 30 * 86_400, NOON + 30 * 86_400),
        state=st.sampled_from(["qd_expo26", "qd_shop", "summer-2026", "qd_gone", "crm-1", "crm-2", ""]),
    ),
    max_size=30,
    unique_by=lambda relation: (relation.staff, relation.customer),
)


@given(RELATIONS, st.randoms())
def test_sums_agree_across_groupings(relations: list[Relation], random: Random) -> None:
    """However relations are grouped and in whatever order they come, the groups add up to the same total."""
    report = report_of(*relations)
    inside = [relation for relation in relations if PERIOD.since <= _day(relation) <= PERIOD.until]
    assert report.total.relations == len(inside)
    assert report.total.customers == len({relation.customer for relation in inside})
    assert report.outside == len(relations) - len(inside)
    shuffled = random.sample(relations, len(relations))
    for by in [(), (Chan,), (Day,), (Staff,), (Chan, Day), (Staff, Chan), (Day, Staff), (Chan, Day, Staff)]:
        rows = report.rows(*by)
        assert sum((row.count for row in rows), Count()) == report.total
        assert len({replace(row, count=Count()) for row in rows}) == len(rows)
        assert report_of(*shuffled).rows(*by) == rows


@given(RELATIONS)
def test_every_customer_is_counted_where_a_plain_count_finds_them(relations: list[Relation]) -> None:
    """The streamed count equals one that has everything at hand."""
    first: dict[str, Relation] = {}
    for relation in sorted(relations, key=lambda each: (each.created_at, each.staff)):
        if PERIOD.since <= _day(relation) <= PERIOD.until:
            first.setdefault(relation.customer, relation)
    expected: dict[StaffUserId, Counter[date]] = defaultdict(Counter)
    for relation in first.values():
        expected[relation.staff][_day(relation)] += 1
    found: dict[StaffUserId, Counter[date]] = defaultdict(Counter)
    for row in report_of(*relations).rows(Staff, Day):
        if row.count.customers and row.staff and row.day:
            found[row.staff][row.day] += row.count.customers
    assert found == expected


def _day(relation: Relation) -> date:
    return (datetime.fromtimestamp(relation.created_at, UTC) + timedelta(hours=8)).date()
