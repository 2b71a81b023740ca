"""
Who waits for one API: first come, first served within a lane, urgent lanes first, no lane for ever last. Pure.
"""

from collections.abc import Callable, Collection
from typing import Final, Generic, TypeVar

from shared.domain.events import Lane

T = TypeVar("T")

WEIGHT: Final = {Lane.FAST: 1, Lane.LIVE: 5, Lane.BULK: 5}
PATIENCE: Final = 45
"""A waiting lane is next once grants of this weight passed it by: bulk after 9 live ones, both after 45 fast."""


class Line(Generic[T]):
    """The waiting line of one API in one process."""

    def __init__(self) -> None:
        self._waiting: dict[Lane, dict[T, None]] = {lane: {} for lane in Lane}
        self._passed = dict.fromkeys(Lane, 0)

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def join(self, lane: Lane, who: T) -> None:
        """Put *who* at the end of *lane*."""
        self._waiting[lane][who] = None

    def leave(self, who: T) -> bool:
        """Take *who* out of the line and tell whether it still stood there."""
        return any(waiting.pop(who, who) is None for waiting in self._waiting.values())

    def lanes(self) -> list[Lane]:
        """Return the lanes in which someone waits, most urgent first."""
        return [lane for lane in Lane if self._waiting[lane]]

    def count(self, lanes: Collection[Lane]) -> int:
        """Return how many wait in *lanes*."""
        return sum(len(self._waiting[lane]) for lane in lanes)

    def first(self, count: int, among: Collection[Lane] = tuple(Lane)) -> list[Lane]:
        """Return the lanes of the next *count* of *among* if nothing else joins, without taking anyone out."""
        passed = dict(self._passed)
        left = {lane: len(waiting) for lane, waiting in self._waiting.items()}
        order: list[Lane] = []
        while len(order) < count and (lane := self._choose([a for a in Lane if left[a] and a in among])) is not None:
            self._count(lane, [a for a in Lane if left[a]])
            left[lane] -= 1
            order.append(lane)
        self._passed = passed
        return order

    def take(self, among: Collection[Lane]) -> T | None:
        """Take out and return whoever is next, of the lanes *among*; None when nobody waits there."""
        lane = self._choose([lane for lane in self.lanes() if lane in among])
        if lane is None:
            return None
        self._count(lane, self.lanes())
        who = next(iter(self._waiting[lane]))
        del self._waiting[lane][who]
        return who

    def oldest(self, since: Callable[[T], float]) -> dict[Lane, float]:
        """Return *since* when the first of each lane waits."""
        return {lane: since(next(iter(waiting))) for lane, waiting in self._waiting.items() if waiting}

    def drain(self) -> list[T]:
        """Take everyone out, most urgent first."""
        everyone = [who for waiting in self._waiting.values() for who in waiting]
        for waiting in self._waiting.values():
            waiting.clear()
        return everyone

    def _choose(self, lanes: list[Lane]) -> Lane | None:
        """Return the most urgent of *lanes*, unless another was passed by for too long."""
        overdue = [lane for lane in lanes if self._passed[lane] >= PATIENCE]
        return next(iter(overdue or lanes), None)

    def _count(self, chosen: Lane, waiting: Collection[Lane]) -> None:
        for lane in Lane:
            passed_by = lane in waiting and lane is not chosen
            self._passed[lane] = self._passed[lane] + WEIGHT[chosen] if passed_by else 0
