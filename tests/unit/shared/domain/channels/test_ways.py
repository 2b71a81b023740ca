"""How contact ways differ, and what of it WeCom can change."""

from dataclasses import replace
from typing import Any

import pytest

from shared.domain.channels.file import load_channels
from shared.domain.channels.model import Channel
from shared.domain.channels.ways import ContactWayType, WayFields, changes, fixed_differences
from shared.domain.ids import StaffUserId

LIN, ZHOU = StaffUserId("lin.qiao"), StaffUserId("zhou.yi")
SINGLE, MULTIPLE = ContactWayType.SINGLE, ContactWayType.MULTIPLE
FIELDS = WayFields(memo="m", staff=(LIN, ZHOU), party=(3,), is_exclusive=False)


def channel(lines: str) -> Channel:
    (only,) = load_channels(f'[channels.a]\nname = "A"\n{lines}\n').all
    return only


def test_a_channel_wants_a_way_that_may_grow():
    """A way is for several members even when there is one, since its type cannot be changed later."""
    wanted = channel('staff = ["lin.qiao"]\nmemo = "hall"\nis_exclusive = true').way
    assert wanted == WayFields(memo="hall", staff=(LIN,), type=MULTIPLE, is_exclusive=True)


@pytest.mark.parametrize(
    ("lines", "expected"), [("style = 3", (SINGLE, 3)), ("style = 2", (MULTIPLE, 2)), ("", (2, 1))]
)
def test_a_button_has_a_style(lines: str, expected: tuple[int, int]):
    """The style of a single member takes a way for one; a button without a style has WeCom's first."""
    wanted = channel(f'staff = ["lin.qiao"]\nscene = 1\n{lines}').way
    assert (wanted.type, wanted.style) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [("memo", "n"), ("staff", (LIN,)), ("party", ()), ("style", 2), ("skip_verify", False)],
)
def test_what_can_be_changed_is_told_field_by_field(field: str, value: Any):
    """Each field that differs is a change with its value before and after, and needs no new way."""
    wanted = replace(FIELDS, **{field: value})
    (change,) = changes(FIELDS, wanted)
    shown = [list(v) if isinstance(v, tuple) else v for v in (getattr(FIELDS, field), value)]
    assert [change.field, change.before, change.after] == [field, *shown]
    assert fixed_differences(FIELDS, wanted) == []


def test_order_and_case_of_members_do_not_count():
    """WeCom compares userids ignoring case and keeps no order."""
    same = replace(FIELDS, staff=(StaffUserId("ZHOU.yi"), LIN))
    assert changes(FIELDS, same) == ()


@pytest.mark.parametrize(
    ("actual", "wanted", "fixed"),
    [
        ({"scene": 2}, {"scene": 1}, ["scene"]),
        ({"is_exclusive": False}, {"is_exclusive": True}, ["is_exclusive"]),
        ({"is_exclusive": None}, {"is_exclusive": True}, []),
        ({"type": SINGLE, "staff": (LIN,), "party": ()}, {"staff": (ZHOU,), "party": ()}, []),
        ({"type": SINGLE, "staff": (LIN,), "party": ()}, {"staff": (LIN, ZHOU), "party": ()}, ["type"]),
        ({"type": SINGLE, "staff": (LIN,), "party": ()}, {"staff": (LIN,), "party": (3,)}, ["type"]),
        ({"type": MULTIPLE}, {"type": SINGLE, "staff": (LIN,), "party": ()}, ["type"]),
    ],
)
def test_what_takes_a_new_way(actual: dict[str, Any], wanted: dict[str, Any], fixed: list[str]):
    """Scene, type and exclusiveness are for ever; a way for one serves any one member."""
    assert fixed_differences(replace(FIELDS, **actual), replace(FIELDS, **wanted)) == fixed
