"""The valve: several workers, one WeCom, on a virtual clock."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from shared.domain.errors import (
    CallAborted,
    ConfigurationNeeded,
    Congested,
    QueueUnavailable,
    RateLimited,
    StaffBlocked,
    WeComError,
)
from shared.domain.events import Lane
from shared.quota.holds import HoldChange
from shared.quota.port import SETTLE_SECONDS, HoldKind, Limits
from shared.quota.valve import Valve
from tests.doubles.notices import MemoryNotices
from tests.doubles.quota import MemoryQuota
from tests.simulation.virtual import VirtualClock, run_virtual

GET = "externalcontact/get"
REMARK = "externalcontact/remark"

LIMITED = RateLimited(GET, errcode=45009, meaning="too often", retry_after=60)
CONGESTED = Congested(GET, errcode=45033, meaning="too many at once")
FORBIDDEN = ConfigurationNeeded(GET, errcode=48002, meaning="no permission")
MEMBER = StaffBlocked(GET, errcode=60111, meaning="no such member")


class Deployment:
    """Workers whose valves share counters and notices."""

    def __init__(self, workers: int = 2) -> None:
        loop = asyncio.get_running_loop()
        self.limits = Limits(in_flight=4)
        self.clock = VirtualClock(loop)
        self.counters = MemoryQuota(self.limits, self.clock)
        self.notices = MemoryNotices()
        self.valves = [self.join() for _ in range(workers)]
        self.calls: list[tuple[float, str]] = []

    def join(self) -> Valve:
        return Valve(self.counters, self.notices, self.limits, self.clock)

    async def call(
        self,
        worker: int = 0,
        endpoint: str = GET,
        error: WeComError | None = None,
        *,
        lane: Lane = Lane.LIVE,
        staff: str = "",
        seconds: float = 0.1,
    ) -> None:
        async with self.valves[worker].permit(endpoint, lane, staff):
            self.calls.append((now(), endpoint))
            await asyncio.sleep(seconds)
            if error is not None:
                raise error

    async def fail(self, error: WeComError, worker: int = 0, staff: str = "") -> None:
        with pytest.raises(type(error)):
            await self.call(worker, error.endpoint, error, staff=staff)


def now() -> float:
    return asyncio.get_running_loop().time()


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run *test* on a virtual loop."""

    def run() -> None:
        run_virtual(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@virtual
async def test_45009_stops_all_workers_for_the_minute() -> None:
    """No worker calls the API until the minute is over; other APIs go on."""
    deployment = Deployment()
    await deployment.fail(LIMITED)
    told = now()
    await deployment.call(1, REMARK)
    assert now() < told + 1
    async with asyncio.TaskGroup() as group:
        for worker in (0, 1, 0, 1):
            group.create_task(deployment.call(worker))
    assert [round(at - told, 3) for at, endpoint in deployment.calls[1:] if endpoint == GET] == [61.0] * 4


@virtual
async def test_a_call_that_is_broken_off_keeps_its_place_for_a_moment() -> None:
    """WeCom may be busy with it when the grace of a stop ends; another call in its place would be one too many."""
    deployment = Deployment()
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(deployment.call(seconds=100.0)) for _ in range(deployment.limits.in_flight)]
        await asyncio.sleep(1.0)
        calls[0].cancel()
        cancelled = now()
        await deployment.call(1)
        for call in calls:
            call.cancel()
    assert deployment.calls[-1][0] - cancelled == pytest.approx(SETTLE_SECONDS, abs=0.1)


@virtual
async def test_nobody_calls_after_the_news_is_out() -> None:
    """Those who stand in line when the news comes do not call either."""
    deployment = Deployment()
    async with asyncio.TaskGroup() as group:
        group.create_task(deployment.fail(LIMITED))
        await asyncio.sleep(0.05)
        for worker in (0, 1) * 10:
            group.create_task(deployment.call(worker, seconds=1.0))
    told = 0.1
    assert not [at for at, _ in deployment.calls if told < at < told + 61]


@virtual
async def test_a_long_brake_puts_the_work_back() -> None:
    """When it happens again right after the minute, work is not kept waiting for an hour: it goes back."""
    deployment = Deployment()
    await deployment.fail(LIMITED)
    await deployment.fail(LIMITED, 1)
    with pytest.raises(CallAborted) as aborted:
        await deployment.call(0)
    assert aborted.value.endpoint == GET
    assert aborted.value.retry_after == pytest.approx(3660)
    held = deployment.valves[0].held_until(GET)
    assert held == pytest.approx(deployment.clock.time() + 3660)
    before = now()
    await deployment.valves[0].wait_open([REMARK])
    assert now() == before
    await deployment.valves[0].wait_open([GET, REMARK])
    assert now() == pytest.approx(before + 3660)
    await deployment.call(0)


@virtual
async def test_a_welcome_does_not_wait_for_a_brake() -> None:
    """It has twenty seconds: it is put back at once, to be tried again or counted as expired."""
    deployment = Deployment()
    await deployment.fail(LIMITED)
    with pytest.raises(CallAborted):
        await deployment.call(0, lane=Lane.FAST)


