"""
Reconcile: find customers who should be marked and are not, whatever the reason, and have them marked.

WeCom tries a callback a few times and then never again, so an outage of the ingress loses events for good (doc 90930).
What was lost still stands in the relations: their state says which channel they came through.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared.domain.events import Lane
from shared.queue.port import LOOK_SECONDS, RETRY_DELAYS, EventQueue
from workers.jobs.backfill import choose_staff
from workers.jobs.survey import Correction, Finding, Scope, Surveyor, Tally
from workers.jobs.walk import Walk
from workers.patience import Notify

WINDOW: Final = 7 * 86400.0
"""Age in seconds up to which relations are looked at unless told otherwise: what is older is a backfill's business."""

OLDER_THAN: Final = 600.0
"""Age in seconds from which they are looked at unless told otherwise: a younger one's event may be on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """
    What a reconciliation found.

    Attributes:
        waiting: Messages about customers that were in the queue when it began, on their way to be marked.
    """

    tally: Tally
    walk: Walk
    waiting: int

    @property
    def lost(self) -> int:
        """
        Return how many callbacks were lost: relations of ours that bear nothing of their mark, and are not parked.

        It is an upper bound while messages were waiting, since those had not been lost; and a relation whose remark a
        person wrote before Qudao could does not show.
        """
        return self.tally.found(Finding.UNMARKED)


async def reconcile(
    surveyor: Surveyor,
    *,
    tally: Tally,
    publish: bool,
    since: float | None = None,
    older_than: float = OLDER_THAN,
    on_walk: Callable[[Walk], None] = lambda _: None,
    on_change: Callable[[Correction], None] = lambda _: None,
    notify: Notify = lambda _: None,
) -> Reconciliation:
    """
    Survey what was added from *since* (Unix seconds) until *older_than* seconds ago; with *publish*, queue it.

    Safe to repeat and to run twice at once: what is queued is read again before it is written to.

    Raises:
        WeComError, CallAborted, QueueUnavailable: It came only as far as *tally* says.
    """
    now = surveyor.clock.time()
    waiting = await waiting_messages(surveyor.queue)
    scope = Scope(
        staff=await choose_staff(surveyor.wecom, (), surveyor.channels, notify=notify, sleep=surveyor.sleep),
        since=now - WINDOW if since is None else since,
        until=now - older_than,
    )
    walk = await surveyor.survey(
        scope, tally=tally, publish=publish, on_walk=on_walk, on_change=on_change, notify=notify
    )
    return Reconciliation(tally=tally, walk=walk, waiting=waiting)


async def waiting_messages(queue: EventQueue) -> int:
    """Return how many messages wait in the live and bulk lanes and for a retry; what is done already does not count."""
    tiers = {f"retry.{delay}" for delay in RETRY_DELAYS if delay != LOOK_SECONDS}
    return sum(depth.messages for depth in await queue.depths() if depth.name in {Lane.LIVE, Lane.BULK, *tiers})
