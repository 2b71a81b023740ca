"""The queue over RabbitMQ when the broker is killed, emptied, changed behind our back or filled by strangers."""

import asyncio
import gc
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from aio_pika import Message as AmqpMessage
from aio_pika import connect
from aio_pika.abc import AbstractChannel
from structlog.testing import capture_logs

from shared.clock import SystemClock
from shared.domain.errors import ConfigurationError, DeliveryLost, QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Failure, Message
from shared.queue.port import DELIVERY_LIMIT, KILLED_ITS_WORKER, STALE_SECONDS, Consumer, Delivery, Parked
from shared.queue.rabbitmq.adapter import RabbitQueue
from tests.rabbitmq.brokers import AnyBroker

SOON = 40.0
BUSY = Failure(reason="system busy", endpoint="externalcontact/get", errcode=-1, hint="系统繁忙")
LIBRARIES = ("aio_pika", "aiormq", "asyncio", "_asyncio")
SETTLE = "[dets:sync(Table) || Table <- dets:all()]"


@pytest.fixture(autouse=True)
def _knock_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back quickly and look often: these tests stop the broker and delete queues."""
    monkeypatch.setattr("shared.amqp.connection.PAUSES", (0.05, 0.5))
    monkeypatch.setattr("shared.queue.rabbitmq.subscription.WATCH_SECONDS", 0.2)
    monkeypatch.setattr("shared.queue.rabbitmq.adapter.LOOK_SECONDS", 0.2)
    monkeypatch.setattr("shared.queue.rabbitmq.adapter.QUIET_SECONDS", 0.0)


@asynccontextmanager
async def opened(url: str, prefix: str, *, stale: float = STALE_SECONDS) -> AsyncIterator[RabbitQueue]:
    async with RabbitQueue(url, SystemClock(), prefix=prefix, settling=0, stale=stale, confirm=SOON) as queue:
        yield queue


@asynccontextmanager
async def channel_to(url: str) -> AsyncIterator[AbstractChannel]:
    """Open a channel of our own, to do to the broker what strangers do."""
    async with await connect(url) as connection:
        yield await connection.channel()


def a_message(number: int = 0, *, attempts: int = 0) -> Message:
    return Message(event_id=EventId(f"{number:032x}"), body=b'{"v":1}', first_seen=time.time(), attempts=attempts)


async def taken(consumer: Consumer) -> Delivery:
    """Return the next delivery, whatever the broker goes through meanwhile."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                return await consumer.take()
            except QueueUnavailable:
                continue


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await condition():
            await asyncio.sleep(0.02)


async def accepts(queue: RabbitQueue, message: Message, *lanes: Lane) -> bool:
    try:
        await queue.publish(message, lanes)
    except QueueUnavailable:
        return False
    return True


async def waiting(queue: RabbitQueue) -> dict[str, int]:
    return {depth.name: depth.messages for depth in await queue.depths() if depth.messages}


async def usable(queue: RabbitQueue) -> bool:
    """Tell whether the queue is complete, without repairing it as ``check`` does."""
    try:
        await queue.depths()
    except QueueUnavailable:
        return False
    return True


async def test_no_confirmed_message_is_lost_when_the_broker_dies(broker: AnyBroker, prefix: str) -> None:
    """Kill the broker under publishers and a consumer: every accepted message is delivered, in both its lanes."""
    accepted: set[EventId] = set()
    seen: dict[Lane, set[EventId]] = {Lane.FAST: set(), Lane.LIVE: set()}
    stop = asyncio.Event()

    async def publish(queue: RabbitQueue, worker: int) -> None:
        number = worker * 1_000_000
        while not stop.is_set():
            number += 1
            if await accepts(queue, a_message(number), Lane.FAST, Lane.LIVE):
                accepted.add(a_message(number).event_id)
            else:
                await asyncio.sleep(0.02)

    async def consume(consumer: Consumer, lane: Lane) -> None:
        while True:
            delivery = await taken(consumer)
            seen[lane].add(delivery.message.event_id)
            await delivery.ack()

    async with opened(broker.url, prefix) as queue:
        broker.evaluate(SETTLE)
        async with (
            queue.consume(Lane.FAST, 50) as fast,
            queue.consume(Lane.LIVE, 50) as live,
            asyncio.TaskGroup() as group,
        ):
            consuming = [
                group.create_task(consume(fast, Lane.FAST)),
                group.create_task(consume(live, Lane.LIVE)),
            ]
            async with asyncio.TaskGroup() as publishing:
                for worker in range(10):
                    publishing.create_task(publish(queue, worker))
                await until(lambda: _is(lambda: len(accepted) > 200))
                await asyncio.to_thread(broker.kill)
                await asyncio.to_thread(broker.start)
                before = len(accepted)
                await until(lambda: _is(lambda: len(accepted) > before + 200))
                stop.set()
            await until(lambda: _is(lambda: accepted <= seen[Lane.FAST] and accepted <= seen[Lane.LIVE]))
            for task in consuming:
                task.cancel()


