"""The embedded queue among processes: killed ones, several on one file, full disks, messages that kill."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import apsw
import pytest

from shared.clock import SystemClock
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Failure, Message
from shared.queue.port import DELIVERY_LIMIT, KILLED_ITS_WORKER
from shared.queue.sqlite import consumer as sqlite_consumer
from shared.queue.sqlite.adapter import SqliteQueue
from shared.sqlite.database import Database
from tests.rigs.queue import SOON, nothing_comes, taken, until_full


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queue.db"


@asynccontextmanager
async def opened(file: Path) -> AsyncIterator[SqliteQueue]:
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        yield queue


@asynccontextmanager
async def child(command: str, file: Path) -> AsyncIterator[Process]:
    """Start a process that uses the queue; it does not outlive the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.children.sqlite", command, str(file), stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture(autouse=True)
def _try_suspects_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait until a process has lived long enough to try a suspect."""
    monkeypatch.setattr("shared.queue.sqlite.consumer.QUIET_SECONDS", 0.0)


async def lines(process: Process, count: int) -> list[str]:
    """Return the next *count* lines of what *process* prints."""
    assert process.stdout is not None
    async with asyncio.timeout(SOON):
        return [(await process.stdout.readline()).decode().strip() for _ in range(count)]


async def killed(process: Process) -> list[str]:
    """Kill *process* and return the complete lines it had printed and nobody read."""
    assert process.stdout is not None
    process.kill()
    rest = await process.stdout.read()
    assert await process.wait() == -signal.SIGKILL
    return rest.decode().split("\n")[:-1]


async def waiting(queue: SqliteQueue) -> dict[str, int]:
    return {depth.name: depth.messages for depth in await queue.depths() if depth.messages}


async def publish(queue: SqliteQueue, *names: str, lane: Lane = Lane.LIVE) -> None:
    for name in names:
        message = Message(event_id=EventId(name), body=name.encode(), first_seen=time.time())
        await queue.publish(message, [lane])


async def all_of(queue: SqliteQueue, lane: Lane) -> list[str]:
    """Take and settle everything in *lane*."""
    names = []
    async with queue.consume(lane, 64) as consumer:
        for _ in range((await waiting(queue)).get(lane, 0)):
            delivery = await taken(consumer)
            names.append(delivery.message.event_id)
            await delivery.ack()
    return names


async def test_killed_publisher_loses_nothing_it_was_promised(file: Path) -> None:
    """Every message whose ``publish`` returned before a kill -9 is in the file afterwards, in both lanes, once."""
    async with child("publish", file) as process:
        promised = await lines(process, 500) + await killed(process)
    async with opened(file) as queue:
        fast, live = await all_of(queue, Lane.FAST), await all_of(queue, Lane.LIVE)
    assert len(promised) >= 500
    assert set(promised) <= set(fast)
    assert sorted(fast) == sorted(live)
    assert max(Counter(fast).values()) == 1


async def test_messages_of_a_killed_consumer_come_again(file: Path) -> None:
    """What a killed process had taken or fetched ahead is delivered to the next one, once."""
    names = [f"{number}" for number in range(8)]
    async with opened(file) as queue:
        await publish(queue, *names)
        async with child("take", file) as process:
            assert len(set(await lines(process, 3))) == 3
            await killed(process)
        assert sorted(await all_of(queue, Lane.LIVE)) == names
        assert await waiting(queue) == {}


async def test_second_consuming_process_is_refused(file: Path) -> None:
    """While one process consumes from a file another one is told so, and may when the first has gone."""
    async with opened(file) as queue:
        await publish(queue, "1", "2", "3")
        async with child("take", file) as process:
            await lines(process, 3)
            with pytest.raises(ConfigurationError, match="another process consumes"):
                async with queue.consume(Lane.BULK, 1):
                    pass
            await killed(process)
        async with queue.consume(Lane.BULK, 1):
            pass


async def test_next_process_may_consume_when_the_last_consumer_is_closed(file: Path) -> None:
    """The right to consume is given up with the last consumer, not with the first."""
    async with opened(file) as one, opened(file) as other:
        async with one.consume(Lane.LIVE, 1):
            async with one.consume(Lane.BULK, 1):
                pass
            with pytest.raises(ConfigurationError):
                async with other.consume(Lane.LIVE, 1):
                    pass
        async with other.consume(Lane.LIVE, 1):
            pass


async def test_message_of_another_process_is_noticed(file: Path) -> None:
    """A waiting consumer soon gets what another process publishes, while both go on."""
    async with opened(file) as queue, queue.consume(Lane.LIVE, 5) as consumer, child("publish", file) as process:
        seen = set()
        for _ in range(300):
            delivery = await taken(consumer)
            seen.add(delivery.message.event_id)
            await delivery.ack()
        published = set(await lines(process, 400) + await killed(process))
        assert len(seen) == 300
        assert seen <= published


async def test_replay_by_another_process_is_noticed(file: Path) -> None:
    """A command may replay and look while a worker consumes."""
    async with opened(file) as worker, opened(file) as command, worker.consume(Lane.LIVE, 1) as consumer:
        await publish(worker, "1")
        delivery = await taken(consumer)
        await delivery.park(delivery.message, Failure(reason="x"))
        [parked] = [item async for item in command.parked()]
        async with worker.consume(Lane.BULK, 1) as bulk, asyncio.TaskGroup() as group:
            taking = group.create_task(taken(bulk))
            assert await command.replay([parked.id]) == 1
            assert (await taking).message == parked.message
            assert await waiting(command) == {"bulk": 1}


@pytest.mark.parametrize("publishes_first", [True, False])
async def test_own_messages_are_noticed_without_polling(
    file: Path, monkeypatch: pytest.MonkeyPatch, publishes_first: bool
) -> None:
    """A consumer is woken by a publish of its own process and by a release, not by its clock."""
    monkeypatch.setattr(sqlite_consumer, "POLL_SECONDS", 3600.0)
    async with opened(file) as queue, queue.consume(Lane.LIVE, 5) as consumer, asyncio.TaskGroup() as group:
        taking = group.create_task(taken(consumer))
        if publishes_first:
            await asyncio.sleep(0)
        else:
            await asyncio.wait({taking}, timeout=0.1)
        await publish(queue, "1")
        await (await taking).release()
        again = group.create_task(taken(consumer))
        await (await again).ack()


class SetClock(SystemClock):
    """A clock that somebody sets."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_is_set_draws_no_wait_out(file: Path, ahead: float, restarted: bool) -> None:
    """A retry comes after its delay, whatever is done to the clock meanwhile; set ahead and started anew: sooner."""
    clock = SetClock()
    async with Database(file) as database:
        async with SqliteQueue(database, clock) as queue, queue.consume(Lane.BULK, 1) as consumer:
            await publish(queue, "1", lane=Lane.BULK)
            delivery = await taken(consumer)
            begun = time.monotonic()
            await delivery.retry(delivery.message, 1)
            clock.ahead = ahead
            if not restarted:
                await taken(consumer)
                assert time.monotonic() - begun > 1.0
        if restarted:
            async with SqliteQueue(database, clock) as queue, queue.consume(Lane.BULK, 1) as consumer:
                await taken(consumer)
    assert time.monotonic() - begun < SOON / 2


