"""What every quota does, whatever counts it: the sentences of ``shared/quota/port.py``."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import pytest

from shared.clock import SystemClock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.postgres import Postgres
from shared.quota.port import Counters, Limits, Quota
from shared.sqlite.database import Database
from shared.state.postgres.quota import PostgresQuota
from shared.state.sqlite.quota import SqliteQuota
from tests.doubles.quota import MemoryQuota
from tests.simulation.wecom import Calls

GET = "externalcontact/get"
REMARK = "externalcontact/remark"

SMALL = Limits(per_minute=50, per_hour=10_000, in_flight=5, minute=0.5, hour=60)
"""50 calls in half a second: windows pass quickly."""

KEPT_FREE = 2
"""Calls that an adapter may keep free, of the minute and of the hour, with two places in flight."""

SOON = 30.0
"""Seconds within which anything that happens at all has happened."""


class Both(Quota, Counters, Protocol):
    """What the adapters are."""


class Opener(Protocol):
    """Opens one more worker's quota on the same counts."""

    def __call__(self, limits: Limits) -> AbstractAsyncContextManager[Both]: ...


def memory_opener() -> Opener:
    made: dict[Limits, MemoryQuota] = {}

    @asynccontextmanager
    async def opened(limits: Limits) -> AsyncIterator[Both]:
        yield made.setdefault(limits, MemoryQuota(limits, SystemClock()))

    return opened


def sqlite_opener(path: Path) -> Opener:
    @asynccontextmanager
    async def opened(limits: Limits) -> AsyncIterator[Both]:
        async with Database(path) as database, SqliteQuota(database, limits, SystemClock()) as quota:
            yield quota

    return opened


def postgres_opener(url: str, corp: str) -> Opener:
    @asynccontextmanager
    async def opened(limits: Limits) -> AsyncIterator[Both]:
        async with Postgres(url) as database, PostgresQuota(database, corp, limits) as quota:
            yield quota

    return opened


@pytest.fixture
def memory() -> Opener:
    return memory_opener()


@pytest.fixture
def sqlite(tmp_path: Path) -> Opener:
    return sqlite_opener(tmp_path / "var" / "queue.db")


