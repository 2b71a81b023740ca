"""
What happens next to a delivery that failed: retry, park or settle. Pure; the error's class alone decides.

Every delay is a tier of the queue (``RETRY_DELAYS``); the queue adds the jitter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

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
    UnknownCode,
    UnknownState,
    WeComError,
    WelcomeRefused,
)
from shared.domain.events import CustomerHalfAdded, Lane, Task, Work
from shared.domain.marks import WELCOME_SECONDS
from shared.domain.relations import GONE
from shared.queue.message import Failure, Message
from shared.queue.port import RETRY_DELAYS, STALE_SECONDS

LADDER: Final = (1, 3, 10, 60, 300, 1800, 7200, 21600, 21600, 21600, 21600)
"""
Delays after the first, second… counted attempt, 26.6 h in all; then the work is parked. A busy answer or a reset is
mostly over after a second, as WeCom's page on -1 has it.
"""

FEW: Final = (10, 60, 300)
"""The same for an error nobody foresaw: a bug of ours, most likely."""

MEMBER: Final = (600, 1800, *(3600,) * 23)
"""
The same, 23.7 h in all, for work of a member whom WeCom refuses. Each time the hold is asked first, so that nothing is
called while it lasts, and all is done within the hour once a person has put it right.
"""

WAITING: Final = (1, 3, 10, 30, 60, *(300,) * 288)
"""
The same, 24 h in all, for a customer of a channel that is not in the file: it may be on its way to this machine.
Nothing is called meanwhile.
"""

PART_SECONDS: Final = 300
"""Delay of work of which only a part waits for an API: nobody else is kept, so it need not be soon."""

EARLY: Final = (1, 1, 3, 10, 30, 120, 600, 3600)
"""Delays while WeCom does not know a young relation yet: 84061 right after the event is common, for a second or two."""

EARLY_HORIZON: Final = 7200.0
"""Seconds after the event from which a missing relation is taken to be gone."""

HALF: Final = (*EARLY, 7200, 21600)
"""Delays while a member has not accepted a half relation; that can take days."""

HALF_HORIZON: Final = 7 * 86400.0

HELD_SECONDS: Final = 10
"""
Longest delay of work that was in hand when its API was held back. It then waits in its lane, where nothing is taken as
long as the API is held back, and goes on as soon as it is not.
"""


WELCOME_EXPIRED: Final = "welcome_expired"
"""Reason of a welcome whose twenty seconds were over before it could be sent."""

NO_ATTEMPT: Final = (
    CallAborted,
    RateLimited,
    ConfigurationNeeded,
    QueueUnavailable,
    Congested,
    TokenMissing,
    TokenRefused,
)
"""What has nothing to do with the message that met it, but for what it has to do with one member."""

SHARED_QUEUE_REMEDY: Final = "give each deployment its own QUDAO_QUEUE_PREFIX, vhost or database file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Again after ``delay`` seconds; ``counted`` when it was a real attempt."""

    delay: int
    counted: bool
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Never again by itself: a person must look at it."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Nothing is left to do; ``reason`` is counted and logged."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demote:
    """To the bulk lane, untouched: too old to stand between new customers and their mark."""


Verdict = Retry | Park | Settle | Demote


def is_stale(lane: Lane, created_at: float, now: float) -> bool:
    """Tell whether work of *lane*, about what happened at *created_at*, should go on in bulk; asked before any."""
    return lane is Lane.LIVE and now - created_at >= STALE_SECONDS


def decide(error: Exception, *, task: Task, work: Work | None, message: Message, now: float) -> Verdict:
    """
    Return what happens to a delivery of *message* that failed with *error*.

    *work* is None when it could not even be decoded, *now* is Unix seconds by WeCom's clock.
    """
    failure = replace(describe(error), waits_for=_waits_for(error))
    attempts = message.attempts_at(failure)
    if work is None or isinstance(error, PoisonMessage | AnotherCorps):
        return Park(failure=failure)
    if task is Task.WELCOME:
        return _decide_welcome(error, failure, attempts=attempts, age=now - work.created_at)
    match error:
        case PartsFailed():
            return _soonest([decide(each, task=task, work=work, message=message, now=now) for each in error.errors])
        case StaffBlocked() | MemberHeld():
            return _climb(MEMBER, attempts, failure)
        case _ if isinstance(error, NO_ATTEMPT):
            return Retry(delay=_waiting(error), counted=False, failure=failure)
        case TooEarly():
            return _decide_early(work, failure, attempts=attempts, age=now - work.created_at)
        case UnknownState():
            return _climb(WAITING, attempts, failure)
        case TagUnknown():
            return _climb(FEW, attempts, failure)
        case PermanentError():
            return Park(failure=failure)
        case TransientError():
            return _climb(LADDER, attempts, failure)
        case _:
            return _climb(FEW, attempts, failure)


