"""
The loop: take -> handle -> decide -> settle.

A slot is taken before a message is, so that nothing waits in a process that has no room for it. Stopping is not
cancelling: on a signal the loop takes no more, work in hand has a grace period, and only what is then left is cancelled
and goes back to the queue. Settlements belong to a task group of their own and are never cancelled half way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, assert_never

import structlog

from shared.clock import Clock
from shared.domain.errors import QudaoError, QueueUnavailable
from shared.domain.events import Lane, Task, Work, task_of
from shared.queue.message import Failure, decode, message_for
from shared.queue.port import LOOK_SECONDS, Consumer, Delivery, EventQueue
from shared.quota.port import SETTLE_SECONDS
from shared.state.journal import JournalEntry
from workers.delivery_log import DeliveryLog
from workers.entries import entry_for
from workers.outcome import Outcome
from workers.patience import WITH_QUEUE, retried
from workers.policy import Demote, Park, Retry, Settle, Verdict, decide, is_stale

log = structlog.get_logger()

Handler = Callable[[Work, Failure | None], Awaitable[Outcome]]
"""Does the work; is also given what the last attempt failed with."""

Note = Callable[[JournalEntry], Awaitable[None]]

SLOTS: Final[Mapping[Lane, int]] = {Lane.FAST: 16, Lane.LIVE: 16, Lane.BULK: 8}
"""Deliveries in hand per lane and process; the queue fetches ahead no more than this."""

DELIVERY_SECONDS: Final = 600.0
"""Longest a delivery may be worked on, waits for quota included; well under a broker's 30 minutes."""

TAKING: Final = replace(WITH_QUEUE, endless=True)
"""How patient a lane is with the queue that it takes from."""


class Worker:
    """Serves every lane of one queue until told to stop."""

    def __init__(
        self,
        *,
        queue: EventQueue,
        handlers: Mapping[Lane, Handler],
        wait_open: Callable[[Lane], Awaitable[None]],
        clock: Clock,
        reporter: DeliveryLog,
        grace: float,
        note: Note,
    ) -> None:
        """
        Args:
            note: Writes down how a delivery ended, before it is settled.
            handlers: What does the work of each lane; lanes without one are not served.
            wait_open: Returns once the APIs a lane's work needs may be called, so that nothing is taken meanwhile.
            grace: Seconds that work in hand is given after a stop.
        """
        self._queue = queue
        self._handlers = handlers
        self._wait_open = wait_open
        self._clock = clock
        self._reporter = reporter
        self._grace = grace
        self._note = note

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until *stop* is set and everything in hand is settled or given back."""
        async with asyncio.TaskGroup() as settlements, asyncio.TaskGroup() as lanes:
            for lane in self._handlers:
                lanes.create_task(self._serve(lane, stop, settlements), name=f"lane.{lane}")
        log.info("worker.stopped")

    async def _serve(self, lane: Lane, stop: asyncio.Event, settlements: asyncio.TaskGroup) -> None:
        in_hand: set[asyncio.Task[None]] = set()
        async with self._queue.consume(lane, SLOTS[lane]) as consumer, asyncio.TaskGroup() as group:

            def start(delivery: Delivery, slots: asyncio.Semaphore) -> None:
                task = group.create_task(self._deliver(delivery, settlements))
                in_hand.add(task)
                task.add_done_callback(in_hand.discard)
                task.add_done_callback(lambda _: slots.release())

            taking = group.create_task(self._take_all(lane, consumer, start))
            log.info("lane.opened", lane=lane)
            await stop.wait()
            taking.cancel()  # it only ever waits for a slot or for a message
            await consumer.stop()
            if in_hand:
                _, late = await asyncio.wait(in_hand, timeout=self._grace)
                for task in late:
                    task.cancel()

    async def _take_all(
        self, lane: Lane, consumer: Consumer, start: Callable[[Delivery, asyncio.Semaphore], None]
    ) -> None:
        """Start every delivery of *lane*, a slot before each, for ever."""
        slots = asyncio.Semaphore(SLOTS[lane])

        async def take() -> Delivery:
            await self._wait_open(lane)
            return await consumer.take()

        def told(error: QudaoError, _: float) -> None:
            log.warning("queue.unavailable", lane=lane, reason=str(error))

        while True:
            await slots.acquire()
            start(await retried(take, TAKING, told=told), slots)

    async def _deliver(self, delivery: Delivery, settlements: asyncio.TaskGroup) -> None:
        """Handle one delivery, decide and settle. The only place that catches every exception."""
        started = self._clock.time()
        if is_stale(delivery.lane, delivery.message.first_seen, started):
            self._reporter.delivered(delivery, None, Demote(), seconds=0.0)
            await asyncio.shield(settlements.create_task(self._settle(delivery, Demote())))
            return
        work: Work | None = None
        task = Task.MARK
        outcome: Outcome | Verdict
        try:
            work = decode(delivery.message.body)
            task = task_of(work, delivery.lane)
            if delivery.redelivered and task is Task.MARK:
                await asyncio.sleep(SETTLE_SECONDS)  # or we might look before the last write of the dead is to be seen
            async with asyncio.timeout(DELIVERY_SECONDS):
                outcome = await self._handlers[delivery.lane](work, delivery.message.failure)
        except asyncio.CancelledError:
            await asyncio.shield(settlements.create_task(_release(delivery)))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the message must end somewhere
            if not isinstance(error, QudaoError):
                self._reporter.unforeseen(error, delivery)
            now = self._clock.time()
            outcome = decide(error, task=task, work=work, message=delivery.message, now=now)
        ended = self._clock.time()
        self._reporter.delivered(delivery, work, outcome, seconds=ended - started)
        entry = None if work is None else entry_for(delivery, work, outcome, at=ended)
        await asyncio.shield(settlements.create_task(self._settle(delivery, outcome, entry)))

    async def _settle(self, delivery: Delivery, outcome: Outcome | Verdict, entry: JournalEntry | None = None) -> None:
        """Carry out *outcome*; while queue or journal cannot take it try again for some seconds, then give it back."""

        async def settle() -> None:
            if entry is not None:
                await self._note(entry)
            await self._settle_once(delivery, outcome)

        try:
            await retried(settle, WITH_QUEUE, told=_settling_failed(delivery))
        except QueueUnavailable:
            await _release(delivery)

    async def _settle_once(self, delivery: Delivery, outcome: Outcome | Verdict) -> None:
        match outcome:
            case Outcome() if outcome.look is not None:
                look = replace(message_for(outcome.look, now=self._clock.time()), event_id=delivery.message.event_id)
                await delivery.retry(look, LOOK_SECONDS, Lane.BULK)
            case Outcome() | Settle():
                await delivery.ack()
            case Retry():
                message = delivery.message.after(outcome.failure, counted=outcome.counted)
                await delivery.retry(message, outcome.delay)
            case Park():
                message = delivery.message.after(outcome.failure, counted=True)
                await delivery.park(message, outcome.failure)
            case Demote():
                await self._queue.publish(delivery.message, [Lane.BULK])
                await delivery.ack()
            case _:
                assert_never(outcome)


async def _release(delivery: Delivery) -> None:
    """Give *delivery* back; if even that fails the queue delivers it again once this consumer is gone."""
    try:
        await delivery.release()
    except QueueUnavailable as error:
        _settling_failed(delivery)(error, 0.0)


def _settling_failed(delivery: Delivery) -> Callable[[QudaoError, float], None]:
    return lambda error, _: log.warning("settlement.failed", event_id=delivery.message.event_id, reason=str(error))
