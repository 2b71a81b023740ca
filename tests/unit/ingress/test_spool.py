"""The spool takes what the broker cannot, and gives it back by itself."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from ingress.spool import SpooledQueue, spooled
from shared.clock import SystemClock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Message
from tests.doubles.queue import MemoryQueue

CLOCK = SystemClock()
BOTH = (Lane.FAST, Lane.LIVE)


class Flaky(MemoryQueue):
    """A queue that can be away."""

    def __init__(self) -> None:
        super().__init__(CLOCK)
        self.away = False

    async def publish(self, message, lanes):
        await self.check()
        await super().publish(message, lanes)

    async def check(self):
        if self.away:
            raise QueueUnavailable("away")


def message(number: int) -> Message:
    return Message(event_id=EventId(str(number)), body=b"{}", first_seen=1.0)


async def waiting(queue: MemoryQueue) -> dict[str, int]:
    return {depth.name: depth.messages for depth in await queue.depths() if depth.messages}


async def test_the_broker_comes_first():
    """While the broker takes events none goes to the spool."""
    broker, store = Flaky(), Flaky()
    await SpooledQueue(broker, store, CollectorRegistry()).publish(message(1), BOTH)
    assert await waiting(broker) == {"fast": 1, "live": 1}
    assert await waiting(store) == {}


async def test_spooled_and_drained(monkeypatch):
    """What the broker cannot take waits in the spool for both lanes, and is in the broker once that is back."""
    monkeypatch.setattr("ingress.spool.PAUSE", 0.01)
    broker, store, registry = Flaky(), Flaky(), CollectorRegistry()
    broker.away = True
    async with asyncio.timeout(5), spooled(broker, store, registry) as queue:
        for number in range(200):
            await queue.publish(message(number), BOTH)
        assert await waiting(broker) == {}
        assert registry.get_sample_value("qudao_spooled_total") == 200
        broker.away = False
        while await waiting(broker) != {"fast": 200, "live": 200}:
            await asyncio.sleep(0.01)
        while await waiting(store):
            await asyncio.sleep(0.01)


async def test_neither():
    """When the spool cannot take an event either, it is refused."""
    broker, store = Flaky(), Flaky()
    broker.away = store.away = True
    queue = SpooledQueue(broker, store, CollectorRegistry())
    with pytest.raises(QueueUnavailable):
        await queue.publish(message(1), BOTH)
    with pytest.raises(QueueUnavailable):
        await queue.check()
    store.away = False
    await queue.check()
