"""What the journal is told of a delivery that ended."""

from shared.domain.events import Work, task_of
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
            result, reason, channel, digest = outcome.result, outcome.reason, outcome.channel, outcome.digest
        case Settle():
            result, reason, channel, digest = "settled", outcome.reason, "", ""
        case Park():
            result, reason, channel, digest = "parked", outcome.failure.reason, "", ""
        case _:
            return None
    return JournalEntry(
        event_id=delivery.message.event_id,
        at=at,
        task=task_of(work, delivery.lane),
        result=result,
        staff=work.staff,
        customer=work.customer,
        reason=reason,
        channel=channel,
        state=work.state,
        digest=digest,
    )
