"""What every queue does, whatever it is made of: the sentences of ``shared/queue/port.py``."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace

import pytest

from shared.domain.errors import DeliveryLost, QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Failure, Message
from shared.queue.port import (
    CROWD,
    DELIVERY_LIMIT,
    KILLED_ITS_WORKER,
    RETRY_DELAYS,
    STALE_SECONDS,
    TRIALS,
    Consumer,
    Delivery,
    EventQueue,
    Parked,
)
from tests.contract.conftest import Backend
from tests.rigs.queue import A_WHILE, SOON, nothing_comes, taken

BUSY = Failure(
    reason="system busy", endpoint="externalcontact/get", errcode=-1, hint="hint: [1712] 系统繁忙", waits_for="member"
)
GONE = Failure(reason="no such customer", errcode=84061)


def a_message(number: int = 0, *, body: bytes = b'{"v":1}', first_seen: float | None = None) -> Message:
    now = time.time() if first_seen is None else first_seen
    return Message(event_id=EventId(f"{number:032x}"), body=body, first_seen=now)


async def publish_all(queue: EventQueue, messages: Iterable[Message], lane: Lane) -> None:
    async with asyncio.TaskGroup() as group:
        for message in messages:
            group.create_task(queue.publish(message, [lane]))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await condition():
            await asyncio.sleep(0.01)


async def drained(queue: EventQueue, lane: Lane, count: int) -> list[Message]:
    """Take and settle *count* messages of *lane*, and see that no more come."""
    async with queue.consume(lane, 100) as consumer:
        messages = []
        for _ in range(count):
            delivery = await taken(consumer)
            messages.append(delivery.message)
            await delivery.ack()
        assert await nothing_comes(consumer)
    return messages


async def all_parked(queue: EventQueue) -> list[Parked]:
    return [item async for item in queue.parked()]


async def park_all(queue: EventQueue, messages: list[Message], lane: Lane = Lane.LIVE) -> list[Parked]:
    """Get *messages* parked, in this order, and return what the queue then says about them."""
    async with queue.consume(lane, 1) as consumer:
        for message in messages:
            await queue.publish(message, [lane])
            await (await taken(consumer)).park(message, GONE)
    return await all_parked(queue)


async def waiting(queue: EventQueue) -> dict[str, int]:
    return {depth.name: depth.messages for depth in await queue.depths() if depth.messages}


async def test_published_message_is_delivered_unchanged(queue: EventQueue) -> None:
    """A message is delivered as it was published: identity, body, time, attempts and failure."""
    message = replace(a_message(7, first_seen=1760000000.123456), attempts=3, failure=BUSY)
    async with queue.consume(Lane.BULK, 10) as consumer:
        await queue.publish(message, [Lane.BULK])
        delivery = await taken(consumer)
        assert delivery.message == message
        assert delivery.lane is Lane.BULK
        await delivery.ack()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"remark":"展会26-乔琳👩‍👩‍👧"}'.encode(), id="unicode"),
        pytest.param(b"\x00" + b"x" * 60 * 1024, id="60-KiB"),
        pytest.param(bytes(range(256)), id="no-text"),
        pytest.param(b"", id="empty"),
    ],
)
async def test_body_is_opaque(queue: EventQueue, body: bytes) -> None:
    """A body is bytes and comes back as it went in."""
    await queue.publish(a_message(body=body), [Lane.LIVE])
    [message] = await drained(queue, Lane.LIVE, 1)
    assert message.body == body


async def test_waiting_consumer_gets_a_new_message(queue: EventQueue) -> None:
    """A ``take`` that waits already returns with the next message."""
    async with queue.consume(Lane.LIVE, 10) as consumer, asyncio.TaskGroup() as group:
        taking = group.create_task(taken(consumer))
        await asyncio.wait({taking}, timeout=A_WHILE)
        await queue.publish(a_message(), [Lane.LIVE])
        await (await taking).ack()


async def test_message_outlives_the_queue_object(backend: Backend) -> None:
    """A message is durable when ``publish`` returns: it is there after the queue was closed and opened again."""
    async with backend.open() as queue:
        await queue.publish(a_message(1), [Lane.LIVE])
    async with backend.open() as queue:
        [message] = await drained(queue, Lane.LIVE, 1)
    assert message.event_id == a_message(1).event_id


async def test_settlement_outlives_the_queue_object(backend: Backend) -> None:
    """A settlement is durable on return: neither an acked nor a parked message is delivered again."""
    async with backend.open() as queue:
        await publish_all(queue, [a_message(1), a_message(2)], Lane.LIVE)
        async with queue.consume(Lane.LIVE, 10) as consumer:
            await (await taken(consumer)).ack()
            second = await taken(consumer)
            await second.park(second.message, GONE)
    async with backend.open() as queue:
        assert await drained(queue, Lane.LIVE, 0) == []
        [parked] = await all_parked(queue)
        assert parked.message == second.message


async def test_message_for_two_lanes_reaches_both(queue: EventQueue) -> None:
    """A message published to two lanes is delivered once from each."""
    await queue.publish(a_message(1), [Lane.FAST, Lane.LIVE])
    assert [message.event_id for message in await drained(queue, Lane.FAST, 1)] == [a_message(1).event_id]
    assert [message.event_id for message in await drained(queue, Lane.LIVE, 1)] == [a_message(1).event_id]
    assert await drained(queue, Lane.BULK, 0) == []


async def test_message_for_no_lane_goes_nowhere(queue: EventQueue) -> None:
    """Publishing to no lane does nothing."""
    await queue.publish(a_message(1), [])
    assert await waiting(queue) == {}


async def test_limit_holds(queue: EventQueue) -> None:
    """A consumer has at most ``limit`` unsettled deliveries; a settlement makes room for the next."""
    await publish_all(queue, [a_message(number) for number in range(3)], Lane.LIVE)
    async with queue.consume(Lane.LIVE, 2) as consumer:
        first, second = await taken(consumer), await taken(consumer)
        assert await nothing_comes(consumer)
        await first.ack()
        third = await taken(consumer)
        assert await nothing_comes(consumer)
        await second.ack()
        await third.ack()
        assert await nothing_comes(consumer)


async def test_many_may_take_at_once(queue: EventQueue) -> None:
    """Several tasks may wait in ``take`` of one consumer; each gets a message of its own."""
    async with queue.consume(Lane.LIVE, 5) as consumer:
        async with asyncio.TaskGroup() as group:
            taking = [group.create_task(taken(consumer)) for _ in range(5)]
            await publish_all(queue, [a_message(number) for number in range(5)], Lane.LIVE)
        deliveries = [task.result() for task in taking]
        assert len({delivery.message.event_id for delivery in deliveries}) == 5
        for delivery in deliveries:
            await delivery.ack()


async def test_old_live_message_makes_room(queue: EventQueue, backend: Backend) -> None:
    """What was accepted too long ago goes on in bulk, otherwise unchanged, and what is young stays in live."""
    old = replace(a_message(1, first_seen=time.time() - STALE_SECONDS), attempts=3, failure=BUSY)
    young = replace(a_message(2, first_seen=time.time() - STALE_SECONDS / 2), attempts=2, failure=GONE)
    await publish_all(queue, [old, young], Lane.LIVE)
    if not backend.adapter.moves_stale:
        assert sorted(await drained(queue, Lane.LIVE, 2), key=lambda message: message.event_id) == [old, young]
        return
    assert await drained(queue, Lane.LIVE, 1) == [young]
    assert await drained(queue, Lane.BULK, 1) == [old]


async def test_old_live_retry_makes_room(queue: EventQueue, backend: Backend) -> None:
    """A live message that has become old by the time its retry is due goes on in bulk."""
    message = a_message(1, first_seen=time.time() - STALE_SECONDS + 3)
    async with (
        queue.consume(Lane.LIVE, 1) as live,
        queue.consume(Lane.BULK, 1) as bulk,
        asyncio.TaskGroup() as group,
    ):
        await queue.publish(message, [Lane.LIVE])
        retried = message.after(BUSY, counted=True)
        await (await taken(live)).retry(retried, 3)
        taking = [group.create_task(taken(consumer)) for consumer in (live, bulk)]
        [first], [other] = await asyncio.wait(taking, return_when=asyncio.FIRST_COMPLETED)
        other.cancel()
        again = first.result()
        assert again.message == retried
        assert again.lane is (Lane.BULK if backend.adapter.moves_stale else Lane.LIVE)
        await again.ack()


async def test_cancelled_take_loses_nothing(queue: EventQueue) -> None:
    """Whenever a ``take`` is cancelled, the message is either handed over or still queued."""
    dice = random.Random(1)
    expected = {a_message(number).event_id for number in range(60)}
    seen: Counter[EventId] = Counter()
    async with (
        queue.consume(Lane.LIVE, 4) as consumer,
        asyncio.timeout(4 * SOON),
        asyncio.TaskGroup() as group,
    ):
        group.create_task(publish_all(queue, [a_message(number) for number in range(60)], Lane.LIVE))
        while len(seen) < len(expected):
            taking = group.create_task(consumer.take())
            for _ in range(dice.randrange(12)):
                await asyncio.sleep(0)
            if dice.random() < 0.5:
                await asyncio.wait({taking}, timeout=dice.random() * 0.01)
            taking.cancel()
            await asyncio.wait({taking})
            if not taking.cancelled():
                delivery = taking.result()
                seen[delivery.message.event_id] += 1
                await delivery.ack()
    assert seen == Counter(expected)


async def test_stop_gives_back_what_was_fetched_ahead(queue: EventQueue) -> None:
    """After ``stop`` others get what was fetched ahead; what is in hand can still be settled."""
    await publish_all(queue, [a_message(number) for number in range(10)], Lane.LIVE)
    async with queue.consume(Lane.LIVE, 10) as stopped:
        in_hand = await taken(stopped)
        await stopped.stop()
        rest = await drained(queue, Lane.LIVE, 9)
        await in_hand.ack()
    assert in_hand.message.event_id not in {message.event_id for message in rest}
    assert await drained(queue, Lane.LIVE, 0) == []


async def test_take_ends_when_the_consumer_is_stopped(queue: EventQueue) -> None:
    """``take`` on a stopped consumer raises instead of waiting for ever, also when it waits already."""
    async with queue.consume(Lane.LIVE, 10) as consumer, asyncio.TaskGroup() as group:
        taking = group.create_task(_refused_take(consumer))
        await asyncio.wait({taking}, timeout=0.05)
        await consumer.stop()
        await taking
        await _refused_take(consumer)


async def _refused_take(consumer: Consumer) -> None:
    with pytest.raises(QueueUnavailable):
        await taken(consumer)


async def test_unsettled_delivery_comes_again(queue: EventQueue) -> None:
    """What a consumer leaves unsettled when it is closed is delivered again, unchanged."""
    message = replace(a_message(1), attempts=2, failure=BUSY)
    await queue.publish(message, [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 10) as consumer:
        await taken(consumer)
    assert await drained(queue, Lane.LIVE, 1) == [message]


async def test_settlement_after_closing_is_refused(queue: EventQueue) -> None:
    """A delivery whose consumer was closed cannot be settled any more: its message comes again."""
    await queue.publish(a_message(1), [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 10) as consumer:
        delivery = await taken(consumer)
    with pytest.raises(DeliveryLost):
        await delivery.ack()
    assert len(await drained(queue, Lane.LIVE, 1)) == 1


async def test_second_settlement_is_an_error(queue: EventQueue) -> None:
    """Settling twice raises and changes nothing."""
    await queue.publish(a_message(1), [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 10) as consumer:
        delivery = await taken(consumer)
        await delivery.ack()
        again: list[Awaitable[None]] = [
            delivery.ack(),
            delivery.release(),
            delivery.retry(delivery.message, 1),
            delivery.park(delivery.message, GONE),
        ]
        for settlement in again:
            with pytest.raises(RuntimeError):
                await settlement
        assert await nothing_comes(consumer)
    assert await waiting(queue) == {}


async def test_release_delivers_again_at_once(queue: EventQueue) -> None:
    """A released message comes again at once and untouched."""
    message = replace(a_message(1), attempts=2, failure=BUSY)
    await queue.publish(message, [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 1) as consumer:
        started = time.monotonic()
        for _ in range(DELIVERY_LIMIT + 2):
            delivery = await taken(consumer)
            assert delivery.message == message
            await delivery.release()
        assert time.monotonic() - started < SOON
    assert await drained(queue, Lane.LIVE, 1) == [message]
    assert await all_parked(queue) == []


async def test_retry_waits_for_its_delay(queue: EventQueue) -> None:
    """A retried message comes back to its lane after its delay, not before, as the message it was replaced by."""
    message = a_message(1, first_seen=1760000000.5)
    await queue.publish(message, [Lane.FAST])
    async with queue.consume(Lane.FAST, 10) as consumer:
        replaced = replace(message.after(BUSY, counted=True), body=b"other")
        started = time.monotonic()
        await (await taken(consumer)).retry(replaced, 1)
        delivery = await taken(consumer)
        assert 0.9 < time.monotonic() - started < 5
        assert delivery.message == replaced
        assert delivery.lane is Lane.FAST
        await delivery.ack()


async def test_retries_of_different_delays_do_not_wait_for_each_other(queue: EventQueue) -> None:
    """A message with a short delay passes one with a long delay."""
    await publish_all(queue, [a_message(1), a_message(2)], Lane.LIVE)
    async with queue.consume(Lane.LIVE, 10) as consumer:
        long, short = await taken(consumer), await taken(consumer)
        await long.retry(long.message, 30)
        await short.retry(short.message, 1)
        again = await taken(consumer)
        assert again.message == short.message
        await again.ack()
    await until(lambda: holds(queue, {"retry.30": 1}))


async def test_a_retry_may_go_on_in_another_lane(queue: EventQueue) -> None:
    """What was done in live is looked at once more in bulk: the message goes there with all it is."""
    await queue.publish(a_message(1), [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 1) as live, queue.consume(Lane.BULK, 1) as bulk:
        replaced = replace(a_message(1), body=b"look")
        await (await taken(live)).retry(replaced, 1, Lane.BULK)
        delivery = await taken(bulk)
        assert (delivery.message.body, delivery.lane) == (b"look", Lane.BULK)
        await delivery.ack()
    await until(lambda: holds(queue, {}))


async def test_retry_outlives_the_queue_object(backend: Backend) -> None:
    """A retry that is not due yet is there after the queue was closed and opened again."""
    async with backend.open() as queue:
        await queue.publish(a_message(1), [Lane.LIVE])
        async with queue.consume(Lane.LIVE, 10) as consumer:
            delivery = await taken(consumer)
            retried = delivery.message.after(BUSY, counted=True)
            await delivery.retry(retried, 1)
    async with backend.open() as queue, queue.consume(Lane.LIVE, 10) as consumer:
        delivery = await taken(consumer)
        assert delivery.message == retried
        await delivery.ack()


async def test_unknown_delay_is_refused(queue: EventQueue) -> None:
    """A delay that is no tier is a mistake of the caller; the delivery stays unsettled."""
    await queue.publish(a_message(1), [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 10) as consumer:
        delivery = await taken(consumer)
        with pytest.raises(ValueError, match="2"):
            await delivery.retry(delivery.message, 2)
        await delivery.ack()


async def test_parked_message_says_everything(queue: EventQueue) -> None:
    """A parked message carries itself, its lane, its reason and its time, and is not delivered."""
    message = replace(a_message(1, body="展会".encode()), attempts=4, failure=BUSY)
    [parked] = await park_all(queue, [message])
    assert (parked.message, parked.lane, parked.failure) == (message, Lane.LIVE, GONE)
    assert abs(parked.parked_at - time.time()) < SOON
    assert await drained(queue, Lane.LIVE, 0) == []


async def test_parked_is_listed_oldest_first_and_stays(queue: EventQueue) -> None:
    """``parked`` lists the oldest first, and listing changes nothing, not even when it is broken off."""
    messages = [a_message(number) for number in range(5)]
    parked = await park_all(queue, messages)
    assert [item.message for item in parked] == messages
    assert len({item.id for item in parked}) == 5
    async with aclosing(_generator(queue)) as listing:
        first = await anext(listing)
    assert first == parked[0]
    assert await all_parked(queue) == parked


async def test_a_look_at_some_of_the_parked_holds_no_more_of_them(queue: EventQueue) -> None:
    """With a limit ``parked`` returns so many of them and no more, and all stay parked."""
    parked = await park_all(queue, [a_message(number) for number in range(5)])
    some = [item async for item in queue.parked(limit=3)]
    assert len(some) == 3
    assert all(item in parked for item in some)
    assert [item async for item in queue.parked(limit=9)] == parked
    assert await all_parked(queue) == parked


async def _generator(queue: EventQueue) -> AsyncIterator[Parked]:
    async for item in queue.parked():
        yield item


async def test_replay_moves_to_bulk_with_fresh_attempts(queue: EventQueue) -> None:
    """Replay moves exactly the named messages to bulk: no attempts, no failure, first seen when it was."""
    messages = [replace(a_message(number, first_seen=1760000000.5), attempts=9, failure=BUSY) for number in range(3)]
    first, second, third = await park_all(queue, messages, Lane.BULK)
    assert await queue.replay([first.id, third.id]) == 2
    replayed = await drained(queue, Lane.BULK, 2)
    expected = [replace(messages[number], attempts=0, failure=None) for number in (0, 2)]
    assert sorted(replayed, key=lambda message: message.event_id) == expected
    assert await all_parked(queue) == [second]


async def test_replayed_welcome_goes_back_to_the_fast_lane(queue: EventQueue) -> None:
    """A welcome is no mark: parked from the fast lane, it is replayed to the fast lane."""
    [parked] = await park_all(queue, [a_message(1)], Lane.FAST)
    assert parked.lane is Lane.FAST
    assert await queue.replay([parked.id]) == 1
    assert await drained(queue, Lane.FAST, 1) == [parked.message]
    assert await drained(queue, Lane.BULK, 0) == []


async def test_replay_wakes_a_waiting_consumer(queue: EventQueue) -> None:
    """A replayed message reaches a consumer that waits already."""
    [parked] = await park_all(queue, [a_message(1)])
    async with queue.consume(Lane.BULK, 1) as consumer, asyncio.TaskGroup() as group:
        taking = group.create_task(taken(consumer))
        await asyncio.wait({taking}, timeout=0.05)
        await queue.replay([parked.id])
        await (await taking).ack()


async def test_drop_removes_for_good(queue: EventQueue) -> None:
    """Drop removes exactly the named messages."""
    first, second = await park_all(queue, [a_message(1), a_message(2)])
    assert await queue.drop([first.id]) == 1
    assert await all_parked(queue) == [second]
    assert await waiting(queue) == {"parked": 1}


@pytest.mark.parametrize("unknown", ["", "0", "-1", "999999999999999999999", "x", "1; --", "展会", "1.0", " 1"])
async def test_unknown_ids_are_ignored(queue: EventQueue, unknown: str) -> None:
    """Ids that name nothing are neither counted nor an error, and take nothing with them."""
    [parked] = await park_all(queue, [a_message(1)])
    assert await queue.replay([unknown]) == 0
    assert await queue.drop([unknown]) == 0
    assert await all_parked(queue) == [parked]
    assert await queue.replay([unknown, parked.id, parked.id]) == 1
    assert await queue.replay([parked.id]) == 0
    assert await queue.drop([parked.id]) == 0


async def test_two_replays_at_once_lose_nothing(queue: EventQueue) -> None:
    """Two people may replay the same messages at the same time."""
    parked = await park_all(queue, [a_message(number) for number in range(20)])
    ids = [item.id for item in parked]
    async with asyncio.TaskGroup() as group:
        group.create_task(queue.replay(ids))
        group.create_task(queue.replay(list(reversed(ids))))
    assert await all_parked(queue) == []
    seen = set()
    async with queue.consume(Lane.BULK, 5) as consumer:
        while len(seen) < 20:
            delivery = await taken(consumer)
            seen.add(delivery.message.event_id)
            await delivery.ack()


async def test_killer_of_workers_is_parked(queue: EventQueue) -> None:
    """A message that is delivered ``DELIVERY_LIMIT`` times and never settled is tried ``TRIALS`` times, then parked."""
    message = replace(a_message(1), attempts=1, failure=BUSY)
    await queue.publish(message, [Lane.LIVE])
    deliveries = 0
    parked: list[Parked] = []
    while not parked:
        async with queue.consume(Lane.LIVE, 1) as consumer:
            try:
                async with asyncio.timeout(2):
                    assert (await consumer.take()).message == message
            except TimeoutError:
                assert deliveries >= DELIVERY_LIMIT
            else:
                deliveries += 1
        assert deliveries <= DELIVERY_LIMIT + 1 + TRIALS
        parked = await all_parked(queue)
    assert deliveries > DELIVERY_LIMIT
    assert [(item.message, item.lane, item.failure) for item in parked] == [(message, Lane.LIVE, KILLED_ITS_WORKER)]


async def test_settled_deliveries_do_not_count_towards_the_limit(queue: EventQueue) -> None:
    """Neither a release nor a retry brings a message nearer to being suspected."""
    message = a_message(1)
    await queue.publish(message, [Lane.LIVE])
    for _ in range(DELIVERY_LIMIT - 2):
        async with queue.consume(Lane.LIVE, 1) as consumer:
            await taken(consumer)
    async with queue.consume(Lane.LIVE, 1) as consumer:
        for _ in range(5):
            await (await taken(consumer)).release()
        await (await taken(consumer)).retry(message, 1)
        await taken(consumer)
    for _ in range(3):
        async with queue.consume(Lane.LIVE, 1) as consumer:
            await taken(consumer)
    assert await drained(queue, Lane.LIVE, 1) == [message]


async def test_consumers_do_not_get_the_same_message(queue: EventQueue) -> None:
    """Each message goes to one of several consumers of a lane."""
    count = 300
    seen: Counter[EventId] = Counter()

    async def work(consumer: Consumer) -> None:
        while True:
            delivery = await consumer.take()
            seen[delivery.message.event_id] += 1
            await delivery.ack()

    async with (
        queue.consume(Lane.LIVE, 10) as first,
        queue.consume(Lane.LIVE, 10) as second,
        queue.consume(Lane.LIVE, 1) as third,
        asyncio.TaskGroup() as group,
    ):
        workers = [group.create_task(work(consumer)) for consumer in (first, second, third)]
        await publish_all(queue, [a_message(number) for number in range(count)], Lane.LIVE)
        await until(lambda: _is(lambda: len(seen) == count))
        for worker in workers:
            worker.cancel()
    assert set(seen.values()) == {1}
    assert await drained(queue, Lane.LIVE, 0) == []


async def _is(condition: Callable[[], bool]) -> bool:
    return condition()


async def test_nothing_is_lost_or_doubled(queue: EventQueue) -> None:
    """Of 2,000 messages released, retried, parked and acked at random each ends exactly once."""
    count, workers = 2000, 20
    dice = random.Random(20260826)
    ends: Counter[EventId] = Counter()
    wrong: list[Message] = []

    async def handle(delivery: Delivery) -> None:
        message = delivery.message
        if message.body != message.event_id.encode():
            wrong.append(message)
        await asyncio.sleep(0)
        match dice.choices(["ack", "release", "retry", "park"], [70, 15, 12, 3]):
            case ["release"]:
                await delivery.release()
            case ["retry"] if message.attempts == 0:
                await delivery.retry(message.after(BUSY, counted=True), 1)
            case ["park"]:
                await delivery.park(message, GONE)
                ends[message.event_id] += 1
            case _:
                await delivery.ack()
                ends[message.event_id] += 1

    async def work(consumer: Consumer) -> None:
        while True:
            await handle(await consumer.take())

    messages = [a_message(number) for number in range(count)]
    messages = [replace(message, body=message.event_id.encode()) for message in messages]
    async with (
        queue.consume(Lane.LIVE, workers) as live,
        queue.consume(Lane.BULK, workers) as bulk,
        asyncio.timeout(100),
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(work(consumer)) for consumer in (live, bulk) for _ in range(workers)]
        for start in range(0, count, 200):
            await publish_all(queue, messages[start : start + 200], Lane.LIVE)
        while sum(ends.values()) < count:
            await asyncio.sleep(0.01)
        assert await nothing_comes_to(ends)
        for task in tasks:
            task.cancel()
    assert wrong == []
    assert ends == Counter(message.event_id for message in messages)
    assert await drained(queue, Lane.LIVE, 0) == await drained(queue, Lane.BULK, 0) == []
    assert {item.message.event_id for item in await all_parked(queue)} <= set(ends)


async def nothing_comes_to(ends: Counter[EventId]) -> bool:
    """Tell whether the workers find nothing more to end for a while."""
    before = sum(ends.values())
    await asyncio.sleep(A_WHILE)
    return sum(ends.values()) == before


async def holds(queue: EventQueue, expected: dict[str, int]) -> bool:
    return await waiting(queue) == expected


async def test_who_comes_after_a_crowd_does_not_wait_for_it(queue: EventQueue) -> None:
    """Live stays short however many come at once: the rest goes to bulk, a welcome to fast all the same."""
    count = 3 * CROWD
    for start in range(0, count, 500):
        await publish_all(queue, map(a_message, range(start, start + 500)), Lane.LIVE)
    await queue.publish(a_message(count), [Lane.FAST])

    async def all_there() -> bool:
        return sum((await waiting(queue)).values()) == count + 1

    await until(all_there)
    depths = await waiting(queue)
    assert CROWD / 2 <= depths["live"] <= CROWD * 1.5
    assert depths["fast"] == 1
    async with queue.consume(Lane.LIVE, 100) as consumer:
        for _ in range(depths["live"]):
            await (await taken(consumer)).ack()

    async def finds_room() -> bool:
        await queue.publish(a_message(), [Lane.LIVE])
        return (await waiting(queue)).get("live", 0) > 0

    await until(finds_room)


async def test_a_delivery_tells_whether_somebody_had_it(queue: EventQueue) -> None:
    """What was delivered and not settled comes again and says so; a retry is a new message."""
    await queue.publish(a_message(1), [Lane.BULK])
    async with queue.consume(Lane.BULK, 1) as dying:
        assert not (await taken(dying)).redelivered
    async with queue.consume(Lane.BULK, 1) as consumer:
        again = await taken(consumer)
        assert again.redelivered
        await again.retry(again.message, 1)
        assert not (await taken(consumer)).redelivered


async def test_depths_name_every_place(queue: EventQueue) -> None:
    """``depths`` lists every lane, every retry tier and the parking, empty ones too."""
    depths = {depth.name: depth for depth in await queue.depths()}
    expected = {*Lane, *(f"retry.{delay}" for delay in RETRY_DELAYS), "parked"}
    assert expected <= set(depths) <= expected | {"dead"}
    assert {(depth.messages, depth.oldest_seconds) for depth in depths.values()} == {(0, None)}


async def test_depths_count_what_waits(queue: EventQueue) -> None:
    """Each message is counted where it waits."""
    await queue.publish(a_message(1), [Lane.FAST, Lane.LIVE])
    await publish_all(queue, [a_message(2), a_message(3)], Lane.BULK)
    await until(lambda: holds(queue, {"fast": 1, "live": 1, "bulk": 2}))
    async with queue.consume(Lane.BULK, 1) as consumer:
        first = await taken(consumer)
        await first.retry(first.message, 600)
        second = await taken(consumer)
        await second.park(second.message, GONE)
    await until(lambda: holds(queue, {"fast": 1, "live": 1, "retry.600": 1, "parked": 1}))


async def test_depths_tell_the_age(queue: EventQueue, backend: Backend) -> None:
    """
    The age of the oldest message counts from acceptance, through retries and parking.

    A broker tells that of the first in line, and none of a lane, where it would have to deliver the message.
    """
    now = time.time()
    for number, age in enumerate([100, 5000, 300]):
        await queue.publish(a_message(number, first_seen=now - age), [Lane.FAST, Lane.BULK])
    async with queue.consume(Lane.BULK, 10) as consumer:
        for _ in range(3):
            delivery = await taken(consumer)
            if now - delivery.message.first_seen > 1000:
                await delivery.retry(delivery.message, 7200)
            else:
                await delivery.park(delivery.message, GONE)
    await until(lambda: holds(queue, {"fast": 3, "retry.7200": 1, "parked": 2}))
    ages = {depth.name: depth.oldest_seconds for depth in await queue.depths(ages=True) if depth.messages}
    oldest, first = {"fast": 5000, "retry.7200": 5000, "parked": 300}, {"fast": None, "retry.7200": 5000, "parked": 100}
    expected = oldest if backend.adapter.knows_oldest else first
    assert ages == {name: age and pytest.approx(age, abs=SOON) for name, age in expected.items()}


async def test_asking_for_ages_loses_nothing(queue: EventQueue) -> None:
    """However often somebody looks, retries stay where they are and what waits in a lane is delivered."""
    await publish_all(queue, [a_message(1), a_message(2), a_message(3)], Lane.BULK)
    async with queue.consume(Lane.BULK, 2) as consumer:
        first = await taken(consumer)
        await first.retry(first.message, 600)
        second = await taken(consumer)
        await second.park(second.message, GONE)
    await until(lambda: holds(queue, {"bulk": 1, "retry.600": 1, "parked": 1}))
    for _ in range(DELIVERY_LIMIT + 5):
        await queue.depths(ages=True)
    async with queue.consume(Lane.BULK, 2) as consumer:
        third = await taken(consumer)
        assert third.message.event_id == a_message(3).event_id
        await third.ack()
    await until(lambda: holds(queue, {"retry.600": 1, "parked": 1}))


async def test_usable_queue_passes_its_check(queue: EventQueue) -> None:
    """``check`` returns when the queue is usable, and leaves nothing behind."""
    await queue.check()
    assert await waiting(queue) == {}


async def test_depths_and_deliveries_in_hand(queue: EventQueue, backend: Backend) -> None:
    """A delivery is counted in its lane until it is settled, by those queues that can know."""
    await queue.publish(a_message(1), [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 1) as consumer:
        delivery = await taken(consumer)
        await until(lambda: holds(queue, {"live": 1} if backend.adapter.counts_in_hand else {}))
        await delivery.ack()
    await until(lambda: holds(queue, {}))
