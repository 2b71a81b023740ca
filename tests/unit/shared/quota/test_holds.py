"""The rules of brake, breaker and lowered concurrency."""

import pytest

from shared.domain.errors import ConfigurationNeeded, Congested, PermanentError, RateLimited, StaffBlocked
from shared.quota.holds import HoldChange, Holds, hold_key
from shared.quota.port import HoldKind, Limits

GET = "externalcontact/get"
REMARK = "externalcontact/remark"


@pytest.fixture
def holds() -> Holds:
    return Holds(Limits())


def limited(endpoint: str = GET) -> RateLimited:
    return RateLimited(endpoint, errcode=45009, meaning="too often", retry_after=60)


def blocked() -> ConfigurationNeeded:
    return ConfigurationNeeded(GET, errcode=48002, meaning="no permission")


def until(holds: Holds, now: float, endpoint: str = GET, staff: str = "") -> float | None:
    pause = holds.pause(endpoint, staff, now)
    return None if pause is None else now + pause.seconds


def test_45009_stops_that_api_alone_for_a_minute(holds: Holds) -> None:
    """The brake holds for the minute and a margin, then the API may be called again; others never stopped."""
    change = holds.failed(limited(), GET, "", started=99.0, now=100.0)
    assert change is not None
    assert (change.kind, change.seconds, change.long) == (HoldKind.BRAKE, 61.0, False)
    assert until(holds, 100.0) == 161.0
    assert until(holds, 160.9) == pytest.approx(161.0)
    assert until(holds, 161.0) is None
    assert until(holds, 100.0, REMARK) is None


def test_calls_in_flight_when_the_brake_began_mean_nothing_new(holds: Holds) -> None:
    """Five calls that fail together are one incident."""
    holds.failed(limited(), GET, "", started=99.0, now=100.0)
    assert holds.failed(limited(), GET, "", started=99.5, now=100.5) is None
    assert until(holds, 101.0) == 161.0


def test_45009_right_after_the_brake_means_the_hour(holds: Holds) -> None:
    """The minute was waited out and it still fails: the hour is overrun."""
    holds.failed(limited(), GET, "", started=99.0, now=100.0)
    change = holds.failed(limited(), GET, "", started=162.0, now=162.5)
    assert change is not None
    assert (change.long, change.seconds, change.version) == (True, 3660.0, 2)
    assert until(holds, 163.0) == 162.5 + 3660


def test_45009_after_calls_got_through_is_a_minute_again(holds: Holds) -> None:
    """The brake was over, as a call showed, here or at another worker: what is refused then is a new minute."""
    change = holds.failed(limited(), GET, "", started=99.0, now=100.0)
    assert change is not None
    assert holds.succeeded(GET, "", started=160.0, now=160.5) == []
    (over,) = holds.succeeded(GET, "", started=161.5, now=161.6)
    assert over.closed
    assert until(holds, 162.0) is None
    other = Holds(Limits())
    other.merge(change, 100.0)
    other.merge(over, 161.7)
    for worker in (holds, other):
        again = worker.failed(limited(), GET, "", started=170.0, now=170.5)
        assert again is not None
        assert (again.long, again.closed) == (False, False)
        assert until(worker, 171.0) == 231.5


def test_45009_long_after_the_brake_is_a_minute_again(holds: Holds) -> None:
    """Another overrun an hour later is another incident."""
    holds.failed(limited(), GET, "", started=99.0, now=100.0)
    change = holds.failed(limited(), GET, "", started=999.0, now=1000.0)
    assert change is not None
    assert not change.long


def test_the_breaker_opens_and_asks_for_one_probe_a_minute(holds: Holds) -> None:
    """Until the probe is due nothing may be called; then whoever claims it may."""
    change = holds.failed(blocked(), GET, "", started=9.0, now=10.0)
    assert change is not None
    pause = holds.pause(GET, "", 10.0)
    assert pause is not None
    assert (pause.seconds, pause.probe) == (60.0, False)
    assert holds.failed(blocked(), GET, "", started=9.5, now=10.5) is None
    pause = holds.pause(GET, "", 70.0)
    assert pause is not None
    assert pause.probe
    told = holds.probing(pause.key, 70.0, mine=True)
    assert told is not None
    assert told.version == 2
    assert holds.failed(blocked(), GET, "", started=70.0, now=70.2) is None
    pause = holds.pause(GET, "", 71.0)
    assert pause is not None
    assert not pause.probe


def test_a_probe_of_another_worker_is_waited_for(holds: Holds) -> None:
    """Who lost the claim asks again a bit later, not at once."""
    holds.failed(blocked(), GET, "", started=9.0, now=10.0)
    pause = holds.pause(GET, "", 70.0)
    assert pause is not None
    assert holds.probing(pause.key, 70.0, mine=False) is None
    assert until(holds, 70.0) == 80.0


def test_success_closes_the_breaker(holds: Holds) -> None:
    """A call made after it opened proves that a person has put it right; one made before proves nothing."""
    holds.failed(blocked(), GET, "", started=9.0, now=10.0)
    assert holds.succeeded(GET, "", started=9.5, now=10.5) == []
    (change,) = holds.succeeded(GET, "", started=70.0, now=70.3)
    assert change.closed
    assert holds.pause(GET, "", 70.3) is None
    assert holds.succeeded(GET, "", started=71.0, now=71.3) == []
    assert holds.held(71.0) == []


