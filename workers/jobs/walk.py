"""
A walk over the relations of some members, by ``batch/get_by_user``: a hundred relations a call (doc 92994).

One page after the other: parallel passes are what WeCom answers with 45033. A page that fails is asked for again, and
if it keeps failing the walk fails: a failure never reads as "no customers".
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.domain.errors import CursorExpired, MemberHeld, PermanentError, StaffBlocked, WeComError
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.wecom.client import PAGE, WeCom
from workers.patience import WITH_WECOM, Notify, Sleep, in_words, wait_out

RESTARTS: Final = 5
"""How often the listing of one chunk may begin again because its cursor expired."""

_CHUNKS: Final = 8
"""Members are asked about in at least so many listings, so that progress can be told; each may cost one call more."""


def _tell_nobody(_: str) -> None:
    return


class Walk:
    """
    One pass over the relations of *staff*, each relation once.

    What WeCom moves from a page not read yet to one that was read is missed, as in any pass; the next one finds it.

    Attributes:
        members: How many members there are to read, ``members_read`` how many were.
        pages: How many pages came.
        unread: Members whom WeCom refuses to list, and why.
        nobodys: Rows that did not say which member they are of, and were passed over.
    """

    def __init__(
        self,
        wecom: WeCom,
        staff: Sequence[StaffUserId],
        *,
        notify: Notify = _tell_nobody,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """
        Args:
            wecom: The client, on the lane that the calls count for.
            notify: Is told what a person who waits may wonder about: a new try, a listing that begins again.
        """
        self.members = len(staff)
        self.members_read = 0
        self.pages = 0
        self.nobodys = 0
        self.unread: dict[StaffUserId, str] = {}
        self._wecom = wecom
        self._notify = notify
        self._sleep = sleep
        size = min(PAGE, -(-len(staff) // _CHUNKS)) or 1
        self._chunks = deque(_Chunk(staff[start : start + size]) for start in range(0, len(staff), size))

    async def relations(self) -> AsyncIterator[Sequence[Relation]]:
        """
        Yield the relations page by page; a page may be empty.

        Raises:
            WeComError: A page cannot be read. What came before is right, but not all there is.
            CallAborted: The API is held back for too long.
            QueueUnavailable: The shared quota cannot be reached.
        """
        while self._chunks:
            chunk = self._chunks.popleft()
            try:
                async for relations in self._read(chunk):
                    yield relations
            except (PermanentError, StaffBlocked, MemberHeld) as error:
                self._divide(chunk, error)
            else:
                self.members_read += len(chunk.staff)

    async def _read(self, chunk: "_Chunk") -> AsyncIterator[Sequence[Relation]]:
        cursor, failures, restarts = "", 0, 0
        while True:
            try:
                async for page in self._wecom.get_by_user(chunk.staff, cursor=cursor):
                    cursor, failures = page.cursor, 0
                    self.pages += 1
                    self.nobodys += page.nobodys
                    self.unread |= dict.fromkeys(page.unlicensed, "has no interoperability licence (互通账号)")
                    yield chunk.fresh(page.relations)
            except CursorExpired:
                restarts += 1
                if restarts > RESTARTS:
                    raise
                cursor = ""
                self._notify("the listing's cursor expired: reading these members from the beginning")
            except WITH_WECOM.on as error:
                await wait_out(error, failures, WITH_WECOM, told=in_words(self._notify), sleep=self._sleep)
                failures += 1
            else:
                return

    def _divide(self, chunk: "_Chunk", error: WeComError | MemberHeld) -> None:
        """Read *chunk*, which was refused, in halves: one member is enough for that. Set aside one who is alone."""
        if len(chunk.staff) == 1:
            self.unread[chunk.staff[0]] = str(error)
        else:
            middle = len(chunk.staff) // 2
            self._chunks.extendleft(_Chunk(half, chunk.seen) for half in (chunk.staff[middle:], chunk.staff[:middle]))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Members of one listing, and which of their relations came already: WeCom repeats some, and so does a restart."""

    staff: Sequence[StaffUserId]
    seen: set[int] = field(default_factory=set)

    def fresh(self, relations: Sequence[Relation]) -> Sequence[Relation]:
        new = []
        for relation in relations:
            key = fingerprint(relation.staff, relation.customer)
            if key not in self.seen:
                self.seen.add(key)
                new.append(relation)
        return new


def fingerprint(staff: StaffUserId, customer: ExternalUserId) -> int:
    """Return 64 bits that stand for a relation, in this process alone: a set of a million takes 60 MB."""
    return hash((staff.casefold(), customer))
