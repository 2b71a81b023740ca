"""
Look once more at a mark that WeCom said it wrote, and write it again where it is not there.

Now and then ``remark`` answers ok and nothing was written (seen in the field); such a customer would be taken for one
whose callback never came. What a person wrote meanwhile stays.
"""

from dataclasses import replace

from shared.domain.errors import TooEarly
from shared.domain.events import MarkWritten, RelationFound, Replaces, Work
from shared.domain.marks import Skip, decide_mark
from shared.domain.relations import GONE
from shared.domain.remarks import same_text
from shared.queue.message import Failure
from shared.state.journal import recognised
from workers.handlers.mark import mark
from workers.outcome import Outcome
from workers.services import Services


async def look(work: Work, before: Failure | None, services: Services) -> Outcome:
    """
    Return ``kept`` when what was written is there, or a person wrote since; else write it again: ``repeated``.

    Raises:
        WeComError, CallAborted: A call failed; a repeat is safe.
    """
    assert isinstance(work, MarkWritten)
    try:
        read = await services.looks.relation(work, services.wecom)
    except TooEarly:
        return Outcome(result="skipped", reason=GONE)
    (relation,) = await recognised(services.journal, [read])
    as_before = same_text(relation.remark, work.remark_before)
    found = RelationFound(
        corp=work.corp,
        staff=work.staff,
        customer=work.customer,
        created_at=work.created_at,
        state=work.state,
        replaces=Replaces.OURS if as_before else Replaces.NOTHING,
    )
    decision = decide_mark(found, relation, services.channels, services.tags.remembered)
    if isinstance(decision, Skip):
        return Outcome(result="kept", channel=decision.channel or "")
    outcome = await mark(found, before, services)
    return replace(outcome, result="repeated" if outcome.result == "marked" else "kept", reason="", look=None)