def test_a_blocked_member_stops_nobody_else(holds: Holds) -> None:
    """60111 for one member holds back calls for that member, whatever the case of its letters."""
    error = StaffBlocked(GET, errcode=60111, meaning="no such member")
    assert holds.failed(error, GET, "Lin.Qiao", started=9.0, now=10.0) is not None
    assert until(holds, 11.0, staff="lin.qiao") == 70.0
    assert until(holds, 11.0, staff="zhou.yi") is None
    assert until(holds, 11.0) is None
    (change,) = holds.succeeded(GET, "LIN.QIAO", started=70.0, now=70.5)
    assert change.closed
    assert until(holds, 71.0, staff="lin.qiao") is None


def test_a_blocked_member_without_a_name_holds_nobody(holds: Holds) -> None:
    """When the call names no member there is nobody to hold back."""
    error = StaffBlocked(GET, errcode=60111, meaning="no such member")
    assert holds.failed(error, GET, "", started=9.0, now=10.0) is None


def test_congestion_is_told_once_an_incident(holds: Holds) -> None:
    """45033 lowers the concurrency; calls in flight at that moment do not lower it further. It stops nothing."""
    error = Congested(GET, errcode=45033, meaning="too many at once")
    change = holds.failed(error, GET, "", started=9.0, now=10.0)
    assert change is not None
    assert change.kind is HoldKind.LOWERED
    assert holds.failed(error, GET, "", started=9.5, now=10.5) is None
    assert holds.pause(GET, "", 11.0) is None
    assert [held.change.kind for held in holds.held(11.0)] == [HoldKind.LOWERED]
    assert holds.held(70.0) == []


def test_other_errors_hold_nothing(holds: Holds) -> None:
    """A call that will never succeed says nothing about the next."""
    assert holds.failed(PermanentError(GET, errcode=40058), GET, "", started=9.0, now=10.0) is None


def test_news_are_taken_over_once(holds: Holds) -> None:
    """What another worker tells holds here too; old news change nothing."""
    other = Holds(Limits())
    told = other.failed(limited(), GET, "", started=999.0, now=1000.0)
    assert told is not None
    assert holds.merge(told, 5.0)
    assert not holds.merge(told, 5.0)
    assert until(holds, 5.0) == 66.0
    assert holds.failed(limited(), GET, "", started=4.0, now=5.5) is None


def test_a_brake_is_never_shortened_by_news(holds: Holds) -> None:
    """Two workers noticed the same overrun: the longer brake counts."""
    holds.failed(limited(), GET, "", started=9.0, now=10.0)
    told = HoldChange(kind=HoldKind.BRAKE, endpoint=GET, version=2, seconds=5.0)
    assert holds.merge(told, 11.0)
    assert until(holds, 11.0) == 71.0


def test_news_of_a_closed_breaker_close_it(holds: Holds) -> None:
    """A newer change wins, an older one that arrives late does not reopen it."""
    opened = holds.failed(blocked(), GET, "", started=9.0, now=10.0)
    assert opened is not None
    closed = HoldChange(kind=HoldKind.BREAKER, endpoint=GET, version=3, seconds=0, closed=True)
    assert holds.merge(closed, 20.0)
    assert not holds.merge(opened, 21.0)
    assert holds.pause(GET, "", 21.0) is None


def test_a_worker_that_joins_learns_everything(holds: Holds) -> None:
    """What one worker holds, told to a fresh one, holds there for as long as is left; also that a brake just ended."""
    holds.failed(limited(), GET, "", started=9.0, now=10.0)
    holds.failed(ConfigurationNeeded(REMARK, errcode=48002), REMARK, "", started=9.0, now=10.0)
    fresh = Holds(Limits())
    for change in holds.changes(30.0):
        fresh.merge(change, 1000.0)
    assert until(fresh, 1000.0) == 1041.0
    assert until(fresh, 1000.0, REMARK) == 1040.0
    late = [hold_key(change) for change in holds.changes(100.0)]
    assert (HoldKind.BRAKE, GET, "") in late
    assert (HoldKind.BRAKE, GET, "") not in [hold_key(change) for change in holds.changes(200.0)]


def test_a_worker_without_a_token_calls_nothing(holds: Holds) -> None:
    """No API can be called, for a minute at a time; the first call that succeeds ends it."""
    refused = ConfigurationNeeded("gettoken", errcode=40001, meaning="wrong secret")
    change = holds.failed(refused, GET, "", started=9.0, now=10.0)
    assert change is not None
    assert (change.kind, change.endpoint, change.errcode) == (HoldKind.BRAKE, "gettoken", 40001)
    assert holds.failed(refused, REMARK, "", started=9.5, now=10.5) is None
    assert until(holds, 11.0) == until(holds, 11.0, REMARK) == 70.0
    assert until(holds, 70.0) is None
    assert holds.failed(refused, GET, "", started=70.0, now=70.1) is not None
    assert until(holds, 71.0) == pytest.approx(130.1)
    assert [change.closed for change in holds.succeeded(GET, "", started=131.0, now=131.2)] == [True]
    assert holds.held(132.0) == []


def test_who_has_a_token_goes_on(holds: Holds) -> None:
    """Another worker may have an old secret: what it tells is for people to see."""
    refused = ConfigurationNeeded("gettoken", errcode=40001, meaning="wrong secret")
    change = Holds(Limits()).failed(refused, GET, "", started=9.0, now=10.0)
    assert change is not None
    assert holds.merge(change, 10.0)
    assert until(holds, 11.0) is None
    assert [held.change.errcode for held in holds.held(11.0)] == [40001]
    assert holds.succeeded(GET, "", started=12.0, now=12.5) == []
    assert [held.change.errcode for held in holds.held(13.0)] == [40001]
