"""A clock that is heard from another machine's answers."""

import pytest

from shared.clock import HeardClock

NOW = 1_767_229_384.0
HOUR = 3600.0


class Machine:
    """A machine: what its wall clock shows, which anybody can set, and what nobody can."""

    def __init__(self, ahead=0.0):
        self.steady = 100.0
        self.ahead = ahead

    @property
    def truth(self):
        return NOW + self.steady - 100.0

    def time(self):
        return self.truth + self.ahead


def hear(machine, clock, *, ahead=0.0, trip=0.1, every=1.0):
    """Let an answer come whose sender's clock is *ahead* of the truth; it names whole seconds, as HTTP does."""
    asked = machine.steady
    machine.steady += trip / 2
    told = float(int(machine.truth + ahead))
    machine.steady += trip / 2
    clock.heard(told, asked, machine.steady)
    machine.steady += every


def heard_by(machine):
    return HeardClock(machine, lambda: machine.steady)


def test_until_something_is_heard_the_machines_own_clock_counts():
    """Nothing better is known, and no skew is claimed."""
    machine = Machine(ahead=5)
    clock = heard_by(machine)
    assert clock.time() == machine.time()
    assert clock.skew is None


@pytest.mark.parametrize("ahead", [-8 * HOUR, -300, -20, -1, 0, 1, 20, 300, 8 * HOUR])
@pytest.mark.parametrize("answers", [1, 2, 30])
def test_the_skew_is_measured_to_a_second(ahead, answers):
    """One answer is enough; whole seconds and the way there and back cost less than one."""
    machine = Machine(ahead)
    clock = heard_by(machine)
    for _ in range(answers):
        hear(machine, clock, every=0.37)
    assert clock.skew == pytest.approx(ahead, abs=0.7)
    assert clock.time() == pytest.approx(machine.truth, abs=0.7)


@pytest.mark.parametrize("step", [-HOUR, -20, 20, HOUR])
def test_a_machine_whose_clock_is_set_goes_on_by_what_was_heard(step):
    """Between two answers nobody can set the clock; the skew shows at once that somebody did."""
    machine = Machine()
    clock = heard_by(machine)
    hear(machine, clock)
    machine.ahead = step
    machine.steady += 10 * HOUR
    assert clock.time() == pytest.approx(machine.truth, abs=0.7)
    assert clock.skew == pytest.approx(step, abs=0.7)


@pytest.mark.parametrize("jump", [-HOUR, -20, 20, HOUR])
def test_a_sender_that_jumps_for_a_moment_is_not_followed(jump):
    """Four wrong answers among nine change nothing; when most are so, it is the time."""
    machine = Machine()
    clock = heard_by(machine)
    for _ in range(9):
        hear(machine, clock)
    for _ in range(4):
        hear(machine, clock, ahead=jump)
        assert clock.time() == pytest.approx(machine.truth, abs=1.1)
    hear(machine, clock, ahead=jump)
    assert clock.time() == pytest.approx(machine.truth + jump, abs=1.1)


def test_of_two_that_disagree_the_earlier_counts():
    """What is taken for younger than it is costs a call; what is taken for older costs a customer."""
    machine = Machine()
    clock = heard_by(machine)
    hear(machine, clock, ahead=HOUR)
    hear(machine, clock)
    assert clock.time() == pytest.approx(machine.truth, abs=1.1)


def test_a_slow_answer_tells_no_time():
    """Nobody knows when on its long way it was given."""
    machine = Machine()
    clock = heard_by(machine)
    hear(machine, clock, trip=9.0, ahead=HOUR)
    assert clock.skew is None


def test_a_heard_clock_grows_exact_and_does_not_jitter():
    """Whole seconds leave half a one open at first; who compares two times of one clock is not to find them swapped."""
    machine = Machine(ahead=7)
    clock = heard_by(machine)
    hear(machine, clock)
    for _ in range(60):
        before = clock.time()
        hear(machine, clock, every=0.37)
        assert clock.time() > before
    assert clock.time() == pytest.approx(machine.truth, abs=0.1)
    known = clock.skew
    for _ in range(60):
        hear(machine, clock, every=0.61)
        assert clock.skew == pytest.approx(known, abs=0.05)
