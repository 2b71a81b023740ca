"""What every adapter of the notices does: the sentences of ``shared/quota/notices.py``."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.postgres import Postgres
from shared.quota.holds import HoldChange
from shared.quota.notices import Notices
from shared.quota.port import HoldKind, Limits
from shared.sqlite.database import Database
from shared.state.postgres.notices import PostgresNotices
from shared.state.postgres.quota import PostgresQuota
from shared.state.sqlite.notices import SqliteNotices
from shared.state.sqlite.quota import SqliteQuota
from tests.doubles.notices import MemoryNotices

GET = "externalcontact/get"
SOON = 30.0

Opener = Callable[[], AbstractAsyncContextManager[Notices]]


@pytest.fixture
def memory() -> Opener:
    notices = MemoryNotices()

    @asynccontextmanager
    async def opened() -> AsyncIterator[Notices]:
        yield notices

    return opened


@pytest.fixture
def sqlite(tmp_path: Path) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Notices]:
        async with Database(tmp_path / "queue.db") as database, SqliteQuota(database, Limits(), SystemClock()):
            yield SqliteNotices(database)

    return opened


@pytest.fixture
def postgres(postgres_url: str, prefix: str) -> Opener:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Notices]:
        async with Postgres(postgres_url) as database, PostgresQuota(database, prefix, Limits()) as quota:
            yield PostgresNotices(database, quota, prefix)

    return opened


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opener(request: pytest.FixtureRequest) -> Opener:
    made: Opener = request.getfixturevalue(request.param)
    return made


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with asyncio.timeout(30), AsyncExitStack() as opened:
        yield opened


class Ear:
    """Keeps what was heard."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self.heard: list[HoldChange] = []
        notices.listen(self._hear)

    def _hear(self, changes: Sequence[HoldChange]) -> None:
        self.heard += changes

    async def hears(self, change: HoldChange) -> HoldChange:
        """Return *change* as it was heard, within what time is left of it."""
        async with asyncio.timeout(SOON):
            while True:
                await self._notices.refresh()
                for heard in self.heard:
                    if (heard.endpoint, heard.staff, heard.version) == (change.endpoint, change.staff, change.version):
                        return heard
                await asyncio.sleep(0.01)


def a_change(*, version: int = 1, staff: str = "", closed: bool = False) -> HoldChange:
    return HoldChange(
        kind=HoldKind.BREAKER,
        endpoint=GET,
        staff=staff,
        version=version,
        seconds=50.0,
        closed=closed,
        errcode=48002,
        reason="no permission: 加权限",
    )


async def test_all_others_hear_it(opener: Opener, stack: AsyncExitStack) -> None:
    """What one worker tells reaches the others as it was told."""
    one, other = await stack.enter_async_context(opener()), await stack.enter_async_context(opener())
    ear = Ear(other)
    for change in (a_change(), a_change(staff="lin.qiao"), a_change(version=2, closed=True)):
        await one.tell([change])
        heard = await ear.hears(change)
        assert 40 < heard.seconds <= 50
        assert (heard.closed, heard.errcode, heard.reason) == (change.closed, change.errcode, change.reason)


async def test_who_joins_later_hears_it_too(opener: Opener, stack: AsyncExitStack) -> None:
    """Also when nobody else is there any more to tell it."""
    async with opener() as gone:
        await gone.tell([a_change()])
        await gone.tell([a_change(staff="zhou.yi")])
    ear = Ear(await stack.enter_async_context(opener()))
    await ear.hears(a_change())
    await ear.hears(a_change(staff="zhou.yi"))


async def test_one_worker_has_the_claim(opener: Opener, stack: AsyncExitStack) -> None:
    """Of many that claim the same thing at the same time one gets it; another thing is another claim."""
    workers = [await stack.enter_async_context(opener()) for _ in range(3)]
    won: list[bool] = []

    async def claim(notices: Notices, name: str) -> None:
        won.append(await notices.claim(name, 30.0))

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(claim(workers[number % 3], "probe/externalcontact/get/林"))
    assert won.count(True) == 1
    assert await workers[0].claim("probe/externalcontact/get/", 30.0)


async def test_a_claim_ends(opener: Opener, stack: AsyncExitStack) -> None:
    """After its time it can be claimed again."""
    notices = await stack.enter_async_context(opener())
    assert await notices.claim("x", 0.2)
    assert not await notices.claim("x", 0.2)
    async with asyncio.timeout(SOON):
        while not await notices.claim("x", 0.2):
            await asyncio.sleep(0.02)