async def test_full_disk_refuses_and_loses_nothing(file: Path) -> None:
    """On a full disk ``publish`` fails; what was accepted is delivered, and once there is room it goes on."""
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        pages = await database.write(lambda connection: connection.pragma("page_count"))
        await database.write(lambda connection: connection.pragma("max_page_count", pages + 10))
        accepted = [f"{number}" for number in range(await until_full(lambda number: publish(queue, f"{number}")))]
        assert 10 < len(accepted) < 10_000
        await database.write(lambda connection: connection.pragma("max_page_count", pages + 20))
        assert sorted(await all_of(queue, Lane.LIVE)) == sorted(accepted)
        await publish(queue, "after")
        assert await all_of(queue, Lane.LIVE) == ["after"]


async def test_check_fails_when_nothing_can_be_written(file: Path) -> None:
    """``check`` really writes: a file that can only be read does not pass."""
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        await database.write(lambda connection: connection.pragma("query_only", True))
        with pytest.raises(QueueUnavailable, match="read-only"):
            await queue.check()


async def test_settlement_that_failed_can_be_repeated(file: Path) -> None:
    """A settlement that the disk refuses leaves the delivery unsettled, for another try."""
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        await publish(queue, "1")
        async with queue.consume(Lane.LIVE, 1) as consumer:
            delivery = await taken(consumer)
            large = Message(event_id=EventId("1"), body=b"x" * 100_000, first_seen=0.0)
            await database.write(lambda connection: connection.pragma("max_page_count", 1))
            with pytest.raises(QueueUnavailable, match="the disk is full"):
                await delivery.park(large, Failure(reason="x"))
            await database.write(lambda connection: connection.pragma("max_page_count", 1_000_000))
            await delivery.park(large, Failure(reason="x"))
        assert await waiting(queue) == {"parked": 1}


