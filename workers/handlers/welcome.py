"""
Send the channel's welcome while its WelcomeCode lives: 20 seconds from the event (doc 92137).

Safe to repeat: WeCom takes a code once, and refuses the second try.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final

from shared.domain.channels.model import Attachment
from shared.domain.errors import AttachmentRefused, CallAborted, QudaoError, TooEarly, TransientError, WeComError
from shared.domain.events import Work
from shared.domain.marks import Skip, Welcome, decide_welcome
from shared.faults import passing
from shared.queue.message import Failure
from shared.wecom.client import UPLOAD
from shared.wecom.errcodes import MEDIA_GONE
from workers.outcome import Outcome
from workers.policy import describe
from workers.services import Services

NAMELESS_SECONDS: Final = 12.0
"""Age of the event from which a welcome that names the customer goes out without the name."""

UPLOAD_UNTIL: Final = 15.0
"""The same from which it does not wait for the upload of a file any longer."""


async def welcome(work: Work, before: Failure | None, services: Services) -> Outcome:
    """
    Send the welcome of the channel that *work* came through, once.

    Attachments that are refused, or that cannot be uploaded, cost themselves alone: the text goes out without them.

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
    trouble = await _send(decision, work, services)
    if trouble is None:
        return Outcome(result="welcomed", channel=decision.channel)
    return Outcome(result="welcomed", reason="without_attachments", channel=decision.channel, trouble=describe(trouble))


async def _send(decision: Welcome, work: Work, services: Services) -> QudaoError | None:
    """
    Send *decision*, and return what was wrong with attachments that it went without.

    One that WeCom refuses may be a file that it no longer knows: those are uploaded anew before the text goes alone.
    """
    files = [attachment.file for attachment in decision.attachments if attachment.file is not None]
    began = services.media.now()
    while True:
        attachments, trouble = await _ready(decision.attachments, work, services)
        if trouble is not None and not decision.text and not attachments:
            raise trouble
        try:
            await services.wecom.send_welcome_msg(decision.welcome_code, text=decision.text, attachments=attachments)
            passing("welcome.sent")
        except AttachmentRefused as error:
            forgotten = [services.media.forget(file, before=began) for file in files if error.errcode == MEDIA_GONE]
            if any(forgotten):
                continue
            if not decision.text or not attachments:
                raise
            await services.wecom.send_welcome_msg(decision.welcome_code, text=decision.text)
            return error
        return trouble


async def _ready(
    wanted: Iterable[Attachment], work: Work, services: Services
) -> tuple[list[Mapping[str, object]], QudaoError | None]:
    """
    Return those of *wanted* that can be sent now, and what is wrong with one that cannot.

    Raises:
        TransientError: A file could not be uploaded, and there is time to try again.
    """
    ready: list[Mapping[str, object]] = []
    trouble: QudaoError | None = None
    for attachment in wanted:
        media_id = ""
        age = services.clock.time() - work.created_at
        try:
            if attachment.file is not None:
                async with asyncio.timeout(UPLOAD_UNTIL - age):
                    media_id = await services.media.id_of(attachment.file, services.wecom)
            ready.append(attachment.as_json(media_id))
        except TimeoutError:
            trouble = TransientError(UPLOAD, meaning="the file could not be uploaded in time")
        except (WeComError, CallAborted) as error:
            if isinstance(error, TransientError) and age < NAMELESS_SECONDS:
                raise
            trouble = error
    return ready, trouble


async def _with_details(work: Work, decision: Welcome | Skip, services: Services) -> Welcome | Skip:
    try:
        relation = await services.wecom.get_relation(work.staff, work.customer)
    except TooEarly:
        if services.clock.time() - work.created_at < NAMELESS_SECONDS:
            raise
        return decision
    return decide_welcome(work, services.channels, services.clock.time(), relation)
