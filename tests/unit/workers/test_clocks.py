"""The watch over this machine's clock: a metric always, an alarm seldom."""

import pytest
import structlog
from prometheus_client import CollectorRegistry

from shared.clock import HeardClock
from shared.domain.errors import QueueUnavailable
from workers.clocks import ALARM_SECONDS, Clocks


class Machine:
    """A wall clock and a steady one that a test moves."""

    def __init__(self):
        self.steady, self.wall = 0.0, 1_767_229_384.0

    def time(self):
        return self.wall


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def wecom(machine):
    return HeardClock(machine, lambda: machine.steady)


def skew(registry, source):
    return registry.get_sample_value("qudao_clock_skew_seconds", {"source": source})


def test_nothing_is_shown_of_a_clock_that_was_not_heard(registry, machine, wecom):
    """No answer, no figure, and no alarm."""
    with structlog.testing.capture_logs() as logs:
        Clocks(registry, wecom, machine, None, lambda: machine.steady).look()
    assert (logs, skew(registry, "wecom")) == ([], None)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_skew_is_said_once_in_a_while_and_its_end(registry, machine, wecom, sign):
    """A large skew is an error with its remedy, again after ten minutes, and its end is told."""
    clocks = Clocks(registry, wecom, machine, None, lambda: machine.steady)
    wecom.heard(machine.wall, 0.0, 0.0, unit=0.0)
    with structlog.testing.capture_logs() as logs:
        clocks.look()
        machine.wall += sign * (ALARM_SECONDS + 1)
        for _ in range(130):
            clocks.look()
            machine.steady += 5
            machine.wall += 5
        machine.wall -= sign * (ALARM_SECONDS + 1)
        clocks.look()
        clocks.look()
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("clock.skewed", "error"),
        ("clock.skewed", "error"),
        ("clock.right", "info"),
    ]
    assert logs[0]["seconds"] == sign * (ALARM_SECONDS + 1)
    assert "NTP" in logs[0]["remedy"]
    assert skew(registry, "wecom") == pytest.approx(0)


async def test_a_state_that_is_away_tells_no_time(registry, machine, wecom, monkeypatch):
    """The watch goes on, and shows the skew once the state answers."""
    answers = [QueueUnavailable("away"), machine.wall - 30]
    slept = []

    async def tell_time():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    class Enough(Exception):
        pass

    async def sleep(_):
        slept.append(skew(registry, "state"))
        if not answers:
            raise Enough

    monkeypatch.setattr("workers.clocks.asyncio.sleep", sleep)
    with pytest.raises(Enough):
        await Clocks(registry, wecom, machine, tell_time, lambda: machine.steady).watch()
    assert slept == [None, pytest.approx(30, abs=0.1)]
