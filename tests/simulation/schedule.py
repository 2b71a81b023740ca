"""
One seed: a deployment, a backlog and a course of misfortunes; then whatever should never happen, found in the record.

Everything is drawn from the seed and runs on virtual time, so a seed takes the same course every time.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from random import Random

from shared.domain.events import CustomerAdded, Lane
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.queue.message import message_for
from shared.quota.port import Limits
from tests.simulation.virtual import StuckError, run_virtual
from tests.simulation.workers import GET, REMARK, WELCOME, Worker, World

HORIZON = 6 * 3600.0
"""Virtual seconds after which whatever is not done is stuck: the trouble lasts a minute, no retry waits for hours."""

TROUBLE = 40.0
"""Virtual seconds during which things go wrong; then everything works again."""

FAST_SECONDS = {False: 1.5, True: 12.0}
"""Longest that a welcome may wait for a permit while nothing is wrong, without and with slow calls in the places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a seed came to."""

    seed: int
    problems: list[str]
    calls: int
    seconds: float
    minute_use: float
    """Share of what the lanes may use of a minute that was used in the fullest one."""
    course: str = ""
    """Fingerprint of every call and when it was made: the same for the same seed."""


def run_seed(seed: int) -> Outcome:
    """Return what becomes of *seed*."""
    random.seed(seed)  # for jitter that is drawn from the module
    try:
        return run_virtual(_Schedule(seed).run())
    except StuckError:
        return Outcome(seed=seed, problems=["stuck: nothing would ever happen again"], calls=0, seconds=0, minute_use=0)


class _Schedule:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random = Random(seed)
        self._limits = self._draw_limits()
        self._numbers = 0
        self._workers: list[Worker] = []
        self._calm: list[tuple[float, float]] = []
        self._expected: Counter[tuple[str, Lane]] = Counter()

    async def run(self) -> Outcome:
        draw = self._random
        self._world = world = World(self._limits, draw)
        world.wecom.slow = draw.choice((0.0, 0.0, 0.1, 0.9))
        self._slow = world.wecom.slow > 0
        world.wecom.rude = draw.choice((0.0, 0.0, 0.01, 0.05))
        async with asyncio.TaskGroup() as group:
            for _ in range(draw.randint(1, 4)):
                self._join(group)
            arrivals = group.create_task(self._arrive())
            await self._trouble(group)
            await arrivals
            done = await self._finish(group)
            for worker in self._workers:
                worker.kill()
        return self._judge(done=done)

    def _draw_limits(self) -> Limits:
        draw = self._random
        per_minute = draw.choice((10, 20, 40, 80, 150, 1000))
        return Limits(
            per_minute=per_minute,
            per_hour=per_minute * draw.randint(2, 5),
            in_flight=draw.randint(1, 5),
            minute=6.0,
            hour=36.0,
        )

    def _join(self, group: asyncio.TaskGroup) -> None:
        self._numbers += 1
        worker = Worker(self._world, self._numbers)
        worker.clock.offset += self._random.choice((0.0, 0.0, 2.0, -2.0))
        worker.task = group.create_task(worker.run())
        self._workers.append(worker)

    async def _arrive(self) -> None:
        """Publish a backlog at once, and new customers, some with welcomes, while it is worked off."""
        draw = self._random
        for number in range(draw.randint(0, 40)):
            await self._publish(number, [draw.choice((Lane.LIVE, Lane.BULK))])
        for number in range(100, 100 + draw.randint(5, 20)):
            await asyncio.sleep(draw.expovariate(1.0))
            await self._publish(number, draw.choice(([Lane.LIVE], [Lane.FAST, Lane.LIVE], [Lane.FAST])))

    async def _publish(self, number: int, lanes: list[Lane]) -> None:
        clock = self._world.clock
        work = CustomerAdded(
            corp=CorpId("ww1"),
            staff=StaffUserId(f"staff{number % 3}"),
            customer=ExternalUserId(f"wm{number}"),
            created_at=int(clock.time()),
            state="qd_x",
        )
        message = message_for(work, now=clock.time())
        await self._world.queue.publish(message, lanes)
        self._expected.update((message.event_id, lane) for lane in lanes)

    async def _trouble(self, group: asyncio.TaskGroup) -> None:
        """Let things go wrong, one after the other and now and then at the same time."""
        draw = self._random
        loop = asyncio.get_running_loop()
        end = loop.time() + TROUBLE
        events = (
            (self._kill, 3), (self._add, 3), (self._stop_one, 2), (self._take_the_file_away, 2),
            (self._jump, 1), (self._block, 1), (self._forbid, 1),
        )  # fmt: skip
        calm_from = loop.time()
        while loop.time() < end:
            await asyncio.sleep(draw.expovariate(draw.choice((0.1, 1.0))))
            (event,) = draw.choices([event for event, _ in events], [weight for _, weight in events])
            self._calm.append((calm_from, loop.time()))
            await event(group)
            calm_from = loop.time() + 30.0
        self._calm.append((max(calm_from, end), HORIZON))

    async def _finish(self, group: asyncio.TaskGroup) -> bool:
        """Put everything right and wait until all is done; tell whether it was."""
        world, loop = self._world, asyncio.get_running_loop()
        world.wecom.slow = world.wecom.rude = 0.0
        world.wecom.forbidden.clear()
        if not self._workers:
            self._join(group)
        while len(world.ended) < len(self._expected):
            if loop.time() > HORIZON:
                return False
            await asyncio.sleep(2.0)
        return True

    async def _kill(self, group: asyncio.TaskGroup) -> None:
        if self._workers:
            self._workers.pop(self._random.randrange(len(self._workers))).kill()

    async def _add(self, group: asyncio.TaskGroup) -> None:
        if len(self._workers) < 8:
            self._join(group)

    async def _stop_one(self, group: asyncio.TaskGroup) -> None:
        """SIGSTOP, for longer than the lease or shorter."""
        if self._workers:
            worker, seconds = self._random.choice(self._workers), self._random.choice((0.3, 3.0, 20.0))
            worker.stop()
            group.create_task(self._later(seconds, worker))

    async def _later(self, seconds: float, worker: Worker) -> None:
        await asyncio.sleep(seconds)
        worker.go_on()

    async def _take_the_file_away(self, group: asyncio.TaskGroup) -> None:
        """Nobody can use the state for a while: a locked file, a server that restarts."""
        self._world.file.away = True
        await asyncio.sleep(self._random.choice((0.1, 5.0)))
        self._world.file.away = False

    async def _jump(self, group: asyncio.TaskGroup) -> None:
        for clock in [self._world.clock, *(worker.clock for worker in self._workers)]:
            if self._random.random() < 0.5:
                clock.offset += self._random.choice((3600.0, -3600.0))

    async def _block(self, group: asyncio.TaskGroup) -> None:
        """Something else has used the quota up."""
        endpoint = self._random.choice((GET, REMARK))
        now = asyncio.get_running_loop().time()
        self._world.wecom.blocked_until[endpoint] = now + self._limits.minute * self._random.choice((0.5, 1.0))

    async def _forbid(self, group: asyncio.TaskGroup) -> None:
        endpoint = self._random.choice((GET, REMARK, WELCOME))
        self._world.wecom.forbidden.add(endpoint)
        group.create_task(self._allow(endpoint))

    async def _allow(self, endpoint: str) -> None:
        await asyncio.sleep(self._random.uniform(5.0, 30.0))
        self._world.wecom.forbidden.discard(endpoint)

    def _judge(self, *, done: bool) -> Outcome:
        world, limits = self._world, self._limits
        problems = world.wecom.overruns[:3]
        if not done:
            missing = [key for key in self._expected if key not in world.ended]
            problems.append(f"stuck or lost: {len(missing)} of {len(self._expected)}, such as {missing[:2]}")
        problems += self._calls_after_news()
        problems += self._late_welcomes()
        calls = world.wecom.calls
        use = max(
            (calls.most_in(endpoint, limits.minute) / limits.minute_for(Lane.LIVE) for endpoint in calls.endpoints()),
            default=0.0,
        )
        seconds = max((at for at, _, _ in world.sent), default=0.0)
        return Outcome(
            seed=self._seed,
            problems=problems,
            calls=len(world.sent),
            seconds=seconds,
            minute_use=use,
            course=sha256(repr(world.sent).encode()).hexdigest()[:16],
        )

    def _calls_after_news(self) -> list[str]:
        """Find calls made while every worker knew that the API is blocked."""
        return [
            f"{endpoint} called {at - told:.2f} s after the news of a brake"
            for told, endpoint in self._world.brakes
            for at, called, _ in self._world.sent
            if called == endpoint and told < at < told + self._limits.minute
        ][:3]

    def _late_welcomes(self) -> list[str]:
        """Find welcomes that waited although nothing was wrong."""
        held = [(told - 1.0, told + 12 * self._limits.minute) for told, _ in self._world.brakes]
        return [
            f"a welcome waited {got - asked:.1f} s for a permit"
            for asked, got, lane in self._world.waits
            if lane is Lane.FAST
            and got - asked > FAST_SECONDS[self._slow]
            and any(start <= asked and got <= end for start, end in self._calm)
            and not any(start < got and asked < end for start, end in held)
            and not self._used_up(asked, got)
        ][:3]

    def _used_up(self, start: float, end: float) -> bool:
        """
        Tell whether fast calls had used up what only they may: then a welcome waits too.

        Where workers race for the last slots, one or two of them are taken in vain.
        """
        for seconds, reserve in (
            (self._limits.minute, self._limits.per_minute - self._limits.minute_for(Lane.LIVE)),
            (self._limits.hour, self._limits.per_hour - self._limits.hour_for(Lane.LIVE)),
        ):
            fast = Counter(
                called
                for at, called, lane in self._world.sent
                if lane is Lane.FAST and start - seconds - 0.1 < at < end
            )
            if any(count >= reserve - 2 for count in fast.values()):
                return True
        return False
