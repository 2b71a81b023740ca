"""What every store of contact ways does: the sentences of ``shared/state/ways.py``, and of the lease on writing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.model import ChannelKey
from shared.domain.channels.ways import WayFields
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId, StaffUserId
from shared.quota.notices import Notices
from shared.quota.port import Limits
from shared.sqlite.database import Database
from shared.state.leases import leased
from shared.state.postgres import adapter as postgres_adapter
from shared.state.sqlite import adapter as sqlite_adapter
from shared.state.ways import CLAIM, WayStore
from tests.doubles.notices import MemoryNotices
from tests.doubles.ways import MemoryWays

FIELDS = WayFields(memo="展会", staff=(StaffUserId("lin.qiao"),), party=(3,), style=None)
LEASE = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Ways, and the claims that go with them."""

    corp: CorpId
    ways: WayStore
    notices: Notices


Opener = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture
def memory() -> Opener:
    notices = MemoryNotices()
    store = Store(corp=CorpId("ww1"), ways=MemoryWays(CorpId("ww1"), notices), notices=notices)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        yield store

    return opened


@pytest.fixture
def sqlite(tmp_path: Path) -> Opener:
    corp = CorpId("ww1")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        async with (
            Database(tmp_path / "state.db") as database,
            sqlite_adapter.open_state(database, corp, Limits(), SystemClock()) as state,
        ):
            yield Store(corp=corp, ways=state.ways, notices=state.notices)

    return opened


@pytest.fixture
def postgres(postgres_url: str, prefix: str) -> Opener:
    corp = CorpId(prefix)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        async with postgres_adapter.open_state(postgres_url, corp, Limits()) as state:
            yield Store(corp=corp, ways=state.ways, notices=state.notices)

    return opened


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def opener(request: pytest.FixtureRequest) -> Opener:
    return request.getfixturevalue(request.param)


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    async with opener() as opened:
        yield opened


def way(key: str, config_id: str, state: str = "qd_a") -> LockedWay:
    return LockedWay(
        key=ChannelKey(key), state=state, config_id=ContactWayId(config_id), qr_code="https://q/1", fields=FIELDS
    )


def steps(corp: CorpId) -> list[LockedWays]:
    """Return the locks that an apply goes through: a way is meant, made, changed, replaced, and the old one pruned."""
    empty = LockedWays(corp_id=corp)
    meant = empty.begun(ChannelKey("a"), "qd_a", FIELDS, now=1.5).begun(ChannelKey("b"), "渠道", FIELDS, now=2.5)
    made = meant.made(way("a", "c1")).made(way("b", "c2", "渠道"))
    changed = made.changed(replace(way("a", "c1"), sure=False, fields=replace(FIELDS, memo="新")))
    replaced = changed.begun(ChannelKey("a"), "qd_a2", FIELDS, now=3.5).made(way("a", "c3", "qd_a2"))
    again = replaced.begun(ChannelKey("a"), "qd_a3", FIELDS, now=4.5).made(way("a", "c4", "qd_a3"))
    return [meant, made, changed, replaced, again, again.deleted(way("a", "c1"))]


async def test_what_is_written_is_read_by_whoever_opens_it_next(opener):
    """Step by step: intents, ways in use, retired ones in their order, and pruned states."""
    async with opener() as first:
        before = await first.ways.read()
        assert before == LockedWays(corp_id=first.corp)
    for after in steps(first.corp):
        async with opener() as store, leased(store.notices, CLAIM, taken="") as owner:
            await store.ways.write(owner, before, after)
        async with opener() as other:
            assert await other.ways.read() == after
        before = after


async def test_nobody_writes_without_the_claim(store):
    """Whoever lost it, or never had it, changes nothing."""
    meant, made, *_ = steps(store.corp)
    async with leased(store.notices, CLAIM, taken="") as owner:
        await store.ways.write(owner, LockedWays(corp_id=store.corp), meant)
    for late in (owner, "somebody"):
        with pytest.raises(ConfigurationError, match="taken over"):
            await store.ways.write(late, meant, made)
    assert await store.ways.read() == meant


async def test_two_never_hold_it_at_once(store):
    """While one goes on another is refused, in words; when the first has ended the next one may."""
    async with leased(store.notices, CLAIM, taken="", seconds=LEASE):
        with pytest.raises(ConfigurationError, match="somebody is at it"):
            async with leased(store.notices, CLAIM, taken="somebody is at it", seconds=LEASE):
                pass
    async with asyncio.timeout(LEASE), leased(store.notices, CLAIM, taken=""):
        pass


async def test_the_claim_of_one_who_was_killed_is_waited_for(store):
    """It ends by itself; and whoever was only stopped cannot write any more."""
    assert await store.notices.claim(CLAIM, LEASE, "killed")
    async with leased(store.notices, CLAIM, taken="somebody is at it", seconds=LEASE) as owner:
        await store.ways.write(owner, LockedWays(corp_id=store.corp), steps(store.corp)[0])
        with pytest.raises(ConfigurationError, match="taken over"):
            await store.ways.write("killed", LockedWays(corp_id=store.corp), steps(store.corp)[1])


async def test_states_of_others_are_replaced_as_a_whole(store):
    """What was read last counts; they are nobody's claim."""
    assert await store.ways.others() == {}
    for states in ({ContactWayId("x"): "theirs", ContactWayId("y"): ""}, {ContactWayId("z"): "Ihre"}):
        await store.ways.keep_others(states)
        assert await store.ways.others() == states


async def test_ten_thousand_ways_are_read_and_changed_one_by_one(store):
    """A large file is no reason to write all of it for one change."""
    ways = {ChannelKey(f"c{n}"): way(f"c{n}", f"id{n}", f"qd_{n}") for n in range(10_000)}
    lock = LockedWays(corp_id=store.corp, channels=ways)
    async with leased(store.notices, CLAIM, taken="") as owner:
        await store.ways.write(owner, LockedWays(corp_id=store.corp), lock)
        changed = lock.changed(replace(ways[ChannelKey("c7")], sure=False))
        await store.ways.write(owner, lock, changed)
    assert await store.ways.read() == changed
