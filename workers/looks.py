"""
Second looks at relations, cheaply.

One by one as long as they come on time. When they are late, a crowd of them waits; then all relations of a member are
listed at once, which serves every look at one of them that waits. A listing costs as many calls as the member has
hundreds of customers, in a quota of its own, and is made when as many single looks at that member were late.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from shared.clock import Clock
from shared.domain.errors import CursorExpired
from shared.domain.events import MarkWritten
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.queue.port import LOOK_SECONDS
from shared.wecom.client import WeCom

LATE_SECONDS: Final = 60.0
"""Delay from which a look is late."""

SETTLED_SECONDS: Final = 30.0
"""Age of a write that a listing may be asked about."""

MOST_PAGES: Final = 50
"""Length of the longest listing; members with more customers are looked at one by one."""

MOST_LISTINGS: Final = 8
_PAGES_GUESSED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    began_at: float
    relations: Mapping[ExternalUserId, Relation]


class Looks:
    """Reads relations that were written to a while ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late: defaultdict[StaffUserId, int] = defaultdict(int)
        self._pages: dict[StaffUserId, float] = {}
        self._listings: dict[StaffUserId, _Listing] = {}
        self._turns: defaultdict[StaffUserId, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def relation(self, work: MarkWritten, wecom: WeCom) -> Relation:
        """
        Return the relation of *work* as it was some time after it was written to.

        Raises:
            TooEarly: The two are no contacts any longer.
            WeComError, CallAborted: A call failed.
        """
        async with self._turns[work.staff]:
            if (listed := self._listed(work)) is not None:
                return listed
            if self._is_worth_a_listing(work):
                await self._list(work.staff, wecom)
                if (listed := self._listed(work)) is not None:
                    return listed
        return await wecom.get_relation(work.staff, work.customer)

    def _listed(self, work: MarkWritten) -> Relation | None:
        listing = self._listings.get(work.staff)
        if listing is None or listing.began_at < work.written_at + SETTLED_SECONDS:
            return None
        return listing.relations.get(work.customer)

    def _is_worth_a_listing(self, work: MarkWritten) -> bool:
        if self._clock.time() - work.written_at - LOOK_SECONDS < LATE_SECONDS:
            return False
        self._late[work.staff] += 1
        return self._late[work.staff] > self._pages.get(work.staff, _PAGES_GUESSED)

    async def _list(self, staff: StaffUserId, wecom: WeCom) -> None:
        """List the relations of *staff*, if there are not too many."""
        began_at = self._clock.time()
        relations: dict[ExternalUserId, Relation] = {}
        pages = 0
        self._late[staff] = 0
        try:
            async for page in wecom.get_by_user([staff]):
                pages += 1
                relations |= {relation.customer: relation for relation in page.relations}
                if page.cursor and pages == MOST_PAGES:
                    self._pages[staff] = inf
                    return
        except CursorExpired:
            return
        self._pages[staff] = pages
        self._listings.pop(staff, None)
        while len(self._listings) >= MOST_LISTINGS:
            del self._listings[next(iter(self._listings))]
        self._listings[staff] = _Listing(began_at=began_at, relations=relations)
