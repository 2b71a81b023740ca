"""
Mark a customer with the channel they came from: read, decide, write only what differs.

A mark has two parts, remark with description and tags; trouble with one never costs the other. Safe to repeat: a second
run reads what the first one wrote and finds nothing to do.

What is decided rests on what was read, and a member may write at any moment. So the remark is decided when its call is
about to go out, and read again then if the last look is more than a second old.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, NoReturn

from shared.domain.channels.model import Channel
from shared.domain.errors import (
    CallAborted,
    ConfigurationNeeded,
    ContentRefused,
    MemberHeld,
    PartHeld,
    PartsFailed,
    QudaoError,
    QueueUnavailable,
    StaffBlocked,
    TagUnknown,
    TooEarly,
    UnknownState,
    WeComError,
)
from shared.domain.events import CustomerEdited, MarkWritten, RelationFound, Work
from shared.domain.marks import (
    Mark,
    Skip,
    SkipReason,
    counted_state,
    decide_mark,
    missing_tag_ids,
    states_disagree,
)
from shared.domain.relations import Relation, remark_digest
from shared.faults import passing
from shared.queue.message import Failure
from shared.state.journal import recognised
from shared.wecom.client import MARK_TAG, REMARK, RelationWriter
from workers.outcome import Outcome, Part
from workers.services import Services

FRESH_SECONDS: Final = 1.0
"""Age up to which a look at a relation may carry a write."""

BUSY_SECONDS: Final = 0.6
"""Wait for a permit to write from which the next write asks for its permit before it reads, and so reads once."""

PART_HELD_SECONDS: Final = 300.0

STATES_DISAGREE: Final = "states_disagree"
"""Reason of a mark where the event named one channel of ours and the details another."""


async def mark(work: Work, before: Failure | None, services: Services) -> Outcome:
    """
    Bring the relation of *work* to what its channel wants.

    Args:
        before: What the last attempt failed with; where that API is still held back, nothing is called.

    Raises:
        TooEarly: WeCom does not know the relation, or not yet.
        UnknownState: No channel has the state, which looks like ours.
        PartHeld: All but a part is done, and that part's API is held back.
        PartsFailed: Both parts failed.
        WeComError, CallAborted: A call failed; what could be written is, and a repeat writes the rest.
    """
    decision = decide_mark(work, None, services.channels)
    if isinstance(decision, Skip) and not decision.needs_details:
        return _skipped(decision, work)  # spares the call
    if before is not None and before.endpoint in (REMARK, MARK_TAG):
        _require_open(before.endpoint, work, services)
    async with services.wecom.relation(work.staff, work.customer) as writer:
        marking = _Marking(work, writer, services)
        outcome = await marking.run()
    seen = marking.seen
    return replace(outcome, came_at=seen.created_at, state=counted_state(work, seen, services.channels))


class _Marking:
    """One relation being marked."""

    def __init__(self, work: Work, writer: RelationWriter, services: Services) -> None:
        self._work = work
        self._writer = writer
        self._services = services
        self._view = _View(work, services)
        self._parts: dict[str, Part] = {}
        self._failures: list[QudaoError] = []
        self._digest = ""
        self._decided: tuple[tuple[object, ...], Mark | Skip] | None = None

    @property
    def seen(self) -> Relation:
        """Return the relation as it was read last; nothing ends before it was."""
        assert self._view.seen is not None, "what is decided was read before"
        return self._view.seen

    async def run(self) -> Outcome:
        wecom = self._services.wecom
        # Where writes wait for long the read comes after: else each would have to be read twice.
        if wecom.waited(REMARK) < BUSY_SECONDS and self._may_write(REMARK):
            decision = self._decide(await self._view.fresh())
            if isinstance(decision, Skip):
                return _skipped(decision, self._work)
        await self._part("remark", self._remark)
        passing("mark.remarked")
        decision = self._decide(await self._view.last())
        if isinstance(decision, Mark) and decision.tags:
            await self._part("tags", self._tags)
            passing("mark.tagged")
        return self._ended(decision)

    def _may_write(self, endpoint: str) -> bool:
        """Tell whether a write may be made, and not as a probe only, of which one alone is made by all workers."""
        try:
            return self._services.wecom.require_open(endpoint, self._work.staff)
        except CallAborted:
            return False

    def _decide(self, relation: Relation, *, nameless: bool = False) -> Mark | Skip:
        """Return what is to be written; decided anew when anything that it rests on is another."""
        known = self._services.tags.remembered
        before, rests_on = self._decided, (relation, known, nameless)
        if before is not None and all(one is other for one, other in zip(before[0], rests_on, strict=True)):
            return before[1]
        decision = decide_mark(self._work, relation, self._services.channels, known, nameless=nameless)
        self._decided = (rests_on, decision)
        return decision

    async def _part(self, name: str, do: Callable[[], Awaitable[Part]]) -> None:
        """Do one part; what goes wrong with it is kept for later, unless nothing else can be done either."""
        try:
            part = await do()
        except (TooEarly, QueueUnavailable):
            raise
        except (WeComError, CallAborted) as error:
            if error is self._view.failure:
                raise
            self._failures.append(error)
            part = Part.FAILED
        self._parts[name] = part
        self._services.count_part(name, part)

    async def _remark(self) -> Part:
        try:
            return await self._write_remark(nameless=False)
        except ContentRefused:
            return await self._write_remark(nameless=True)  # it is the nickname that is taken for spam, mostly

    async def _write_remark(self, *, nameless: bool) -> Part:
        chosen: str | None = None

        async def choose() -> tuple[str | None, str | None]:
            nonlocal chosen
            decision = self._decide(await self._view.fresh(may_write=True), nameless=nameless)
            chosen = None if isinstance(decision, Skip) else decision.remark
            return (None, None) if isinstance(decision, Skip) else (chosen, decision.description)

        if self._view.seen is not None and await choose() == (None, None):
            return Part.RIGHT
        if not await self._writer.remark_chosen(choose):
            return Part.RIGHT
        if chosen is not None:
            self._digest = remark_digest(self._work.staff, self._work.customer, chosen)
        return Part.WRITTEN

    async def _tags(self) -> Part:
        try:
            return await self._write_tags()
        except (MemberHeld, StaffBlocked):
            raise
        except CallAborted as error:
            raise PartHeld(error.endpoint, error.retry_after) from error
        except ConfigurationNeeded as error:
            raise PartHeld(error.endpoint, PART_HELD_SECONDS) from error

    async def _write_tags(self) -> Part:
        relation = await self._view.last()
        channel = self._channel(relation)
        tags, wecom = self._services.tags, self._services.wecom
        ids = await tags.ids(channel.tags, wecom)
        add = missing_tag_ids(channel.tags, relation, ids)
        if not add:
            return Part.RIGHT
        try:
            await self._writer.mark_tag(add=add)
        except TagUnknown:
            tags.forget()
            fresh = await tags.ids(channel.tags, wecom)
            if fresh == ids:
                raise  # made a moment ago, perhaps: looked up again in a while
            await self._writer.mark_tag(add=missing_tag_ids(channel.tags, relation, fresh))
        return Part.WRITTEN

    def _channel(self, relation: Relation) -> Channel:
        decision = self._decide(relation)
        assert decision.channel is not None, "there are tags of a channel"
        return self._services.channels.by_key[decision.channel]

    def _ended(self, decision: Mark | Skip) -> Outcome:
        """Return how the mark ended, or raise what kept it from ending."""
        if self._failures:
            _raise(self._failures)
        if Part.WRITTEN in self._parts.values():
            return Outcome(
                result="marked",
                reason=self._remarkable(decision),
                channel=decision.channel or "",
                parts=dict(self._parts),
                look=self._written(self.seen),
                digest=self._digest,
            )
        if isinstance(decision, Skip):
            return _skipped(decision, self._work)
        return Outcome(result="skipped", reason=SkipReason.ALREADY_RIGHT, channel=decision.channel)

    def _remarkable(self, decision: Mark | Skip) -> str:
        """Return what is worth saying of a mark that was written."""
        if states_disagree(self._work, self.seen, self._services.channels):
            return STATES_DISAGREE
        return SkipReason.PERSON_WROTE if isinstance(decision, Mark) and decision.person_wrote else ""

    def _written(self, before: Relation) -> MarkWritten:
        work = self._work
        return MarkWritten(
            corp=work.corp,
            staff=work.staff,
            customer=work.customer,
            created_at=work.created_at,
            state=work.state,
            written_at=int(self._services.clock.time()),
            remark_before=before.remark,
        )


class _View:
    """The relation as WeCom showed it last, and when it was asked."""

    def __init__(self, work: Work, services: Services) -> None:
        self._work = work
        self._services = services
        self._asked = float("-inf")
        self.seen: Relation | None = None
        self.failure: QudaoError | None = None

    async def last(self) -> Relation:
        """Return the relation as it was seen last, having looked if nobody did."""
        return self.seen if self.seen is not None else await self._read()

    async def fresh(self, *, may_write: bool = False) -> Relation:
        """
        Return the relation as it was within the last second, or as it is now.

        With *may_write* there is a permit for the write that it is looked at for: perhaps as the one probe that finds
        out whether the member is refused still, of which the hold says that it lasts.
        """
        if self.seen is not None and _now() - self._asked <= FRESH_SECONDS:
            return self.seen
        return await self._read(may_write=may_write)

    async def _read(self, *, may_write: bool = False) -> Relation:
        def about_to_ask() -> None:
            self._asked = _now()
            if self.seen is None and not may_write:  # another event may have learnt that the member is refused
                _require_open(REMARK, self._work, self._services)

        try:
            wecom, work = self._services.wecom, self._work
            read = await wecom.get_relation(work.staff, work.customer, before=about_to_ask)
            passing("mark.read")
            (self.seen,) = await recognised(self._services.journal, [read])
        except QudaoError as error:
            self.failure = error
            raise
        return self.seen


def _require_open(endpoint: str, work: Work, services: Services) -> None:
    """
    Raise what holds *endpoint* back, if anything does.

    Raises:
        MemberHeld: The member alone is refused.
        PartHeld: The API of a part is held back; another part may be open, and is looked at when this one is.
    """
    try:
        services.wecom.require_open(endpoint, work.staff)
    except MemberHeld:
        raise
    except CallAborted as error:
        if endpoint == MARK_TAG:
            raise PartHeld(endpoint, error.retry_after) from error
        raise


def _raise(failures: list[QudaoError]) -> NoReturn:
    if len(failures) == 1:
        raise failures[0]
    raise PartsFailed(*failures)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _skipped(decision: Skip, work: Work) -> Outcome:
    if decision.reason is SkipReason.UNKNOWN_STATE and not isinstance(work, RelationFound | CustomerEdited):
        raise UnknownState("a state that looks like ours is in no channel")
    return Outcome(result="skipped", reason=decision.reason, channel=decision.channel or "")
