"""
A walk over the relations of some members, by ``batch/get_by_user``: a hundred relations a call (doc 92994).

One page after the other: parallel passes are what WeCom answers with 45033. A page that fails is asked for again, and
if it keeps failing the walk fails: a failure never reads as "no customers".
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import uniform
from typing import Final, TypeVar

from shared.domain.errors import (
    CallAborted,
    CursorExpired,
    PermanentError,
    QudaoError,
    QueueUnavailable,
    RateLimited,
    StaffBlocked,
    TransientError,
    WeComError,
)
from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.relations import Relation
from shared.wecom.client import PAGE, WeCom

PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds before each new try of a page; after the last one the walk fails."""

RESTARTS: Final = 5
"""How often the listing of one chunk may begin again because its cursor expired."""

LONGEST: Final = 120.0
"""Seconds that the walk is willing to wait because WeCom or the quota says so; rather than longer, it fails."""

_CHUNKS: Final = 8
"""Members are asked about in at least so many listings, so that progress can be told; each may cost one call more."""


T = TypeVar("T")
Notify = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


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
            except (PermanentError, StaffBlocked) as error:
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
                    self.unread |= dict.fromkeys(page.unlicensed, "has no interoperability licence (互通账号)")
                    yield chunk.fresh(page.relations)
            except CursorExpired:
                restarts += 1
                if restarts > RESTARTS:
                    raise
                cursor = ""
                self._notify("the listing's cursor expired: reading these members from the beginning")
            except (TransientError, CallAborted, QueueUnavailable) as error:
                await _wait_out(error, failures, self._notify, self._sleep)
                failures += 1
            else:
                return

    def _divide(self, chunk: "_Chunk", error: WeComError) -> None:
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


async def patiently(
    call: Callable[[], Awaitable[T]], *, notify: Notify = _tell_nobody, sleep: Sleep = asyncio.sleep
) -> T:
    """Return what *call* returns, trying again as a :class:`Walk` does while a repeat may succeed."""
    failures = 0
    while True:
        try:
            return await call()
        except (TransientError, CallAborted, QueueUnavailable) as error:
            await _wait_out(error, failures, notify, sleep)
            failures += 1


async def _wait_out(error: QudaoError, failures: int, notify: Notify, sleep: Sleep) -> None:
    """Wait before the next try after so many *failures* in a row and this *error*; raise it when that is enough."""
    if failures == len(PAUSES):
        raise error
    pause = PAUSES[failures] * uniform(0.5, 1.0)  # noqa: S311 - jitter
    if isinstance(error, RateLimited | CallAborted):
        pause = max(error.retry_after, pause)
    if pause > LONGEST:
        raise error
    notify(f"{error}; trying again in {pause:.0f} s")
    await sleep(pause)