@pytest.fixture
def postgres(postgres_url: str, prefix: str) -> Opener:
    return postgres_opener(postgres_url, prefix)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Each adapter in turn, with nothing counted yet."""
    made: Opener = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=["sqlite", "postgres"])
def shared_opener(request: pytest.FixtureRequest) -> Opener:
    """Each adapter that several processes share."""
    made: Opener = request.getfixturevalue(request.param)
    return made


class Workers:
    """Workers that share a quota, and the WeCom they call."""

    def __init__(self, stack: AsyncExitStack, opener: Opener) -> None:
        self._stack = stack
        self._opener = opener
        self.calls = Calls(time.monotonic)

    async def open(self, limits: Limits = SMALL) -> Both:
        return await self._stack.enter_async_context(self._opener(limits))

    async def call(self, quota: Quota, lane: Lane = Lane.LIVE, endpoint: str = GET, seconds: float = 0.004) -> None:
        """Make one call that takes some time to arrive, and some for the answer to come back."""
        async with quota.permit(endpoint, lane):
            with self.calls.call(endpoint, lane) as arrive:
                await asyncio.sleep(seconds / 2)
                arrive()
                await asyncio.sleep(seconds / 2)


@pytest.fixture
async def workers(opener: Opener) -> AsyncIterator[Workers]:
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        yield Workers(stack, opener)


async def open_now(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("count", [1, 3])
async def test_no_sliding_minute_holds_more_than_the_limit(workers: Workers, count: int) -> None:
    """However many workers call as fast as they may, WeCom sees no more than the lane's share, and not too little."""
    quotas = [await workers.open() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for number in range(160):
            group.create_task(workers.call(quotas[number % count]))
    assert workers.calls.made(GET) == 160
    assert 20 <= workers.calls.most_in(GET, SMALL.minute) <= 45
    assert workers.calls.most_at_once(GET) <= SMALL.in_flight


async def test_no_sliding_hour_holds_more_than_the_limit(workers: Workers) -> None:
    """The hour limits as the minute does, and no minute is lost to it."""
    limits = Limits(per_minute=40, per_hour=60, in_flight=5, minute=0.2, hour=1.0)
    quotas = [await workers.open(limits) for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(workers.call(quotas[number % 2]))
    assert 30 <= workers.calls.most_in(GET, limits.hour) <= 57
    assert workers.calls.most_in(GET, limits.minute) <= 36


async def test_slow_calls_count_from_their_arrival(workers: Workers) -> None:
    """A call that takes most of a window to arrive still counts in the window in which it arrives."""
    limits = Limits(per_minute=10, per_hour=1000, in_flight=10, minute=0.3, hour=60, minute_reserve=0)
    quota = await workers.open(limits)
    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(workers.call(quota, seconds=0.4 if number % 2 else 0.004))
    assert workers.calls.most_in(GET, limits.minute) <= 10


async def test_the_last_part_is_left_to_fast(workers: Workers) -> None:
    """When the others have used all they may, a welcome goes all the same; when fast has used all, it waits too."""
    limits = Limits(per_minute=40, per_hour=1000, in_flight=2, minute=30, hour=60, minute_reserve=0.25)
    one, other = await workers.open(limits), await workers.open(limits)
    async with asyncio.TaskGroup() as group:
        backlog = [group.create_task(workers.call(one, Lane.BULK)) for _ in range(50)]
        await open_now(lambda: workers.calls.made(GET) >= 30 - KEPT_FREE)
        await call_until_full(workers, other, Lane.LIVE)
        assert 30 - KEPT_FREE <= workers.calls.made(GET) <= 30
        await call_until_full(workers, other, Lane.FAST)
        assert 40 - KEPT_FREE <= workers.calls.made(GET) <= 40
        for task in backlog:
            task.cancel()


async def call_until_full(workers: Workers, quota: Quota, lane: Lane) -> None:
    """Call until there is no leave within a second."""
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(1.0):
                await workers.call(quota, lane)


async def test_fast_goes_before_live_before_bulk(workers: Workers) -> None:
    """With one place in flight, who waits is let in by lane, and in order within a lane."""
    limits = Limits(per_minute=1000, per_hour=10_000, in_flight=1, minute=1, hour=60)
    quota = await workers.open(limits)
    order: list[str] = []

    async def call(name: str, lane: Lane) -> None:
        async with quota.permit(GET, lane):
            order.append(name)

    async with asyncio.TaskGroup() as group, quota.permit(GET, Lane.LIVE):
        for name in ("b1", "b2", "l1", "l2", "f1", "f2"):
            lane = {"b": Lane.BULK, "l": Lane.LIVE, "f": Lane.FAST}[name[0]]
            group.create_task(call(name, lane))
            await asyncio.sleep(0)
    assert order == ["f1", "f2", "l1", "l2", "b1", "b2"]


async def test_bulk_is_not_starved(workers: Workers) -> None:
    """Beside a never-ending live backlog, bulk has its tenth."""
    limits = Limits(per_minute=1000, per_hour=10_000, in_flight=1, minute=1, hour=60)
    quota = await workers.open(limits)
    done: Counter[Lane] = Counter()

    async def call(lane: Lane) -> None:
        async with quota.permit(GET, lane):
            await asyncio.sleep(0)
            done[lane] += 1
            if done[Lane.LIVE] == 40:
                assert done[Lane.BULK] >= 3

    async with asyncio.TaskGroup() as group:
        for lane in (Lane.LIVE, Lane.BULK):
            for _ in range(60):
                group.create_task(call(lane))
    assert done == {Lane.LIVE: 60, Lane.BULK: 60}


async def test_a_place_comes_back_when_the_call_fails(workers: Workers) -> None:
    """Whatever leaves the permit, its place is free again."""
    limits = Limits(per_minute=1000, per_hour=10_000, in_flight=1, minute=1, hour=60)
    quota = await workers.open(limits)
    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            async with quota.permit(GET, Lane.LIVE):
                raise ValueError("no")
    async with asyncio.timeout(SOON):
        await workers.call(quota)


async def test_who_gives_up_waiting_blocks_nobody(workers: Workers) -> None:
    """Waiters that are cancelled leave the line, in whatever moment it hits them."""
    limits = Limits(per_minute=1000, per_hour=10_000, in_flight=2, minute=1, hour=60)
    quota = await workers.open(limits)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(workers.call(quota, seconds=0.002)) for _ in range(60)]
        for number, task in enumerate(tasks):
            if number % 3:
                task.cancel()
            if number % 5 == 0:
                await asyncio.sleep(0.001)
    async with asyncio.timeout(SOON), asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(workers.call(quota))
    assert workers.calls.most_at_once(GET) <= 2


async def test_apis_do_not_share(workers: Workers) -> None:
    """A full window of one API holds back no other."""
    quota = await workers.open(Limits(per_minute=5, per_hour=100, in_flight=1, minute=30, hour=60, minute_reserve=0))
    await call_until_full(workers, quota, Lane.LIVE)
    async with asyncio.timeout(SOON):
        await workers.call(quota, endpoint=REMARK)


async def test_a_backfill_leaves_a_part_of_the_hour_to_new_customers(workers: Workers) -> None:
    """However much bulk wants: when it has had its share, live calls go on at once."""
    limits = Limits(per_minute=1000, per_hour=40, in_flight=2, minute=1, hour=60, hour_reserve=0, bulk_reserve=0.5)
    quota = await workers.open(limits)
    await call_until_full(workers, quota, Lane.BULK)
    assert workers.calls.made(GET) in (6, 7)
    async with asyncio.timeout(SOON):
        for _ in range(25):
            await workers.call(quota, Lane.LIVE)


async def test_a_backfill_spreads_its_share_over_the_hour(workers: Workers) -> None:
    """It uses the whole of it, and no more than a third in a third of an hour: so what it used leaves steadily."""
    limits = Limits(per_minute=1000, per_hour=120, in_flight=3, minute=1, hour=3, hour_reserve=0, bulk_reserve=0.5)
    quota = await workers.open(limits)
    with suppress(TimeoutError):
        async with asyncio.timeout(4.5):
            while True:
                await workers.call(quota, Lane.BULK)
    assert 56 <= workers.calls.most_in(GET, limits.hour) <= 60
    assert 18 <= workers.calls.most_in(GET, limits.part) <= 20


@pytest.mark.parametrize("name", ["", "a b/c.d#*?", "客户/备注", "x" * 400, "UPPER", "upper"])
async def test_any_name_will_do(workers: Workers, name: str) -> None:
    """An API nobody has heard of gets counts of its own on first use."""
    quota = await workers.open()
    async with asyncio.timeout(SOON):
        await workers.call(quota, endpoint=name)
        assert [usage.minute for usage in (await quota.snapshot()).usage if usage.endpoint == name] == [1]


async def test_names_that_look_alike_are_counted_apart(workers: Workers) -> None:
    """Whatever an adapter makes of a name, two names never become one."""
    names = ["a.b", "a/b", "a b", "A/b", "x" * 300, "x" * 301]
    limits = Limits(per_minute=1, per_hour=100, in_flight=1, minute=30, hour=60)
    quota = await workers.open(limits)
    async with asyncio.timeout(SOON):
        for name in names:
            await workers.call(quota, endpoint=name)
    assert all(workers.calls.made(name) == 1 for name in names)


async def test_the_snapshot_tells_what_is_used(workers: Workers) -> None:
    """Everybody sees what all have used: of the minute, of the hour, in flight."""
    limits = Limits(per_minute=100, per_hour=1000, in_flight=4, minute=30, hour=60)
    one, other = await workers.open(limits), await workers.open(limits)
    for _ in range(3):
        await workers.call(one)
    await workers.call(other, endpoint=REMARK)
    async with other.permit(GET, Lane.LIVE):
        async with asyncio.timeout(SOON):
            while True:
                used = {usage.endpoint: usage for usage in (await one.snapshot()).usage}
                numbers = {name: (usage.minute, usage.hour, usage.in_flight) for name, usage in used.items()}
                if numbers == {GET: (4, 4, 1), REMARK: (1, 1, 0)}:
                    break
                await asyncio.sleep(0.01)
    workers_seen = (await one.snapshot()).workers
    assert workers_seen
    assert all(abs(worker.seen - time.time()) < 60 for worker in workers_seen)


async def test_counts_outlive_the_worker(opener: Opener) -> None:
    """A worker that leaves and one that comes share the same windows."""
    limits = Limits(per_minute=5, per_hour=100, in_flight=1, minute=30, hour=60, minute_reserve=0)
    made = 0
    with suppress(TimeoutError):
        while True:
            async with opener(limits) as quota, asyncio.timeout(1.0), quota.permit(GET, Lane.LIVE):
                made += 1
    assert made in (4, 5)


async def test_a_closed_quota_says_so(shared_opener: Opener) -> None:
    """Who still waits when the quota is closed is told, rather than left waiting."""
    limits = Limits(per_minute=1, per_hour=100, in_flight=1, minute=30, hour=60)
    async with asyncio.TaskGroup() as group:
        async with shared_opener(limits) as quota:
            await _one(quota)
            waiting = group.create_task(_expect_unavailable(quota))
            await asyncio.sleep(0.02)
        await waiting


async def _one(quota: Quota) -> None:
    async with quota.permit(GET, Lane.LIVE):
        pass


async def _expect_unavailable(quota: Quota) -> None:
    with pytest.raises(QueueUnavailable):
        await _one(quota)
