"""What should never happen, found in the record of a seed."""

from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from shared.domain.events import Lane, Task
from tests.simulation.wecom import REFUSED, Related
from tests.simulation.workers import World, parked_and_noted

if TYPE_CHECKING:
    from tests.simulation.schedule import Course

FAST_SECONDS = {False: 1.5, True: 12.0}
"""Longest that a welcome may wait for a permit while nothing is wrong, without and with slow calls in the places."""

LIVE_SECONDS = 20.0
"""Longest that a new customer may wait while bulk alone fills the hour: a wait that was broken off, and another."""

LOOKS = 6
"""Reads of a customer while their member is refused, beside one for each probe: a few, whoever dies meanwhile."""

TAG = "t展会"


class Judge:
    """Looks through what happened in *world* on its *course*."""

    def __init__(self, world: World, course: "Course") -> None:
        self._world = world
        self._course = course
        self._limits = course.limits

    async def problems(self, *, done: bool) -> list[str]:
        """Return what should not have happened; *done* tells whether the queue was worked off."""
        if not done:
            waiting = {depth.name: depth.messages for depth in await self._world.queue.depths() if depth.messages}
            return [*self._world.wecom.wrong[:3], f"stuck: {waiting}"]
        return [
            *self._world.wecom.wrong[:3],
            *(await self._innocents_parked())[:3],
            *self._not_in_the_journal()[:3],
            *self._not_marked()[:3],
            *self._calls_after_news()[:3],
            *self._late_welcomes()[:3],
            *self._late_marks()[:3],
            *self._looks_at_refused()[:3],
        ]

    async def _innocents_parked(self) -> list[str]:
        """Find what was parked though nobody would ever say why: only a refused member's customers may be."""
        return [
            f"parked: {parked.failure}"
            async for parked in self._world.queue.parked()
            if parked.failure.errcode != REFUSED or self._course.refused_until < inf
        ]

    def _not_in_the_journal(self) -> list[str]:
        noted = parked_and_noted(self._world)
        tasks = {lane: Task.WELCOME if lane is Lane.FAST else Task.MARK for lane in Lane}
        return [
            f"not in the journal: {tasks[lane]} of {customer}"
            for event, customer, lane in self._course.expected
            if (event, tasks[lane]) not in noted
        ]

    def _not_marked(self) -> list[str]:
        """Find customers without a mark: each has a tag, and a remark by us or by a person."""
        relations = self._world.wecom.relations
        marked = {customer for _, customer, lane in self._course.expected if lane is not Lane.FAST}
        return [
            f"not marked: {relations[customer]}"
            for customer in sorted(marked)
            if not (relations[customer].remark and TAG in relations[customer].tags)
            and not self._stays_refused(relations[customer])
        ]

    def _stays_refused(self, relation: Related) -> bool:
        return relation.staff == self._world.wecom.refused_staff

    def _calls_after_news(self) -> list[str]:
        """Find permits that were given while every worker knew that the API is blocked."""
        return [
            f"{endpoint} might be called {got - told:.2f} s after the news of a brake"
            for told, endpoint in self._world.brakes
            for _, got, _, called in self._world.waits
            if called == endpoint and told < got < told + self._limits.minute
        ]

    def _late_welcomes(self) -> list[str]:
        """Find welcomes that waited although nothing was wrong."""
        held = [(told - 1.0, told + 12 * self._limits.minute) for told, _ in self._world.brakes]
        return [
            f"a welcome waited {got - asked:.1f} s for a permit"
            for asked, got, lane, _ in self._world.waits
            if lane is Lane.FAST
            and got - asked > FAST_SECONDS[self._course.slow]
            and any(start <= asked and got <= end for start, end in self._course.calm)
            and not any(start < got and asked < end for start, end in held)
            and not self._used_up(asked, got)
        ]

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
                for at, called, lane in self._world.wecom.sent
                if lane is Lane.FAST and start - seconds - 0.1 < at < end
            )
            if any(count >= reserve - 2 for count in fast.values()):
                return True
        return False

    def _late_marks(self) -> list[str]:
        """Find new customers who waited for bulk: where bulk alone fills the hour."""
        if self._course.kind != "flood":
            return []
        relations = self._world.wecom.relations
        live = {customer for _, customer, lane in self._course.expected if lane is Lane.LIVE}
        return [
            f"{customer} waited {marked_at - arrived:.0f} s for a mark while bulk filled the hour"
            for customer, arrived in self._course.arrived.items()
            if customer in live
            and (marked_at := relations[customer].marked_at) is not None
            and marked_at - max(arrived, relations[customer].known_from) > LIVE_SECONDS
            and not self._reserve_used_up(arrived, marked_at)
        ]

    def _reserve_used_up(self, start: float, end: float) -> bool:
        """Tell whether new customers themselves had used up what bulk leaves to them of the hour."""
        reserve = self._limits.per_hour * self._limits.bulk_reserve
        calls = Counter(
            called
            for at, called, lane in self._world.wecom.sent
            if lane is not Lane.BULK and start - self._limits.hour < at < end
        )
        return any(count >= reserve for count in calls.values())

    def _looks_at_refused(self) -> list[str]:
        return [
            f"{relation.customer} of a refused member was read {relation.looks} times"
            for relation in self._world.wecom.relations.values()
            if relation.looks > LOOKS + relation.refusals
        ]
