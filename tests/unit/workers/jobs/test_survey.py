"""A survey over fakes: what is counted as what, and what is queued."""

import asyncio

import pytest

from shared.clock import SystemClock
from shared.domain.channels.file import load_channels
from shared.domain.channels.model import ChannelKey, Channels
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane, RelationFound, Replaces
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId, TagId
from shared.domain.relations import Relation
from shared.queue.message import Failure, decode, message_for
from shared.wecom.types import CorpTag, CorpTagGroup, RelationPage
from tests.doubles.journal import MemoryJournal
from tests.doubles.queue import MemoryQueue
from workers.jobs.backfill import choose_channels, choose_staff, drained
from workers.jobs.reconcile import reconcile
from workers.jobs.survey import MOST_STATES, PUBLISHING, Correction, Finding, Scope, Surveyor, Tally, work_for
from workers.tags import Tags

CLOCK = SystemClock()
CORP = CorpId("ww1")
LIN = StaffUserId("lin")
CHANNELS = load_channels(
    """
[defaults]
staff = ["lin"]
[channels.expo]
name = "展会"
tags = ["来源/展会"]
[channels.shop]
name = "门店"
description = "{channel}"
overwrite = "always"
"""
)
TAGGED = frozenset([TagId("etExpo")])


def relation(number: int, state: str = "qd_expo", **fields) -> Relation:
    values = {"staff": LIN, "customer": ExternalUserId(f"wm{number}"), "name": "Nana", "remark": "Nana"}
    return Relation(**{**values, "created_at": 1000, "state": state, **fields})


class FakeWeCom:
    """Knows the tag 来源/展会 and lists the relations it was given, in one page."""

    def __init__(self, *relations: Relation) -> None:
        self.relations = relations
        self.calls: list[str] = []
        self.members = [LIN, StaffUserId("Zhou.Yi")]

    async def get_follow_user_list(self):
        self.calls.append("get_follow_user_list")
        return self.members

    async def get_corp_tags(self):
        self.calls.append("get_corp_tags")
        tag = CorpTag(tag_id=TagId("etExpo"), name="展会")
        return (CorpTagGroup(group_id="g", name="来源", tags=(tag,)),)

    async def get_by_user(self, staff, *, cursor=""):
        self.calls.append("get_by_user")
        asked = {member.casefold() for member in staff}
        yield RelationPage(relations=tuple(each for each in self.relations if each.staff.casefold() in asked))


class Rig:
    def __init__(self, *relations: Relation, queue: MemoryQueue | None = None) -> None:
        self.wecom = FakeWeCom(*relations)
        self.queue = queue or MemoryQueue(CLOCK)
        self.pauses: list[float] = []
        self.changes: list[Correction] = []
        self.tally = Tally()
        self.surveyor = Surveyor(
            journal=MemoryJournal(),
            corp=CORP,
            wecom=self.wecom,
            queue=self.queue,
            channels=CHANNELS,
            clock=CLOCK,
            tags=Tags(),
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def survey(self, *, publish: bool = True, **scope) -> Tally:
        await self.surveyor.survey(
            Scope(staff=[LIN], **scope), tally=self.tally, publish=publish, on_change=self.changes.append
        )
        return self.tally

    async def queued(self) -> list[RelationFound]:
        found = []
        async with self.queue.consume(Lane.BULK, 1000) as consumer:
            for _ in range(await self.waiting()):
                delivery = await consumer.take()
                found.append(decode(delivery.message.body))
        return found

    async def waiting(self) -> int:
        return next(depth.messages for depth in await self.queue.depths() if depth.name == "bulk")


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        (relation(1), Finding.UNMARKED),
        (relation(1, remark=""), Finding.UNMARKED),
        (relation(1, tag_ids=frozenset([TagId("etOther")])), Finding.UNMARKED),
        (relation(1, tag_ids=TAGGED), Finding.INCOMPLETE),
        (relation(1, remark="展会-Nana"), Finding.INCOMPLETE),
        (relation(1, remark="老客户"), Finding.INCOMPLETE),
        (relation(1, remark="展会-Nana", tag_ids=TAGGED), Finding.RIGHT),
        (relation(1, remark="老客户", tag_ids=TAGGED), Finding.PERSON_WROTE),
        (relation(1, remark="门店-Nana", tag_ids=TAGGED), Finding.OURS_OLDER),
        (relation(1, "qd_shop"), Finding.UNMARKED),
        (relation(1, "qd_shop", remark="老客户"), Finding.INCOMPLETE),
        (relation(1, "qd_shop", description="谈了三次"), Finding.INCOMPLETE),
        (relation(1, "qd_shop", remark="门店-Nana", description="门店"), Finding.RIGHT),
    ],
)
async def test_a_relation_is_found_to_be(found, finding):
    """What bears nothing of its mark, a part of it, all of it, or a person's remark is told apart."""
    rig = Rig(found)
    tally = await rig.survey()
    (channel,) = tally.channels
    assert dict(tally.channels[channel]) == {finding: 1}
    changes = finding in (Finding.UNMARKED, Finding.INCOMPLETE)
    assert await rig.queued() == ([work_for(CORP, found)] if changes else [])
    assert tally.queued == len(rig.changes) == changes


