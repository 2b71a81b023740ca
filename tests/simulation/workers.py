"""A worker of the simulation: the real valve and policy over the real ledger, on virtual time."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

from shared.domain.errors import QudaoError, QueueUnavailable
from shared.domain.events import Lane, task_of
from shared.queue.message import decode
from shared.queue.port import Delivery
from shared.quota.holds import HoldChange
from shared.quota.notices import Listener
from shared.quota.port import Counters, HoldKind, Limits
from shared.quota.valve import Valve
from shared.state.sqlite.quota import SqliteQuota
from tests.doubles.notices import MemoryNotices
from tests.doubles.queue import MemoryQueue
from tests.simulation.files import File, Neighbours, OpenFile
from tests.simulation.virtual import VirtualClock
from tests.simulation.wecom import FakeWeCom
from workers.policy import Park, Retry, Settle, decide

GET = "externalcontact/get"
REMARK = "externalcontact/remark"
WELCOME = "externalcontact/send_welcome_msg"

CALLS = {Lane.FAST: (GET, WELCOME), Lane.LIVE: (GET, REMARK), Lane.BULK: (GET, REMARK)}
SLOTS = {Lane.FAST: 8, Lane.LIVE: 8, Lane.BULK: 4}


class World:
    """What all workers share."""

    def __init__(self, limits: Limits, random: Random) -> None:
        self.limits = limits
        self.random = random
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.queue = MemoryQueue(self.clock)
        self.queue._store.consumers = Ordered()  # type: ignore[assignment] - woken in the same order every time
        self.file = File(random)
        self.notices = MemoryNotices()
        self.wecom = FakeWeCom(limits, random)
        self.brakes: list[tuple[float, str]] = []
        self.sent: list[tuple[float, str, Lane]] = []
        self.waits: list[tuple[float, float, Lane]] = []
        self.ended: dict[tuple[str, Lane], list[str]] = {}


class Ordered:
    """A set in order of arrival, where the queue in memory has one in order of memory."""

    def __init__(self) -> None:
        self._items: dict[object, None] = {}

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[object]:
        return iter(list(self._items))

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: object) -> None:
        self._items[item] = None

    def discard(self, item: object) -> None:
        self._items.pop(item, None)

    def pop(self) -> object:
        item = next(iter(self._items))
        del self._items[item]
        return item


class Worker:
    """One process, from its start until it is killed or stops."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._number = number
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.opened = OpenFile(world.file)
        self.task: asyncio.Task[None] | None = None

    def kill(self) -> None:
        """End it as kill -9 does: nothing is given back but by the broker and by those who find it gone."""
        self.opened.dead = True
        self._world.file.alive.discard(self._number)
        self.go_on()
        if self.task is not None:
            self.task.cancel()

    def stop(self) -> None:
        """Stop it as SIGSTOP does."""
        if self.opened.frozen is None:
            self.opened.frozen = asyncio.Event()

    def go_on(self) -> None:
        frozen, self.opened.frozen = self.opened.frozen, None
        if frozen is not None:
            frozen.set()

    async def run(self) -> None:
        """Serve all lanes, from when the state can be used: until then whoever watches over it starts it again."""
        world = self._world
        async with AsyncExitStack() as stack:
            counters: Counters | None = None
            while counters is None:
                try:
                    counters = await stack.enter_async_context(self._counters())
                except QueueUnavailable:
                    await asyncio.sleep(1.0)
            notices = WorkerNotices(world)
            self._valve = Valve(counters, notices, world.limits, self.clock)
            async with asyncio.TaskGroup() as group:
                for lane in Lane:
                    group.create_task(self._serve(lane))

    @asynccontextmanager
    async def _counters(self) -> AsyncIterator[Counters]:
        world = self._world
        async with SqliteQuota(
            self.opened,  # type: ignore[arg-type] - stands for the Database
            world.limits,
            self.clock,
            monotonic=asyncio.get_running_loop().time,
            neighbours=Neighbours(world.file, self._number),
        ) as quota:
            yield quota

    async def _serve(self, lane: Lane) -> None:
        slots = asyncio.Semaphore(SLOTS[lane])
        async with self._world.queue.consume(lane, SLOTS[lane]) as consumer, asyncio.TaskGroup() as group:
            consumer.in_hand = Ordered()  # type: ignore[attr-defined] - gives back in the same order every time
            while True:
                await slots.acquire()
                await self._valve.wait_open(CALLS[lane])
                delivery = await consumer.take()
                await self._thaw()
                group.create_task(self._deliver(delivery, lane)).add_done_callback(lambda _: slots.release())

    async def _deliver(self, delivery: Delivery, lane: Lane) -> None:
        work = decode(delivery.message.body)
        verdict: Settle | Retry | Park = Settle(reason="done")
        try:
            for endpoint in CALLS[lane]:
                await self._call(endpoint, lane, work.staff)
        except QudaoError as error:
            now = self.clock.time()
            verdict = decide(error, task=task_of(work, lane), work=work, message=delivery.message, now=now)
        await self._thaw()
        await self._settle(delivery, lane, verdict)

    async def _call(self, endpoint: str, lane: Lane, staff: str) -> None:
        loop, world = asyncio.get_running_loop(), self._world
        asked = loop.time()
        async with self._valve.permit(endpoint, lane, staff):
            world.waits.append((asked, loop.time(), lane))
            world.sent.append((loop.time(), endpoint, lane))
            await world.wecom.call(endpoint, lane)
        await self._thaw()

    async def _settle(self, delivery: Delivery, lane: Lane, verdict: Settle | Retry | Park) -> None:
        message = delivery.message
        match verdict:
            case Settle():
                await delivery.ack()
                self._world.ended.setdefault((message.event_id, lane), []).append(verdict.reason)
            case Retry():
                after = message.after(verdict.failure, counted=verdict.counted)
                await delivery.retry(after, verdict.delay)
            case Park():
                await delivery.park(message.after(verdict.failure, counted=True), verdict.failure)
                self._world.ended.setdefault((message.event_id, lane), []).append("parked")

    async def _thaw(self) -> None:
        if self.opened.frozen is not None:
            await self.opened.frozen.wait()


class WorkerNotices:
    """The notices as one worker has them: not while the file is away. Notes when a brake was told."""

    def __init__(self, world: World) -> None:
        self._world = world

    def listen(self, listener: Listener) -> None:
        self._world.notices.listen(listener)

    async def refresh(self) -> None:
        return

    async def tell(self, changes: Sequence[HoldChange]) -> None:
        self._world.file.require()
        await self._world.notices.tell(changes)
        now = asyncio.get_running_loop().time()
        self._world.brakes += [(now, one.endpoint) for one in changes if one.kind is HoldKind.BRAKE and not one.closed]

    async def claim(self, name: str, seconds: float) -> bool:
        self._world.file.require()
        return await self._world.notices.claim(name, seconds)
