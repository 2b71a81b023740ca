"""Publishing in batches, and what that takes for granted of aiormq, against a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import pytest
from aio_pika.exceptions import PublishError
from aiormq import Channel
from aiormq.abc import ChannelFrame

from shared.amqp.batches import Batches
from shared.amqp.connection import AmqpConnection, channel_for_now
from shared.tasks import beside

SOON = 20.0


class Silence(Exception):
    """Stands for what is done about a broker that says nothing."""


@asynccontextmanager
async def batches_on(
    amqp_url: str, queue: str, *, seconds: float = SOON, in_flight: int = 500
) -> AsyncIterator[tuple[Batches, Channel]]:
    """Yield what publishes to *queue*, and its channel."""
    async with AmqpConnection(amqp_url, "test") as connection:
        await connection.usable()
        async with channel_for_now(lambda: connection.channel(confirms=True)) as channel:
            await channel.queue_declare(queue, exclusive=True)
            batches = Batches(channel, seconds=seconds, in_flight=in_flight, on_silence=lambda: batches.fail(Silence()))
            async with asyncio.timeout(SOON), beside(batches.send()):
                yield batches, channel


async def bodies(channel: Channel, queue: str) -> list[bytes]:
    """Take everything out of *queue*."""
    found = []
    while (message := await channel.basic_get(queue, no_ack=True)).delivery_tag is not None:
        found.append(message.body)
    return found


async def failures(batches: Batches, keys: list[str]) -> list[Exception | None]:
    """Publish to each of *keys* at the same time; return what each failed with, if it did."""

    async def publish(key: str) -> Exception | None:
        try:
            await batches.publish(b"", exchange="", routing_key=key, headers={})
        except Exception as error:  # noqa: BLE001 - to be looked at
            return error
        return None

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(publish(key)) for key in keys]
    return [task.result() for task in tasks]


def test_aiormq_is_the_one_whose_inner_parts_are_known() -> None:
    """Read ``shared/amqp/batches.py`` against a newer aiormq before this test is changed."""
    assert version("aiormq").rpartition(".")[0] == "7.2"


async def test_one_turn_is_one_write(amqp_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked for in one turn of the loop leaves in one write, in order, and nothing stays behind."""
    async with batches_on(amqp_url, prefix) as (batches, channel):
        written: list[ChannelFrame] = []
        put = channel.write_queue.put

        async def noting(frame: ChannelFrame) -> None:
            written.append(frame)
            await put(frame)

        monkeypatch.setattr(channel.write_queue, "put", noting)
        wanted = [str(number).encode() for number in range(200)]
        async with asyncio.TaskGroup() as group:
            for body in wanted:
                group.create_task(batches.publish(body, exchange="", routing_key=prefix, headers={}))
        assert len(written) == 1
        monkeypatch.undo()
        assert await bodies(channel, prefix) == wanted
        assert not channel.confirmations
        assert not channel.message_id_delivery_tag


@pytest.mark.parametrize("size", [0, 1, 131_063, 131_064, 131_065, 500_000])
async def test_bodies_of_any_size_arrive_whole(amqp_url: str, prefix: str, size: int) -> None:
    """A body larger than a frame is sent in several."""
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    async with batches_on(amqp_url, prefix) as (batches, channel):
        await batches.publish(body, exchange="", routing_key=prefix, headers={})
        assert await bodies(channel, prefix) == [body]


async def test_what_comes_back_is_told_to_its_caller_alone(amqp_url: str, prefix: str) -> None:
    """Among many in one write, those that no queue takes fail, and only those."""
    async with batches_on(amqp_url, prefix) as (batches, _):
        keys = ["nowhere" if number % 7 == 3 else prefix for number in range(100)]
        for key, failure in zip(keys, await failures(batches, keys), strict=True):
            assert isinstance(failure, PublishError) if key == "nowhere" else failure is None


async def test_cancelled_before_it_is_sent_is_sent_all_the_same(amqp_url: str, prefix: str) -> None:
    """Whoever gives up leaves the confirms of the others in step, and closing waits for what he left."""
    wanted = [str(number).encode() for number in range(10)]
    async with batches_on(amqp_url, prefix) as (batches, channel):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(batches.publish(body, exchange="", routing_key=prefix, headers={})) for body in wanted
            ]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
        assert [task.cancelled() for task in tasks] == [True, False] * 5
        await batches.ended()
        assert await bodies(channel, prefix) == wanted
        assert not channel.message_id_delivery_tag


async def test_no_more_than_allowed_wait_for_a_confirm(amqp_url: str, prefix: str) -> None:
    """The others wait for their turn, and all are published in the end."""
    async with batches_on(amqp_url, prefix, in_flight=3) as (batches, channel):
        most = 0

        async def publish() -> None:
            nonlocal most
            await batches.publish(b"", exchange="", routing_key=prefix, headers={})
            most = max(most, len(channel.confirmations))

        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(publish())
        assert most <= 3
        assert len(await bodies(channel, prefix)) == 50


async def test_silence_ends_every_wait(amqp_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a confirm in time all who wait fail, those who wait for their turn and those who come later too."""
    async with batches_on(amqp_url, prefix, seconds=0.2, in_flight=2) as (batches, channel):
        monkeypatch.setattr(channel, "_on_confirm_frame", lambda _: asyncio.sleep(0))
        assert [type(failure) for failure in await failures(batches, [prefix] * 5)] == [Silence] * 5
        with pytest.raises(Silence):
            await batches.publish(b"", exchange="", routing_key=prefix, headers={})
        await batches.ended()