@pytest.mark.parametrize("deaths", [0, DELIVERY_LIMIT])
async def test_take_fails_and_goes_on(file: Path, deaths: int) -> None:
    """``take`` says why the file cannot be used, and delivers again once it can, suspects too."""
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        await publish(queue, "1")
        await die_with(queue, Lane.LIVE, 1, deaths)
        await database.write(lambda connection: connection.set_busy_timeout(20))
        async with queue.consume(Lane.LIVE, 1) as consumer:
            with closing(apsw.Connection(str(file))) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(QueueUnavailable, match="locked"):
                    await taken(consumer)
                other.execute("ROLLBACK")
            await (await taken(consumer)).ack()
        assert await waiting(queue) == {}


async def test_consuming_that_cannot_begin_can_be_tried_again(file: Path) -> None:
    """A consumer that cannot be opened because the file is locked, or its lock cannot be made, leaves no trace."""
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        await publish(queue, "1")
        await database.write(lambda connection: connection.set_busy_timeout(20))
        with closing(apsw.Connection(str(file))) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(QueueUnavailable, match="locked"):
                await all_of(queue, Lane.LIVE)
            other.execute("ROLLBACK")
        lock = file.with_name("queue.db.consumer")
        lock.unlink()
        lock.mkdir()
        with pytest.raises(QueueUnavailable, match=r"queue\.db\.consumer: Is a directory"):
            await all_of(queue, Lane.LIVE)
        lock.rmdir()
        assert await all_of(queue, Lane.LIVE) == ["1"]


async def test_messages_that_could_not_be_given_back_come_again(file: Path) -> None:
    """A consumer closes even when the file cannot be written; the next one recovers what it held."""
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        await publish(queue, "1", "2", "3")
        await database.write(lambda connection: connection.set_busy_timeout(20))
        with closing(apsw.Connection(str(file))) as other:
            async with queue.consume(Lane.LIVE, 3) as consumer:
                await taken(consumer)
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(QueueUnavailable):
                    await consumer.stop()
            other.execute("ROLLBACK")
        assert sorted(await all_of(queue, Lane.LIVE)) == ["1", "2", "3"]


async def test_what_could_not_be_given_back_is_given_back_later(file: Path) -> None:
    """A consumer may be stopped until the file can be written again; others then get what it had fetched ahead."""
    async with Database(file) as database, SqliteQueue(database, SystemClock()) as queue:
        await publish(queue, "1", "2", "3")
        await database.write(lambda connection: connection.set_busy_timeout(20))
        async with queue.consume(Lane.LIVE, 3) as consumer:
            in_hand = await taken(consumer)
            with closing(apsw.Connection(str(file))) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(QueueUnavailable):
                    await consumer.stop()
                other.execute("ROLLBACK")
            await consumer.stop()
            async with queue.consume(Lane.LIVE, 3) as another:
                for _ in range(2):
                    await (await taken(another)).ack()
            await in_hand.ack()
        assert await waiting(queue) == {}


async def test_cancelled_settlement_is_finished(file: Path) -> None:
    """A settlement whose caller is cancelled is made all the same, and frees its place."""
    async with opened(file) as queue:
        await publish(queue, "1", "2")
        async with queue.consume(Lane.LIVE, 1) as consumer, asyncio.TaskGroup() as group:
            delivery = await taken(consumer)
            settling = group.create_task(delivery.ack())
            await asyncio.sleep(0)
            settling.cancel()
            second = await taken(consumer)
            assert second.message.event_id == "2"
            await second.ack()
            assert settling.cancelled()
        assert await waiting(queue) == {}


