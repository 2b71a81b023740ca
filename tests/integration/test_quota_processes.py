"""The quota between real processes that are killed, stopped, and deployed with other limits."""

import asyncio
import signal
import sys
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aio_pika import connect

from shared.clock import SystemClock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota.acquirer import Window
from shared.quota.names import Names
from shared.quota.port import Limits
from shared.quota.rabbitmq import RabbitQuota
from tests.children.quota import GET, LIMITS, opened
from tests.rabbitmq.brokers import AnyBroker

SOON = 40.0

BACK_WITHIN = 5.0
"""Seconds in which the places of a worker that was killed are free again."""


class Child:
    """A worker in a process of its own, and what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.arrived: list[float] = []
        self.ended: list[float] = []

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            what, at = line.split()
            (self.arrived if what == b"arrived" else self.ended).append(float(at))

    def signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def child(where: str, prefix: str, seconds: float = 0.01) -> AsyncIterator[Child]:
    command = (sys.executable, "-m", "tests.children.quota", where, prefix, str(seconds))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    started = Child(process)
    async with asyncio.TaskGroup() as group:
        group.create_task(started.read())
        try:
            yield started
        finally:
            await started.kill()


@pytest.fixture(params=["sqlite", "rabbitmq"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the counts are."""
    return request.getfixturevalue("amqp_url") if request.param == "rabbitmq" else str(tmp_path / "queue.db")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.01)


def most_in(times: list[float], seconds: float) -> int:
    times = sorted(times)
    return max(bisect_left(times, start + seconds) - index for index, start in enumerate(times))


async def test_kill_9_lets_no_call_too_many_through(where: str, prefix: str) -> None:
    """Workers that are killed while they call, and others that take over at once, never overrun the limit together."""
    arrived: list[float] = []
    for _ in range(4):
        async with child(where, prefix) as one, child(where, prefix) as other:
            await until(lambda one=one, other=other: len(one.arrived) > 15 and len(other.arrived) > 15)
            await one.kill()
            before = len(other.arrived)
            await until(lambda other=other, before=before: len(other.arrived) > before + 15)
        arrived += one.arrived + other.arrived
    assert len(arrived) > 150
    assert most_in(arrived, LIMITS.minute) <= LIMITS.minute_for(Lane.LIVE)


async def test_the_dead_give_their_places_back(where: str, prefix: str) -> None:
    """A worker that is killed with every place in its hands leaves them to others within seconds."""
    async with opened(where, prefix) as quota:
        for _ in range(5):
            async with child(where, prefix, seconds=600.0) as doomed:
                await until(lambda doomed=doomed: len(doomed.arrived) == LIMITS.in_flight)
                await doomed.kill()
                killed = time.monotonic()
                async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
                    for _ in range(LIMITS.in_flight):
                        group.create_task(one_call(quota))
                assert time.monotonic() - killed < BACK_WITHIN


async def one_call(quota: RabbitQuota) -> None:
    async with quota.permit(GET, Lane.LIVE):
        await asyncio.sleep(0.05)


async def call_until_refused(quota: RabbitQuota) -> None:
    async with asyncio.timeout(SOON):
        while True:
            await one_call(quota)


async def expect_lost(quota: RabbitQuota, calling: asyncio.Event) -> None:
    async with asyncio.timeout(SOON):
        with pytest.raises(QueueUnavailable, match="lost during the call"):
            await call_for_long(quota, calling)


async def call_for_long(quota: RabbitQuota, calling: asyncio.Event) -> None:
    async with quota.permit(GET, Lane.LIVE):
        calling.set()
        await asyncio.sleep(2 * SOON)


async def test_a_stopped_worker_overruns_nothing_when_it_goes_on(where: str, prefix: str) -> None:
    """SIGSTOP and SIGCONT in the middle of everything: old grants are not used."""
    async with child(where, prefix) as one, child(where, prefix) as other:
        await until(lambda: len(one.arrived) > 20 and len(other.arrived) > 20)
        one.signal(signal.SIGSTOP)
        # Longer than the window, the lease and the broker's heartbeat: all it had is gone when it goes on. It may
        # have been stopped while it writes to the file; then nobody else gets on either.
        gone_on = time.monotonic() + 5.0
        await until(lambda gone_on=gone_on: time.monotonic() > gone_on)
        one.signal(signal.SIGCONT)
        before = len(one.arrived)
        await until(lambda before=before: len(one.arrived) > before + 20)
    assert most_in(one.arrived + other.arrived, LIMITS.minute) <= LIMITS.minute_for(Lane.LIVE)


