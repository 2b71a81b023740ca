"""
Another corp's messages in our queue: two deployments share it, and each parks what the other should have done.

Said once for each such corp: at the start for what is parked, the one place that can be looked at without a delivery,
and for what waits elsewhere when the first of it comes to a worker.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Final

import structlog

from shared.domain.errors import PoisonMessage, QueueUnavailable
from shared.domain.ids import CorpId
from shared.queue.message import decode
from shared.queue.port import EventQueue
from workers.patience import WITH_QUEUE, Sleep, retried
from workers.policy import SHARED_QUEUE_REMEDY

log = structlog.get_logger()

MOST_LOOKED_AT: Final = 1000
"""Parked messages that a look takes in hand: a moment's work, whatever else is parked."""


class OtherCorps:
    """Says whose messages are met that are not ``own``."""

    def __init__(self, own: CorpId) -> None:
        self._own = own
        self._said: set[CorpId] = set()

    def met(self, corp: CorpId) -> None:
        """Note that a message of *corp* was delivered."""
        self._say(corp)

    async def look_at_parking(self, queue: EventQueue, *, sleep: Sleep = asyncio.sleep) -> None:
        """Note what of other corps is parked in *queue*; one that is away for long is left alone."""
        try:
            found = await retried(partial(parked_by_corp, queue), WITH_QUEUE, told=lambda *_: None, sleep=sleep)
        except QueueUnavailable as error:
            log.info("queue.not_looked_at", reason=str(error))
            return
        for corp, count in found.items():
            if corp != self._own:
                self._say(corp, parked=count)

    def _say(self, corp: CorpId, **found: int) -> None:
        if corp not in self._said:
            self._said.add(corp)
            log.warning("queue.shared", corp=corp, **found, remedy=SHARED_QUEUE_REMEDY)


async def parked_by_corp(queue: EventQueue) -> Counter[CorpId]:
    """Return how many of the parked messages, ``MOST_LOOKED_AT`` of them at the most, each corp has."""
    found: Counter[CorpId] = Counter()
    async for item in queue.parked(limit=MOST_LOOKED_AT):
        with suppress(PoisonMessage):
            found[decode(item.message.body).corp] += 1
    return found
