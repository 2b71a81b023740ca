"""
A survey: walk over relations, compare each with what its channel wants, queue those that would change.

What backfill and reconciliation share. Nothing is written here: what is queued, a worker reads again before it writes,
so a survey may be repeated, interrupted and run beside the live events.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from shared.clock import Clock
from shared.domain.channels.model import Channel, ChannelKey, Channels, TagName
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane, RelationFound, Replaces, Task, lanes_of, task_of
from shared.domain.ids import CorpId, StaffUserId, TagId
from shared.domain.marks import Mark, Skip, SkipReason, bears_nothing, decide_mark
from shared.domain.relations import Relation
from shared.queue.message import Message, message_for
from shared.queue.port import EventQueue
from shared.state.journal import CustomerJournal, recognised
from shared.wecom.client import WeCom
from workers.jobs.parked import work_of
from workers.jobs.walk import Walk, fingerprint
from workers.patience import WITH_QUEUE, Notify, Sleep, patiently, retried
from workers.tags import Tags

PUBLISHING: Final = replace(WITH_QUEUE, pauses=(*WITH_QUEUE.pauses, 10.0))
"""How patient a survey is with the queue; after that it fails."""

MOST_STATES: Final = 1000
"""States of others that are counted one by one; some systems make a state for each customer."""


class Finding(StrEnum):
    """What was found out about a relation that came through a channel."""

    UNMARKED = "unmarked"
    """Nothing of the channel's mark is there."""
    INCOMPLETE = "incomplete"
    """A part of the mark is missing or differs."""
    RIGHT = "right"
    PERSON_WROTE = "person_wrote"
    """A person wrote the remark, the channel leaves such remarks alone, and all else is right."""
    OURS_OLDER = "ours_older"
    """The remark is one that another of the channels makes: the customer came through that before."""
    PARKED = "parked"
    """Would change, but a worker gave up on it: `qudao parked` says why, and does it again."""


