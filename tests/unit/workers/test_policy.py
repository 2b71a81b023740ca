"""The decision after a failure: the error's class alone decides."""

import pytest

from shared.domain.errors import (
    AnotherCorps,
    CallAborted,
    ConfigurationNeeded,
    Congested,
    MemberHeld,
    PartHeld,
    PartsFailed,
    PermanentError,
    PoisonMessage,
    QueueUnavailable,
    RateLimited,
    StaffBlocked,
    TagUnknown,
    TokenMissing,
    TokenRefused,
    TooEarly,
    TransientError,
    UnknownState,
    WelcomeRefused,
)
from shared.domain.events import CustomerAdded, CustomerHalfAdded, Lane, RelationFound, Task
from shared.domain.ids import CorpId, EventId, ExternalUserId, StaffUserId
from shared.queue.message import Failure, Message
from shared.queue.port import RETRY_DELAYS, STALE_SECONDS
from workers.policy import EARLY, FEW, LADDER, Park, Retry, Settle, decide, describe, is_stale

CREATED = 1_767_229_384
REMARK = "externalcontact/remark"
MARK_TAG = "externalcontact/mark_tag"

ADDED = CustomerAdded(
    corp=CorpId("ww1"),
    staff=StaffUserId("lin"),
    customer=ExternalUserId("wm1"),
    created_at=CREATED,
    welcome_code="c",
)
HALF = CustomerHalfAdded(
    corp=CorpId("ww1"), staff=StaffUserId("lin"), customer=ExternalUserId("wm1"), created_at=CREATED
)
FOUND = RelationFound(
    corp=CorpId("ww1"),
    staff=StaffUserId("lin"),
    customer=ExternalUserId("wm1"),
    created_at=CREATED - 86400 * 300,
)


def a_message(attempts=0, failure=None):
    return Message(event_id=EventId("e1"), body=b"{}", first_seen=CREATED, attempts=attempts, failure=failure)


def after(error, *, work=ADDED, task=Task.MARK, attempts=0, age=1.0):
    """Decide for *error*, *age* seconds after the event."""
    return decide(error, task=task, work=work, message=a_message(attempts), now=CREATED + age)


def ends(error, *, work, age=0.0):
    """Follow *error*, repeated for ever, to its end; return the delays on the way and the end."""
    delays = []
    while isinstance(verdict := after(error, work=work, attempts=len(delays), age=age), Retry):
        assert verdict.counted
        delays.append(verdict.delay)
        age += verdict.delay
    return delays, verdict


def test_every_delay_is_a_tier():
    """Every delay the policy asks for is one that the queue offers."""
    for error in (TransientError(REMARK), TooEarly(REMARK)):
        for work in (ADDED, HALF):
            assert set(ends(error, work=work)[0]) <= set(RETRY_DELAYS)


def test_transient_errors_are_tried_for_a_day():
    """A transient error climbs the ladder for at least 24 hours and is then parked with what it failed with."""
    delays, verdict = ends(TransientError(REMARK, errcode=-1, hint="h1"), work=ADDED)
    assert tuple(delays) == LADDER
    assert sum(delays) >= 24 * 3600
    assert isinstance(verdict, Park)
    assert (verdict.failure.errcode, verdict.failure.hint, verdict.failure.endpoint) == (-1, "h1", REMARK)


@pytest.mark.parametrize(
    "error",
    [
        StaffBlocked(REMARK, errcode=84074, meaning="no function"),
        MemberHeld(REMARK, 60.0, staff="lin", errcode=84074, meaning="no function"),
    ],
)
def test_a_refused_member_s_work_waits_a_day_in_long_tiers(error):
    """It is looked at once an hour, and parked after a day with what a person has to do."""
    delays, verdict = ends(error, work=ADDED)
    assert min(delays) >= 600
    assert max(delays) <= 3600
    assert 23 * 3600 < sum(delays) <= 24 * 3600
    expected = Failure(reason="no function", endpoint=REMARK, errcode=84074, waits_for="member")
    assert verdict == Park(failure=expected)


def test_a_tag_that_is_not_known_is_looked_up_a_few_times():
    """It may have been made a moment ago; then it is parked."""
    delays, verdict = ends(TagUnknown(MARK_TAG, errcode=40068), work=ADDED)
    assert tuple(delays) == FEW
    assert isinstance(verdict, Park)


def test_of_several_parts_the_soonest_retry_counts():
    """A part that is given up is parked only when no other may still succeed."""
    gone, busy = PermanentError(MARK_TAG, errcode=40058), TransientError(REMARK, errcode=-1)
    assert after(PartsFailed(gone, busy)).delay == LADDER[0]
    assert after(PartsFailed(busy, PartHeld(MARK_TAG, 300.0)), attempts=4).delay == 300
    assert after(PartsFailed(gone, busy), attempts=len(LADDER)) == Park(failure=describe(gone))


def test_young_relation_is_tried_soon():
    """A relation WeCom does not know yet is tried after 1 s, 3 s, 10 s… and after two hours taken to be gone."""
    delays, verdict = ends(TooEarly(REMARK, errcode=84061), work=ADDED)
    assert tuple(delays[: len(EARLY)]) == EARLY
    assert verdict == Settle(reason="gone")


def test_old_relation_is_gone_at_once():
    """An old relation that WeCom does not know is settled, not retried."""
    assert after(TooEarly(REMARK, errcode=84061), work=FOUND) == Settle(reason="gone")


