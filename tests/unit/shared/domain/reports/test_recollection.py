"""Relations put together again from what entries tell."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.channels.model import Channel, ChannelKey, Channels
from shared.domain.relations import Relation
from shared.domain.reports.census import Census
from shared.domain.reports.figures import Count, Dimension, Period, Report
from shared.domain.reports.recollection import Recollection, Told
from shared.domain.templates import parse_template

REMARK = parse_template("{channel}-{name}")
CHANNELS = Channels.of(
    Channel(key=ChannelKey("expo"), name="展会", state="qd_expo", remark=REMARK),
    Channel(key=ChannelKey("shop"), name="门店", state="qd_shop", remark=REMARK),
)
PERIOD = Period(since=date(2026, 11, 1), until=date(2026, 11, 30))
NOON = int(datetime(2026, 11, 10, 4, tzinfo=UTC).timestamp())
DAY = 86_400


def told(**given) -> Told:
    fields = {
        "customer": "wm1",
        "staff": "lin.qiao",
        "task": "mark",
        "result": "marked",
        "reason": "",
        "state": "qd_expo",
        "created_at": NOON,
    }
    return Told(**{**fields, **given})


def went(at: int, *, result: str = "lost", **given) -> Told:
    return told(task="lost", result=result, reason="by_customer", state="", created_at=at, **given)


def report_of(*entries: Told, staff=(), only=()) -> Report:
    census = Census(CHANNELS, PERIOD, only)
    recollection = Recollection(census, staff)
    for entry in entries:
        recollection.hear([entry])
    recollection.end()
    return census.report()


MARKED = Count(customers=1, relations=1, to_mark=1, marked=1)
UNMARKED = replace(MARKED, marked=0)


@pytest.mark.parametrize(
    ("entries", "count"),
    [
        ([told()], MARKED),
        ([told(reason="states_disagree")], MARKED),
        ([told(result="skipped", reason="already_right")], MARKED),
        ([told(result="skipped", reason="person_wrote")], replace(UNMARKED, person_wrote=1)),
        ([told(result="marked", reason="person_wrote")], replace(UNMARKED, person_wrote=1)),
        ([told(result="skipped", reason="ours_older")], replace(UNMARKED, ours_older=1)),
        ([told(result="parked", reason="the member is gone")], UNMARKED),
        ([told(result="skipped", reason="unknown_state", state="qd_gone")], Count(customers=1, relations=1)),
        ([told(result="skipped", reason="foreign_state", state="crm")], Count(customers=1, relations=1)),
        ([told(result="skipped", reason="no_state", state="")], Count(customers=1, relations=1)),
        ([told(result="skipped", reason="person_wrote"), told()], MARKED),
        ([told(), told(result="parked", reason="busy")], UNMARKED),
        ([told(), told(result="skipped", reason="edited", created_at=NOON - 1)], MARKED),
        ([told(), told(task="look", result="parked", reason="busy")], MARKED),
        ([told(result="parked", reason="busy"), told(task="look", result="repeated")], MARKED),
        ([told(created_at=0)], Count()),
        ([told(result="settled", reason="never_accepted", created_at=0)], Count()),
    ],
)
def test_the_latest_end_tells_how_a_relation_is_marked(entries, count):
    """As a look at WeCom would count it; what tells nothing of the mark, or of no relation, changes nothing."""
    assert report_of(*entries).total == count


@pytest.mark.parametrize(
    ("entries", "lost"),
    [
        ([told(), went(NOON + 60)], 1),
        ([went(NOON + 60), told()], 1),
        ([told(), went(NOON + 60), told(created_at=NOON + 120)], 0),
        ([told(), went(NOON + 60), told(created_at=NOON + 120), went(NOON + 180)], 1),
        ([told(), went(NOON + 60, result="transferred")], 0),
        ([told(result="settled", reason="gone")], 1),
        ([told(), told(task="look", result="skipped", reason="gone", state="")], 1),
    ],
)
def test_lost_is_who_went_and_did_not_come_again(entries, lost):
    """By the times of the events, in whatever order they were worked off; whoever is lost is counted all the same."""
    (row,) = [row for row in report_of(*entries).rows(Dimension.CHANNEL) if row.count.relations]
    assert (row.source.key, row.count.customers, row.count.relations, row.count.lost) == ("expo", 1, 1, lost)


def test_an_end_without_a_beginning_is_no_relation():
    """The customer came before the journal was read from: they are not of the period."""
    report = report_of(went(NOON))
    assert (report.total, report.outside) == (Count(), 0)


def test_a_relation_counts_on_the_day_of_its_latest_add():
    """Who comes again, through another channel, came then and there."""
    report = report_of(told(created_at=NOON - DAY), went(NOON - 60), told(state="qd_shop", created_at=NOON))
    rows = [row for row in report.rows(Dimension.CHANNEL, Dimension.DAY) if row.count.relations]
    assert [(row.source.key, row.day.day) for row in rows] == [("shop", 10)]


def test_one_member_under_two_spellings_is_one_relation():
    """WeCom does not tell Lin from lin."""
    assert report_of(told(), told(staff="Lin.Qiao")).total == MARKED


def test_only_the_members_asked_for():
    """Others' relations are neither counted nor do they keep the customer from being counted."""
    entries = [told(created_at=NOON - 60), told(staff="Zhou.Yi", created_at=NOON)]
    report = report_of(*entries, staff=["zhou.yi"])
    assert [(row.staff, row.count.customers) for row in report.rows(Dimension.STAFF)] == [("Zhou.Yi", 1)]


RELATIONS = st.lists(
    st.builds(
        Relation,
        staff=st.sampled_from(["lin.qiao", "zhou.yi", "wang.wei"]),
        customer=st.sampled_from([f"wm{number}" for number in range(8)]),
        name=st.just("Nana"),
        remark=st.sampled_from(["Nana", "展会-Nana", "门店-Nana", "老王", ""]),
        created_at=st.integers(NOON - 30 * DAY, NOON + 30 * DAY),
        state=st.sampled_from(["qd_expo", "qd_shop", "qd_gone", "qd_exop", "crm-1", ""]),
    ),
    max_size=30,
    unique_by=lambda relation: (relation.staff, relation.customer),
)


@given(RELATIONS, st.sampled_from([(), (ChannelKey("shop"),)]))
def test_the_journal_counts_as_wecom_does(relations, only):
    """Told of each relation what a worker found, the same customers are in the same groups."""
    read = Census(CHANNELS, PERIOD, only)
    entries = []
    for relation in sorted(relations, key=lambda each: each.customer):
        alone = Census(CHANNELS, Period(since=date(2020, 1, 1), until=date(2030, 1, 1)))
        alone.add(relation)
        found = alone.report().total
        reason = next((name for name in ("person_wrote", "ours_older") if getattr(found, name)), "")
        result = "marked" if found.marked else "skipped"
        entries.append(
            told(
                customer=relation.customer,
                staff=relation.staff,
                result=result,
                reason=reason,
                state=relation.state,
                created_at=relation.created_at,
            )
        )
        read.add(relation)
    from_wecom, remembered = read.report(), report_of(*entries, only=only)
    everything = (Dimension.CHANNEL, Dimension.DAY, Dimension.STAFF)
    assert remembered.rows(*everything) == from_wecom.rows(*everything)
    assert (remembered.outside, remembered.slips) == (from_wecom.outside, from_wecom.slips)
