"""
The journal port: an append-only list of how deliveries ended, and so of what we wrote ourselves.

It holds ids and digests, no names and no texts. An entry is durable before its delivery is settled, and a repeat of the
same end of the same event adds nothing.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from shared.domain.ids import EventId, ExternalUserId, StaffUserId
from shared.domain.marks import is_unset
from shared.domain.relations import Relation, remark_digest
from shared.domain.reports.recollection import Told

TOLD: Final = ", ".join(Told._fields)
"""The columns of what is told of relations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """
    How one delivery ended.

    Attributes:
        at: When, in Unix seconds.
        task: What was to be done: ``welcome``, ``mark`` or ``look``; or ``lost``, to be noted only.
        result: How it ended: ``marked``, ``welcomed``, ``skipped``, ``repeated``, ``lost``, ``transferred``,
            ``settled`` or ``parked``.
        reason: Why, in a word or a constant sentence.
        channel: Its key; empty where there is none.
        state: The one that says where the customer came from, the event's or the details'.
        digest: Of the remark that was written; empty when none was.
        created_at: When the customer came, in Unix seconds; of ``lost``, when they went. 0 when it is not known.
    """

    event_id: EventId
    at: float
    task: str
    result: str
    staff: StaffUserId
    customer: ExternalUserId
    reason: str = ""
    channel: str = ""
    state: str = ""
    digest: str = ""
    created_at: int = 0


class CustomerJournal(Protocol):
    """What all processes of a deployment remember."""

    async def note(self, entry: JournalEntry) -> None:
        """
        Add *entry*, unless this end of this event is there already; durable on return.

        Raises:
            QueueUnavailable: It may not be there.
        """
        ...

    async def written(self, digests: Collection[str]) -> frozenset[str]:
        """Return those of *digests* that we wrote."""
        ...

    async def story(self, customer: ExternalUserId) -> Sequence[JournalEntry]:
        """Return what happened to *customer*, oldest first."""
        ...

    async def kept_since(self) -> float:
        """Return since when, in Unix seconds, all entries are there: it began then, or older ones were let go."""
        ...

    async def members(self) -> frozenset[StaffUserId]:
        """Return all whose customers there are entries of, each as spelled there."""
        ...

    async def tell(self, since: float, hear: Callable[[Iterable[Told]], None]) -> None:
        """
        Hand to *hear*, in pieces, what the entries from *since* (Unix seconds) on tell of relations.

        Those of one customer come together, in the order in which they were made. Another thread may call *hear*.

        Raises:
            QueueUnavailable: Not all could be read.
        """
        ...

    async def forget(self, customer: ExternalUserId, now: float) -> int:
        """Remove all entries of *customer*; return how many there were. That it was done, not for whom, is kept."""
        ...

    async def expire(self, before: float) -> int:
        """
        Remove some of the entries from before *before* (Unix seconds) and return how many; 0 when none are left.

        Where any were removed the journal is kept since *before*.
        """
        ...


async def recognised(journal: CustomerJournal, relations: Sequence[Relation]) -> list[Relation]:
    """
    Return *relations*, those whose remark we wrote marked as such.

    Raises:
        QueueUnavailable: It cannot be told.
    """
    digests = {
        relation: remark_digest(relation.staff, relation.customer, relation.remark)
        for relation in relations
        if not is_unset(relation)
    }
    ours = await journal.written(digests.values()) if digests else frozenset[str]()
    return [replace(relation, ours=True) if digests.get(relation) in ours else relation for relation in relations]
