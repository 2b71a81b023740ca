"""
One seed: a deployment, what it is asked to do, and a course of misfortunes; see ``judge`` for what should never happen.

Everything is drawn from the seed and runs on virtual time, so a seed takes the same course every time.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from math import inf
from random import Random
from typing import Final

from shared.domain.events import CustomerAdded, Lane
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.queue.message import message_for
from shared.queue.port import DELIVERY_LIMIT
from shared.quota.port import Limits
from tests.simulation.judge import Judge
from tests.simulation.patches import scaled
from tests.simulation.virtual import StuckError, run_virtual
from tests.simulation.wecom import GET, WELCOME, Related
from tests.simulation.workers import CORP, Process, World

HORIZON = 6 * 3600.0
"""Virtual seconds after which whatever is not done is stuck: the trouble lasts minutes, no retry waits for hours."""

MINUTE, HOUR = 6.0, 36.0
HELD_FOR = 40.0
"""The windows, and a broker's half an hour, scaled down."""

SOON_HELD_FOR, HELD_LIMIT = 8.0, 10
"""The same, and the deliveries without a settlement that make a suspect, for a broker that is set to be impatient."""

REMARK: Final = "externalcontact/remark"


class Kind(StrEnum):
    """What a seed is about."""

    TROUBLE = "trouble"
    """Everything that can befall processes, broker, state, clocks and WeCom."""
    FLOOD = "flood"
    """A backfill that takes many hours' quota, while new customers come."""
    REFUSED = "refused"
    """One member whom WeCom refuses, with many customers."""
    HELD = "held"
    """An API that is held back for hours."""
    MUTE = "mute"
    """A queue that settles nothing for a while."""


KINDS: Final = (Kind.TROUBLE,) * 6 + (Kind.FLOOD, Kind.REFUSED, Kind.HELD, Kind.MUTE)
"""By the seed's last digit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a seed came to."""

    seed: int
    problems: list[str]
    calls: int = 0
    seconds: float = 0.0
    course: str = ""
    """Fingerprint of every call and when it was made: the same for the same seed."""


def run_seed(seed: int, without: Callable[[], AbstractContextManager[None]] = nullcontext) -> Outcome:
    """Return what becomes of *seed*, *without* what a context takes away."""
    random.seed(seed)  # for jitter that is drawn from the module
    try:
        with scaled(), without():
            return run_virtual(_Schedule(seed).run())
    except StuckError:
        return Outcome(seed=seed, problems=["stuck: nothing would ever happen again"])


@dataclass
class Course:
    """What was asked for and what befell; the judge's material."""

    kind: Kind
    limits: Limits
    slow: bool = False
    skewed: bool = False
    refused_until: float = inf
    expected: list[tuple[str, str, Lane]] = field(default_factory=list)
    """Event, customer and lane."""
    arrived: dict[str, float] = field(default_factory=dict)
    """When the new customers came, by customer."""
    calm: list[tuple[float, float]] = field(default_factory=list)
    quiet_from: float = 0.0
    """From when on nothing goes wrong any more."""