CHANGES: Final = (Finding.UNMARKED, Finding.INCOMPLETE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """
    Which relations are looked at.

    Attributes:
        staff: Whose; resolved by the caller.
        channels: Of which channels; None for all.
        since: Added at this time or later, in Unix seconds.
        until: Added before; younger ones may have an event on its way.
        replaces: What of the texts that are there already may be replaced.
    """

    staff: Sequence[StaffUserId]
    channels: frozenset[ChannelKey] | None = None
    since: float | None = None
    until: float | None = None
    replaces: Replaces = Replaces.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A relation that a worker would write to, and what."""

    relation: Relation
    finding: Finding
    mark: Mark


@dataclass(slots=True, kw_only=True)
class Tally:
    """
    What a survey counted, up to now.

    Attributes:
        relations: All that were read; each is in exactly one of the counts below, ``queued`` aside.
        outside: Before ``since``, or of a channel nobody asked about.
        young: Not before ``until``.
        no_state: Came through no channel code.
        channels: By channel, what was found.
        unknown: States that look like ours but belong to no channel.
        foreign: Other systems' states.
        queued: How many were queued for the workers.
    """

    relations: int = 0
    outside: int = 0
    young: int = 0
    no_state: int = 0
    channels: dict[ChannelKey, Counter[Finding]] = field(default_factory=lambda: defaultdict(Counter))
    unknown: Counter[str] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    queued: int = 0

    def found(self, *findings: Finding) -> int:
        """Return how many relations of all channels were found to be one of *findings*."""
        return sum(counter[finding] for counter in self.channels.values() for finding in findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyor:
    """Carries out surveys. ``wecom`` counts for the bulk lane."""

    corp: CorpId
    wecom: WeCom
    queue: EventQueue
    channels: Channels
    clock: Clock
    tags: Tags
    journal: CustomerJournal
    sleep: Sleep = asyncio.sleep

    async def survey(
        self,
        scope: Scope,
        *,
        tally: Tally,
        publish: bool,
        on_walk: Callable[[Walk], None] = lambda _: None,
        on_change: Callable[[Correction], None] = lambda _: None,
        notify: Notify = lambda _: None,
    ) -> Walk:
        """
        Survey *scope*, counting into *tally*, and return the walk that was made.

        With *publish*, what would change is queued.

        Args:
            on_walk: Is told of the walk before it begins, after each page, and at the end.
            on_change: Is told of each relation that would change.
            notify: Is told what a person who waits may wonder about.

        Raises:
            WeComError, CallAborted, QueueUnavailable: It came only as far as *tally* says.
        """
        wanted = {tag for channel in self.channels.all for tag in channel.tags}
        judge = _Judge(
            corp=self.corp,
            channels=self.channels,
            scope=scope,
            tag_ids=await patiently(lambda: self.tags.known(wanted, self.wecom), notify=notify, sleep=self.sleep),
            parked=await self._parked(),
        )
        walk = Walk(self.wecom, scope.staff, notify=notify, sleep=self.sleep)
        on_walk(walk)
        async for page in walk.relations():
            relations = await recognised(self.journal, page)
            changes = [change for relation in relations if (change := judge.judge(relation, tally)) is not None]
            if publish:
                await self._publish([work_for(self.corp, each.relation, scope.replaces) for each in changes], tally)
            for change in changes:
                on_change(change)
            on_walk(walk)
        on_walk(walk)
        return walk

    async def _parked(self) -> set[int]:
        """Return the fingerprints of relations that a worker gave up marking."""
        parked = [(work, parked.lane) async for parked in self.queue.parked() if (work := work_of(parked)) is not None]
        return {fingerprint(work.staff, work.customer) for work, lane in parked if task_of(work, lane) is Task.MARK}

    async def _publish(self, found: Sequence[RelationFound], tally: Tally) -> None:
        """Queue what was *found* on a page: one commit of the file, or one round trip to the broker, serves many."""
        now = self.clock.time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._publish_one(message_for(work, now=now), lanes_of(work))) for work in found]
        failures = [failure for task in tasks if (failure := task.result()) is not None]
        tally.queued += len(tasks) - len(failures)
        if failures:
            raise failures[0]

    async def _publish_one(self, message: Message, lanes: Sequence[Lane]) -> QueueUnavailable | None:
        """Queue *message*, trying again for a while; return why it could not be queued."""
        try:
            await retried(
                lambda: self.queue.publish(message, lanes), PUBLISHING, told=lambda *_: None, sleep=self.sleep
            )
        except QueueUnavailable as error:
            return error
        return None


def work_for(corp: CorpId, relation: Relation, replaces: Replaces = Replaces.NOTHING) -> RelationFound:
    """Return what is queued for *relation*."""
    return RelationFound(
        corp=corp,
        staff=relation.staff,
        customer=relation.customer,
        created_at=relation.created_at,
        state=relation.state,
        replaces=replaces,
    )


_SKIPPED: Final = {
    SkipReason.PERSON_WROTE: Finding.PERSON_WROTE,
    SkipReason.OURS_OLDER: Finding.OURS_OLDER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Says of each relation what is to become of it."""

    corp: CorpId
    channels: Channels
    scope: Scope
    tag_ids: Mapping[TagName, TagId]
    parked: set[int]

    def judge(self, relation: Relation, tally: Tally) -> Correction | None:
        """Count *relation* and return the change it needs, or None."""
        scope = self.scope
        tally.relations += 1
        if scope.since is not None and relation.created_at < scope.since:
            tally.outside += 1
        elif scope.until is not None and relation.created_at >= scope.until:
            tally.young += 1
        else:
            return self._judge(relation, tally)
        return None

    def _judge(self, relation: Relation, tally: Tally) -> Correction | None:
        channel = self.channels.by_state(relation.state)
        work = work_for(self.corp, relation, self.scope.replaces)
        decision = decide_mark(work, relation, self.channels, self.tag_ids)
        if channel is None:
            assert isinstance(decision, Skip), "no mark without a channel"
            _count_stranger(decision.reason, relation.state, tally)
            return None
        if self.scope.channels is not None and channel.key not in self.scope.channels:
            tally.outside += 1
            return None
        finding = self._finding(channel, relation, decision)
        tally.channels[channel.key][finding] += 1
        if isinstance(decision, Skip) or finding is Finding.PARKED:
            return None
        return Correction(relation=relation, finding=finding, mark=decision)

    def _finding(self, channel: Channel, relation: Relation, decision: Mark | Skip) -> Finding:
        if isinstance(decision, Skip):
            return _SKIPPED.get(decision.reason, Finding.RIGHT)
        if self.parked and fingerprint(relation.staff, relation.customer) in self.parked:
            return Finding.PARKED
        nothing = bears_nothing(channel, relation, self.tag_ids)
        return Finding.UNMARKED if nothing else Finding.INCOMPLETE


def _count_stranger(reason: SkipReason, state: str, tally: Tally) -> None:
    """Count a relation that came through none of our channels."""
    if reason is SkipReason.NO_STATE:
        tally.no_state += 1
        return
    counter = tally.unknown if reason is SkipReason.UNKNOWN_STATE else tally.foreign
    counter[state if state in counter or len(counter) < MOST_STATES else "…"] += 1
