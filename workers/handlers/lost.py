"""
Note that a customer and a member are contacts no longer: no API tells it later.

Safe to repeat: WeCom is not called, and the journal takes the same end of the same event once.
"""

from shared.domain.events import CustomerLost, LostBy, Work
from shared.queue.message import Failure
from workers.outcome import Outcome
from workers.services import Services


async def lost(work: Work, before: Failure | None, services: Services) -> Outcome:
    """Return ``lost`` and by whom; ``transferred`` when the customer was handed to another member."""
    del before, services
    assert isinstance(work, CustomerLost)
    return Outcome(result="transferred" if work.by is LostBy.TRANSFER else "lost", reason=work.by)
