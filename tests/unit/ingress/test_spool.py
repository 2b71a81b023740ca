"""The spool takes what the broker cannot, and gives it back by itself, whatever befalls its files."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import apsw
import pytest
from prometheus_client import CollectorRegistry

from ingress.spool.file import depths_in
from ingress.spool.log import SpoolLog
from ingress.spool.queue import SpooledQueue, spooled
from shared.clock import SystemClock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Message
from tests.doubles.queue import MemoryQueue
from tests.rigs.disks import fill, small_disk
from tests.rigs.queue import until_full

CLOCK = SystemClock()
BOTH = (Lane.FAST, Lane.LIVE)
RUBBISH = b"no database" * 1000


class Broker(MemoryQueue):
    """A queue that can be away, and remembers what it was given in which order."""

    def __init__(self) -> None:
        super().__init__(CLOCK)
        self.away = False
        self.never: set[str] = set()
        self.given: list[tuple[str, str]] = []

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        await self.check()
        if message.event_id in self.never:
            raise QueueUnavailable("not this one")
        self.given += [(message.event_id, lane) for lane in lanes]
        await super().publish(message, lanes)

    async def check(self) -> None:
        if self.away:
            raise QueueUnavailable("away")


class Site:
    """A folder with a broker, and ingresses that share both."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "spool.db"
        self.broker = Broker()
        self.registry = CollectorRegistry()

    @asynccontextmanager
    async def ingress(self, registry: CollectorRegistry | None = None) -> AsyncIterator[SpooledQueue]:
        async with spooled(self.broker, self.path, CLOCK, SpoolLog(registry or self.registry)) as queue:
            yield queue

    def value(self, name: str) -> float | None:
        return self.registry.get_sample_value(name)

    async def waiting(self) -> int:
        """Return how many entries are in all files."""
        files = [path for path in self.path.parent.glob("spool*.db") if path.read_bytes() != RUBBISH]
        found = [await depths_in(path, CLOCK.time()) for path in files]
        return sum(depth.messages for depths in found for depth in depths)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingress.spool.drain.PAUSE", 0.05)
    monkeypatch.setattr("ingress.spool.queue.AGAIN_SECONDS", 0.05)
    monkeypatch.setattr("ingress.spool.queue.ADOPT_SECONDS", 0.1)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def message(name: object, age: float = 0.0) -> Message:
    return Message(event_id=EventId(str(name)), body=b"{}", first_seen=time.time() - age)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_broker_comes_first(site: Site) -> None:
    """While the broker takes events none goes to the spool."""
    async with site.ingress() as queue:
        await queue.publish(message(1), BOTH)
        assert site.broker.given == [("1", "fast"), ("1", "live")]
        assert await site.waiting() == 0
        assert site.value("qudao_spool_usable") == 1


async def test_spooled_and_drained(site: Site) -> None:
    """What the broker cannot take waits for each of its lanes, and is in the broker once that is back."""
    site.broker.away = True
    async with site.ingress() as queue:
        for number in range(200):
            await queue.publish(message(number), BOTH)
        assert (await site.waiting(), site.value("qudao_spooled_total")) == (400, 200)
        await until(lambda: site.value("qudao_spool_waiting") == 400)
        site.broker.away = False
        await until(lambda: len(site.broker.given) == 400)
        assert sorted(site.broker.given) == sorted((str(n), lane) for n in range(200) for lane in BOTH)
        await until(lambda: site.value("qudao_spool_waiting") == 0)
        assert await site.waiting() == 0