async def _is(condition: Callable[[], bool]) -> bool:
    return condition()


async def test_delivery_in_hand_survives_the_broker(broker: AnyBroker, prefix: str) -> None:
    """
    When the broker dies, ``take`` says so, a delivery in hand says that it is lost, and its message comes again.
    """
    async with opened(broker.url, prefix) as queue, queue.consume(Lane.LIVE, 10) as consumer:
        broker.evaluate(SETTLE)
        await queue.publish(a_message(1), [Lane.LIVE])
        first = await taken(consumer)
        await asyncio.to_thread(broker.kill)
        try:
            with pytest.raises(QueueUnavailable):
                async with asyncio.timeout(SOON):
                    await consumer.take()
            with pytest.raises(DeliveryLost):
                await first.retry(first.message.after(BUSY, counted=True), 1)
        finally:
            await asyncio.to_thread(broker.start)
        again = await taken(consumer)
        assert again.message == first.message
        await again.ack()
        await until(lambda: usable(queue))
        assert await waiting(queue) == {}


async def test_broker_may_come_later(broker: AnyBroker, prefix: str) -> None:
    """A queue opens without a broker, refuses at once, and works when the broker is there."""
    broker.kill()
    try:
        async with opened(broker.url, prefix) as queue:
            started = time.monotonic()
            assert not await accepts(queue, a_message(), Lane.LIVE)
            assert time.monotonic() - started < 0.2
            await asyncio.to_thread(broker.start)
            await until(lambda: accepts(queue, a_message(), Lane.LIVE))
    finally:
        await asyncio.to_thread(broker.start)


@pytest.mark.parametrize("away", [0.0, 3.0])
async def test_emptied_broker_is_filled_again(broker: AnyBroker, prefix: str, away: float) -> None:
    """A broker whose vhost is made anew gets our queues again, loudly, and work goes on; meanwhile we are not ready."""
    user = broker.url.split("//")[1].split(":")[0]
    vhost = f'<<"{prefix}">>, <<"test">>'
    create = (
        f"rabbit_vhost:add({vhost}), rabbit_auth_backend_internal:set_permissions("
        f'<<"{user}">>, <<"{prefix}">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)'
    )
    broker.evaluate(create)
    async with opened(f"{broker.url}{prefix}", prefix) as queue, queue.consume(Lane.LIVE, 5) as consumer:
        with capture_logs() as logs:
            broker.evaluate(f"rabbit_vhost:delete({vhost})")
            if away:
                await until(lambda: _not_ready(queue))
                await asyncio.sleep(away)
            broker.evaluate(create)
            await until(lambda: accepts(queue, a_message(1), Lane.LIVE))
            await (await taken(consumer)).ack()
        assert [entry["again"] for entry in logs if entry["event"] == "topology.created"] == [True]
        await until(lambda: _ready(queue))
    broker.evaluate(f"rabbit_vhost:delete({vhost})")


async def _ready(queue: RabbitQueue) -> bool:
    try:
        await queue.check()
    except QueueUnavailable:
        return False
    return True


async def _not_ready(queue: RabbitQueue) -> bool:
    return not await _ready(queue)


