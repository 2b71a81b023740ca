"""What the journal is told of a delivery that ended."""

from shared.domain.events import ChatArchiveApproved, CustomerEdited, CustomerHalfAdded, Work, task_of
from shared.queue.port import Delivery
from shared.state.journal import JournalEntry
from workers.outcome import Outcome
from workers.policy import Park, Settle, Verdict


def entry_for(delivery: Delivery, work: Work, outcome: Outcome | Verdict, *, at: float) -> JournalEntry | None:
    """Return the entry for *delivery* that ended with *outcome*; None when it goes on, or a look found all in order."""
    match outcome:
        case Outcome(result="kept"):
            return None
        case Outcome():
            ended = outcome
        case Settle():
            ended = Outcome(result="settled", reason=outcome.reason)
        case Park():
            ended = Outcome(result="parked", reason=outcome.failure.reason)
        case _:
            return None
    return JournalEntry(
        event_id=delivery.message.event_id,
        at=at,
        task=task_of(work, delivery.lane),
        result=ended.result,
        staff=work.staff,
        customer=work.customer,
        reason=ended.reason,
        channel=ended.channel,
        state=work.state if ended.state is None else ended.state,
        digest=ended.digest,
        created_at=_created_at(work, ended.came_at),
    )


def _created_at(work: Work, came_at: int) -> int:
    """
    Return when the customer of *work* came, or went; *came_at* is what the relation says, if it was read.

    The later of two: WeCom may leave a relation's time as it was when the customer adds the member again.
    """
    match work:
        case CustomerEdited() | CustomerHalfAdded() | ChatArchiveApproved():
            return came_at  # the event's own time is of something else
        case _:
            return max(work.created_at, came_at)
