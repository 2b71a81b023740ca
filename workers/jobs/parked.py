"""What failed for good, and again: choosing among the parked messages, replaying and dropping them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.domain.errors import PoisonMessage
from shared.domain.events import Work
from shared.queue.message import decode
from shared.queue.port import EventQueue, Parked

BATCH: Final = 5000
"""
Messages moved at a time: an interrupted run can simply be run again. Many, for a broker is looked through whole for
each batch.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which parked messages are meant: every condition that is given must hold. Times in Unix seconds."""

    ids: frozenset[str] = field(default_factory=frozenset)
    errcode: int | None = None
    state: str | None = None
    since: float | None = None
    until: float | None = None

    def means(self, parked: Parked) -> bool:
        """Tell whether *parked* is one of those meant."""
        return (
            (not self.ids or parked.id in self.ids)
            and (self.errcode is None or parked.failure.errcode == self.errcode)
            and (self.since is None or parked.parked_at >= self.since)
            and (self.until is None or parked.parked_at < self.until)
            and (self.state is None or state_of(parked) == self.state)
        )


def work_of(parked: Parked) -> Work | None:
    """Return the event in *parked*, or None when it cannot be decoded."""
    try:
        return decode(parked.message.body)
    except PoisonMessage:
        return None


def state_of(parked: Parked) -> str:
    """Return the state that the event in *parked* came with; empty without one."""
    work = work_of(parked)
    return work.state if work else ""


async def select(queue: EventQueue, selection: Selection) -> AsyncIterator[Parked]:
    """Iterate over the parked messages that *selection* means, oldest first."""
    async for parked in queue.parked():
        if selection.means(parked):
            yield parked


async def move(
    ids: Sequence[str], action: Callable[[Sequence[str]], Awaitable[int]], on_moved: Callable[[int], None]
) -> int:
    """
    Carry out *action*, the queue's replay or drop, on *ids* in batches and return how many messages it found.

    Safe to repeat, to interrupt and to run twice at once: what was moved is no longer parked, and is not found again.
    """
    found = 0
    for start in range(0, len(ids), BATCH):
        moved = await action(ids[start : start + BATCH])
        found += moved
        on_moved(moved)
    return found
