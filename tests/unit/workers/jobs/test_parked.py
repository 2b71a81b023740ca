"""Choosing among the parked messages, and moving them in batches that may be interrupted."""

import asyncio

import pytest

from shared.clock import SystemClock
from shared.domain.events import CustomerAdded, Lane
from shared.domain.ids import CorpId, EventId, ExternalUserId, StaffUserId
from shared.queue.message import Failure, Message, message_for
from tests.doubles.queue import MemoryQueue
from workers.jobs.parked import BATCH, Selection, move, select, state_of, work_of

CLOCK = SystemClock()


async def park(
    queue: MemoryQueue, number: int, *, state: str = "qd_a", errcode: int = 40058, body: bytes = b""
) -> None:
    work = CustomerAdded(
        corp=CorpId("ww1"),
        staff=StaffUserId("lin"),
        customer=ExternalUserId(f"wm{number}"),
        created_at=1,
        state=state,
    )
    message = message_for(work, now=CLOCK.time())
    if body:
        message = Message(event_id=EventId(f"x{number}"), body=body, first_seen=CLOCK.time())
    await queue.publish(message, [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 1) as consumer:
        delivery = await consumer.take()
        await delivery.park(delivery.message, Failure(reason="no", errcode=errcode))


async def chosen(queue: MemoryQueue, selection: Selection) -> list[str]:
    return [parked.id async for parked in select(queue, selection)]


async def test_every_condition_must_hold():
    """Ids, errcode, state and time each narrow the choice."""
    queue = MemoryQueue(CLOCK)
    await park(queue, 1)
    await park(queue, 2, state="qd_b")
    await park(queue, 3, errcode=40201)
    everything = await chosen(queue, Selection())
    assert len(everything) == 3
    assert await chosen(queue, Selection(ids=frozenset(everything[:1]))) == everything[:1]
    assert await chosen(queue, Selection(state="qd_b")) == [everything[1]]
    assert await chosen(queue, Selection(errcode=40201)) == [everything[2]]
    assert await chosen(queue, Selection(errcode=40201, state="qd_b")) == []
    now = CLOCK.time()
    assert await chosen(queue, Selection(since=now + 60)) == []
    assert await chosen(queue, Selection(until=now - 60)) == []
    assert await chosen(queue, Selection(since=now - 60, until=now + 60)) == everything


async def test_a_message_that_cannot_be_decoded():
    """A parked message that cannot be decoded is listed all the same, with no state."""
    queue = MemoryQueue(CLOCK)
    await park(queue, 1, body=b"\xff")
    (parked,) = [parked async for parked in select(queue, Selection())]
    assert (work_of(parked), state_of(parked)) == (None, "")
    assert await chosen(queue, Selection(state="qd_a")) == []


async def test_moving_is_safe_to_repeat():
    """Replaying twice, even at once, moves each message once; ids that are gone are not counted."""
    queue = MemoryQueue(CLOCK)
    for number in range(BATCH + 10):
        await park(queue, number)
    ids = await chosen(queue, Selection())
    counted: list[int] = []
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(move(ids, queue.replay, counted.append)) for _ in range(2)]
    assert sum(run.result() for run in runs) == sum(counted) == BATCH + 10
    depths = {depth.name: depth.messages for depth in await queue.depths()}
    assert (depths["bulk"], depths["parked"]) == (BATCH + 10, 0)
    assert await move(ids, queue.drop, counted.append) == 0


@pytest.mark.parametrize("done", [0, 1])
async def test_interrupted(done):
    """A replay that fails half way has moved whole batches, and leaves the rest parked."""
    queue = MemoryQueue(CLOCK)
    for number in range(BATCH + 10):
        await park(queue, number)
    ids = await chosen(queue, Selection())
    batches = 0

    async def failing(batch):
        nonlocal batches
        if batches == done:
            raise ConnectionError
        batches += 1
        return await queue.replay(batch)

    with pytest.raises(ConnectionError):
        await move(ids, failing, lambda _: None)
    assert len(await chosen(queue, Selection())) == BATCH + 10 - done * BATCH