def _waits_for(error: Exception) -> str:
    """Return what only time or a person can bring about: then attempts are counted by themselves."""
    match error:
        case StaffBlocked() | MemberHeld():
            return "member"
        case UnknownState():
            return "file"
        case TooEarly():
            return "relation"
        case _:
            return ""


def _waiting(error: Exception) -> int:
    """Return the delay of work that waits for something outside of it, which is no attempt."""
    match error:
        case PartHeld():
            return _tier(min(error.retry_after, PART_SECONDS))
        case CallAborted():
            return _tier(min(error.retry_after, HELD_SECONDS))
        case Congested() | TokenMissing():
            return 3
        case _:
            return HELD_SECONDS


def describe(error: Exception) -> Failure:
    """Return what a parked message or a header may tell of *error*: no personal data, no answer's own text."""
    match error:
        case WeComError():
            reason = error.meaning or type(error).__name__
            return Failure(reason=reason, endpoint=error.endpoint, errcode=error.errcode, hint=error.hint)
        case MemberHeld():
            return Failure(reason=error.meaning, endpoint=error.endpoint, errcode=error.errcode)
        case CallAborted():
            return Failure(reason="the API is held back", endpoint=error.endpoint)
        case PartsFailed():
            return describe(error.errors[0])
        case UnknownState():
            return Failure(reason="the state is in no channel of the channels file")
        case AnotherCorps():
            return Failure(reason=f"another corp's: two deployments share a queue; {SHARED_QUEUE_REMEDY}")
        case PoisonMessage():
            return Failure(reason=f"cannot be decoded: {error.reason}")
        case _:
            return Failure(reason=raised_at(error))


def _decide_welcome(error: Exception, failure: Failure, *, attempts: int, age: float) -> Verdict:
    """A welcome has 20 seconds: try again each second while they last."""
    if isinstance(error, WelcomeRefused):
        return Settle(reason="welcome_refused")
    if isinstance(error, PermanentError) or (isinstance(error, UnknownCode) and attempts):
        return Park(failure=failure)  # nothing that changes in twenty seconds
    if age + 1 >= WELCOME_SECONDS:
        return Settle(reason=WELCOME_EXPIRED)
    return Retry(delay=1, counted=not isinstance(error, NO_ATTEMPT), failure=failure)


def _decide_early(work: Work, failure: Failure, *, attempts: int, age: float) -> Verdict:
    half = isinstance(work, CustomerHalfAdded)
    delays, horizon = (HALF, HALF_HORIZON) if half else (EARLY, EARLY_HORIZON)
    if age >= horizon:
        return Settle(reason="never_accepted" if half else GONE)
    return Retry(delay=delays[min(attempts, len(delays) - 1)], counted=True, failure=failure)


def _soonest(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict for work of which several parts failed: again as soon as one may succeed, else parked."""
    retries = [verdict for verdict in verdicts if isinstance(verdict, Retry)]
    if retries:
        return min(retries, key=lambda retry: (retry.delay, not retry.counted))
    return next((verdict for verdict in verdicts if isinstance(verdict, Park)), verdicts[0])


def _climb(ladder: tuple[int, ...], attempts: int, failure: Failure) -> Verdict:
    if attempts >= len(ladder):
        return Park(failure=failure)
    return Retry(delay=ladder[attempts], counted=True, failure=failure)


def _tier(seconds: float) -> int:
    """Return the shortest delay of the queue that is not under *seconds*."""
    return next(delay for delay in RETRY_DELAYS if delay >= seconds)


def raised_at(error: Exception) -> str:
    """Name an unforeseen error by type and place; its own text may quote personal data."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is None:
        return type(error).__name__
    code = frame.tb_frame.f_code
    return f"{type(error).__name__} in {code.co_name}, line {frame.tb_lineno}"
