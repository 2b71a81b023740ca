"""What a seed runs with: the constants that go by real hours scaled down, and mendings that can be taken out again."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from math import inf
from typing import Any, Final

from shared.domain.errors import MemberHeld, StaffBlocked
from shared.domain.events import Lane
from shared.quota import bounded, slots
from shared.quota.port import Limits, share
from shared.state.sqlite import quota
from tests.rigs.patches import patched
from workers import consumer, policy
from workers.handlers import mark
from workers.patience import WITH_QUEUE


@contextmanager
def scaled() -> Iterator[None]:
    """Scale down what goes by a broker's half an hour, and the day for which a refused member's work waits."""
    with (
        patched(consumer, REST_SECONDS=2.0),
        patched(policy, MEMBER=(10, 30, *(30,) * 23)),
        patched(quota, POLL=0.1),  # nobody counts the milliseconds here
    ):
        yield


def _abandoning() -> AbstractContextManager[None]:
    """A settlement that fails for longer than some seconds is given up, and its place with it."""
    return patched(consumer, PATIENT=WITH_QUEUE)


def _greedy_bulk() -> AbstractContextManager[None]:
    """Bulk leaves nothing of the hour to new customers."""

    def hour_for(self: Limits, lane: Lane) -> int:
        return self.per_hour if lane is Lane.FAST else share(self.per_hour, self.hour_reserve)

    return patched(Limits, hour_for=hour_for, part_for=lambda self, _: self.per_hour)


def _hoarding() -> AbstractContextManager[None]:
    """What was fetched ahead stays with the worker while its API is held back."""
    return patched(consumer, REST_SECONDS=inf)


def _counting_waits() -> AbstractContextManager[None]:
    """A wait for the quota that took too long is a failure of nobody knows what."""
    return patched(bounded, CallAborted=lambda *_: TimeoutError())


@contextmanager
def _burning() -> Iterator[None]:
    """A refused member's customers are read before anybody asks whether the member is refused, and soon again."""

    def decide(error: Exception, **known: Any) -> policy.Verdict:
        if isinstance(error, StaffBlocked | MemberHeld):
            return policy.Retry(delay=10, counted=False, failure=policy.describe(error))
        return policy.decide(error, **known)

    with (
        patched(consumer, decide=decide),
        patched(mark, _require_open=lambda *_: None),
        patched(mark._Marking, _may_write=lambda *_: True),
    ):
        yield


def _no_probing() -> AbstractContextManager[None]:
    """The one who probes whether a member is refused still asks the hold, which says that somebody probes."""
    fresh = mark._View.fresh

    return patched(mark._View, fresh=lambda self, **_: fresh(self))


def _outlasting() -> AbstractContextManager[None]:
    """A process that was stopped goes on with the places it had."""
    return patched(slots.Lease, expired=False)


WITHOUT: Final[Mapping[str, Callable[[], AbstractContextManager[None]]]] = {
    "settling": _abandoning,
    "reserve": _greedy_bulk,
    "resting": _hoarding,
    "patience": _counting_waits,
    "asking": _burning,
    "probing": _no_probing,
    "expiry": _outlasting,
}
"""Mendings by name, and what takes each out."""
