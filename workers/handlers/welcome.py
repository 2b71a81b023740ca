"""
Send the channel's welcome while its WelcomeCode lives: 20 seconds from the event (doc 92137).

Safe to repeat: WeCom takes a code once, and refuses the second try.
"""

from typing import Final

from shared.domain.errors import AttachmentRefused, TooEarly
from shared.domain.events import Work
from shared.domain.marks import Skip, Welcome, decide_welcome
from shared.queue.message import Failure
from workers.handlers.mark import read_relation
from workers.outcome import Outcome
from workers.policy import describe
from workers.services import Services

NAMELESS_SECONDS: Final = 12.0
"""Age of the event from which a welcome that names the customer goes out without the name."""


async def welcome(work: Work, before: Failure | None, services: Services) -> Outcome:
    """
    Send the welcome of the channel that *work* came through, once.

    An attachment that is refused costs the attachments alone: the text goes out at once without them.

    Raises:
        TooEarly: The text names the customer, whom WeCom does not know yet; there is time to ask again.
        WelcomeRefused: The code is spent, or the two are chatting already.
        WeComError: The call failed; a repeat is safe.
    """
    del before  # twenty seconds are too few to learn from
    decision = decide_welcome(work, services.channels, services.clock.time())
    if decision.needs_details:
        decision = await _with_details(work, decision, services)
    if isinstance(decision, Skip):
        return Outcome(result="skipped", reason=decision.reason, channel=decision.channel or "")
    try:
        await services.wecom.send_welcome_msg(
            decision.welcome_code,
            text=decision.text,
            attachments=[attachment.as_json() for attachment in decision.attachments],
        )
    except AttachmentRefused as error:
        if not decision.text or not decision.attachments:
            raise
        await services.wecom.send_welcome_msg(decision.welcome_code, text=decision.text)
        return Outcome(
            result="welcomed", reason="without_attachments", channel=decision.channel, trouble=describe(error)
        )
    return Outcome(result="welcomed", channel=decision.channel)


async def _with_details(work: Work, decision: Welcome | Skip, services: Services) -> Welcome | Skip:
    try:
        relation = await read_relation(work, services)
    except TooEarly:
        if services.clock.time() - work.created_at < NAMELESS_SECONDS:
            raise
        return decision
    return decide_welcome(work, services.channels, services.clock.time(), relation)
