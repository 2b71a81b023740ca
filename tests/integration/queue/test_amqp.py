"""The AMQP connection and the publisher against a real broker that is killed, frozen, starved and lied to."""

import asyncio
import logging
import random
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aio_pika.exceptions import ChannelInvalidStateError
from structlog.testing import capture_logs

from shared.amqp.connection import BLOCKED, AmqpConnection, close_channel, translated
from shared.amqp.publisher import Publisher, Unroutable
from shared.amqp.urls import HEARTBEAT
from shared.domain.errors import ConfigurationError, QueueUnavailable
from tests.rabbitmq.brokers import AnyBroker, free_ports

SOON = 40.0
AT_ONCE = 0.2
SETTLE = "[dets:sync(Table) || Table <- dets:all()]"
"""What RabbitMQ 3.10 does by itself up to a second late: without it a new queue does not survive a kill."""

LOW_MEMORY = "vm_memory_monitor:set_vm_memory_high_watermark(0.0)"
ENOUGH_MEMORY = "vm_memory_monitor:set_vm_memory_high_watermark(0.8)"


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SOON):
        while not await condition():
            await asyncio.sleep(0.02)


async def publishes(publisher: Publisher, queue: str) -> bool:
    try:
        return await publisher.publish(b"again", exchange="", routing_key=queue)
    except QueueUnavailable:
        return False


async def outcome(publisher: Publisher, queue: str) -> tuple[str, float]:
    """Publish once and return why it failed and how long that took."""
    started = time.monotonic()
    with pytest.raises(QueueUnavailable) as caught:
        await publisher.publish(b"body", exchange="", routing_key=queue)
    return str(caught.value), time.monotonic() - started


async def failed_after(publisher: Publisher, queue: str) -> float:
    """Publish until that fails, for an alarm takes a moment to reach a connection; return how long the failure took."""
    async with asyncio.timeout(SOON):
        while True:
            started = time.monotonic()
            if not await publishes(publisher, queue):
                return time.monotonic() - started


@asynccontextmanager
async def connected(url: str, seconds: float = 1.5) -> AsyncIterator[tuple[AmqpConnection, Publisher]]:
    async with AmqpConnection(url, "test") as connection, Publisher(connection, seconds=seconds) as publisher:
        async with asyncio.timeout(SOON):
            await publisher.ready()
        yield connection, publisher


async def declare(connection: AmqpConnection, name: str, **arguments: object) -> None:
    channel = await connection.channel()
    try:
        await channel.queue_declare(
            name, durable=True, arguments={"x-queue-type": "quorum", **{f"x-{k}": v for k, v in arguments.items()}}
        )
    finally:
        await close_channel(channel)


async def bodies(connection: AmqpConnection, name: str) -> list[bytes]:
    """Take everything out of the queue *name*."""
    channel = await connection.channel()
    try:
        found = []
        while (message := await channel.basic_get(name, no_ack=True)).delivery_tag is not None:
            found.append(message.body)
    finally:
        await close_channel(channel)
    return found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "http://user:s3cret@host/",
        "amqp://",
        "amqp:///vhost",
        "amqp://user:s3cret@host:70000/",
        "amqp://user:s3cret@host:port/",
        "amqp://user:s3cret@[::1/",
        "amqp://user:s3cret@host,/vhost",
        "amqp://user:s3cret@host,other:port/vhost",
    ],
)
def test_nonsense_urls_are_refused(url: str) -> None:
    """A URL that is none is a configuration error, whose text does not repeat the password."""
    with pytest.raises(ConfigurationError) as caught:
        AmqpConnection(url, "test")
    shown = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in shown