async def test_what_a_survey_may_replace_goes_along_with_what_it_queues():
    """The worker that reads the relation again decides as the survey did."""
    found = relation(1, "qd_shop", remark="老客户", description="门店")
    for replaces in (Replaces.NOTHING, Replaces.BY_CHANNEL):
        rig = Rig(found)
        await rig.survey(replaces=replaces)
        expected = [] if replaces is Replaces.NOTHING else [work_for(CORP, found, replaces)]
        assert await rig.queued() == expected


async def test_a_dry_run_queues_nothing_and_makes_no_tag():
    """Without publishing all is counted alike, nothing is queued, and tags are only looked up."""
    rig = Rig(*(relation(number) for number in range(5)))
    tally = await rig.survey(publish=False)
    assert (tally.found(Finding.UNMARKED), tally.queued, await rig.waiting()) == (5, 0, 0)
    assert [change.mark.remark for change in rig.changes] == ["展会-Nana"] * 5
    assert rig.wecom.calls == ["get_corp_tags", "get_by_user"]


async def test_strangers_are_counted_by_state():
    """No state, a state that may be ours, and states of others are counted apart, and nothing of them is queued."""
    rig = Rig(relation(1, ""), relation(2, "qd_exp"), relation(3, "qd_exp"), relation(4, "wb:1"), relation(5, "wb:2"))
    tally = await rig.survey()
    assert (tally.no_state, dict(tally.unknown), dict(tally.foreign)) == (1, {"qd_exp": 2}, {"wb:1": 1, "wb:2": 1})
    assert tally.relations == 5
    assert await rig.waiting() == 0


async def test_a_state_for_each_customer_does_not_fill_the_memory():
    """Beyond a thousand foreign states the rest is counted together."""
    rig = Rig(*(relation(number, f"wb:{number}") for number in range(MOST_STATES + 50)))
    tally = await rig.survey()
    assert (len(tally.foreign), tally.foreign["…"], tally.foreign.total()) == (MOST_STATES + 1, 50, MOST_STATES + 50)


async def test_a_scope_leaves_relations_out():
    """Relations of other channels, older and younger ones are left out; the bounds are from and until before."""
    rig = Rig(
        relation(1, created_at=999),
        relation(2, created_at=1000),
        relation(3, created_at=1999),
        relation(4, created_at=2000),
        relation(5, "qd_shop", created_at=1500),
    )
    tally = await rig.survey(channels=frozenset([ChannelKey("expo")]), since=1000.0, until=2000.0)
    assert (tally.outside, tally.young, tally.queued) == (2, 1, 2)
    assert [work.customer for work in await rig.queued()] == ["wm2", "wm3"]


async def park(queue: MemoryQueue, found: Relation, lane: Lane) -> None:
    await queue.publish(message_for(work_for(CORP, found), now=0), [lane])
    async with queue.consume(lane, 1) as consumer:
        delivery = await consumer.take()
        await delivery.park(delivery.message, Failure(reason="value too long", errcode=40058))


async def test_what_is_parked_is_left_parked():
    """What a worker gave up on is not queued to be parked again; a parked welcome says nothing about the mark."""
    rig = Rig(relation(1, staff=StaffUserId("LIN")), relation(2), relation(3))
    await park(rig.queue, relation(1), Lane.LIVE)
    await park(rig.queue, relation(2), Lane.FAST)
    tally = await rig.survey()
    assert (tally.found(Finding.PARKED), tally.found(Finding.UNMARKED)) == (1, 2)
    assert [work.customer for work in await rig.queued()] == ["wm2", "wm3"]


