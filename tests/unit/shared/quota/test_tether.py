"""Ending a call whose place was taken away."""

import asyncio
from collections.abc import Callable

import pytest

from shared.domain.errors import QueueUnavailable
from shared.quota.tether import Tether


class FakeGrant:
    """A grant that a test can take away."""

    def __init__(self, *, lost: bool = False) -> None:
        self.lost = lost
        self.end: Callable[[], None] | None = None

    def release(self) -> None: ...

    def when_lost(self, end: Callable[[], None] | None) -> None:
        self.end = end
        if self.lost and end is not None:
            end()


async def call(grant: FakeGrant, begun: asyncio.Event, *, then: float = 1000.0) -> str:
    with Tether(grant):
        begun.set()
        await asyncio.sleep(then)
    return "done"


async def test_a_call_ends_when_its_place_is_lost() -> None:
    """Whoever made it sees the error, not a cancellation, and goes on."""
    grant, begun = FakeGrant(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(refused(grant, begun))
        await begun.wait()
        assert grant.end is not None
        grant.end()
        assert await task == 0


async def refused(grant: FakeGrant, begun: asyncio.Event) -> int:
    with pytest.raises(QueueUnavailable, match="lost during the call"):
        await call(grant, begun)
    await asyncio.sleep(0)
    current = asyncio.current_task()
    assert current is not None
    return current.cancelling()


async def test_a_place_lost_before_the_call_ends_it_at_once() -> None:
    """It does not get to the first answer."""
    with pytest.raises(QueueUnavailable):
        await call(FakeGrant(lost=True), asyncio.Event())


async def test_a_call_that_ends_well_is_left_alone() -> None:
    """And nobody holds on to it."""
    grant = FakeGrant()
    assert await call(grant, asyncio.Event(), then=0) == "done"
    assert grant.end is None


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Whoever cancels the call in the same moment gets what it asked for."""
    grant, begun = FakeGrant(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call(grant, begun))
        await begun.wait()
        assert grant.end is not None
        grant.end()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