async def test_refused_login_is_a_configuration_error(amqp_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong password is named as such, and neither the error nor any log shows it."""
    caplog.set_level(logging.DEBUG)
    host = amqp_url.rpartition("@")[2]
    with capture_logs() as logs:
        async with AmqpConnection(f"amqp://somebody:s3cret-pw@{host}", "test") as connection:
            async with asyncio.timeout(SOON):
                await connection.tried()
            assert isinstance(connection.problem, ConfigurationError)
            shown = "".join(traceback.format_exception(connection.problem))
    assert "refuses the login" in str(connection.problem)
    assert "s3cret-pw" not in shown + caplog.text + str(logs)


async def test_missing_vhost_is_a_configuration_error(amqp_url: str) -> None:
    """A vhost that is not there is named."""
    async with AmqpConnection(f"{amqp_url.rstrip('/')}/nowhere", "test") as connection:
        async with asyncio.timeout(SOON):
            await connection.tried()
        assert isinstance(connection.problem, ConfigurationError)
        assert "vhost" in str(connection.problem)


async def test_broker_that_is_away_is_tried_again() -> None:
    """Without a broker publishing fails at once with the reason."""
    [port] = free_ports(1)
    url = f"amqp://guest:s3cret@127.0.0.1:{port}/"
    async with AmqpConnection(url, "test") as connection, Publisher(connection) as publisher:
        await connection.tried()
        reason, seconds = await outcome(publisher, "nowhere")
        assert "cannot connect" in reason
        assert "s3cret" not in reason
        assert seconds < AT_ONCE


async def test_unroutable_message_names_its_routing_key(amqp_url: str, prefix: str) -> None:
    """A message that no queue takes is an error that names the routing key, and only its own."""
    async with connected(amqp_url) as (connection, publisher):
        await declare(connection, prefix)
        results: list[bool | str] = []

        async def publish(key: str) -> None:
            try:
                results.append(await publisher.publish(b"", exchange="", routing_key=key))
            except Unroutable as error:
                results.append(str(error))

        async with asyncio.TaskGroup() as group:
            for key in [prefix, "no-such-queue", prefix]:
                group.create_task(publish(key))
        assert results.count(True) == 2
        assert "'no-such-queue'" in str(results)


async def test_missing_exchange_costs_one_publish(amqp_url: str, prefix: str) -> None:
    """An exchange that is missing closes the channel; the next publish has a new one."""
    async with connected(amqp_url) as (connection, publisher):
        await declare(connection, prefix)
        with pytest.raises(Unroutable, match="no-such-exchange"):
            await publisher.publish(b"", exchange="no-such-exchange", routing_key="x")
        assert await publisher.publish(b"", exchange="", routing_key=prefix)


async def test_full_queue_refuses(amqp_url: str, prefix: str) -> None:
    """A queue that is full refuses: that is an answer, not a failure."""
    async with connected(amqp_url) as (connection, publisher):
        await declare(connection, prefix, **{"max-length": 1, "overflow": "reject-publish"})
        answers = [await publisher.publish(b"", exchange="", routing_key=prefix) for _ in range(5)]
        assert answers[0] is True
        assert answers[-1] is False


async def test_message_that_cannot_be_encoded_fails_alone(amqp_url: str, prefix: str) -> None:
    """A mistake of the caller is raised to that caller and harms nobody else."""
    async with connected(amqp_url) as (connection, publisher):
        await declare(connection, prefix)
        with pytest.raises(ValueError, match="Routing key too long"):
            await publisher.publish(b"", exchange="", routing_key="x" * 300)
        assert await publisher.publish(b"", exchange="", routing_key=prefix)


async def test_cancelled_publishes_do_not_shift_confirms(amqp_url: str, prefix: str) -> None:
    """
    However callers are cancelled, every publish that returned True is in the queue.

    Cancelled ones go on by themselves, so none of them leaves the channel out of step.
    """
    dice = random.Random(7)
    confirmed: set[bytes] = set()
    async with connected(amqp_url, seconds=SOON) as (connection, publisher):
        await declare(connection, prefix)

        async def publish(number: int) -> None:
            body = str(number).encode()
            key = prefix if number % 10 else "no-such-queue"
            try:
                if await publisher.publish(body, exchange="", routing_key=key):
                    confirmed.add(body)
            except Unroutable:
                assert key != prefix

        async with asyncio.TaskGroup() as group:
            for number in range(1500):
                task = group.create_task(publish(number))
                if dice.random() < 0.4:
                    asyncio.get_running_loop().call_later(dice.random() * 0.02, task.cancel)
                if number % 20 == 0:
                    await asyncio.sleep(0)
        assert len(confirmed) > 500
        await until(lambda: publishes(publisher, prefix))
        assert confirmed <= set(await bodies(connection, prefix))


async def test_frozen_broker_is_noticed_and_comes_back(broker: AnyBroker, prefix: str) -> None:
    """The first publish to a broker that says nothing fails long before a heartbeat does, later ones at once."""
    async with connected(broker.url) as (connection, publisher):
        await declare(connection, prefix)
        broker.freeze()
        try:
            _, first = await outcome(publisher, prefix)
            assert first < HEARTBEAT
            for _ in range(3):
                _, later = await outcome(publisher, prefix)
                assert later < AT_ONCE
        finally:
            broker.thaw()
        await until(lambda: publishes(publisher, prefix))


async def test_starved_broker_fails_fast_and_acks_still_flow(broker: AnyBroker, prefix: str) -> None:
    """While the broker is short of memory publishing fails fast with that reason, and consuming goes on."""
    async with (
        connected(broker.url) as (connection, publisher),
        AmqpConnection(broker.url, "consuming") as other,
    ):
        await declare(connection, prefix)
        assert await publisher.publish(b"before", exchange="", routing_key=prefix)
        await other.usable()
        broker.evaluate(LOW_MEMORY)
        try:
            first = await failed_after(publisher, prefix)
            assert first < 2.0
            reason, later = await outcome(publisher, prefix)
            assert reason == BLOCKED
            assert later < AT_ONCE
            assert b"before" in await bodies(other, prefix)
        finally:
            broker.evaluate(ENOUGH_MEMORY)
        await until(lambda: publishes(publisher, prefix))


async def test_killed_broker_loses_nothing_confirmed(
    broker: AnyBroker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kill the broker while publishing: what was confirmed is there when it is back, and publishing goes on."""
    monkeypatch.setattr("shared.amqp.connection.PAUSES", (0.05, 0.5))
    confirmed: set[bytes] = set()
    failed: list[float] = []
    stop = asyncio.Event()
    async with connected(broker.url) as (connection, publisher):
        await declare(connection, prefix)
        broker.evaluate(SETTLE)

        async def publish(worker: int) -> None:
            number = 0
            while not stop.is_set():
                body = f"{worker}.{number}".encode()
                number += 1
                started = time.monotonic()
                try:
                    if await publisher.publish(body, exchange="", routing_key=prefix):
                        confirmed.add(body)
                except QueueUnavailable:
                    failed.append(time.monotonic() - started)
                    await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for worker in range(20):
                group.create_task(publish(worker))
            while len(confirmed) < 300:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)
            before = len(confirmed)
            async with asyncio.timeout(SOON):
                while len(confirmed) < before + 300:
                    await asyncio.sleep(0.01)
            stop.set()
        assert failed
        assert max(failed) < 2.0
        assert confirmed <= set(await bodies(connection, prefix))


