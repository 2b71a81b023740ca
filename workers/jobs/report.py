"""
Count customers for a report: from the journal, which answers at once, or from WeCom itself.

Either reads, and writes nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, time, tzinfo
from typing import Final

from shared.domain.channels.model import Channels
from shared.domain.errors import ConfigurationError
from shared.domain.reports.census import Census
from shared.domain.reports.figures import Period
from shared.domain.reports.recollection import Recollection
from shared.domain.spelling import did_you_mean
from shared.state.journal import CustomerJournal, recognised
from shared.wecom.client import WeCom
from workers.jobs.backfill import choose_staff
from workers.jobs.walk import Walk
from workers.patience import Notify, Sleep

BEFORE: Final = 3600.0
"""Seconds by which our clock may be behind WeCom's: entries are read from so long before the period."""


def begins_at(period: Period, zone: tzinfo) -> float:
    """Return the first moment of *period* in Unix seconds."""
    return datetime.combine(period.since, time(), zone).timestamp()


async def recollect(
    journal: CustomerJournal, census: Census, period: Period, staff: Sequence[str], channels: Channels
) -> int:
    """
    Count what *journal* remembers of the members *staff*, or of all when none is named, into *census*.

    Return how many members there are relations of. The journal must reach back to the beginning of *period*.

    Raises:
        ConfigurationError: Nobody has heard of one of *staff*; every problem at once.
        QueueUnavailable: The journal cannot be read.
    """
    wanted = {name.strip().casefold() for name in staff}
    if wanted:
        await _make_sure_of(wanted, journal, channels)
    recollection = Recollection(census, wanted)
    await journal.tell(begins_at(period, channels.zone) - BEFORE, recollection.hear)
    recollection.end()
    return len(wanted or recollection.members)


async def _make_sure_of(staff: Iterable[str], journal: CustomerJournal, channels: Channels) -> None:
    """Raise ConfigurationError if one of *staff* is neither in the journal nor in the channels file."""
    named = {member for channel in channels.with_ways for member in channel.way.staff}
    known = {member.casefold(): str(member) for member in named | await journal.members()}
    problems = [
        f"--staff {name}: is in neither the journal nor the channels file; --from-wecom asks WeCom"
        f"{did_you_mean(name, known.values())}"
        for name in sorted(staff)
        if name not in known
    ]
    if problems:
        raise ConfigurationError(problems)


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
