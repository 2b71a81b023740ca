"""A process of the simulation: the real worker over the real valve, state, journal and client, on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final, cast

from prometheus_client import CollectorRegistry

from shared.domain.channels.file import load_channels
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.domain.ids import CorpId
from shared.queue.port import EventQueue
from shared.quota.bounded import BoundedQuota
from shared.quota.holds import HoldChange
from shared.quota.port import HoldKind, Limits, Permit
from shared.quota.valve import Valve
from shared.sqlite.database import Database
from shared.state.sqlite.journal import SqliteJournal
from shared.state.sqlite.notices import SqliteNotices
from shared.state.sqlite.quota import SqliteQuota
from shared.wecom.calls import Calls
from shared.wecom.client import WeCom
from shared.wecom.tokens import TokenSource
from shared.wecom.transport import Transport
from tests.doubles.queue import MemoryQueue
from tests.simulation.files import File, Neighbours, OpenFile
from tests.simulation.life import Life
from tests.simulation.queue import ProcessQueue
from tests.simulation.virtual import VirtualClock
from tests.simulation.wecom import LANE, FakeWeCom, Wire
from workers.consumer import Worker
from workers.delivery_log import DeliveryLog
from workers.dispatch import endpoints_of, handlers_with
from workers.looks import Looks
from workers.media import Media
from workers.other_corps import OtherCorps
from workers.services import Services
from workers.tags import Tags

CORP: Final = CorpId("ww1")
GRACE: Final = 2.0
WAIT_SECONDS: Final = 8.0
"""Longest wait for a permit, scaled down as the windows are."""

CHANNELS: Final = load_channels("""
[channels.x]
name = "展会"
staff = ["staff0"]
state = "qd_x"
remark = "{channel}-{name}"
tags = ["来源/展会"]
welcome = "你好 {name}"
""")


class World:
    """What all processes share."""

    def __init__(self, limits: Limits, random: Random, *, held_for: float, delivery_limit: int) -> None:
        self.limits = limits
        self.random = random
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.queue = MemoryQueue(self.clock, held_for=held_for, delivery_limit=delivery_limit)
        self.file = File(random)
        self.wecom = FakeWeCom(limits, random)
        self.brakes: list[tuple[float, str]] = []
        self.waits: list[tuple[float, float, Lane, str]] = []
        """Of each permit: when it was asked for and got, for which lane, and for which API."""


class Process:
    """One process, from its start until it is killed or stops."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._number = number
        self._stopping = asyncio.Event()
        self.life = Life()
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.opened = OpenFile(world.file, self.life)
        self.task: asyncio.Task[None] | None = None

    def kill(self) -> None:
        """End it as kill -9 does: nothing is given back but by the broker and by those who find it gone."""
        self._world.file.alive.discard(self._number)
        self.life.kill()
        if self.task is not None:
            self.task.cancel()

    def terminate(self) -> None:
        """Let it end what it has in hand, as SIGTERM does."""
        self.life.thaw()
        self._stopping.set()

    async def run(self) -> None:
        """Serve all lanes, from when the state can be used: until then whoever watches over it starts it again."""
        while not self._stopping.is_set():
            try:
                async with self._worker() as worker:
                    await worker.run(self._stopping)
            except* QueueUnavailable:
                self.life.require()
                await asyncio.sleep(1.0)
        self._world.file.alive.discard(self._number)

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[Worker]:
        database = cast("Database", self.opened)  # stands for it
        world = self._world
        monotonic = asyncio.get_running_loop().time
        journal = SqliteJournal(database)
        await journal.prepare()
        neighbours = Neighbours(world.file, self._number)
        async with SqliteQuota(
            database, world.limits, self.clock, monotonic=monotonic, neighbours=neighbours
        ) as counters:
            notices = _Notices(world, SqliteNotices(database, monotonic=monotonic))
            valve = _Valve(counters, notices, world.limits, self.clock)
            valve.world = world
            quota = BoundedQuota(valve, WAIT_SECONDS)
            wire = cast("Transport", Wire(world.wecom, self.life))
            reporter = DeliveryLog(CollectorRegistry(), self.clock)
            services = Services(
                corp=CORP,
                wecom=WeCom(Calls(transport=wire, tokens=TokenSource(wire, CORP, "secret"), quota=quota), Lane.LIVE),
                channels=CHANNELS,
                clock=self.clock,
                tags=Tags(),
                media=Media(self.clock),
                looks=Looks(self.clock),
                journal=journal,
                count_part=reporter.part,
            )
            yield Worker(
                queue=cast("EventQueue", ProcessQueue(world.queue, self.life)),
                handlers=handlers_with(services, lambda: CHANNELS, OtherCorps(CORP)),
                wait_open=lambda lane: valve.wait_open(endpoints_of(lane, CHANNELS)),
                clock=self.clock,
                reporter=reporter,
                grace=GRACE,
                note=journal.note,
            )


class _Valve(Valve):
    """Notes for whom a permit is, and how long it was waited for."""

    world: World

    @asynccontextmanager
    async def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AsyncIterator[Permit]:
        now = asyncio.get_running_loop().time
        asked = now()
        async with super().permit(endpoint, lane, staff) as permit:
            self.world.waits.append((asked, now(), lane, endpoint))
            LANE.set(lane)
            yield permit


class _Notices:
    """The notices as one process has them. Notes when a brake was told, if nobody knew better."""

    def __init__(self, world: World, notices: SqliteNotices) -> None:
        self._world = world
        self._notices = notices
        self.listen = notices.listen
        self.refresh = notices.refresh
        self.claim = notices.claim

    async def tell(self, changes: Sequence[HoldChange]) -> None:
        await self._notices.tell(changes)
        now = asyncio.get_running_loop().time()
        self._world.brakes += [
            (now, one.endpoint)
            for one in changes
            if one.kind is HoldKind.BRAKE and not one.closed and self._is_kept(one)
        ]

    def _is_kept(self, change: HoldChange) -> bool:
        """Tell whether *change* is not older than what is known: one that was stopped brings old news."""
        version = self._world.file.connection.execute(
            "SELECT version FROM quota_hold WHERE kind = ? AND endpoint = ? AND staff = ''",
            (change.kind, change.endpoint),
        ).get
        return version == change.version


def parked_and_noted(world: World) -> Mapping[tuple[str, str], list[str]]:
    """Return how each task of each event ended, as the journal has it."""
    rows = world.file.connection.execute("SELECT event_id, task, result FROM journal").fetchall()
    ends: dict[tuple[str, str], list[str]] = {}
    for event_id, task, result in rows:
        ends.setdefault((event_id, task), []).append(result)
    return ends