async def test_workers_with_other_limits_respect_each_other(amqp_url: str, prefix: str) -> None:
    """While a lower quota is being rolled out, old and new workers together stay under the lower one."""
    old_limits = Limits(per_minute=200, per_hour=1000, in_flight=4, minute=20.0, hour=60.0, minute_reserve=0)
    new_limits = Limits(per_minute=30, per_hour=1000, in_flight=2, minute=20.0, hour=60.0, minute_reserve=0)
    calls = 0

    async def call(quota: RabbitQuota) -> None:
        nonlocal calls
        while True:
            async with quota.permit(GET, Lane.LIVE):
                calls += 1

    async with (
        RabbitQuota(amqp_url, "ww1", old_limits, SystemClock(), prefix=prefix) as old,
        RabbitQuota(amqp_url, "ww1", new_limits, SystemClock(), prefix=prefix) as new,
    ):
        await until(lambda: bool(old.notices.others()) and bool(new.notices.others()))
        with suppress(TimeoutError):
            async with asyncio.timeout(4), asyncio.TaskGroup() as group:
                for quota in (old, new) * 3:
                    group.create_task(call(quota))
    assert calls == 28
    async with RabbitQuota(amqp_url, "ww1", old_limits, SystemClock(), prefix=prefix) as back:
        assert back.notices.others() == [new_limits]


async def test_a_deleted_queue_stops_the_api_and_is_named(amqp_url: str, prefix: str) -> None:
    """What was used is not known any more: nothing is called, and the reason says what happened and what to do."""
    limits = Limits(per_minute=100, per_hour=1000, in_flight=2, minute=20.0, hour=60.0)
    async with RabbitQuota(amqp_url, "ww1", limits, SystemClock(), prefix=prefix) as quota:
        await one_call(quota)
        name = Names("ww1", prefix).window(GET, Window.MINUTE, limits)
        connection = await connect(amqp_url)
        await (await connection.channel()).queue_delete(name)
        await connection.close()
        for _ in range(2):
            with pytest.raises(QueueUnavailable, match=r"was deleted on the broker.*Wait an hour"):
                async with asyncio.timeout(SOON):
                    await one_call(quota)


async def test_deleted_places_are_noticed(amqp_url: str, prefix: str) -> None:
    """Nobody waits for ever for a place that will never come."""
    limits = Limits(per_minute=100, per_hour=1000, in_flight=2, minute=20.0, hour=60.0)
    async with RabbitQuota(amqp_url, "ww1", limits, SystemClock(), prefix=prefix) as quota:
        await one_call(quota)
        connection = await connect(amqp_url)
        await (await connection.channel()).queue_delete(Names("ww1", prefix).places(GET, limits))
        await connection.close()
        with pytest.raises(QueueUnavailable, match="was deleted on the broker"):
            await call_until_refused(quota)


async def test_a_broker_that_dies_ends_the_calls_and_comes_back(broker: AnyBroker, prefix: str) -> None:
    """Calls whose place is gone end; while it is away nothing is granted; afterwards the counts are those of before."""
    limits = Limits(per_minute=10, per_hour=1000, in_flight=2, minute=120.0, hour=600.0, minute_reserve=0)
    async with RabbitQuota(broker.url, "ww1", limits, SystemClock(), prefix=prefix) as quota:
        for _ in range(3):
            await one_call(quota)
        async with asyncio.TaskGroup() as group:
            calling = asyncio.Event()
            group.create_task(expect_lost(quota, calling))
            await calling.wait()
            await asyncio.to_thread(broker.kill)
        with pytest.raises(QueueUnavailable):
            await one_call(quota)
        await asyncio.to_thread(broker.start)
        async with asyncio.timeout(3 * SOON):
            while True:
                try:
                    used = (await quota.snapshot()).usage
                    await one_call(quota)
                except QueueUnavailable:
                    await asyncio.sleep(0.1)
                else:
                    break
        assert [usage.minute for usage in used] == [4]