async def die_with(queue: SqliteQueue, lane: Lane, count: int, deaths: int = DELIVERY_LIMIT) -> None:
    """Leave *count* messages of *lane* unsettled, as a dying worker does; in the end they are suspects."""
    for _ in range(deaths):
        async with queue.consume(lane, count) as consumer:
            for _ in range(count):
                await taken(consumer)


async def test_innocent_messages_outlive_the_killer_beside_them(file: Path) -> None:
    """Of messages that were in hand together at every death, only the one that kills alone is parked."""
    names = ["one", "killer", "two", "three"]
    done = []
    async with opened(file) as queue:
        await publish(queue, *names)
        await die_with(queue, Lane.LIVE, len(names))
        while "live" in await waiting(queue):
            async with queue.consume(Lane.LIVE, len(names)) as consumer:
                while "live" in await waiting(queue):
                    delivery = await taken(consumer)
                    if delivery.message.event_id == "killer":
                        break
                    assert await nothing_comes(consumer)
                    done.append(delivery.message.event_id)
                    await delivery.ack()
        parked = [(item.message.event_id, item.failure) async for item in queue.parked()]
    assert sorted(done) == ["one", "three", "two"]
    assert parked == [("killer", KILLED_ITS_WORKER)]


async def test_suspects_are_tried_one_at_a_time(file: Path) -> None:
    """While a suspect is in hand its lane waits, and so do suspects of others; an unsuspected lane goes on."""
    async with opened(file) as queue:
        await publish(queue, "live", lane=Lane.LIVE)
        await publish(queue, "bulk", lane=Lane.BULK)
        await die_with(queue, Lane.LIVE, 1)
        await die_with(queue, Lane.BULK, 1)
        await publish(queue, "new", lane=Lane.LIVE)
        await publish(queue, "welcome", lane=Lane.FAST)
        async with (
            queue.consume(Lane.FAST, 5) as fast,
            queue.consume(Lane.LIVE, 5) as live,
            queue.consume(Lane.BULK, 5) as bulk,
        ):
            suspect = await taken(live)
            assert suspect.message.event_id == "live"
            assert await nothing_comes(live)
            assert await nothing_comes(bulk)
            await (await taken(fast)).ack()
            await suspect.retry(suspect.message, 600)
            assert (await taken(bulk)).message.event_id == "bulk"
            assert (await taken(live)).message.event_id == "new"


async def test_suspect_that_was_fetched_and_not_seen_is_tried_later(file: Path) -> None:
    """A consumer that stops before it handed its suspect over does not keep others waiting."""
    async with opened(file) as queue:
        await publish(queue, "1")
        await die_with(queue, Lane.LIVE, 1)
        async with queue.consume(Lane.LIVE, 1) as consumer, asyncio.TaskGroup() as group:
            taking = group.create_task(consumer.take())
            await asyncio.sleep(0)
            taking.cancel()
            await consumer.stop()
            async with queue.consume(Lane.LIVE, 1) as other:
                await (await taken(other)).ack()
        assert await waiting(queue) == {}


async def test_crash_loop_parks_nobody(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often processes die soon after their start, what they had in hand is done by one that lives."""
    monkeypatch.setattr("shared.queue.sqlite.consumer.QUIET_SECONDS", 60.0)
    names = [str(number) for number in range(16)]
    for deaths in range(DELIVERY_LIMIT + 5):
        async with opened(file) as queue:
            if not deaths:
                await publish(queue, *names)
            async with queue.consume(Lane.LIVE, len(names)) as consumer:
                for _ in names if deaths < DELIVERY_LIMIT else ():
                    await taken(consumer)
                if deaths >= DELIVERY_LIMIT:
                    assert await nothing_comes(consumer)
    monkeypatch.setattr("shared.queue.sqlite.consumer.QUIET_SECONDS", 0.0)
    async with opened(file) as queue:
        assert await waiting(queue) == {"live": len(names)}
        assert sorted(await all_of(queue, Lane.LIVE)) == sorted(names)
