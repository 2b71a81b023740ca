"""Waiting for one's turn: the line of one API with the futures of those who stand in it."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shared.domain.events import Lane
from shared.quota.line import Line
from shared.quota.port import Grant

G = TypeVar("G", bound=Grant)


@dataclass(slots=True, eq=False)
class Turn(Generic[G]):
    """One who waits; ``since`` is the event loop's time."""

    lane: Lane
    since: float
    granted: asyncio.Future[G] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Turns(Generic[G]):
    """
    Those in this process who wait for one API.

    ``changed`` is set whenever there may be something to do for whoever serves them.
    """

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self._line: Line[Turn[G]] = Line()

    def __len__(self) -> int:
        return len(self._line)

    async def wait(self, lane: Lane) -> G:
        """Stand in line for *lane* and return what was granted. Safe to cancel: a grant goes back."""
        turn: Turn[G] = Turn(lane, asyncio.get_running_loop().time())
        self._line.join(lane, turn)
        self.changed.set()
        try:
            return await turn.granted
        except asyncio.CancelledError:
            if not self._line.leave(turn) and not turn.granted.cancelled() and not turn.granted.exception():
                turn.granted.result().release()
            raise

    def lanes(self) -> list[Lane]:
        """Return the lanes in which someone waits, most urgent first."""
        return self._line.lanes()

    def count(self, lanes: Collection[Lane]) -> int:
        """Return how many wait in *lanes*."""
        return self._line.count(lanes)

    def first(self, count: int, among: Collection[Lane] = tuple(Lane)) -> list[Lane]:
        """Return the lanes of the next *count* in line, of the lanes *among*."""
        return self._line.first(count, among)

    def oldest(self) -> dict[Lane, float]:
        """Return since when the first of each lane waits."""
        return self._line.oldest(lambda turn: turn.since)

    def give(self, grant: G, among: Collection[Lane]) -> bool:
        """Give *grant* to the next of the lanes *among*; tell whether anybody was there."""
        while (turn := self._line.take(among)) is not None:
            if not turn.granted.done():  # cancelled, and not yet out of the line
                turn.granted.set_result(grant)
                return True
        return False

    def fail(self, error: Exception) -> None:
        """Tell all who wait that nothing can be granted."""
        for turn in self._line.drain():
            if not turn.granted.done():
                turn.granted.set_exception(error)