async def test_deleted_queue_is_declared_again(amqp_url: str, prefix: str) -> None:
    """A lane that somebody deletes while we run is declared again, loudly; publishing and consuming go on."""
    async with opened(amqp_url, prefix) as queue, queue.consume(Lane.LIVE, 5) as consumer:
        await queue.publish(a_message(1), [Lane.LIVE])
        await (await taken(consumer)).ack()
        async with channel_to(amqp_url) as channel:
            with capture_logs() as logs:
                await channel.queue_delete(f"{prefix}.live.v1")
                await until(lambda: accepts(queue, a_message(2), Lane.LIVE))
                delivery = await taken(consumer)
                assert delivery.message.event_id == a_message(2).event_id
                await delivery.ack()
        assert "topology.missing" in [entry["event"] for entry in logs]


async def test_deleted_tier_is_declared_again(amqp_url: str, prefix: str) -> None:
    """A retry tier that is missing is declared again by the retry that needs it."""
    async with opened(amqp_url, prefix) as queue, queue.consume(Lane.LIVE, 5) as consumer:
        async with channel_to(amqp_url) as channel:
            await channel.exchange_delete(f"{prefix}.retry.1.v1")
            await channel.queue_delete(f"{prefix}.retry.1.v1")
        await queue.publish(a_message(1), [Lane.LIVE])
        first = await taken(consumer)
        await first.retry(first.message, 1)
        await (await taken(consumer)).ack()


async def test_queue_declared_differently_is_refused(amqp_url: str, prefix: str) -> None:
    """A queue of ours with other arguments stops the start; the text names the queue and the argument."""
    async with channel_to(amqp_url) as channel:
        await channel.declare_queue(
            f"{prefix}.bulk.v1", durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 3}
        )
    with pytest.raises(ConfigurationError) as caught:
        async with opened(amqp_url, prefix):
            pass
    assert f"{prefix}.bulk.v1" in str(caught.value)
    assert "x-d" in str(caught.value)  # which of the differing arguments is named first is the broker's choice


async def test_queue_changed_while_running_fails_the_check(amqp_url: str, prefix: str) -> None:
    """
    A queue that is replaced by another kind while we run fails every publish to it, and the check, naming it.

    All who publish are told at once, none after the other, and when it is gone it is declared again by itself.
    """
    async with opened(amqp_url, prefix) as queue:
        await queue.check()
        async with channel_to(amqp_url) as channel:
            await channel.queue_delete(f"{prefix}.fast.v1")
            await channel.declare_queue(f"{prefix}.fast.v1", durable=True)
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(_answer(queue, Lane.FAST)) for _ in range(60)]
        answers = [task.result() for task in tasks]
        assert {answer and f"{prefix}.fast.v1" in answer for answer in answers} == {True}
        assert sum(entry["event"] == "topology.missing" for entry in logs) <= 2  # ours and the watch's
        with pytest.raises(QueueUnavailable, match=f"{prefix}.fast.v1"):
            await queue.check()
        async with channel_to(amqp_url) as channel:
            await channel.queue_delete(f"{prefix}.fast.v1")
        await until(lambda: accepts(queue, a_message(), Lane.FAST))
        await queue.check()


async def _answer(queue: RabbitQueue, lane: Lane) -> str:
    """Publish to *lane* and return why that failed."""
    try:
        await queue.publish(a_message(), [lane])
    except QueueUnavailable as error:
        return str(error)
    return ""


async def test_one_confirm_covers_both_lanes(broker: AnyBroker, prefix: str) -> None:
    """A message for two lanes is accepted only when both have it: one full lane refuses it."""
    async with opened(broker.url, prefix) as queue:
        await queue.publish(a_message(1), [Lane.FAST, Lane.LIVE])
        assert await waiting(queue) == {"fast": 1, "live": 1}
        _limit(broker, f"{prefix}.fast.v1", 1)
        await until(lambda: _refuses(queue, Lane.FAST))
        assert not await accepts(queue, a_message(2), Lane.FAST, Lane.LIVE)
        assert await accepts(queue, a_message(3), Lane.LIVE)
        _limit(broker, f"{prefix}.fast.v1", 1000)
        await until(lambda: accepts(queue, a_message(4), Lane.FAST, Lane.LIVE))


def _limit(broker: AnyBroker, queue: str, length: int) -> None:
    broker.evaluate(
        f'rabbit_policy:set(<<"/">>, <<"full">>, <<"^{queue}$">>, '
        f'[{{<<"max-length">>, {length}}}], 0, <<"queues">>, <<"test">>)'
    )


async def _refuses(queue: RabbitQueue, lane: Lane) -> bool:
    return not await accepts(queue, a_message(9), lane)


