"""What the journal is told of when a customer came, and whence."""

import pytest

from shared.clock import SystemClock
from shared.domain.channels.model import Channel, ChannelKey, Channels
from shared.domain.events import (
    ChatArchiveApproved,
    CustomerAdded,
    CustomerEdited,
    CustomerHalfAdded,
    CustomerLost,
    Lane,
    LostBy,
    RelationFound,
)
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.domain.marks import counted_state
from shared.domain.relations import Relation
from shared.queue.message import Failure, message_for
from tests.doubles.queue import MemoryQueue
from workers.entries import entry_for
from workers.handlers.lost import lost
from workers.outcome import Outcome
from workers.policy import Park, Retry

FIELDS = {
    "corp": CorpId("ww1"),
    "staff": StaffUserId("lin.qiao"),
    "customer": ExternalUserId("wm1"),
    "created_at": 1000,
}
READ = Outcome(result="marked", came_at=900, state="qd_read")
UNREAD = Park(failure=Failure(reason="no"))


async def entry(work, outcome):
    queue = MemoryQueue(SystemClock())
    await queue.publish(message_for(work, now=1.0), [Lane.LIVE])
    async with queue.consume(Lane.LIVE, 1) as consumer:
        return entry_for(await consumer.take(), work, outcome, at=5.0)


@pytest.mark.parametrize(
    ("work", "outcome", "created_at", "state"),
    [
        (CustomerAdded(**FIELDS, state="qd_told"), UNREAD, 1000, "qd_told"),
        (CustomerAdded(**FIELDS, state="qd_told"), READ, 1000, "qd_read"),
        (RelationFound(**FIELDS), READ, 1000, "qd_read"),
        (CustomerHalfAdded(**FIELDS), UNREAD, 0, ""),
        (CustomerEdited(**FIELDS, state="qd_told"), UNREAD, 0, "qd_told"),
        (CustomerEdited(**FIELDS, state="qd_told"), READ, 900, "qd_read"),
        (ChatArchiveApproved(**FIELDS), Outcome(result="welcomed"), 0, ""),
    ],
)
async def test_when_a_customer_came(work, outcome, created_at, state):
    """An add's own time, or the relation's if later; an edit, a half add and an agreement tell only what was read."""
    noted = await entry(work, outcome)
    assert (noted.created_at, noted.state) == (created_at, state)


async def test_what_goes_on_is_no_entry():
    """Only the end of a delivery is one."""
    assert await entry(CustomerAdded(**FIELDS), Retry(delay=1, counted=True, failure=Failure(reason="busy"))) is None


@pytest.mark.parametrize(
    ("by", "result"), [(LostBy.CUSTOMER, "lost"), (LostBy.MEMBER, "lost"), (LostBy.TRANSFER, "transferred")]
)
async def test_a_customer_is_lost(by, result):
    """No service is asked for anything; the entry says when, and by whom. Who was handed on is not lost."""
    work = CustomerLost(**FIELDS, by=by)
    noted = await entry(work, await lost(work, None, None))
    assert (noted.task, noted.result, noted.reason, noted.created_at) == ("lost", result, by, 1000)


@pytest.mark.parametrize(
    ("told", "read", "counted"),
    [
        ("qd_expo", "", "qd_expo"),
        ("qd_expo", "crm-1", "qd_expo"),
        ("qd_gone", "qd_expo", "qd_gone"),
        ("crm-1", "qd_expo", "qd_expo"),
        ("crm-1", "", ""),
        ("", "crm-1", "crm-1"),
    ],
)
def test_the_state_that_counts(told, read, counted):
    """The event's where it looks like ours, as for the mark; else the details', as WeCom's own listing has it."""
    channels = Channels.of(Channel(key=ChannelKey("expo"), name="展会", state="qd_expo"))
    relation = Relation(staff=FIELDS["staff"], customer=FIELDS["customer"], name="Nana", state=read)
    assert counted_state(CustomerAdded(**FIELDS, state=told), relation, channels) == counted
