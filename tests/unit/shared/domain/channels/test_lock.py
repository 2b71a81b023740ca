"""The lock: what it remembers of calls that may have made a contact way."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.channels.lock import SETTLED, LockedWay, LockedWays
from shared.domain.channels.model import ChannelKey
from shared.domain.channels.ways import Way, WayFields
from shared.domain.ids import ContactWayId, CorpId

KEY = ChannelKey("a")
FIELDS = WayFields(memo="A", is_exclusive=True)
EMPTY = LockedWays(corp_id=CorpId("ww1"))


def found(name: str, *, state: str = "qd_a", memo: str = "A") -> Way:
    return Way(config_id=ContactWayId(name), state=state, fields=WayFields(memo=memo), qr_code=f"https://q/{name}")


def way(name: str, key: ChannelKey = KEY, state: str = "qd_a") -> LockedWay:
    return LockedWay(key=key, state=state, config_id=ContactWayId(name), fields=FIELDS)


def begun(times: int = 1, lock: LockedWays = EMPTY) -> LockedWays:
    for number in range(times):
        lock = lock.begun(KEY, "qd_a", FIELDS, now=100.0 + number)
    return lock


def test_a_call_that_was_answered_leaves_nothing_open():
    """An intent ends with the answer to its only call."""
    lock = begun().made(way("c1"))
    assert (lock.intents, [w.config_id for w in lock.ways()]) == ({}, ["c1"])


def test_a_refused_call_leaves_nothing_open():
    """A call that made nothing is not counted."""
    assert begun().refused("qd_a") == EMPTY
    assert begun(2).refused("qd_a").intents["qd_a"].attempts == 1


def test_a_call_without_an_answer_stays_open_behind_a_later_answer():
    """After a repeat that was answered the first call may still turn out to have made a way."""
    lock = begun(2).made(way("c2"))
    assert lock.intents["qd_a"].made == ("c2",)
    resolved = lock.resolved("qd_a", [found("c1")], now=103.0)
    assert [w.config_id for w in resolved.duplicates()] == ["c1"]
    assert resolved.channels[KEY].config_id == "c2"
    assert resolved.intents == {}, "both calls are accounted for"


def test_what_a_lost_answer_made_becomes_the_channels_way():
    """The way found is taken over, with what only the intent knows about it."""
    lock = begun().resolved("qd_a", [found("c1")], now=101.0)
    assert lock.channels[KEY] == LockedWay(
        key=KEY,
        state="qd_a",
        config_id=ContactWayId("c1"),
        qr_code="https://q/c1",
        fields=FIELDS,
        created_at=100,
    )
    assert lock.intents == {}


def test_two_of_our_own_are_one_too_many():
    """Of two ways made by two calls one is kept and the other is a duplicate."""
    lock = begun(2).resolved("qd_a", [found("c2"), found("c1")], now=102.0)
    assert (lock.channels[KEY].config_id, [w.config_id for w in lock.duplicates()]) == ("c1", ["c2"])


def test_more_than_we_can_have_made_is_left_alone():
    """When there are more ways than calls of ours, somebody else made some: none is taken and none deleted."""
    lock = begun().resolved("qd_a", [found("c1"), found("c2")], now=101.0)
    assert list(lock.ways()) == []
    assert lock.intents["qd_a"].attempts == 1


@pytest.mark.parametrize(("later", "open_"), [(SETTLED - 1, True), (SETTLED, False)])
def test_an_intent_ends_once_its_call_can_make_nothing_more(later: float, open_: bool):
    """A call may be carried out after its caller gave up on it, but not for ever."""
    assert bool(begun().resolved("qd_a", [], now=100 + later).intents) is open_


def test_a_memo_changed_between_two_calls_is_recognised():
    """Ways made before and after a change of the memo are both ours; one with another memo or state is not."""
    lock = begun().begun(KEY, "qd_a", WayFields(memo="B"), now=101.0)
    intent = lock.intents["qd_a"]
    assert intent.looks_like(found("c1"))
    assert intent.looks_like(found("c1", memo="B"))
    assert not intent.looks_like(found("c1", memo="C"))
    assert not intent.looks_like(found("c1", state="qd_b"))


def test_a_new_way_retires_the_old_one():
    """The way that a channel had stays in the lock."""
    lock = EMPTY.assigned(way("old")).assigned(way("new", state="qd_b"))
    assert (lock.channels[KEY].config_id, [w.config_id for w in lock.retired]) == ("new", ["old"])
    assert lock.assigned(lock.retired[0]).channels[KEY].config_id == "old"
    assert len(list(lock.assigned(lock.retired[0]).ways())) == 2


STEPS: dict[str, Callable[[LockedWays, int], LockedWays]] = {
    "call": lambda lock, n: lock.begun(KEY, "qd_a", FIELDS, now=float(n)),
    "refusal": lambda lock, n: lock.refused("qd_a") if "qd_a" in lock.intents else lock,
    "answer": lambda lock, n: lock.made(way(f"c{n}")) if "qd_a" in lock.intents else lock,
    "look": lambda lock, n: lock.resolved("qd_a", [found(f"c{n}")], now=float(n)) if "qd_a" in lock.intents else lock,
}


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_no_way_is_ever_forgotten(names: list[str]):
    """Whatever the order of calls, answers and looks: each way that was named once is in the lock once."""
    lock, named = EMPTY, set()
    for number, name in enumerate(names):
        before = lock
        lock = STEPS[name](lock, number)
        if lock != before and (name in ("answer", "look") and f"c{number}" in lock.ids()):
            named.add(f"c{number}")
        if name == "answer" and "qd_a" in before.intents:
            assert f"c{number}" in lock.ids()
    ids = [w.config_id for w in lock.ways()]
    assert sorted(ids) == sorted(named)