async def test_blackholed_close_ends(broker: AnyBroker) -> None:
    """Closing a connection to a broker that says nothing takes a few seconds, not for ever."""
    async with AmqpConnection(broker.url, "test") as connection:
        await connection.usable()
        broker.freeze()
        started = time.monotonic()
    try:
        assert time.monotonic() - started < 5
    finally:
        broker.thaw()


async def test_mistakes_of_ours_are_no_absent_broker() -> None:
    """A RuntimeError is a bug and leaves as one; what the libraries raise for a broker that is away does not."""
    with pytest.raises(RuntimeError, match="ours"), translated("work"):
        raise RuntimeError("ours")
    with pytest.raises(QueueUnavailable), translated("work"):
        raise ChannelInvalidStateError("theirs")


@pytest.mark.parametrize("first", [True, False])
async def test_host_that_is_away_is_passed_over(amqp_url: str, monkeypatch: pytest.MonkeyPatch, *, first: bool) -> None:
    """Of several hosts one that answers is used, and nobody is told of a broker that is away before all were tried."""
    monkeypatch.setattr("shared.amqp.connection.random.shuffle", lambda _: None)
    [port] = free_ports(1)
    login, _, host = amqp_url.rpartition("@")
    hosts = [f"127.0.0.1:{port}", host.rstrip("/")]
    async with AmqpConnection(f"{login}@{','.join(hosts if first else hosts[::-1])}/", "test") as connection:
        async with asyncio.timeout(SOON):
            await connection.tried()
        assert connection.problem is None


async def test_next_host_takes_over(amqp_url: str, broker: AnyBroker, prefix: str) -> None:
    """When the host that is used dies, the next one is used at once."""
    for url in (broker.url, amqp_url):
        async with AmqpConnection(url, "admin") as connection:
            await connection.usable()
            await declare(connection, prefix)
    user, theirs = _login(broker.url)
    broker.evaluate(_change_password(user, _login(amqp_url)[1]))
    login, _, host = amqp_url.rpartition("@")
    dying = broker.url.rpartition("@")[2].rstrip("/")
    async with connected(f"{login}@{dying},{host}") as (connection, publisher):
        await asyncio.to_thread(broker.kill)
        try:
            await until(lambda: publishes(publisher, prefix))
        finally:
            await asyncio.to_thread(broker.start)
            broker.evaluate(_change_password(user, theirs))


def _login(url: str) -> tuple[str, str]:
    user, _, password = url.partition("//")[2].partition("@")[0].partition(":")
    return user, password


def _change_password(user: str, password: str) -> str:
    return f'rabbit_auth_backend_internal:change_password(<<"{user}">>, <<"{password}">>, <<"test">>)'