async def test_missing_lane_is_noticed_without_a_worker(amqp_url: str, prefix: str) -> None:
    """
    A process that only publishes declares a deleted lane again.

    RabbitMQ confirms a message for two lanes when one of them is there, so nothing else would tell.
    """
    async with opened(amqp_url, prefix) as queue:
        async with channel_to(amqp_url) as channel:
            await channel.queue_delete(f"{prefix}.fast.v1")
        await until(lambda: usable(queue))

        async def reaches_both() -> bool:
            """The queue is there a moment before its bindings are, and the channel is replaced meanwhile."""
            return await accepts(queue, a_message(1), Lane.FAST, Lane.LIVE) and "fast" in await waiting(queue)

        await until(reaches_both)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param(
            {"qudao-event": 7, "qudao-first-seen": "soon", "qudao-attempts": "many", "qudao-reason": 5},
            id="nonsense",
        ),
        pytest.param(
            {"qudao-event": "", "qudao-first-seen": "nan", "qudao-attempts": -3, "x-delivery-count": "x"},
            id="impossible",
        ),
        pytest.param({"qudao-first-seen": [1], "qudao-attempts": {"a": 1}, "x-death": "x"}, id="shapes"),
    ],
)
async def test_message_of_a_stranger_is_delivered(amqp_url: str, prefix: str, headers: dict[str, Any]) -> None:
    """A message published by others, without our headers or with nonsense in them, is delivered all the same."""
    async with opened(amqp_url, prefix) as queue, queue.consume(Lane.LIVE, 5) as consumer:
        async with channel_to(amqp_url) as channel:
            exchange = await channel.get_exchange(f"{prefix}.jobs")
            await exchange.publish(AmqpMessage(b"hello", headers=headers), "live")
        delivery = await taken(consumer)
        assert delivery.message.body == b"hello"
        assert len(delivery.message.event_id) == 32
        assert delivery.message.attempts == 0
        assert abs(delivery.message.first_seen - time.time()) < SOON
        await delivery.park(delivery.message, BUSY)
        [parked] = [item async for item in queue.parked()]
        assert parked.message.body == b"hello"


async def test_stranger_in_the_parking_and_among_the_suspects(amqp_url: str, prefix: str) -> None:
    """What others put into our parking or our dead queue by hand is shown, tried and settled like our own."""
    async with opened(amqp_url, prefix) as queue:
        async with channel_to(amqp_url) as channel:
            await channel.default_exchange.publish(AmqpMessage(b"parked"), f"{prefix}.parked.v1")
            await channel.default_exchange.publish(AmqpMessage(b"dead"), f"{prefix}.dead.v1")
        [parked] = [item async for item in queue.parked()]
        assert (parked.message.body, parked.lane) == (b"parked", Lane.BULK)
        assert await queue.drop([parked.id]) == 1
        async with queue.consume(Lane.LIVE, 5) as consumer:
            suspect = await taken(consumer)
            assert (suspect.message.body, suspect.lane) == (b"dead", Lane.BULK)
            await suspect.ack()
        assert await waiting(queue) == {}


async def test_headers_carry_no_history_of_the_broker(amqp_url: str, prefix: str) -> None:
    """However often a message is retried, the broker's notes about it do not grow, and ours name no person."""
    async with opened(amqp_url, prefix) as queue, queue.consume(Lane.LIVE, 1) as consumer:
        await queue.publish(a_message(1), [Lane.LIVE])
        for _ in range(2):
            delivery = await taken(consumer)
            await delivery.retry(delivery.message.after(BUSY, counted=True), 1)
        last = await taken(consumer)
        await last.release()
        await consumer.stop()
        async with channel_to(amqp_url) as channel:
            message = await (await channel.get_queue(f"{prefix}.live.v1")).get(no_ack=True)
    assert message is not None
    [death] = message.headers["x-death"]
    assert death["count"] == 1
    ours = {name for name in message.headers if name.startswith("qudao-")}
    assert ours == {
        f"qudao-{name}"
        for name in ("event", "first-seen", "attempts", "reason", "endpoint", "errcode", "hint", "waits-for")
    }


