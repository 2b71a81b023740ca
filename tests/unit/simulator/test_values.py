"""Names, ids, lengths, messages, faults and knobs."""

import xml.etree.ElementTree as ET
from random import Random

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator import Fault, FaultRule, SimulatorConfig
from simulator.config import LengthUnit, TokenRenewal
from simulator.events import message
from simulator.faults import Faults
from simulator.identifiers import Identifiers
from simulator.names import nickname
from simulator.remarks import cut, length

XML_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="￾￿"))


def test_nicknames_are_of_every_kind() -> None:
    """Chinese, emoji, flags, right-to-left, 64 characters, none; the same for the same seed."""
    names = [nickname(Random(seed)) for seed in range(3000)]
    assert names == [nickname(Random(seed)) for seed in range(3000)]
    assert "" in names
    assert {64} <= {len(name) for name in names}
    assert any("\u202e" in name for name in names)
    assert any("🇨🇳" in name for name in names)
    assert any("👨‍👩‍👧‍👦" in name for name in names)
    assert sum(all("一" <= c <= "鿿" for c in name) and len(name) in {2, 3} for name in names) > 1000


def test_ids_have_the_vendors_shapes() -> None:
    """Prefixes, lengths, and no two alike."""
    ids = Identifiers(Random(1))
    customers = {ids.external_userid() for _ in range(1000)}
    assert len(customers) == 1000
    assert {(customer[:2], len(customer)) for customer in customers} == {("wm", 32), ("wo", 32)}
    assert (len(ids.config_id()), len(ids.access_token(512))) == (32, 512)
    assert ids.hint(1767229399.9) != ids.hint(1767229399.9)
    assert ids.hint(1767229399.9).startswith("1767229399")


@pytest.mark.parametrize(
    ("unit", "expected"),
    [(LengthUnit.CODE_POINTS, 6), (LengthUnit.UTF16, 10), (LengthUnit.BYTES, 22), (LengthUnit.GRAPHEMES, 2)],
)
def test_lengths_are_counted_in_each_unit(unit: LengthUnit, expected: int) -> None:
    """An ideograph beyond the basic plane and a family of three, in four units."""
    assert length("\U00020bb7" + "\U0001f468\u200d\U0001f469\u200d\U0001f467", unit) == expected


@given(st.text(max_size=60), st.sampled_from(LengthUnit), st.integers(0, 20))
def test_a_cut_text_is_a_beginning_that_fits(text: str, unit: LengthUnit, limit: int) -> None:
    """Never longer than the limit, always a beginning, untouched when it fits."""
    shorter = cut(text, limit, unit)
    assert text.startswith(shorter)
    assert length(shorter, unit) <= limit
    assert shorter == text or length(text, unit) > limit


@given(XML_TEXT, XML_TEXT)
def test_a_message_carries_any_text(state: str, name: str) -> None:
    """What goes into an element comes out of a parser, whatever it contains."""
    fields = {"Event": "t", "State": state, "Name": name}
    parsed = {child.tag: child.text or "" for child in ET.fromstring(message("ww", 7, fields))}
    assert parsed == {"ToUserName": "ww", "FromUserName": "sys", "CreateTime": "7", "MsgType": "event"} | fields
    as_json = orjson.loads(message("ww", 7, fields, as_json=True))
    assert as_json == parsed | {"CreateTime": 7}


def test_scripted_faults_come_before_those_by_chance() -> None:
    """The next calls are hit in order; then chance; gettoken only by its own rule."""
    faults = Faults(Random(1))
    always = FaultRule(fault=Fault.ERRCODE, rate=1.0)
    scripted = FaultRule(fault=Fault.STATUS, endpoint="get", count=1)
    faults.add(always)
    faults.add(scripted)
    assert [faults.strike(name, "lin") for name in ("get", "get", "list", "gettoken")] == [
        scripted,
        always,
        always,
        None,
    ]
    assert (always.code, scripted.code, always.hits, scripted.hits) == (-1, 502, 2, 1)


def test_knobs_take_plain_values() -> None:
    """Words, lists and whole numbers from JSON or TOML become what the knob needs."""
    plain = {"token_renewal": "new", "early_seconds": [1, 2], "callback_timeout": 1, "latency": {"gettoken": 0}}
    config = SimulatorConfig().changed(**plain)
    assert config.token_renewal is TokenRenewal.NEW
    assert (config.early_seconds, config.callback_timeout) == ((1.0, 2.0), 1.0)
    assert config.latency == {"gettoken": 0.0}


@pytest.mark.parametrize(
    "change",
    [
        {"no_such": 1},
        {"seed": "x"},
        {"seed": True},
        {"drop_rate": -0.1},
        {"envelope": "yaml"},
        {"api_events": 1},
        {"early_seconds": [1]},
        {"latency": 3},
    ],
)
def test_a_knob_refuses_what_does_not_fit(change: dict) -> None:
    """Unknown knobs and values of the wrong kind are refused."""
    with pytest.raises(ValueError, match=r"knob|cannot be|not a valid"):
        SimulatorConfig().changed(**change)
