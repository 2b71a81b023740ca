"""
What the journal remembers of relations, put together again from its entries for a report.

A relation is a member and a customer. Its day is that of its latest add, its state and whether it is marked are as its
latest entry has them, and it is lost when nothing came after its end.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from shared.domain.events import Task
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.marks import SkipReason
from shared.domain.relations import GONE
from shared.domain.reports.census import STANDINGS, Census, Standing

_WRITTEN: Final = ("marked", "repeated")
_STANDINGS: Final[Mapping[str, Standing]] = {str(reason): standing for reason, standing in STANDINGS.items()}


class Told(NamedTuple):
    """What one entry tells of a relation; see ``shared.state.journal``."""

    customer: ExternalUserId
    staff: StaffUserId
    task: str
    result: str
    reason: str
    state: str
    created_at: int


@dataclass(slots=True)
class _Known:
    """What is known of one member's relation with the customer at hand."""

    staff: StaffUserId
    state: str = ""
    came_at: int = 0
    went_at: int = 0
    standing: Standing | None = None

    def mark_ended(self, task: str, result: str, reason: str, state: str, created_at: int) -> None:
        """Take in an entry about marking the relation, or about a second look at it."""
        self.came_at = max(self.came_at, created_at)
        if reason == GONE:  # nothing was read, and so nothing is told of state and mark
            self.went_at = max(self.went_at, created_at)
            self.state = self.state or state
            return
        self.state = state
        if reason != SkipReason.EDITED and (task, result) != (Task.LOOK, "parked"):
            self.standing = _STANDINGS.get(reason, Standing.MARKED if result in _WRITTEN else None)


class Recollection:
    """
    Counts into a census what it hears of relations; one customer is in hand at a time, so memory stays flat.

    Attributes:
        members: Whose relations were counted.
    """

    def __init__(self, census: Census, staff: Collection[str] = ()) -> None:
        """*staff* are the members whose relations are counted; all when none is named."""
        self._census = census
        self._wanted = {name.casefold() for name in staff}
        self._customer = ExternalUserId("")
        self._known: dict[str, _Known] = {}
        self.members: set[str] = set()

    def hear(self, entries: Iterable[Told]) -> None:
        """Take *entries* in, which come customer by customer, each customer's in order."""
        for customer, staff, task, result, reason, state, created_at in entries:
            if customer != self._customer:
                self.end()
                self._customer = customer
            member = staff.casefold()
            if not created_at or (self._wanted and member not in self._wanted):
                continue
            known = self._known.get(member)
            if known is None:
                known = self._known[member] = _Known(staff)
            if task != Task.LOST:
                known.mark_ended(task, result, reason, state, created_at)
            elif result == "lost":
                known.went_at = max(known.went_at, created_at)

    def end(self) -> None:
        """Count the customer in hand, the last one too."""
        for member, known in self._known.items():
            if known.came_at:
                self.members.add(member)
                self._census.add_remembered(
                    staff=known.staff,
                    customer=self._customer,
                    state=known.state,
                    created_at=known.came_at,
                    standing=known.standing,
                    lost=known.went_at >= known.came_at,
                )
        self._known.clear()
        self._census.close(self._customer)