async def test_suspect_is_tried_alone_and_its_neighbours_survive(amqp_url: str, prefix: str) -> None:
    """A killer takes its neighbours to the dead queue; each is tried alone, and only the killer is parked."""
    killer, neighbour = a_message(1), a_message(2)
    handled: list[EventId] = []
    async with opened(amqp_url, prefix) as queue:
        for message in (killer, neighbour):
            await queue.publish(message, [Lane.BULK])
        for _ in range(DELIVERY_LIMIT + 1):
            async with queue.consume(Lane.BULK, 2) as consumer:
                await taken(consumer)
                await taken(consumer)
        await until(lambda: _holds(queue, {"dead": 2}))
        async with asyncio.timeout(SOON):
            while not (parked := [item async for item in queue.parked()]):
                async with queue.consume(Lane.LIVE, 5) as live, queue.consume(Lane.BULK, 5) as bulk:
                    suspect = await _first_of(live, bulk)
                    if suspect is None:
                        continue
                    assert suspect.lane is Lane.BULK
                    if suspect.message.event_id == neighbour.event_id:
                        handled.append(suspect.message.event_id)
                        await suspect.ack()
        assert [(item.message, item.failure) for item in parked] == [(killer, KILLED_ITS_WORKER)]
        async with queue.consume(Lane.LIVE, 5) as live:
            if not handled:
                rest = await taken(live)
                handled.append(rest.message.event_id)
                await rest.ack()
        assert handled == [neighbour.event_id]
        assert await waiting(queue) == {"parked": 1}


