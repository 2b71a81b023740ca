"""
Mark a customer with the channel they came from: read, decide, write only what differs.

Safe to repeat: a second run reads what the first one wrote and finds nothing to do.
"""

from collections.abc import Mapping

from shared.domain.channels.model import TagName
from shared.domain.errors import PermanentError, TooEarly
from shared.domain.events import Work
from shared.domain.ids import TagId
from shared.domain.marks import Mark, Skip, decide_mark, missing_tag_ids
from shared.domain.relations import Relation
from shared.wecom.client import RelationWriter
from workers.outcome import Outcome
from workers.services import Services


async def mark(work: Work, services: Services) -> Outcome:
    """
    Bring the relation of *work* to what its channel wants.

    Raises:
        TooEarly: WeCom does not know the relation, or not yet.
        WeComError: A call failed; nothing, or a part, is written, and a repeat writes the rest.
    """
    decision = decide_mark(work, None, services.channels)
    if isinstance(decision, Skip) and not decision.needs_details:
        return _skipped(decision)  # spares the call
    async with services.wecom.relation(work.staff, work.customer) as writer:
        relation = await read_relation(work, services)
        decision = decide_mark(work, relation, services.channels)
        tag_ids: Mapping[TagName, TagId] = {}
        if isinstance(decision, Mark) and decision.tags:
            tag_ids = await services.tags.ids(decision.tags, services.wecom)
            decision = decide_mark(work, relation, services.channels, tag_ids)
        if isinstance(decision, Skip):
            return _skipped(decision)
        await _write(decision, relation, tag_ids, writer, services)
        return Outcome(result="marked", channel=decision.channel)


async def read_relation(work: Work, services: Services) -> Relation:
    """
    Return the relation of *work* as WeCom tells it now.

    Raises:
        TooEarly: The member is not among those who follow the customer, or not yet.
    """
    customer = await services.wecom.get_customer(work.customer)
    relation = customer.relation_with(work.staff)
    if relation is None:
        raise TooEarly("externalcontact/get", meaning="the member is not among those who follow the customer")
    return relation


async def _write(
    decision: Mark, relation: Relation, tag_ids: Mapping[TagName, TagId], writer: RelationWriter, services: Services
) -> None:
    if decision.remark is not None or decision.description is not None:
        await writer.remark(remark=decision.remark, description=decision.description)
    if not decision.tags:
        return
    try:
        await _add_tags(decision, relation, tag_ids, writer)
    except PermanentError:
        services.tags.forget()
        fresh = await services.tags.ids(decision.tags, services.wecom)
        if fresh == tag_ids:
            raise
        await _add_tags(decision, relation, fresh, writer)  # somebody had deleted a tag


async def _add_tags(
    decision: Mark, relation: Relation, tag_ids: Mapping[TagName, TagId], writer: RelationWriter
) -> None:
    add = missing_tag_ids(decision.tags, relation, tag_ids)
    if add:
        await writer.mark_tag(add=add)


def _skipped(decision: Skip) -> Outcome:
    return Outcome(result="skipped", reason=decision.reason, channel=decision.channel or "")
