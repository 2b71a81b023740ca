"""Count customers for a report, from WeCom itself: it reads, and writes nothing."""

import asyncio
from collections.abc import Callable, Iterable

from shared.domain.channels.model import Channels
from shared.domain.reports.census import Census
from shared.state.journal import CustomerJournal, recognised
from shared.wecom.client import WeCom
from workers.jobs.backfill import choose_staff
from workers.jobs.walk import Walk
from workers.patience import Notify, Sleep


async def count_customers(
    wecom: WeCom,
    census: Census,
    staff: Iterable[str],
    channels: Channels,
    journal: CustomerJournal,
    *,
    on_walk: Callable[[Walk], None] = lambda _: None,
    notify: Notify = lambda _: None,
    sleep: Sleep = asyncio.sleep,
) -> Walk:
    """
    Count the relations of the members *staff*, or of all when none is named, into *census*; return the walk made.

    All are those whom WeCom or the *channels* name. The *journal* tells what we wrote from what people did.

    Args:
        on_walk: Is told of the walk before it begins, and after each page.
        notify: Is told what a person who waits may wonder about.

    Raises:
        ConfigurationError: WeCom does not name one of *staff*, or nobody at all.
        WeComError, CallAborted, QueueUnavailable: Not all could be read, so *census* is good for nothing.
    """
    chosen = await choose_staff(wecom, staff, channels, notify=notify, sleep=sleep)
    walk = Walk(wecom, chosen, notify=notify, sleep=sleep)
    on_walk(walk)
    async for relations in walk.relations():
        for relation in await recognised(journal, relations):
            census.add(relation)
        on_walk(walk)
    return walk
