"""Reconciles every so often inside a worker, in one worker of the deployment at a time."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.clock import Clock
from shared.domain.errors import QudaoError
from shared.quota.notices import Claim
from workers.jobs.reconcile import Reconciliation, reconcile, waiting_messages
from workers.jobs.survey import Finding, Surveyor, Tally
from workers.policy import raised_at

log = structlog.get_logger()

CLAIM: Final = "reconcile"

CLAIMED: Final = 0.5
"""Share of the time between two turns for which a turn is one worker's: whoever comes next after that does the next."""

FIRST_AFTER: Final = 300.0
"""Seconds after the start of a worker at the latest: callbacks get lost while everything is down."""

BACKLOG: Final = 1000
"""Waiting messages from which a turn is left out: most of what it would find is on its way, and only delayed by it."""


class Schedule:
    """Reconciles regularly until cancelled. A turn that fails is logged and counted; the next one makes up for it."""

    def __init__(
        self,
        *,
        open_surveyor: Callable[[], AbstractAsyncContextManager[Surveyor]],
        claim: Claim,
        every: float,
        clock: Clock,
        registry: CollectorRegistry,
    ) -> None:
        self._open_surveyor = open_surveyor
        self._claim = claim
        self._every = every
        self._clock = clock
        self._turns = Counter(
            "qudao_reconciliations_total",
            "Turns to reconcile by how they ended: done, failed, postponed, elsewhere.",
            ["result"],
            registry=registry,
        )
        self._found = Counter(
            "qudao_reconcile_found_total",
            "Relations of our channels by what reconciliations found; unmarked ones are lost callbacks.",
            ["finding"],
            registry=registry,
        )
        self._queued = Counter(
            "qudao_reconcile_queued_total", "Relations that reconciliations queued for marking.", registry=registry
        )
        self._succeeded = Gauge(
            "qudao_reconcile_last_success_seconds", "Unix time of the last complete one.", registry=registry
        )

    async def run(self) -> None:
        """Reconcile soon after the start, then regularly, for ever."""
        await asyncio.sleep(min(self._every, FIRST_AFTER))
        while True:
            await self.take_turn()
            await asyncio.sleep(self._every)

    async def take_turn(self) -> None:
        """Reconcile, unless another worker does it or too much is waiting. Marking goes on whatever happens here."""
        try:
            result = await self._take_turn()
        except Exception as error:  # noqa: BLE001 - a fault in here is no reason to stop marking
            log.warning("reconcile.failed", reason=str(error) if isinstance(error, QudaoError) else raised_at(error))
            result = "failed"
        self._turns.labels(result).inc()

    async def _take_turn(self) -> str:
        if not await self._claim(CLAIM, self._every * CLAIMED):
            log.debug("reconcile.left_to_another")
            return "elsewhere"
        async with self._open_surveyor() as surveyor:
            waiting = await waiting_messages(surveyor.queue)
            if waiting >= BACKLOG:
                log.warning("reconcile.postponed", waiting=waiting)
                return "postponed"
            await self._reconcile(surveyor)
        return "done"

    async def _reconcile(self, surveyor: Surveyor) -> None:
        started = self._clock.time()
        tally = Tally()
        try:
            done = await reconcile(surveyor, tally=tally, publish=True, notify=_log_delay)
        finally:
            self._queued.inc(tally.queued)  # also of one that broke off: the workers have them
        for finding in Finding:
            self._found.labels(finding).inc(tally.found(finding))
        self._succeeded.set(self._clock.time())
        _log(done, seconds=self._clock.time() - started)


def _log(done: Reconciliation, *, seconds: float) -> None:
    tally = done.tally
    log.info(
        "reconcile.done",
        relations=tally.relations,
        lost=done.lost,
        incomplete=tally.found(Finding.INCOMPLETE),
        person_wrote=tally.found(Finding.PERSON_WROTE),
        ours_older=tally.found(Finding.OURS_OLDER),
        parked=tally.found(Finding.PARKED),
        queued=tally.queued,
        young=tally.young,
        waiting=done.waiting,
        duration_ms=round(seconds * 1000, 1),
    )
    if done.walk.unread:
        log.warning("reconcile.members_unread", staff=sorted(done.walk.unread))


def _log_delay(reason: str) -> None:
    log.warning("reconcile.delayed", reason=reason)