@virtual
async def test_the_breaker_lets_one_probe_a_minute_through() -> None:
    """While a person has not acted, the whole deployment makes one call a minute."""
    deployment = Deployment(workers=3)
    await deployment.fail(FORBIDDEN)

    async def keep_trying(worker: int) -> None:
        while now() < 600:
            await deployment.valves[worker].wait_open([GET])
            try:
                await deployment.call(worker, error=FORBIDDEN)
            except (CallAborted, ConfigurationNeeded):
                await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        for worker in (0, 1, 2, 0, 1, 2):
            group.create_task(keep_trying(worker))
    probes = [at for at, _ in deployment.calls[1:]]
    assert 9 <= len(probes) <= 11
    assert all(later - earlier >= 59.999 for earlier, later in pairwise(probes))


@virtual
async def test_the_breaker_closes_for_all_when_a_probe_succeeds() -> None:
    """Once it is fixed, the next probe opens the way for every worker."""
    deployment = Deployment()
    await deployment.fail(FORBIDDEN)
    with pytest.raises(CallAborted):
        await deployment.call(1)
    (hold,) = (await deployment.valves[1].snapshot()).holds
    assert (hold.kind, hold.errcode, hold.reason) == (HoldKind.BREAKER, 48002, "no permission")
    assert hold.until == pytest.approx(deployment.clock.time() + 60)
    await deployment.valves[1].wait_open([GET])
    await deployment.call(1)
    await deployment.call(0)
    assert (await deployment.valves[0].snapshot()).holds == []


@virtual
async def test_a_blocked_member_stops_nobody_else() -> None:
    """Only calls for that member are put back, at every worker."""
    deployment = Deployment()
    await deployment.fail(MEMBER, staff="lin.qiao")
    with pytest.raises(CallAborted):
        await deployment.call(1, staff="Lin.Qiao")
    await deployment.call(1, staff="zhou.yi")
    await deployment.call(1)
    await deployment.valves[1].wait_open([GET])
    await asyncio.sleep(61)
    await deployment.call(1, staff="lin.qiao")
    await deployment.call(0, staff="lin.qiao")


@virtual
async def test_congestion_lowers_the_concurrency_of_all_for_a_minute() -> None:
    """Each incident takes one place out of use, at least one stays, and after a minute all are back."""
    deployment = Deployment()

    async def most_at_once() -> int:
        start, most, running = now(), 0, 0

        async def one(worker: int) -> None:
            nonlocal most, running
            async with deployment.valves[worker].permit(GET, Lane.LIVE):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.1)
                running -= 1

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(one(number % 2))
        assert now() < start + 10
        return most

    assert await most_at_once() == 4
    await deployment.fail(CONGESTED)
    assert await most_at_once() == 3
    for _ in range(5):
        await deployment.fail(CONGESTED, 1)
    assert await most_at_once() == 1
    await asyncio.sleep(61)
    assert await most_at_once() == 4


@virtual
async def test_a_worker_that_joins_knows_what_is_held() -> None:
    """It does not have to find out with a call of its own."""
    deployment = Deployment()
    await deployment.fail(FORBIDDEN)
    deployment.valves.append(deployment.join())
    with pytest.raises(CallAborted):
        await deployment.call(-1)


class Deaf(MemoryNotices):
    """Notices that cannot be delivered."""

    async def tell(self, changes: object) -> None:
        raise QueueUnavailable("the broker is away")

    async def claim(self, name: str, seconds: float) -> bool:
        raise QueueUnavailable("the broker is away")


@virtual
async def test_news_that_cannot_be_told_hold_at_home() -> None:
    """The worker that was refused stops even when it cannot tell the others, and raises what WeCom said."""
    deployment = Deployment(workers=0)
    deployment.notices = Deaf()
    deployment.valves.append(deployment.join())
    await deployment.fail(CONGESTED)
    await deployment.fail(FORBIDDEN)
    with pytest.raises(CallAborted):
        await deployment.call()
    await asyncio.sleep(61)
    with pytest.raises(QueueUnavailable):
        await deployment.call()
    usage = (await deployment.counters.snapshot()).usage[0]
    assert usage.in_flight == 0


@virtual
async def test_a_cancelled_call_gives_its_place_back() -> None:
    """Also when it is cancelled while the news is being told."""
    slow = asyncio.Event()

    class Slow(MemoryNotices):
        async def tell(self, changes: object) -> None:
            slow.set()
            await asyncio.sleep(1000)

    deployment = Deployment(workers=0)
    deployment.notices = Slow()
    deployment.valves.append(deployment.join())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(deployment.fail(FORBIDDEN))
        await slow.wait()
        task.cancel()
    assert (await deployment.counters.snapshot()).usage[0].in_flight == 0


@virtual
async def test_news_wake_those_who_wait() -> None:
    """Who waits for a probe goes on at once when another worker's probe has closed the breaker."""
    deployment = Deployment()
    await deployment.fail(FORBIDDEN)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(deployment.valves[0].wait_open([GET]))
        await asyncio.sleep(1)
        assert not waiting.done()
        closed = HoldChange(kind=HoldKind.BREAKER, endpoint=GET, version=9, seconds=0, closed=True)
        await deployment.notices.tell([closed])
    assert now() < 2
