"""The demo's judge finds what is wrong, and only that."""

import pytest

from cli.demo.verdict import judge

NAMES = {"qd_expo": "展会26"}
RULES = {"remarks_written_twice": [], "staff_remarks_overwritten": [], "welcomed_twice": [], "lost_events": 0}


def relation(**changes):
    """A customer who is right."""
    return {
        "userid": "lin",
        "external_userid": "wm1",
        "name": "Nana",
        "way_state": "qd_expo",
        "remark": "展会26-Nana",
        "remark_history": [{"by": "api", "remark": "展会26-Nana"}],
        "tags": [],
        "added_at": 100.0,
        "marked_at": 100.5,
        "welcomed_at": 100.2,
        **changes,
    }


def test_right():
    """A marked customer is right, and the time from scan to mark is taken."""
    verdict = judge([relation()], NAMES, RULES)
    assert verdict.right
    row = verdict.channels[0]
    assert (row.marked, row.welcomed, row.percentile(0.5)) == (1, 1, 0.5)


def test_waiting():
    """A customer without a mark is waiting, so the verdict is not yet right."""
    verdict = judge([relation(marked_at=None, remark="Nana", remark_history=[])], NAMES, RULES)
    assert (verdict.waiting, verdict.right) == (1, False)


@pytest.mark.parametrize(
    "remark",
    ["Nana", "微博-Nana", "展会26-Bob", "展会26-", "展会26Nana", "展会26-Nana" + "x" * 20, "展会26"],
)
def test_wrong_remark(remark):
    """Another channel, another name, no name or too many characters: wrong."""
    assert not judge([relation(remark=remark)], NAMES, RULES).right


@pytest.mark.parametrize("name", ["", " ", "\u200b"])
def test_nameless(name):
    """A customer without a visible name is marked with the channel alone."""
    assert judge([relation(name=name, remark="展会26")], NAMES, RULES).right
    assert not judge([relation(name=name, remark="展会26-")], NAMES, RULES).right


def test_a_persons_remark():
    """A remark by a person must stay; it is counted as left alone."""
    by_staff = [{"by": "staff", "remark": "老客户"}]
    kept = judge([relation(remark="老客户", remark_history=by_staff, marked_at=None)], NAMES, RULES)
    assert kept.right
    assert sum(kept.channels[0].skipped.values()) == 1
    overwritten = [*by_staff, {"by": "api", "remark": "展会26-Nana"}]
    assert not judge([relation(remark_history=overwritten)], NAMES, RULES).right


def test_foreign():
    """A customer of another system's code must not be touched."""
    untouched = relation(way_state="wb:1", remark="Nana", remark_history=[], marked_at=None)
    assert judge([untouched], NAMES, RULES).right
    assert not judge([relation(way_state="wb:1")], NAMES, RULES).right
    assert not judge([{**untouched, "tags": ["et1"]}], NAMES, RULES).right
    by_hand = {**untouched, "remark": "老客户", "remark_history": [{"by": "staff", "remark": "老客户"}]}
    assert judge([by_hand], NAMES, RULES).right


@pytest.mark.parametrize("rule", ["remarks_written_twice", "staff_remarks_overwritten", "welcomed_twice"])
def test_broken_rules(rule):
    """What the simulator saw broken makes the verdict wrong."""
    assert not judge([relation()], NAMES, {**RULES, rule: [["lin", "wm1"]]}).right
    assert not judge([relation()], NAMES, {**RULES, "lost_events": 1}).right
