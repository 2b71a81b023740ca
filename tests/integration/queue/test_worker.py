"""The worker over the real queues while these settle nothing, and while an API is held back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from prometheus_client import CollectorRegistry

from shared.clock import SystemClock
from shared.domain.errors import TransientError
from shared.domain.events import CustomerAdded, Lane, Work
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.queue.message import Failure, message_for
from shared.queue.port import DELIVERY_LIMIT, EventQueue
from shared.queue.rabbitmq.adapter import RabbitQueue
from shared.queue.sqlite.adapter import SqliteQueue
from shared.sqlite.database import Database
from tests.doubles.journal import MemoryJournal
from tests.rabbitmq.brokers import AnyBroker
from tests.rigs.queue import taken
from workers.consumer import PATIENT, SLOTS, Handler, Worker
from workers.delivery_log import DeliveryLog
from workers.outcome import Outcome

CLOCK = SystemClock()
SOON = 20.0
MARKED = Outcome(result="marked", channel="expo")
LOW_MEMORY = "vm_memory_monitor:set_vm_memory_high_watermark(0.0)"
ENOUGH_MEMORY = "vm_memory_monitor:set_vm_memory_high_watermark(0.8)"
OUTAGE = 1.5
"""Seconds: longer than all the pauses of a worker that would give up, which :func:`_hasty` makes short."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pauses and waits short, and each look at a locked file."""
    monkeypatch.setattr("workers.consumer.PATIENT", replace(PATIENT, pauses=(0.05,) * 5))
    monkeypatch.setattr("workers.consumer.REST_SECONDS", 0.1)
    monkeypatch.setattr("workers.consumer.SETTLE_SECONDS", 0.0)
    monkeypatch.setattr("shared.sqlite.file.BUSY_MS", 20)


@asynccontextmanager
async def sqlite_queue(folder: Path) -> AsyncIterator[SqliteQueue]:
    async with Database(folder / "queue.db") as database, SqliteQueue(database, CLOCK) as queue:
        yield queue


@asynccontextmanager
async def rabbit_queue(url: str, prefix: str) -> AsyncIterator[RabbitQueue]:
    async with RabbitQueue(url, CLOCK, prefix=prefix, settling=0) as queue:
        yield queue


async def publish(queue: EventQueue, count: int) -> None:
    for number in range(count):
        work = CustomerAdded(
            corp=CorpId("ww1"),
            staff=StaffUserId("lin"),
            customer=ExternalUserId(f"wm{number}"),
            created_at=int(CLOCK.time()),
            state="qd_expo",
        )
        await queue.publish(message_for(work, now=CLOCK.time()), [Lane.LIVE])


async def always_open(_: Lane) -> None:
    return


@asynccontextmanager
async def working(
    queue: EventQueue, handler: Handler, wait_open: Callable[[Lane], Coroutine[None, None, None]] = always_open
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    worker = Worker(
        queue=queue,
        handlers={Lane.LIVE: handler},
        wait_open=wait_open,
        clock=CLOCK,
        reporter=DeliveryLog(CollectorRegistry(), CLOCK),
        grace=5.0,
        note=MemoryJournal().note,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        try:
            yield
        finally:
            stop.set()


async def left_in(queue: EventQueue) -> dict[str, int]:
    return {depth.name: depth.messages for depth in await queue.depths() if depth.messages}


async def until(condition: Callable[[], Coroutine[None, None, bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await condition():
            await asyncio.sleep(0.05)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep the file locked, as a backup does."""
    connection = apsw.Connection(str(path))
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def test_a_locked_file_delays_settlements_and_the_lane_goes_on(tmp_path: Path) -> None:
    """However long the file cannot be written: what was in hand is settled, and all that waits is done."""
    gate = asyncio.Event()
    begun = 0

    async def handler(_: Work, __: Failure | None) -> Outcome:
        nonlocal begun
        begun += 1
        await gate.wait()
        return MARKED

    count = SLOTS[Lane.LIVE] + 4
    async with sqlite_queue(tmp_path) as queue:
        await publish(queue, count)
        async with working(queue, handler):
            while begun < SLOTS[Lane.LIVE]:
                await asyncio.sleep(0.01)
            with locked(tmp_path / "queue.db"):
                gate.set()
                await asyncio.sleep(OUTAGE)

            async def all_done() -> bool:
                return not await left_in(queue)

            await until(all_done)
    assert begun == count


async def test_an_alarm_of_the_broker_delays_settlements_and_the_lane_goes_on(broker: AnyBroker, prefix: str) -> None:
    """While the broker takes no messages no retry can be made; afterwards each is, and nothing is left in hand."""
    gate = asyncio.Event()
    begun = 0
    done: set[str] = set()

    async def handler(work: Work, before: Failure | None) -> Outcome:
        nonlocal begun
        begun += 1
        if before is None:
            await gate.wait()
            raise TransientError("externalcontact/get", errcode=-1)
        done.add(work.customer)
        return MARKED

    count = SLOTS[Lane.LIVE]
    async with rabbit_queue(broker.url, prefix) as queue:
        await publish(queue, count)
        async with working(queue, handler):
            while begun < count:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(broker.evaluate, LOW_MEMORY)
            try:
                gate.set()
                await asyncio.sleep(3 * OUTAGE)
            finally:
                await asyncio.to_thread(broker.evaluate, ENOUGH_MEMORY)

            async def all_done() -> bool:
                return len(done) == count and not await left_in(queue)

            await until(all_done)


@pytest.mark.parametrize("engine", ["sqlite", "rabbitmq"])
async def test_a_lane_that_is_held_back_hoards_nothing(engine: str, tmp_path: Path, prefix: str, amqp_url: str) -> None:
    """What was fetched ahead goes back while the API is held back, and nothing counts against it."""
    calls = 0
    open_for_good = asyncio.Event()
    handled: set[str] = set()

    async def wait_open(_: Lane) -> None:
        """Let a shift begin, and hold it back: again and again, more often than a suspect may be delivered."""
        nonlocal calls
        calls += 1
        if calls % 2 == 0:
            await open_for_good.wait()

    async def handler(work: Work, _: Failure | None) -> Outcome:
        handled.add(work.customer)
        return MARKED

    opened = sqlite_queue(tmp_path) if engine == "sqlite" else rabbit_queue(amqp_url, prefix)
    count = SLOTS[Lane.LIVE]
    async with opened as queue:
        await publish(queue, count)
        async with working(queue, handler, wait_open):
            started = time.monotonic()
            while calls < 2 * (DELIVERY_LIMIT + 5):
                assert time.monotonic() - started < SOON, f"after {calls // 2} shifts"
                await asyncio.sleep(0.01)
            assert not handled
            open_for_good.set()

            async def all_done() -> bool:
                return len(handled) == count and not await left_in(queue)

            await until(all_done)


async def test_others_get_what_a_worker_cannot_do_now(amqp_url: str, prefix: str) -> None:
    """A worker whose calls are held back keeps no message from others on the same broker."""
    calls = 0

    async def wait_open(_: Lane) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            await asyncio.Event().wait()

    async def handler(_: Work, __: Failure | None) -> Outcome:
        raise AssertionError("nothing may be taken")

    async with rabbit_queue(amqp_url, prefix) as queue:
        await publish(queue, SLOTS[Lane.LIVE])
        async with working(queue, handler, wait_open):
            while not calls:
                await asyncio.sleep(0.01)
            async with queue.consume(Lane.LIVE, SLOTS[Lane.LIVE]) as other:
                for _ in range(SLOTS[Lane.LIVE]):
                    await (await taken(other)).ack()