class Failing(MemoryQueue):
    """A queue that cannot take the next ``failures`` messages."""

    failures = 0

    async def publish(self, message, lanes):
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise QueueUnavailable("the disk is full")
        await super().publish(message, lanes)


async def test_a_queue_that_is_away_for_a_moment_is_waited_for():
    """Messages that cannot be queued are tried again, each of them."""
    queue = Failing(CLOCK)
    queue.failures = 12
    rig = Rig(*(relation(number) for number in range(10)), queue=queue)
    tally = await rig.survey()
    assert (tally.queued, await rig.waiting()) == (10, 10)
    assert set(rig.pauses) <= set(PUBLISHING.pauses)


async def test_a_queue_that_stays_away_fails_the_survey():
    """In the end the survey fails, and counts as queued only what was."""
    queue = Failing(CLOCK)
    queue.failures = 10**6
    rig = Rig(relation(1), queue=queue)
    with pytest.raises(QueueUnavailable, match="the disk is full"):
        await rig.survey()
    assert (rig.tally.queued, rig.changes) == (0, [])


async def test_members_are_chosen_by_name_whatever_their_case():
    """Named members are found ignoring case, once each; without names everybody is meant."""
    rig = Rig()
    quietly = {"notify": print, "sleep": rig.sleep}
    assert await choose_staff(rig.wecom, ["zhou.yi", "ZHOU.YI "], Channels(), **quietly) == ["Zhou.Yi"]
    assert await choose_staff(rig.wecom, [], Channels(), **quietly) == ["lin", "Zhou.Yi"]


async def test_unknown_members_and_channels_are_named_at_once():
    """Every unknown member and channel is named, with what was meant."""
    rig = Rig()
    with pytest.raises(ConfigurationError) as caught:
        await choose_staff(rig.wecom, ["zhou", "zhou.y", "x"], Channels(), notify=print, sleep=rig.sleep)
    assert len(caught.value.problems) == 3
    assert "did you mean 'Zhou.Yi'?" in caught.value.problems[1]
    with pytest.raises(ConfigurationError) as caught:
        choose_channels(CHANNELS, ["expo", "exp", "y"])
    assert len(caught.value.problems) == 2
    assert "did you mean 'expo'?" in caught.value.problems[0]
    assert choose_channels(CHANNELS, ["expo"]) == frozenset(["expo"])
    assert choose_channels(CHANNELS, []) is None


async def test_an_empty_list_of_members_is_no_success():
    """When WeCom names no member at all, that is a matter of permissions and not of an empty company."""
    rig = Rig()
    rig.wecom.members = []
    with pytest.raises(ConfigurationError, match="visible range"):
        await choose_staff(rig.wecom, [], Channels(), notify=print, sleep=rig.sleep)


async def test_the_bulk_lane_is_empty_when_two_looks_agree():
    """Draining is watched down to nothing; other lanes do not matter."""
    rig = Rig(relation(1), relation(2))
    await rig.survey()
    await rig.queue.publish(message_for(work_for(CORP, relation(9)), now=0), [Lane.LIVE])
    depths: list[int] = []

    async def sleep(_: float) -> None:
        async with rig.queue.consume(Lane.BULK, 1) as consumer:
            if depths[-1]:
                await (await consumer.take()).ack()

    await drained(rig.queue, depths.append, sleep)
    assert depths == [2, 1, 0, 0]


async def test_a_reconciliation_leaves_the_young_and_the_old_alone():
    """By default, ten minutes to seven days of age: the young may have an event on its way."""
    now = CLOCK.time()
    ages = {"young": 500, "lost": 700, "older": 6.9 * 86400, "old": 7.1 * 86400}
    rig = Rig(*(relation(n, created_at=int(now - age)) for n, age in enumerate(ages.values())))
    await rig.queue.publish(message_for(work_for(CORP, relation(9)), now=0), [Lane.LIVE])
    done = await reconcile(rig.surveyor, tally=rig.tally, publish=True)
    assert (done.lost, done.tally.young, done.tally.outside, done.waiting) == (2, 1, 1, 1)
    assert [work.customer for work in await rig.queued()] == ["wm1", "wm2"]
