"""The waiting line of one API."""

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.events import Lane
from shared.quota.line import Line


def take_all(line: Line[str], count: int) -> list[str]:
    return [who for _ in range(count) if (who := line.take(Lane)) is not None]


def test_fast_goes_first_then_live_then_bulk() -> None:
    """The most urgent lane is served first, each lane in the order of arrival."""
    line: Line[str] = Line()
    for who in ("b1", "l1", "f1", "b2", "l2", "f2"):
        line.join({"b": Lane.BULK, "l": Lane.LIVE, "f": Lane.FAST}[who[0]], who)
    assert take_all(line, 9) == ["f1", "f2", "l1", "l2", "b1", "b2"]
    assert len(line) == 0


def test_bulk_has_a_tenth_beside_live() -> None:
    """While both wait, one grant in ten is bulk's."""
    line: Line[str] = Line()
    for number in range(100):
        line.join(Lane.LIVE, f"l{number}")
        line.join(Lane.BULK, f"b{number}")
    taken = take_all(line, 100)
    assert sum(who.startswith("b") for who in taken) == 10
    assert taken[9] == "b0"


def test_nobody_waits_for_ever_beside_fast() -> None:
    """A never-ending stream of fast ones lets live and bulk through now and then, and seldom."""
    line: Line[str] = Line()
    for number in range(400):
        line.join(Lane.FAST, f"f{number}")
    line.join(Lane.LIVE, "live")
    line.join(Lane.BULK, "bulk")
    taken = take_all(line, 100)
    assert taken.index("live") == 45
    assert taken.index("bulk") == 46
    assert taken.count("live") + taken.count("bulk") == 2


def test_a_lane_that_may_not_go_is_left_out() -> None:
    """When only fast may go, nobody else is taken."""
    line: Line[str] = Line()
    line.join(Lane.LIVE, "live")
    assert line.take([Lane.FAST]) is None
    assert line.take([Lane.FAST, Lane.LIVE]) == "live"


def test_leaving() -> None:
    """Whoever gave up is not served, and leaving twice is noticed."""
    line: Line[str] = Line()
    line.join(Lane.LIVE, "gone")
    line.join(Lane.LIVE, "stays")
    assert line.leave("gone")
    assert not line.leave("gone")
    assert line.drain() == ["stays"]
    assert line.take(Lane) is None


@given(st.lists(st.sampled_from(list(Lane)), max_size=150), st.integers(0, 150), st.integers(0, 150))
def test_the_forecast_is_what_happens(lanes: list[Lane], before: int, count: int) -> None:
    """``first`` names the very lanes that ``take`` serves next, and changes nothing."""
    line: Line[int] = Line()
    for number, lane in enumerate(lanes):
        line.join(lane, number)
    for _ in range(before):
        line.take(Lane)
    forecast = line.first(count)
    assert line.first(count) == forecast
    taken = [who for _ in range(count) if (who := line.take(Lane)) is not None]
    assert [lanes[who] for who in taken] == forecast
