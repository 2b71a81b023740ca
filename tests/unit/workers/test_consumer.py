"""The worker's loop over the memory queue: every delivery ends once, and stopping loses nothing."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from shared.clock import SystemClock
from shared.domain.errors import PermanentError, QueueUnavailable, TransientError
from shared.domain.events import CustomerAdded, Lane
from shared.domain.ids import CorpId, EventId, ExternalUserId, StaffUserId
from shared.queue.message import Message, message_for
from shared.queue.port import STALE_SECONDS
from tests.doubles.journal import MemoryJournal
from tests.doubles.queue import MemoryQueue
from workers.consumer import SLOTS, Worker
from workers.delivery_log import DeliveryLog
from workers.outcome import Outcome

CLOCK = SystemClock()
MARKED = Outcome(result="marked", channel="expo")


def added(number: int) -> CustomerAdded:
    return CustomerAdded(
        corp=CorpId("ww1"),
        staff=StaffUserId("lin"),
        customer=ExternalUserId(f"wm{number}"),
        created_at=int(CLOCK.time()),
        state="qd_expo",
    )


async def always_open(_: Lane) -> None:
    return


class Bench:
    """A worker over a memory queue with one handler for the live lane."""

    def __init__(self, handler, *, grace=5.0, queue=None, wait_open=always_open):
        self.queue = queue or MemoryQueue(CLOCK)
        self.registry = CollectorRegistry()
        self.stop = asyncio.Event()
        self.journal = MemoryJournal()
        self.worker = Worker(
            queue=self.queue,
            handlers={Lane.LIVE: handler},
            wait_open=wait_open,
            clock=CLOCK,
            reporter=DeliveryLog(self.registry, CLOCK),
            grace=grace,
            note=self.journal.note,
        )

    async def publish(self, *numbers: int) -> None:
        for number in numbers:
            await self.queue.publish(message_for(added(number), now=CLOCK.time()), [Lane.LIVE])

    @asynccontextmanager
    async def running(self):
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            task = group.create_task(self.worker.run(self.stop))
            yield task
            self.stop.set()

    async def depth(self, name: str) -> int:
        return next(depth.messages for depth in await self.queue.depths() if depth.name == name)

    async def reached(self, name: str, count: int) -> None:
        while await self.depth(name) != count:
            await asyncio.sleep(0)

    def counted(self, result: str, reason: str = "") -> float:
        labels = {"lane": "live", "result": result, "reason": reason}
        return self.registry.get_sample_value("qudao_deliveries_total", labels) or 0.0


async def test_handles_and_acks():
    """Every message is handled once, acked and counted by its outcome."""
    seen: list[str] = []
    everything = asyncio.Event()

    async def handler(work, _before):
        seen.append(work.customer)
        if len(seen) == 100:
            everything.set()
        return MARKED

    bench = Bench(handler)
    await bench.publish(*range(100))
    async with bench.running():
        await everything.wait()
    assert sorted(seen) == sorted(f"wm{number}" for number in range(100))
    assert bench.counted("marked") == 100
    assert await bench.depth("live") == 0


async def test_what_a_dead_worker_had_waits_until_wecom_is_done_with_it(monkeypatch):
    """The last write of whoever had the message must be seen by whoever does it again."""
    settle = 0.3
    monkeypatch.setattr("workers.consumer.SETTLE_SECONDS", settle)
    started: dict[str, float] = {}
    everything = asyncio.Event()

    async def handler(work, _before):
        started[work.customer] = time.monotonic()
        if len(started) == 2:
            everything.set()
        return MARKED

    bench = Bench(handler)
    await bench.publish(1)
    async with bench.queue.consume(Lane.LIVE, 1) as dying:
        await dying.take()
    await bench.publish(2)
    begun = time.monotonic()
    async with bench.running():
        await everything.wait()
    assert list(started) == ["wm2", "wm1"]
    assert started["wm1"] - begun >= settle


async def test_never_more_in_hand_than_slots():
    """At most SLOTS deliveries are in hand at a time, and the others stay in the queue for other workers."""
    gate = asyncio.Event()
    in_hand = peak = done = 0

    async def handler(_, _before):
        nonlocal in_hand, peak, done
        in_hand += 1
        peak = max(peak, in_hand)
        await gate.wait()
        in_hand -= 1
        done += 1
        return MARKED

    bench = Bench(handler)
    await bench.publish(*range(50))
    async with bench.running():
        while in_hand < SLOTS[Lane.LIVE]:
            await asyncio.sleep(0)
        gate.set()
        while done < 50:
            await asyncio.sleep(0)
    assert peak == SLOTS[Lane.LIVE]


async def test_transient_failure_goes_to_a_retry_tier():
    """A transient failure moves the message to the first tier of the ladder with one attempt counted."""

    async def handler(_, _before):
        raise TransientError("externalcontact/get", errcode=-1)

    bench = Bench(handler)
    await bench.publish(1)
    async with bench.running():
        await bench.reached("retry.1", 1)
    assert bench.counted("retried", "-1") == 1


async def test_permanent_failure_is_parked_with_its_cause():
    """A permanent failure is parked with endpoint, errcode, hint and the number of attempts."""

    async def handler(_, _before):
        raise PermanentError("externalcontact/remark", errcode=40058, hint="h1", meaning="value too long")

    bench = Bench(handler)
    await bench.publish(1)
    async with bench.running():
        await bench.reached("parked", 1)
    (parked,) = [item async for item in bench.queue.parked()]
    assert (parked.failure.errcode, parked.failure.hint, parked.message.attempts) == (40058, "h1", 1)
    assert parked.lane is Lane.LIVE


async def test_poison_is_parked_and_the_loop_goes_on():
    """A message that cannot be decoded is parked; the ones behind it are handled."""
    handled = asyncio.Event()

    async def handler(_, _before):
        handled.set()
        return MARKED

    bench = Bench(handler)
    poison = Message(event_id=EventId("x"), body=b"\xff not json", first_seen=CLOCK.time())
    await bench.queue.publish(poison, [Lane.LIVE])
    await bench.publish(1)
    async with bench.running():
        await handled.wait()
        await bench.reached("parked", 1)
    (parked,) = [item async for item in bench.queue.parked()]
    assert parked.failure.reason == "cannot be decoded: body is not JSON"
    assert parked.message.body == poison.body


async def test_stop_waits_for_work_in_hand():
    """A stop takes no more but lets the work in hand finish and settle."""
    started, gate = asyncio.Event(), asyncio.Event()

    async def handler(_, _before):
        started.set()
        await gate.wait()
        return MARKED

    bench = Bench(handler)
    await bench.publish(1)
    async with bench.running() as task:
        await started.wait()
        bench.stop.set()
        for _ in range(20):
            await asyncio.sleep(0)
        await bench.publish(2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()
    assert bench.counted("marked") == 1
    assert await bench.depth("live") == 1


async def test_work_over_its_grace_goes_back():
    """Work that outlives the grace is cancelled and its message is back in the queue, untouched."""
    started = asyncio.Event()

    async def handler(_, _before):
        started.set()
        await asyncio.Event().wait()

    bench = Bench(handler, grace=0.01)
    await bench.publish(1)
    async with bench.running():
        await started.wait()
    assert await bench.depth("live") == 1


async def test_takes_nothing_while_an_api_is_held_back():
    """While the APIs a lane needs are held back its messages stay in the queue."""
    gate = asyncio.Event()
    handled = asyncio.Event()

    async def handler(_, _before):
        handled.set()
        return MARKED

    async def wait_open(_: Lane) -> None:
        await gate.wait()

    bench = Bench(handler, wait_open=wait_open)
    await bench.publish(1)
    async with bench.running():
        for _ in range(20):
            await asyncio.sleep(0)
        assert not handled.is_set()
        assert await bench.depth("live") == 1
        gate.set()
        await handled.wait()


class FlakyQueue(MemoryQueue):
    """A memory queue whose settlements fail a few times first."""

    def __init__(self, clock, failures):
        super().__init__(clock)
        self.failures = failures

    @asynccontextmanager
    async def consume(self, lane, limit):
        async with super().consume(lane, limit) as consumer:
            yield FlakyConsumer(consumer, self)


class FlakyConsumer:
    def __init__(self, consumer, queue):
        self.consumer, self.queue = consumer, queue
        self.stop = consumer.stop

    async def take(self):
        if self.queue.failures.pop("take", 0):
            raise QueueUnavailable("no connection")
        return FlakyDelivery(await self.consumer.take(), self.queue)


class FlakyDelivery:
    def __init__(self, delivery, queue):
        self.delivery, self.queue = delivery, queue
        self.message, self.lane, self.redelivered = delivery.message, delivery.lane, delivery.redelivered
        self.release, self.retry, self.park = delivery.release, delivery.retry, delivery.park

    async def ack(self):
        if self.queue.failures.pop("ack", 0):
            raise QueueUnavailable("no connection")
        await self.delivery.ack()


@pytest.mark.parametrize("where", ["take", "ack"])
async def test_queue_away_for_a_moment(where):
    """A queue that cannot be reached for a moment delays the work and loses none."""

    async def handler(_, _before):
        return MARKED

    bench = Bench(handler, queue=FlakyQueue(CLOCK, {where: 1}))
    await bench.publish(1)
    async with bench.running():
        while bench.counted("marked") < 1:
            await asyncio.sleep(0.01)
    assert await bench.depth("live") == 0


async def test_a_stale_message_makes_room():
    """A live message that is five minutes old goes on in the bulk lane, untouched and without being handled."""
    handled: list[str] = []
    everything = asyncio.Event()

    async def handler(work, _before):
        handled.append(work.customer)
        everything.set()
        return MARKED

    bench = Bench(handler)
    old = message_for(replace(added(1), created_at=int(CLOCK.time() - STALE_SECONDS)), now=CLOCK.time())
    await bench.queue.publish(old, [Lane.LIVE])
    await bench.publish(2)
    async with bench.running():
        await everything.wait()
        await bench.reached("bulk", 1)
    assert handled == ["wm2"]
    async with bench.queue.consume(Lane.BULK, 1) as consumer:
        assert (await consumer.take()).message == old
    assert bench.counted("demoted") == 1