async def _first_of(*consumers: Consumer) -> Delivery | None:
    """Return what the first of *consumers* takes within a second."""
    async with asyncio.TaskGroup() as group:
        taking = [group.create_task(consumer.take()) for consumer in consumers]
        done, pending = await asyncio.wait(taking, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
    return next(iter(done)).result() if done else None


async def test_live_message_that_waits_too_long_is_moved_to_bulk(amqp_url: str, prefix: str) -> None:
    """The broker moves what waits in live for too long to bulk by itself, unchanged; what is in hand stays."""
    messages = [replace(a_message(number, attempts=2), failure=BUSY) for number in range(3)]
    async with opened(amqp_url, prefix, stale=1.0) as queue:
        async with queue.consume(Lane.LIVE, 1) as live:
            await queue.publish(messages[0], [Lane.LIVE])
            in_hand = await taken(live)
            for message in messages[1:]:
                await queue.publish(message, [Lane.FAST, Lane.LIVE])
            await until(lambda: _holds(queue, {"fast": 2, "bulk": 2}))
            assert in_hand.message == messages[0]
            await in_hand.ack()
        async with queue.consume(Lane.BULK, 1) as bulk:
            for expected in messages[1:]:
                delivery = await taken(bulk)
                assert (delivery.message, delivery.lane) == (expected, Lane.BULK)
                await delivery.retry(delivery.message, 1)
            async with channel_to(amqp_url) as channel:
                tier = await channel.get_queue(f"{prefix}.retry.1.v1")
                assert "x-death" not in (await tier.get()).headers
        await until(lambda: _holds(queue, {"fast": 2, "bulk": 2}))


async def _holds(queue: RabbitQueue, expected: dict[str, int]) -> bool:
    return await waiting(queue) == expected


async def test_killer_that_expired_from_live_is_parked_from_bulk(amqp_url: str, prefix: str) -> None:
    """Where a message expired before says nothing about which lane it died in."""
    message = replace(a_message(1, attempts=2), failure=BUSY)
    async with opened(amqp_url, prefix, stale=0.2) as queue:
        await queue.publish(message, [Lane.LIVE])
        await until(lambda: _holds(queue, {"bulk": 1}))
        parked = await _killed(queue, Lane.BULK)
    assert [(item.message, item.lane, item.failure) for item in parked] == [(message, Lane.BULK, KILLED_ITS_WORKER)]


async def _killed(queue: RabbitQueue, lane: Lane) -> list[Parked]:
    """Die with what *lane* delivers, one message at a time, until something is parked."""
    async with asyncio.timeout(SOON):
        while not (parked := [item async for item in queue.parked()]):
            async with queue.consume(lane, 1) as consumer:
                await _first_of(consumer)
    return parked


async def test_killers_of_the_live_lane_are_suspected_by_its_consumers(amqp_url: str, prefix: str) -> None:
    """A live killer and its neighbour go to the suspects, though live's dead letters go to bulk; neither gets lost."""
    async with opened(amqp_url, prefix) as queue:
        for number in range(2):
            await queue.publish(a_message(number), [Lane.LIVE])
        for _ in range(DELIVERY_LIMIT + 1):
            async with queue.consume(Lane.LIVE, 2) as consumer:
                await taken(consumer)
                await taken(consumer)
        async with queue.consume(Lane.LIVE, 2) as consumer:
            suspect = await taken(consumer)
            assert suspect.lane is Lane.LIVE
            await until(lambda: _holds(queue, {"dead": 1}))  # the other waits: suspects are tried one at a time
            await suspect.ack()
            await (await taken(consumer)).ack()
            await until(lambda: _holds(queue, {}))


async def test_released_suspect_gets_another_try(amqp_url: str, prefix: str) -> None:
    """A suspect that a stopping worker gives back was not killed by it: it is tried again, not parked."""
    async with opened(amqp_url, prefix) as queue:
        async with channel_to(amqp_url) as channel:
            await channel.default_exchange.publish(AmqpMessage(b"dead"), f"{prefix}.dead.v1")
        for _ in range(3):
            async with queue.consume(Lane.LIVE, 5) as consumer:
                await (await taken(consumer)).release()
        assert await waiting(queue) == {"dead": 1}


async def test_prefixes_keep_deployments_apart(amqp_url: str, prefix: str) -> None:
    """Two deployments on one vhost do not see each other's messages."""
    async with opened(amqp_url, prefix) as one, opened(amqp_url, f"{prefix}x") as other:
        await one.publish(a_message(1), [Lane.LIVE])
        assert await waiting(one) == {"live": 1}
        assert await waiting(other) == {}


async def test_many_parked_are_replayed(amqp_url: str, prefix: str) -> None:
    """A thousand parked messages are replayed in seconds and none is lost."""
    async with opened(amqp_url, prefix) as queue:
        async with queue.consume(Lane.LIVE, 200) as consumer, asyncio.TaskGroup() as group:
            for start in range(0, 1000, 100):
                async with asyncio.TaskGroup() as publishing:
                    for number in range(start, start + 100):
                        publishing.create_task(queue.publish(a_message(number), [Lane.LIVE]))
            for _ in range(1000):
                delivery = await taken(consumer)
                group.create_task(delivery.park(delivery.message, BUSY))
        ids = [item.id async for item in queue.parked()]
        assert len(set(ids)) == 1000
        assert await queue.replay(ids[:990]) == 990
        assert await waiting(queue) == {"bulk": 990, "parked": 10}


async def test_looks_leave_nothing_behind(amqp_url: str, prefix: str) -> None:
    """
    However often the queue is looked at, no channel, task or callback of it stays.

    Timers do for a while: the loop clears those that were cancelled when there are many.
    """
    async with opened(amqp_url, prefix) as queue:

        async def look(times: int) -> Counter[str]:
            for _ in range(times):
                await queue.depths(ages=True)
                await queue.check()
            gc.collect()
            kinds = (type(thing) for thing in gc.get_objects() if not isinstance(thing, asyncio.TimerHandle))
            return Counter(kind.__qualname__ for kind in kinds if str(kind.__module__).startswith(LIBRARIES))

        before = await look(20)
        after = await look(100)
        assert {kind: number for kind, number in after.items() if number > before[kind] + 20} == {}


async def test_a_look_is_no_delivery(amqp_url: str, prefix: str) -> None:
    """However often somebody looks, what waits in a lane is as good as new."""
    async with opened(amqp_url, prefix) as queue:
        for lane in Lane:
            await queue.publish(a_message(1), [lane])
        for _ in range(3):
            await queue.depths(ages=True)
            await queue.check()
        for lane in Lane:
            async with queue.consume(lane, 1) as consumer:
                assert not (await taken(consumer)).redelivered


def _user(broker: AnyBroker, configure: str, write: str, read: str) -> str:
    """Make a user with these rights and return the URL that it connects with."""
    name = f"u{secrets.token_hex(4)}"
    permissions = ", ".join(f'<<"{pattern}">>' for pattern in (configure, write, read))
    broker.evaluate(
        f'rabbit_auth_backend_internal:add_user(<<"{name}">>, <<"pw">>, <<"test">>), '
        f'rabbit_auth_backend_internal:set_permissions(<<"{name}">>, <<"/">>, {permissions}, <<"test">>)'
    )
    return f"amqp://{name}:pw@{broker.url.rpartition('@')[2]}"


async def test_user_limited_to_the_prefix_does_everything(broker: AnyBroker, prefix: str) -> None:
    """A user with rights on our names alone publishes, retries, parks, looks and replays."""
    ours = f"^{prefix}"
    async with (
        opened(_user(broker, ours, ours, ours), prefix) as queue,
        queue.consume(Lane.LIVE, 5) as consumer,
    ):
        await queue.publish(a_message(1), [Lane.LIVE])
        first = await taken(consumer)
        await first.retry(first.message, 1)
        again = await taken(consumer)
        await again.park(again.message, BUSY)
        [parked] = [item async for item in queue.parked()]
        assert await queue.replay([parked.id]) == 1
        await queue.check()


async def test_user_who_may_not_declare_uses_what_is_there(broker: AnyBroker, prefix: str) -> None:
    """Without the right to configure an ingress works once others have declared, and says what it lacks before."""
    url = _user(broker, "^$", f"^{prefix}", f"^{prefix}")
    with pytest.raises(ConfigurationError, match=f"lacks the right to configure the exchange {prefix}.jobs") as caught:
        async with opened(url, prefix):
            pass
    assert "rabbitmqctl set_permissions -p '/' 'u" in str(caught.value)
    async with opened(broker.url, prefix), opened(url, prefix) as queue:
        await queue.publish(a_message(1), [Lane.FAST, Lane.LIVE])
        await queue.check()


async def test_user_who_may_not_publish_is_told_at_the_start(broker: AnyBroker, prefix: str) -> None:
    """Without the right to write the queue does not open, and names the right and on what."""
    async with opened(broker.url, prefix):
        url = _user(broker, "^$", "^$", ".*")
        with pytest.raises(ConfigurationError, match=f"lacks the right to write the exchange {prefix}.jobs"):
            async with opened(url, prefix):
                pass


async def test_lane_that_stands_still_fails_the_check(
    broker: AnyBroker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not read a lane is not ready, and the reason names the right that lacks."""
    monkeypatch.setattr("shared.queue.rabbitmq.subscription.STILL_SECONDS", 0.2)
    async with opened(broker.url, prefix):
        url = _user(broker, "^$", ".*", "^$")
        async with opened(url, prefix) as queue, queue.consume(Lane.LIVE, 5):
            await until(lambda: _not_ready(queue))
            with pytest.raises(QueueUnavailable, match=f"lacks the right to read the queue {prefix}.live.v1"):
                await queue.check()


async def test_forgotten_delivery_comes_again(amqp_url: str, prefix: str) -> None:
    """A delivery that nobody can settle any more does not keep its place: its message comes again."""
    async with opened(amqp_url, prefix) as queue, queue.consume(Lane.LIVE, 1) as consumer:
        await queue.publish(a_message(1), [Lane.LIVE])
        assert (await taken(consumer)).message.event_id == a_message(1).event_id  # and dropped
        gc.collect()
        again = await taken(consumer)
        assert again.redelivered
        await again.ack()


async def test_crash_loop_parks_nobody(amqp_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often processes die soon after their start, what they had in hand is done by one that lives."""
    monkeypatch.setattr("shared.queue.rabbitmq.adapter.QUIET_SECONDS", SOON)
    messages = [a_message(number) for number in range(16)]
    for deaths in range(DELIVERY_LIMIT + 5):
        async with opened(amqp_url, prefix) as queue:
            for message in messages if not deaths else ():
                await queue.publish(message, [Lane.BULK])
            async with queue.consume(Lane.BULK, len(messages)) as consumer:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        for _ in messages:
                            await consumer.take()
    monkeypatch.setattr("shared.queue.rabbitmq.adapter.QUIET_SECONDS", 0.0)
    async with opened(amqp_url, prefix) as queue, queue.consume(Lane.BULK, 5) as consumer:
        done = set()
        while len(done) < len(messages):
            delivery = await taken(consumer)
            done.add(delivery.message.event_id)
            await delivery.ack()
        await until(lambda: _holds(queue, {}))