def test_half_relation_waits_for_days():
    """A half relation is asked for up to seven days, seldom, and then settled as never accepted."""
    delays, verdict = ends(TooEarly(REMARK, errcode=84061), work=HALF)
    assert 6 * 86400 < sum(delays) < 8 * 86400
    assert len(delays) < 50
    assert verdict == Settle(reason="never_accepted")


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (RateLimited(REMARK, errcode=45009, retry_after=3600), 10),
        (Congested(REMARK, errcode=45033), 3),
        (ConfigurationNeeded(REMARK, errcode=60020), 10),
        (PartHeld(MARK_TAG, 10**6), 300),
        (PartHeld(MARK_TAG, 20), 30),
        (CallAborted(REMARK, 0.5), 1),
        (CallAborted(REMARK, 10**6), 10),
        (QueueUnavailable("gone"), 10),
        (TokenMissing("gettoken", errcode=-1), 3),
        (TokenRefused(REMARK, errcode=42001), 10),
    ],
)
@pytest.mark.parametrize("attempts", [0, 50])
def test_not_the_messages_fault(error, delay, attempts):
    """Limits, pauses, trouble with the token and things a person must fix never use up a message's attempts."""
    verdict = after(error, attempts=attempts)
    assert isinstance(verdict, Retry)
    assert (verdict.delay, verdict.counted) == (delay, False)


def test_permanent_errors_are_parked_at_once():
    """An error that will never go away is parked with its code, not retried."""
    verdict = after(PermanentError(REMARK, errcode=40058, hint="h2", meaning="value too long"))
    assert verdict == Park(failure=Failure(reason="value too long", endpoint=REMARK, errcode=40058, hint="h2"))


def test_poison_is_parked_at_once():
    """A message that cannot be decoded is parked, whatever was to be done with it."""
    for task in Task:
        verdict = decide(PoisonMessage("body is not JSON"), task=task, work=None, message=a_message(), now=CREATED)
        assert verdict == Park(failure=Failure(reason="cannot be decoded: body is not JSON"))


def follow(*errors):
    """Let one message fail with *errors* in turn, and return the delays; None where it is parked."""
    message, delays = a_message(), []
    for error in errors:
        verdict = decide(error, task=Task.MARK, work=ADDED, message=message, now=CREATED + 1)
        delays.append(verdict.delay if isinstance(verdict, Retry) else None)
        message = message.after(verdict.failure, counted=getattr(verdict, "counted", True))
    return delays


def test_attempts_are_counted_for_what_they_waited_for():
    """Who waited long for a person or for the file is not given up at the next busy answer, and the other way round."""
    busy, refused, held = TransientError(REMARK), StaffBlocked(REMARK), CallAborted(REMARK, 5.0)
    unknown, early = UnknownState("qd_new"), TooEarly("externalcontact/get")
    assert follow(busy, busy, refused, refused) == [1, 3, 600, 1800]
    assert follow(*[unknown] * 200, busy, busy)[-2:] == [1, 3]
    assert follow(*[refused] * 20, busy)[-1] == 1
    assert follow(refused, held, refused) == [600, 10, 1800]
    assert follow(early, early, early, busy, busy) == [1, 1, 3, 1, 3]
    assert follow(*[busy] * (len(LADDER) + 1))[-1] is None


def test_another_corp_s_message_is_parked_at_once():
    """Whatever its task, it is nothing that a repeat would mend; the reason says what will."""
    for task in Task:
        verdict = after(AnotherCorps("the message is another corp's"), task=task)
        assert isinstance(verdict, Park)
        assert "QUDAO_QUEUE_PREFIX" in verdict.failure.reason


def test_bugs_are_tried_a_few_times():
    """An error nobody foresaw is tried a few times, then parked, named by type and place but not by its text."""
    try:
        {}["Nana 13800000000"]
    except KeyError as error:
        delays, verdict = ends(error, work=ADDED)
    assert tuple(delays) == FEW
    assert verdict.failure.reason.startswith("KeyError in test_bugs_are_tried_a_few_times")
    assert "Nana" not in verdict.failure.reason
    assert describe(KeyError("Nana")).reason == "KeyError"


@pytest.mark.parametrize(
    "error",
    [
        TransientError(REMARK),
        RateLimited(REMARK, retry_after=60),
        CallAborted(REMARK, 5),
        ConfigurationNeeded(REMARK),
    ],
)
def test_welcome_is_tried_each_second_while_its_code_lives(error):
    """A welcome is tried again each second, and settled as expired once its 20 seconds are over."""
    assert after(error, task=Task.WELCOME, age=5).delay == 1
    assert after(error, task=Task.WELCOME, age=18.9).delay == 1
    assert after(error, task=Task.WELCOME, age=19.5) == Settle(reason="welcome_expired")


def test_welcome_refused_is_settled():
    """A spent code needs nothing more; other refusals are parked for a person."""
    assert after(WelcomeRefused(REMARK, errcode=41051), task=Task.WELCOME) == Settle(reason="welcome_refused")
    assert isinstance(after(PermanentError(REMARK, errcode=40201), task=Task.WELCOME), Park)


def test_only_old_live_messages_are_stale():
    """A live message is stale from five minutes on; welcomes and bulk never are."""
    assert is_stale(Lane.LIVE, CREATED, CREATED + STALE_SECONDS)
    assert not is_stale(Lane.LIVE, CREATED, CREATED + STALE_SECONDS - 1)
    assert not is_stale(Lane.FAST, CREATED, CREATED + 10**6)
    assert not is_stale(Lane.BULK, CREATED, CREATED + 10**6)
