"""The quota between real processes that are killed, stopped, and deployed with other limits."""

import asyncio
import signal
import sys
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane
from shared.postgres import Postgres
from shared.quota.port import Limits, Quota
from shared.state.postgres.quota import PostgresQuota
from tests.children.quota import GET, LIMITS, opened
from tests.postgres.servers import Server

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


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the counts are."""
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path / "queue.db")


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


async def one_call(quota: Quota) -> None:
    async with quota.permit(GET, Lane.LIVE):
        await asyncio.sleep(0.05)


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


async def test_a_process_with_other_limits_does_not_start(postgres_url: str, prefix: str) -> None:
    """Two that count by different limits would both be wrong: the second says which the others have."""
    async with Postgres(postgres_url) as database, PostgresQuota(database, prefix, LIMITS):
        other = PostgresQuota(database, prefix, replace(LIMITS, per_minute=50))
        with pytest.raises(ConfigurationError, match=r"goes by other limits .*100/1s"):
            await other.__aenter__()
        async with PostgresQuota(database, f"{prefix}x", replace(LIMITS, per_minute=50)):
            pass  # another corp's


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_that_restarts_keeps_the_counts_and_is_used_again(
    postgres_server: Server, how: signal.Signals
) -> None:
    """While it is away nothing is granted and everybody is told; afterwards the counts are those of before."""
    limits = Limits(per_minute=10, per_hour=1000, in_flight=2, minute=120.0, hour=600.0, minute_reserve=0)
    async with Postgres(postgres_server.url) as database, PostgresQuota(database, "ww1", limits) as quota:
        for _ in range(3):
            await one_call(quota)
        await asyncio.to_thread(postgres_server.stop, how)
        with pytest.raises(QueueUnavailable):
            await one_call(quota)
        await asyncio.to_thread(postgres_server.start)
        started = time.monotonic()
        async with asyncio.timeout(SOON):
            while True:
                try:
                    used = (await quota.snapshot()).usage
                    await one_call(quota)
                except QueueUnavailable:
                    await asyncio.sleep(0.1)
                else:
                    break
        assert time.monotonic() - started < 10
        assert [usage.minute for usage in used] == [3]


async def test_connections_that_the_server_ends_cost_nobody_their_turn(postgres_url: str, prefix: str) -> None:
    """`pg_terminate_backend` on all of them, again and again: calls go on, and none is counted wrong."""
    limits = Limits(per_minute=1000, per_hour=10_000, in_flight=3, minute=120.0, hour=600.0)
    made = 0
    async with (
        Postgres(postgres_url) as database,
        PostgresQuota(database, prefix, limits) as quota,
        Postgres(postgres_url) as elsewhere,
    ):
        for _ in range(5):
            await elsewhere.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'qudao' AND pid NOT IN"
                " (SELECT pg_backend_pid())"
            )
            async with asyncio.timeout(10):
                while True:
                    with suppress(QueueUnavailable):
                        await one_call(quota)
                        made += 1
                        break
        await asyncio.sleep(1.2)  # what ended is settled at the next look
        (usage,) = (await quota.snapshot()).usage
        assert (usage.minute, usage.in_flight) == (made, 0)