async def test_the_freshest_go_first_and_late_welcomes_last(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can still be welcomed is; then marks, the newest customer's first; a late welcome delays nobody."""
    monkeypatch.setattr("ingress.spool.drain.LATE_AT_ONCE", 2)
    site.broker.away = True
    async with site.ingress() as queue:
        for name, age in (("old", 300.0), ("older", 900.0), ("fresh", 1.0), ("fresher", 0.5), ("late", 25.0)):
            await queue.publish(message(name, age), BOTH)
        site.broker.away = False
        await until(lambda: len(site.broker.given) == 10)
    by_lane = [lane for _, lane in site.broker.given]
    assert by_lane == ["fast"] * 2 + ["live"] * 5 + ["fast"] * 3
    names = [name for name, _ in site.broker.given]
    assert names == ["fresher", "fresh", "fresher", "fresh", "late", "old", "older", "late", "old", "older"]


async def test_a_new_welcome_overtakes_late_ones(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late welcomes go a few at a time: one that can still be sent does not stand behind thousands."""
    monkeypatch.setattr("ingress.spool.drain.LATE_AT_ONCE", 5)
    site.broker.away = True
    async with site.ingress() as queue:
        for number in range(100):
            await queue.publish(message(number, 60.0), [Lane.FAST])
        site.broker.away = False
        await until(lambda: bool(site.broker.given))
        site.broker.away = True
        await queue.publish(message("now"), [Lane.FAST])
        before = len(site.broker.given)
        site.broker.away = False
        await until(lambda: ("now", "fast") in site.broker.given)
        assert site.broker.given.index(("now", "fast")) <= before + 10


async def test_neither(site: Site) -> None:
    """When the spool cannot take an event either, it is refused, and both reasons are said."""
    site.broker.away = True
    site.path.mkdir()
    async with site.ingress() as queue:
        for refused in (queue.publish(message(1), BOTH), queue.check()):
            with pytest.raises(QueueUnavailable, match=r"away; the spool cannot be used: .*spool\.db"):
                await refused
        assert site.value("qudao_spool_usable") == 0
        site.path.rmdir()
        await until(lambda: site.value("qudao_spool_usable") == 1)
        await queue.check()
        await queue.publish(message(1), BOTH)


async def test_one_event_that_is_never_taken_holds_up_nobody(site: Site) -> None:
    """Whatever the broker has against it."""
    site.broker.away = True
    site.broker.never = {"poison"}
    async with site.ingress() as queue:
        for number in range(50):
            await queue.publish(message(number, 10.0), [Lane.LIVE])
        await queue.publish(message("poison"), [Lane.LIVE])
        site.broker.away = False
        await until(lambda: len(site.broker.given) == 50)
        assert await site.waiting() == 1


@pytest.mark.parametrize("deleted", [("",), ("-wal",), ("-shm",), ("-wal", "-shm"), ("", "-wal", "-shm")])
async def test_a_deleted_file_is_put_back(site: Site, deleted: Sequence[str]) -> None:
    """Whoever deletes it while the broker is away: what was accepted before and after is published."""
    site.broker.away = True
    async with site.ingress() as queue:
        for number in range(20):
            await queue.publish(message(number), [Lane.LIVE])
        for suffix in deleted:
            site.path.with_name(site.path.name + suffix).unlink()
        for number in range(20, 40):
            await queue.publish(message(number), [Lane.LIVE])
        assert await site.waiting() == 40
        site.broker.away = False
        await until(lambda: len(set(site.broker.given)) == 40)


async def test_a_damaged_file_is_set_aside(site: Site) -> None:
    """An ingress starts beside it, and leaves it to people."""
    site.path.write_bytes(RUBBISH)
    site.broker.away = True
    async with site.ingress() as queue:
        await queue.publish(message(1), [Lane.LIVE])
        assert await depths_in(site.path.with_name("spool.2.db"), CLOCK.time())
    assert site.path.read_bytes() == RUBBISH


async def test_several_ingresses_have_a_file_each(site: Site) -> None:
    """In one folder, without being told; what one leaves behind when it goes the others publish."""
    site.broker.away = True
    async with site.ingress() as one:
        async with site.ingress(CollectorRegistry()) as other:
            await one.publish(message("one"), [Lane.LIVE])
            await other.publish(message("other"), [Lane.LIVE])
            files = sorted(path.name for path in site.path.parent.glob("spool*.db"))
            assert files == ["spool.2.db", "spool.db"]
        site.broker.away = False
        await until(lambda: sorted(site.broker.given) == [("one", "live"), ("other", "live")])


async def test_a_full_disk_costs_nothing_while_the_broker_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when it is full at the start nor later; the spool opens by itself once there is room."""
    monkeypatch.setattr("shared.sqlite.reserve.RESERVE_BYTES", 1 << 20)
    with small_disk("8m") as disk:
        ballast = fill(disk)
        site = Site(disk)
        async with site.ingress() as queue:
            await queue.publish(message(1), [Lane.LIVE])
            site.broker.away = True
            with pytest.raises(QueueUnavailable):
                await queue.publish(message(2), [Lane.LIVE])
            ballast.unlink()
            await until(lambda: site.value("qudao_spool_usable") == 1)
            await queue.publish(message(2), [Lane.LIVE])
            ballast = fill(disk)
            accepted = 2 + await until_full(lambda number: queue.publish(message(f"more {number}"), [Lane.LIVE]))
            site.broker.away = False
            await until(lambda: len(set(site.broker.given)) == accepted)  # though the disk is full still
            await queue.publish(message("after"), [Lane.LIVE])


async def test_a_locked_file_costs_nothing_while_the_broker_is_there(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup may lock it for as long as it likes."""
    monkeypatch.setattr("shared.sqlite.file.BUSY_MS", 50)
    site.broker.away = True
    async with site.ingress() as queue:
        await queue.publish(message(1), [Lane.LIVE])
        with closing(apsw.Connection(str(site.path))) as backup:
            backup.execute("BEGIN IMMEDIATE")
            with pytest.raises(QueueUnavailable, match="locked"):
                await queue.publish(message(2), [Lane.LIVE])
            site.broker.away = False
            for number in range(3, 10):
                await queue.publish(message(number), [Lane.LIVE])
            await asyncio.sleep(0.3)
            backup.execute("COMMIT")
        await until(lambda: len(set(site.broker.given)) == 8)
        site.broker.away = True
        await until(lambda: site.value("qudao_spool_usable") == 1)
        await queue.publish(message(2), [Lane.LIVE])
