"""The names of the quota's queues."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from shared.quota.acquirer import Window
from shared.quota.names import Names
from shared.quota.port import Limits

LIMITS = Limits()

ALLOWED = re.compile(r"[A-Za-z0-9._:-]{1,255}")


def test_a_known_api_can_be_read_off_its_queue() -> None:
    """Whoever looks at the broker sees what a queue is for."""
    names = Names("ww0123", "qudao")
    window = names.window("externalcontact/get", Window.MINUTE, LIMITS)
    assert window == "qudao.quota.ww0123.externalcontact.get.minute.7197.60300.v1"
    assert names.places("externalcontact/get", LIMITS) == "qudao.quota.ww0123.externalcontact.get.places.3.v2"


def test_other_limits_have_other_queues() -> None:
    """A queue's arguments never change."""
    names = Names("ww0123")
    other = replace(LIMITS, per_minute=5000, in_flight=2)
    assert names.window("a", Window.MINUTE, LIMITS) != names.window("a", Window.MINUTE, other)
    assert names.places("a", LIMITS) != names.places("a", other)


@given(st.text(max_size=300), st.text(max_size=300))
def test_two_apis_never_share_a_queue(one: str, other: str) -> None:
    """Whatever they are called, the broker takes the name and it belongs to one API alone."""
    names = Names("ww0123")
    first, second = names.window(one, Window.HOUR, LIMITS), names.window(other, Window.HOUR, LIMITS)
    assert ALLOWED.fullmatch(first)
    assert (first == second) == (one == other)
