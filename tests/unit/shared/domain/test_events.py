"""The identity of work, and the lanes it takes."""

from dataclasses import replace
from typing import get_args

import pytest

from shared.domain.events import (
    ChatArchiveApproved,
    CustomerAdded,
    CustomerEdited,
    CustomerHalfAdded,
    CustomerLost,
    Lane,
    LostBy,
    RelationFound,
    Task,
    UnknownEvent,
    Work,
    event_id,
    lanes_of,
)
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId, same_staff
from shared.queue.message import decode, encode
from workers.dispatch import HANDLERS

FIELDS = {
    "corp": CorpId("ww1"),
    "staff": StaffUserId("lin.qiao"),
    "customer": ExternalUserId("wm1"),
    "created_at": 1795320000,
    "state": "qd_a",
}
ADDED = CustomerAdded(**FIELDS, welcome_code="code")


def test_copies_of_one_event_are_one():
    """The same fields give the same id, which does not change from release to release."""
    assert event_id(ADDED) == event_id(replace(ADDED))
    assert event_id(RelationFound(**FIELDS)) == event_id(RelationFound(**FIELDS))
    assert len(event_id(ADDED)) == 32


@pytest.mark.parametrize(
    "other",
    [
        replace(ADDED, corp=CorpId("ww2")),
        replace(ADDED, staff=StaffUserId("zhou.yi")),
        replace(ADDED, customer=ExternalUserId("wm2")),
        replace(ADDED, created_at=1795320001),
        replace(ADDED, state=""),
        replace(ADDED, welcome_code=""),
        CustomerHalfAdded(**FIELDS, welcome_code="code"),
        RelationFound(**FIELDS),
    ],
)
def test_events_that_differ_in_one_field_are_two(other):
    """Two customers added to one member in the same second are not merged."""
    assert event_id(other) != event_id(ADDED)


def test_who_ended_a_relation_makes_two_events():
    """Member and customer may remove each other within a second; a copy of either is the same event."""
    by = {who: event_id(CustomerLost(**{**FIELDS, "state": ""}, by=who)) for who in LostBy}
    assert len(set(by.values())) == len(LostBy)
    assert by[LostBy.MEMBER] == event_id(CustomerLost(**{**FIELDS, "state": ""}, by=LostBy.MEMBER))


@pytest.mark.parametrize(
    ("event", "lanes"),
    [
        (ADDED, (Lane.FAST, Lane.LIVE)),
        (replace(ADDED, welcome_code=""), (Lane.LIVE,)),
        (CustomerHalfAdded(**FIELDS, welcome_code="code"), (Lane.FAST, Lane.LIVE)),
        (RelationFound(**FIELDS), (Lane.BULK,)),
        (replace(CustomerEdited(**FIELDS), state=""), ()),
        (replace(CustomerEdited(**FIELDS), state="qd_expo"), (Lane.LIVE,)),
        (ChatArchiveApproved(**FIELDS, welcome_code="code"), (Lane.FAST,)),
        (ChatArchiveApproved(**FIELDS), ()),
        (CustomerLost(**{**FIELDS, "state": ""}, by=LostBy.TRANSFER), (Lane.LIVE,)),
        (UnknownEvent(corp=CorpId("ww1"), event="e", change="c", created_at=1), ()),
    ],
)
def test_events_take_their_lanes(event, lanes):
    """Whoever has a code goes to the fast lane too; what nobody handles goes nowhere."""
    assert lanes_of(event) == lanes


def test_userids_are_compared_without_case():
    """WeCom does not tell Lin from lin."""
    assert same_staff(StaffUserId("Lin.Qiao"), StaffUserId("lin.qiao"))
    assert not same_staff(StaffUserId("lin"), StaffUserId("lin.qiao"))


def test_every_kind_of_work_has_lanes_a_name_and_a_handler():
    """Work that one table knows and another does not would be dropped, or never done."""
    for kind in get_args(Work):
        fields = {"corp": "ww1", "staff": "lin", "customer": "wm1", "created_at": 1}
        fields |= {name: 1 for name in ("written_at",) if name in kind.__slots__}
        fields |= {name: LostBy.MEMBER for name in ("by",) if name in kind.__slots__}
        work = kind(**fields)
        told = {name: "a" for name in ("state", "welcome_code") if name in kind.__slots__}
        assert lanes_of(replace(work, **told))
        assert decode(encode(work)) == work
    assert set(HANDLERS) == set(Task)
