"""The acquirer, over a model of the broker and on virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota.acquirer import Acquirer, Window, capacity, lifetime, places
from shared.quota.port import Limits
from tests.simulation.broker import BrokerModel, Link
from tests.simulation.virtual import run_virtual

GET = "externalcontact/get"

LIMITS = Limits(per_minute=100, per_hour=10_000, in_flight=3)

Test = Callable[[BrokerModel, Acquirer], Coroutine[Any, Any, None]]


def now() -> float:
    return asyncio.get_running_loop().time()


def on_a_broker(limits: Limits) -> Callable[[Test], Callable[[], None]]:
    """Run a test on a virtual loop with an acquirer that is served."""

    def decorate(test: Test) -> Callable[[], None]:
        async def main() -> None:
            broker = BrokerModel(limits, Random(1))
            async with asyncio.TaskGroup() as tasks:
                acquirer = Acquirer(Link(broker), GET, limits, tasks, Random(2))
                serving = tasks.create_task(acquirer.serve())
                await test(broker, acquirer)
                serving.cancel()

        def run() -> None:
            run_virtual(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


async def call(acquirer: Acquirer, lane: Lane = Lane.LIVE) -> None:
    (await acquirer.acquire(lane)).release()


def fill(broker: BrokerModel, *windows: Window) -> None:
    """Let others use *windows* up."""
    for window in windows:
        while broker.occupy(GET, window):
            pass
    broker.asked = 0


@on_a_broker(LIMITS)
async def test_waiting_for_a_full_minute_asks_about_once_a_second(broker: BrokerModel, acquirer: Acquirer) -> None:
    """However many wait, and the call is made as soon as it may be."""
    fill(broker, Window.MINUTE, Window.MINUTE_FAST)
    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(call(acquirer))
        await asyncio.sleep(60.0)
        assert 40 <= broker.asked <= 110
    assert 60.3 <= now() <= 63.0


@on_a_broker(LIMITS)
async def test_its_own_slots_are_taken_again_as_they_expire(broker: BrokerModel, acquirer: Acquirer) -> None:
    """A worker alone uses the minute to the last slot: it knows when each of them is free again."""
    made = 0
    while now() < 600.0:
        await call(acquirer)
        made += 1
    assert made >= 10 * capacity(LIMITS, Window.MINUTE) * 0.99


@on_a_broker(LIMITS)
async def test_a_full_minute_costs_no_slot_of_the_hour(broker: BrokerModel, acquirer: Acquirer) -> None:
    """The minute is asked first."""
    fill(broker, Window.MINUTE, Window.MINUTE_FAST)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30.0):
            await call(acquirer)
    assert not broker.occupied(GET, Window.HOUR)


@on_a_broker(LIMITS)
async def test_fast_does_not_wait_behind_those_who_have_used_their_share(
    broker: BrokerModel, acquirer: Acquirer
) -> None:
    """It has slots of its own, and goes at once."""
    fill(broker, Window.MINUTE)
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(call(acquirer)) for _ in range(10)]
        await asyncio.sleep(5.0)
        before = now()
        for _ in range(capacity(LIMITS, Window.MINUTE_FAST)):
            await call(acquirer, Lane.FAST)
        assert now() - before < 1.0
        for task in waiting:
            task.cancel()


@on_a_broker(LIMITS)
async def test_who_waits_is_told_when_the_broker_goes(broker: BrokerModel, acquirer: Acquirer) -> None:
    """Nobody waits for a broker that is away."""
    held = [await acquirer.acquire(Lane.LIVE) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(refused(acquirer))
        await asyncio.sleep(1.0)
        broker.stop()
        for grant in held:
            grant.release()  # as the end of their calls does, whose places are gone
        await waiting


async def refused(acquirer: Acquirer) -> None:
    with pytest.raises(QueueUnavailable):
        await acquirer.acquire(Lane.LIVE)


def test_the_windows_leave_as_many_slots_free_as_there_are_places() -> None:
    """All windows of an API together have the limit less one slot for each place."""
    limits = Limits(per_minute=600, per_hour=9000, in_flight=5)
    assert capacity(limits, Window.MINUTE) + capacity(limits, Window.MINUTE_FAST) == 595
    assert capacity(limits, Window.HOUR) + capacity(limits, Window.HOUR_FAST) == 8995
    assert capacity(limits, Window.MINUTE) == 535
    assert lifetime(limits, Window.MINUTE) == lifetime(limits, Window.MINUTE_FAST) == 60.3


@pytest.mark.parametrize("per_minute", [1, 2, 3, 5])
def test_a_tiny_limit_still_lets_calls_through(per_minute: int) -> None:
    """There is a slot and a place at least, and never more of both than the limit."""
    limits = Limits(per_minute=per_minute, per_hour=per_minute, in_flight=5)
    total = capacity(limits, Window.MINUTE) + capacity(limits, Window.MINUTE_FAST)
    assert total >= 1
    assert places(limits) >= 1
    assert total + places(limits) <= max(2, per_minute)
