"""Copies of an event are published once, and only left out when the first one is durable."""

import asyncio

import pytest

from ingress.duplicates import Once
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Message

LANES = (Lane.LIVE,)


def message(key: str) -> Message:
    return Message(event_id=EventId(key), body=b"{}", first_seen=0.0)


class Queue:
    """Counts publishes; each waits for its turn and fails while ``failures`` last."""

    def __init__(self, failures: int = 0) -> None:
        self.published: list[str] = []
        self.failures = failures
        self.turn = asyncio.Event()

    async def publish(self, message, lanes):
        await self.turn.wait()
        if self.failures:
            self.failures -= 1
            raise QueueUnavailable("away")
        self.published.append(message.event_id)


async def test_copies_at_once_are_published_once():
    """Of ten copies that arrive at once one is published, and all return only when it is durable."""
    queue = Queue()
    once = Once(queue)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(once.publish(message("a"), LANES)) for _ in range(10)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        queue.turn.set()
    assert sorted(task.result() for task in tasks) == [False] * 9 + [True]
    assert queue.published == ["a"]


async def test_a_failed_attempt_makes_no_duplicate():
    """When the first copy fails, the next one is published in its place."""
    queue = Queue(failures=1)
    queue.turn.set()
    once = Once(queue)
    with pytest.raises(QueueUnavailable):
        await once.publish(message("a"), LANES)
    assert await once.publish(message("a"), LANES)
    assert queue.published == ["a"]


async def test_memory_is_bounded():
    """Only the latest events are remembered; an older one's copy is published again, which is harmless."""
    queue = Queue()
    queue.turn.set()
    once = Once(queue, remembered=2)
    for key in ("a", "b", "c"):
        assert await once.publish(message(key), LANES)
    assert not await once.publish(message("c"), LANES)
    assert await once.publish(message("a"), LANES)
