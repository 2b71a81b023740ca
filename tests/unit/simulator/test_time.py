"""The scenario's clock and the outbox that runs on it."""

import asyncio
import time

import pytest

from simulator.clock import ScenarioClock
from simulator.due import DueCallback, DueCallbacks
from simulator.play import APP


def delivery(change: str) -> DueCallback:
    return DueCallback(app=APP, message=b"", change=change)


def test_the_clock_is_real_time_plus_what_was_added() -> None:
    """Advances add up; going back is refused; not a number too."""
    clock = ScenarioClock()
    before = time.time()
    clock.advance(100)
    clock.advance(0.5)
    assert before + 100.5 <= clock.time() <= time.time() + 100.5
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="never goes back"):
            clock.advance(seconds)


async def test_deliveries_come_in_the_order_they_are_due() -> None:
    """A later put that is due earlier comes first; equal times keep their order."""
    clock = ScenarioClock()
    outbox = DueCallbacks(clock)
    now = clock.time()
    for change, due in (("late", now - 1), ("early", now - 2), ("late too", now - 1)):
        outbox.put(delivery(change), due)
    assert [(await outbox.take()).change for _ in range(3)] == ["early", "late", "late too"]


async def test_a_taker_wakes_when_the_clock_is_pushed_or_something_comes() -> None:
    """Held-back deliveries wait for their time, not for real time; an earlier one is not held up by them."""
    clock = ScenarioClock()
    outbox = DueCallbacks(clock)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(outbox.take())
        await asyncio.sleep(0)
        outbox.put(delivery("in an hour"), clock.time() + 3600)
        await asyncio.sleep(0)
        outbox.put(delivery("now"), clock.time())
        assert (await first).change == "now"
        second = group.create_task(outbox.take())
        await asyncio.sleep(0)
        assert not second.done()
        clock.advance(3600)
        assert (await second).change == "in an hour"


async def test_settled_means_taken_and_done() -> None:
    """Waiting and under way both count; a retry put before done keeps it unsettled."""
    clock = ScenarioClock()
    outbox = DueCallbacks(clock)
    await outbox.settled()
    outbox.put(delivery("one"), clock.time())
    taken = await outbox.take()
    assert len(outbox) == 1
    outbox.put(taken, clock.time())
    outbox.done()
    async with asyncio.TaskGroup() as group:
        settled = group.create_task(outbox.settled())
        await outbox.take()
        await asyncio.sleep(0)
        assert not settled.done()
        outbox.done()
    assert len(outbox) == 0
