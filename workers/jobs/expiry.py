"""Takes out of the journal what is older than it is to remember."""

import asyncio
from typing import Final

import structlog

from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.state.journal import CustomerJournal

log = structlog.get_logger()

EVERY: Final = 3600.0
"""Seconds between two looks."""

BREATH: Final = 0.2
"""Seconds between two pieces, so that whoever writes is not kept waiting."""

_DAY: Final = 86_400.0


async def expire(journal: CustomerJournal, days: int, clock: Clock) -> None:
    """Remove entries of more than *days* days, a piece at a time, for ever."""
    while True:
        try:
            removed = 0
            while count := await journal.expire(clock.time() - days * _DAY):
                removed += count
                await asyncio.sleep(BREATH)
            if removed:
                log.info("journal.expired", entries=removed)
        except QueueUnavailable as error:
            log.warning("journal.not_expired", reason=str(error))
        await asyncio.sleep(EVERY)
