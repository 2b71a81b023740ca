"""Whose messages are in the queue: what is said, and how often."""

from structlog.testing import capture_logs

from shared.clock import SystemClock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane, RelationFound
from shared.domain.ids import CorpId, EventId, ExternalUserId, StaffUserId
from shared.queue.message import Failure, Message, message_for
from tests.doubles.queue import MemoryQueue
from workers.other_corps import OtherCorps, parked_by_corp

OURS, THEIRS = CorpId("ww1"), CorpId("ww2")
GONE = Failure(reason="no such customer", errcode=84061)


def of(corp, number=1):
    customer = ExternalUserId(f"wm{number}")
    work = RelationFound(corp=corp, staff=StaffUserId("lin"), customer=customer, created_at=1, state="qd_expo")
    return message_for(work, now=1.0)


async def queue_with_parked(*messages):
    queue = MemoryQueue(SystemClock())
    async with queue.consume(Lane.BULK, 1) as consumer:
        for message in messages:
            await queue.publish(message, [Lane.BULK])
            await (await consumer.take()).park(message, GONE)
    return queue


async def test_what_is_parked_of_another_corp_is_said_at_start_with_the_remedy():
    """Once, with how many there are; our own messages and those that nobody can read are not counted."""
    unreadable = Message(event_id=EventId("0"), body=b"{", first_seen=1.0)
    queue = await queue_with_parked(of(OURS), of(THEIRS, 2), of(THEIRS, 3), unreadable)
    assert await parked_by_corp(queue) == {OURS: 1, THEIRS: 2}
    with capture_logs() as logs:
        await OtherCorps(OURS).look_at_parking(queue)
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("queue.shared", "warning")
    assert (line["corp"], line["parked"]) == (THEIRS, 2)
    assert "QUDAO_QUEUE_PREFIX" in line["remedy"]


async def test_a_queue_of_our_own_is_worth_no_word():
    """Nothing parked, or only what is ours: silence."""
    with capture_logs() as logs:
        await OtherCorps(OURS).look_at_parking(await queue_with_parked())
        await OtherCorps(OURS).look_at_parking(await queue_with_parked(of(OURS)))
    assert logs == []


async def test_the_first_message_that_a_worker_meets_is_said_and_no_other():
    """A stream of another corp's messages is one warning for each corp, found at start or met later."""
    other_corps = OtherCorps(OURS)
    with capture_logs() as logs:
        for corp in (THEIRS, THEIRS, CorpId("ww3"), THEIRS):
            other_corps.met(corp)
        await other_corps.look_at_parking(await queue_with_parked(of(THEIRS)))
    assert [line["corp"] for line in logs] == [THEIRS, "ww3"]


class AwayQueue:
    """A queue whose broker is away."""

    def parked(self, *, limit=None):
        raise QueueUnavailable("the broker is away")


async def test_a_queue_that_is_away_keeps_no_worker_from_starting():
    """It is tried a few times, then left: whatever is there is met later."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    with capture_logs() as logs:
        await OtherCorps(OURS).look_at_parking(AwayQueue(), sleep=sleep)
    assert [line["event"] for line in logs] == ["queue.not_looked_at"]
    assert 3 < len(waited) < 10