class _Schedule:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(seed)
        self._course = Course(kind=KINDS[seed % 10], limits=self._draw_limits(KINDS[seed % 10]))
        self._numbers = 0
        self._processes: list[Process] = []

    async def run(self) -> Outcome:
        draw, course = self._random, self._course
        broker = course.kind is not Kind.MUTE and (course.kind is Kind.HELD or draw.random() < 0.6)
        held_for, limit = (SOON_HELD_FOR, HELD_LIMIT) if course.kind is Kind.HELD else (HELD_FOR, DELIVERY_LIMIT)
        self._world = World(course.limits, draw, held_for=held_for if broker else inf, delivery_limit=limit)
        course.skewed = course.kind is Kind.TROUBLE and draw.random() < 0.25
        async with asyncio.TaskGroup() as group:
            for _ in range(draw.randint(1, 4 if course.kind is Kind.TROUBLE else 2)):
                self._join(group)
            happening = {
                Kind.TROUBLE: self._trouble,
                Kind.FLOOD: self._flood,
                Kind.REFUSED: self._refuse,
                Kind.HELD: self._hold,
                Kind.MUTE: self._mute,
            }
            await happening[course.kind](group)
            done = await self._finish(group)
            self._check_over()
            for process in self._processes:
                process.kill()
        judge = Judge(self._world, course)
        sent = self._world.wecom.sent
        return Outcome(
            seed=self._seed,
            problems=await judge.problems(done=done),
            calls=len(sent),
            seconds=max((at for at, _, _ in sent), default=0.0),
            course=sha256(repr(sent).encode()).hexdigest()[:16],
        )

    def _draw_limits(self, kind: Kind) -> Limits:
        draw = self._random
        most = {Kind.FLOOD: (10,), Kind.HELD: (80, 150, 1000)}
        per_minute = draw.choice(most.get(kind, (10, 20, 40, 80, 150, 1000)))
        per_hour = draw.choice((20, 40)) if kind is Kind.FLOOD else per_minute * draw.randint(2, 5)
        return Limits(per_minute=per_minute, per_hour=per_hour, in_flight=draw.randint(1, 5), minute=MINUTE, hour=HOUR)

    def _join(self, group: asyncio.TaskGroup) -> None:
        self._numbers += 1
        process = Process(self._world, self._numbers)
        far = (180.0, -180.0, 7200.0, -7200.0) if self._course.skewed else (2.0, -2.0)
        process.clock.offset += self._random.choice((0.0, 0.0, *far))
        process.task = group.create_task(_unless_killed(process))
        self._processes.append(process)

    async def _publish(self, number: int, lanes: Sequence[Lane], staff: str = "") -> None:
        """Let a customer scan, whom WeCom knows a little later at times; the member may write a remark, too."""
        draw, world, now = self._random, self._world, asyncio.get_running_loop().time()
        customer, staff = f"wm{number}", staff or f"staff{number % 3}"
        late = 0.0 if self._course.skewed else draw.choice((0.0, 0.0, 0.0, 1.5))
        relation = Related(staff=staff, customer=customer, created_at=int(world.clock.time()), known_from=now + late)
        world.wecom.relations[customer] = relation
        if draw.random() < 0.3:
            asyncio.get_running_loop().call_later(draw.expovariate(0.3), relation.write, f"老{number}")
        work = CustomerAdded(
            corp=CORP,
            staff=StaffUserId(staff),
            customer=ExternalUserId(customer),
            created_at=relation.created_at,
            state="qd_x",
            welcome_code=f"code{number}" if Lane.FAST in lanes else "",
        )
        message = message_for(work, now=world.clock.time())
        await world.queue.publish(message, lanes)
        self._course.expected += [(message.event_id, customer, lane) for lane in lanes]
        if Lane.BULK not in lanes:
            self._course.arrived[customer] = now

    async def _arrive(self, first: int, count: int, pause: float) -> None:
        """Let *count* new customers come, some with welcomes."""
        draw = self._random
        for number in range(first, first + count):
            await asyncio.sleep(draw.expovariate(1 / pause))
            await self._publish_surely(number, draw.choice(([Lane.LIVE], [Lane.FAST, Lane.LIVE], [Lane.FAST])))

    async def _publish_surely(self, number: int, lanes: Sequence[Lane], staff: str = "") -> None:
        """Publish as an ingress does: from its spool as soon as the queue takes it."""
        while self._world.queue.refuses("publish"):
            await asyncio.sleep(1.0)
        await self._publish(number, lanes, staff)

    async def _trouble(self, group: asyncio.TaskGroup) -> None:
        """Let things go wrong, one after the other and now and then at the same time."""
        draw, world, loop = self._random, self._world, asyncio.get_running_loop()
        wecom = world.wecom
        wecom.slow = draw.choice((0.0, 0.0, 0.1, 0.9))
        wecom.rude = draw.choice((0.0, 0.0, 0.02, 0.06))
        wecom.forgetful = draw.choice((0.0, 0.0, 0.1))
        self._course.slow = wecom.slow > 0
        for number in range(draw.randint(0, 30)):
            await self._publish(number, [draw.choice((Lane.LIVE, Lane.BULK))])
        arrivals = group.create_task(self._arrive(100, draw.randint(5, 20), 1.0))
        end = loop.time() + 40.0
        events = (
            (self._kill, 3), (self._join_more, 3), (self._terminate, 1), (self._freeze, 2), (self._take_state, 2),
            (self._cut_state, 1), (self._jump, 1), (self._block, 1), (self._forbid, 1), (self._lose_node, 2),
            (self._refuse_settlements, 2),
        )  # fmt: skip
        calm_from = loop.time()
        while loop.time() < end:
            await asyncio.sleep(draw.expovariate(draw.choice((0.1, 1.0))))
            (event,) = draw.choices([event for event, _ in events], [weight for _, weight in events])
            self._course.calm.append((calm_from, loop.time()))
            await event(group)
            calm_from = loop.time() + 60.0
        self._course.calm.append((max(calm_from, end), HORIZON))
        await arrivals

    async def _flood(self, group: asyncio.TaskGroup) -> None:
        """A backfill wants more than the hour has, for many hours; new customers need less than is left to them."""
        draw = self._random
        count = draw.randint(100, 200)
        for number in range(1000, 1000 + count):
            await self._publish(number, [Lane.BULK])
        self._course.calm.append((0.0, HORIZON))
        await self._arrive(100, count // 20, 30.0)

    async def _refuse(self, group: asyncio.TaskGroup) -> None:
        """Refuse one member with many customers, and put it right after a while or never; others' work goes on."""
        draw, course = self._random, self._course
        self._world.wecom.refused_staff = "staff9"
        count = draw.choice((40, 60, 80, 100, 500) if course.limits.per_minute >= 150 else (20, 40))
        for number in range(1000, 1000 + count):
            await self._publish(number, [draw.choice((Lane.LIVE, Lane.BULK))], "staff9")
        await self._arrive(100, 10, 3.0)
        course.refused_until = draw.choice((60.0, 200.0, inf))
        if course.refused_until < inf:
            await asyncio.sleep(course.refused_until - asyncio.get_running_loop().time())
            self._world.wecom.refused_staff = ""

    async def _hold(self, group: asyncio.TaskGroup) -> None:
        """Hold an API back for so long that a broker takes back many times what is fetched ahead."""
        draw, loop = self._random, asyncio.get_running_loop()
        until = loop.time() + 240.0
        self._world.wecom.forbidden.add(draw.choice((GET, REMARK)))
        for number in range(1000, 1000 + draw.randint(10, 40)):
            await self._publish(number, [draw.choice((Lane.LIVE, Lane.BULK))])
        arrivals = group.create_task(self._arrive(100, 10, 30.0))
        while loop.time() < until:
            await asyncio.sleep(draw.uniform(60.0, 200.0))
            await self._kill(group)
            self._join(group)
        self._world.wecom.forbidden.clear()
        await arrivals

    async def _mute(self, group: asyncio.TaskGroup) -> None:
        """Let the queue hand out and settle nothing for minutes, while there is much to do."""
        draw = self._random
        for number in range(1000, 1000 + draw.randint(30, 80)):
            await self._publish(number, [draw.choice((Lane.LIVE, Lane.BULK))])
        arrivals = group.create_task(self._arrive(100, 10, 5.0))
        for _ in range(draw.randint(1, 3)):
            await asyncio.sleep(draw.uniform(0.1, 10.0))
            await self._refuse_settlements(group, draw.uniform(15.0, 200.0))
        await arrivals

    async def _finish(self, group: asyncio.TaskGroup) -> bool:
        """Put everything right and wait until all is done; tell whether it was."""
        world, loop = self._world, asyncio.get_running_loop()
        world.wecom.slow = world.wecom.rude = world.wecom.forgetful = 0.0
        world.wecom.forbidden.clear()
        world.queue.refuse()
        self._course.quiet_from = loop.time()
        if not self._processes:
            self._join(group)
        while not await self._is_done():
            if loop.time() > HORIZON:
                return False
            await asyncio.sleep(5.0)
        return True

    async def _is_done(self) -> bool:
        return all(not depth.messages or depth.name == "parked" for depth in await self._world.queue.depths())

    def _check_over(self) -> None:
        """See that every process is alive: one that ended by itself was a bug, and its error ends the run."""
        assert all(process.task is not None and not process.task.done() for process in self._processes)

    async def _kill(self, group: asyncio.TaskGroup) -> None:
        if self._processes:
            self._processes.pop(self._random.randrange(len(self._processes))).kill()

    async def _terminate(self, group: asyncio.TaskGroup) -> None:
        if self._processes:
            self._processes.pop(self._random.randrange(len(self._processes))).terminate()

    async def _join_more(self, group: asyncio.TaskGroup) -> None:
        if len(self._processes) < 6:
            self._join(group)

    async def _freeze(self, group: asyncio.TaskGroup) -> None:
        """SIGSTOP, for longer than the lease or shorter."""
        if self._processes:
            process, seconds = self._random.choice(self._processes), self._random.choice((0.3, 3.0, 20.0))
            process.life.freeze()
            asyncio.get_running_loop().call_later(seconds, process.life.thaw)

    async def _take_state(self, group: asyncio.TaskGroup) -> None:
        """Nobody can use the state for a while: a locked file, a server that restarts."""
        self._world.file.away = True
        await asyncio.sleep(self._random.choice((0.1, 5.0, 30.0)))
        self._world.file.away = False

    async def _cut_state(self, group: asyncio.TaskGroup) -> None:
        """One process cannot use the state for a while: its connections are cut."""
        if self._processes:
            opened = self._random.choice(self._processes).opened
            opened.cut = True
            await asyncio.sleep(self._random.choice((0.1, 5.0)))
            opened.cut = False

    async def _jump(self, group: asyncio.TaskGroup) -> None:
        for clock in [self._world.clock, *(process.clock for process in self._processes)]:
            if self._course.skewed and self._random.random() < 0.5:
                clock.offset += self._random.choice((3600.0, -3600.0))

    async def _block(self, group: asyncio.TaskGroup) -> None:
        """Something else has used the quota up."""
        endpoint = self._random.choice((GET, REMARK))
        now = asyncio.get_running_loop().time()
        self._world.wecom.blocked_until[endpoint] = now + MINUTE * self._random.choice((0.5, 1.0))

    async def _forbid(self, group: asyncio.TaskGroup) -> None:
        endpoint = self._random.choice((GET, REMARK, WELCOME, "externalcontact/mark_tag"))
        self._world.wecom.forbidden.add(endpoint)
        seconds = self._random.uniform(5.0, 30.0)
        asyncio.get_running_loop().call_later(seconds, self._world.wecom.forbidden.discard, endpoint)

    async def _lose_node(self, group: asyncio.TaskGroup) -> None:
        """A node of the broker goes away: whoever is connected to it loses what it has."""
        queue, draw = self._world.queue, self._random
        queue.refuse("deliver", "publish", "ack", "release")
        queue.cut([consumer for consumer in queue.consumers() if draw.random() < 0.7])
        await asyncio.sleep(draw.choice((0.5, 5.0)))
        queue.refuse()

    async def _refuse_settlements(self, group: asyncio.TaskGroup, seconds: float = 0.0) -> None:
        """The queue settles nothing for a while: an alarm, a disk that is full, a file that is locked."""
        queue, draw = self._world.queue, self._random
        queue.refuse(
            *draw.choice((("publish",), ("publish", "ack", "release"), ("deliver", "publish", "ack", "release")))
        )
        await asyncio.sleep(seconds or draw.choice((2.0, 15.0, 60.0)))
        queue.refuse()


async def _unless_killed(process: Process) -> None:
    """Run *process*; what its death breaks in it is nobody's business."""
    try:
        await process.run()
    except BaseException:
        if not process.life.dead:
            raise
