"""Sliding windows and blocks."""

from hypothesis import given
from hypothesis import strategies as st

from simulator import SimulatorConfig
from simulator.limits import FrequencyLimits, SlidingWindow

CONFIG = SimulatorConfig.quiet(corp_per_minute=3, corp_per_hour=5, ip_per_minute=100, ip_per_hour=100)


@given(st.lists(st.floats(0, 50), max_size=60))
def test_no_window_ever_accepts_more_than_its_limit(gaps: list[float]) -> None:
    """Whatever the times, no 60 s hold more than three accepted calls."""
    window, now, accepted = SlidingWindow(), 0.0, []
    for gap in gaps:
        now += gap
        if not window.refuses(now, 3, 60):
            window.add(now)
            accepted.append(now)
    for start in accepted:
        assert sum(start <= time < start + 60 for time in accepted) <= 3


def test_the_hour_counts_over_its_minutes() -> None:
    """Two full minutes fill the hour; its block then lasts an hour."""
    limits = FrequencyLimits()

    def call(now: float) -> bool:
        return limits.admits("get", "192.0.2.1", now, CONFIG)

    assert [call(now) for now in (0, 1, 2, 100, 101, 102)] == [True] * 5 + [False]
    assert [call(now) for now in (102 + 3599, 102 + 3600)] == [False, True]
    assert limits.fullest("minute") == {"get": 3}
    assert limits.fullest("hour") == {"get": 5}


def test_refused_calls_do_not_count() -> None:
    """A call refused by one window takes no place in the others."""
    limits = FrequencyLimits()
    for now in range(10):
        limits.admits("get", "192.0.2.1", now, CONFIG)
    assert len(limits.window("192.0.2.1", "get", "hour").times) == 3


def test_a_key_is_held_by_one_call_at_a_time() -> None:
    """A relation taken is not taken again until it is free."""
    limits = FrequencyLimits()
    assert limits.occupy(("relation", "a", "b"))
    assert not limits.occupy(("relation", "a", "b"))
    limits.free(("relation", "a", "b"))
    assert limits.occupy(("relation", "a", "b"))
