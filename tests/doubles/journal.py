"""A journal in memory."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.reports.recollection import Told
from shared.state.journal import JournalEntry


class MemoryJournal:
    """:class:`~shared.state.journal.CustomerJournal` for the length of a test."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.since = time.time()

    async def note(self, entry: JournalEntry) -> None:
        """Add *entry*, unless this end of this event is there already."""
        key = (entry.event_id, entry.task, entry.result)
        if key not in {(each.event_id, each.task, each.result) for each in self.entries}:
            self.entries.append(entry)

    async def written(self, digests: Collection[str]) -> frozenset[str]:
        """Return those of *digests* that we wrote."""
        return frozenset(each.digest for each in self.entries if each.digest) & frozenset(digests)

    async def story(self, customer: ExternalUserId) -> Sequence[JournalEntry]:
        """Return what happened to *customer*."""
        return sorted((each for each in self.entries if each.customer == customer), key=lambda each: each.at)

    async def kept_since(self) -> float:
        """Return since when all entries are there."""
        return self.since

    async def members(self) -> frozenset[StaffUserId]:
        """Return all whose customers there are entries of."""
        return frozenset(each.staff for each in self.entries)

    async def tell(self, since: float, hear: Callable[[Iterable[Told]], None]) -> None:
        """Hand to *hear* what the entries from *since* on tell of relations."""
        entries = [each for each in self.entries if each.at >= since and each.task != "welcome"]
        entries.sort(key=lambda each: (each.customer, each.at))
        hear(Told(*(getattr(each, name) for name in Told._fields)) for each in entries)

    async def forget(self, customer: ExternalUserId, now: float) -> int:
        """Remove all entries of *customer*."""
        del now
        before = len(self.entries)
        self.entries = [each for each in self.entries if each.customer != customer]
        return before - len(self.entries)

    async def expire(self, before: float) -> int:
        """Remove the entries from *before*."""
        count = len(self.entries)
        self.entries = [each for each in self.entries if each.at >= before]
        removed = count - len(self.entries)
        if removed:
            self.since = max(self.since, before)
        return removed
