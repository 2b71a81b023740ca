"""
The loop: take -> handle -> decide -> settle.

A slot is taken before a message is, so that nothing waits in a process that has no room for it. A lane is served in
shifts, each with a consumer of its own: while the APIs that its work needs are held back nothing is fetched ahead, for
a broker takes back what lies about for long, and counts that. Stopping is not cancelling: on a signal the loop takes no
more, work in hand has a grace period, and only what is then left is cancelled and goes back to the queue.

Nothing limits how long a delivery is worked on but what it waits for: each call and each wait for the quota has a limit
of its own, and only a call that failed is an attempt.

Settlements belong to a task group of their own and are never cancelled half way. One that fails is tried again until it
succeeds, the queue says that the delivery is lost to us, or the grace is over and all goes back with the process.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Final, assert_never

import structlog

from shared.clock import Clock
from shared.domain.errors import DeliveryLost, QudaoError, QueueUnavailable
from shared.domain.events import Lane, Task, Work, task_of
from shared.faults import passing
from shared.queue.message import Failure, decode, message_for
from shared.queue.port import LOOK_SECONDS, Consumer, Delivery, EventQueue
from shared.quota.port import SETTLE_SECONDS
from shared.state.journal import JournalEntry
from shared.tasks import wait_at_most
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

REST_SECONDS: Final = 20.0
"""How long an API may be held back until what was fetched ahead of it goes back."""

PATIENT: Final = replace(WITH_QUEUE, endless=True)
"""How patient a lane is with the queue that it takes from and settles with."""


class Worker:
    """Serves every lane of one queue until told to stop."""

    def __init__(
        self,
        *,
        queue: EventQueue,
        handlers: Mapping[Lane, Handler],
        wait_open: Callable[[Lane], Coroutine[None, None, None]],
        clock: Clock,
        reporter: DeliveryLog,
        grace: float,
        note: Note,
    ) -> None:
        """
        Args:
            note: Writes down how a delivery ended, before it is settled.
            handlers: What does the work of each lane; lanes without one are not served.
            clock: WeCom's, as far as it is heard: ages of what happened there rest on it.
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
        self._over = asyncio.Event()
        """Set when the grace is over: then no settlement is tried again."""

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until *stop* is set and everything in hand is settled or given back."""
        async with asyncio.TaskGroup() as settlements, asyncio.TaskGroup() as lanes:
            for lane in self._handlers:
                lanes.create_task(self._serve(lane, stop, settlements), name=f"lane.{lane}")
        log.info("worker.stopped")

    async def _serve(self, lane: Lane, stop: asyncio.Event, settlements: asyncio.TaskGroup) -> None:
        """Begin a shift whenever the lane's APIs may be called; what the last one has in hand ends beside the next."""
        slots = asyncio.Semaphore(SLOTS[lane])
        async with asyncio.TaskGroup() as shifts:
            stopping = shifts.create_task(stop.wait())
            while not stop.is_set():
                opening = shifts.create_task(self._wait_open(lane))
                await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
                opening.cancel()
                taken = asyncio.Event()
                if not stop.is_set():
                    shifts.create_task(self._work_shift(lane, slots, stop, taken, settlements))
                    await taken.wait()

    async def _work_shift(
        self,
        lane: Lane,
        slots: asyncio.Semaphore,
        stop: asyncio.Event,
        taken: asyncio.Event,
        settlements: asyncio.TaskGroup,
    ) -> None:
        """Take until the lane is held back or the worker stops, set *taken*, and end what is in hand."""
        in_hand: set[asyncio.Task[None]] = set()
        async with self._queue.consume(lane, SLOTS[lane]) as consumer, asyncio.TaskGroup() as group:

            def start(delivery: Delivery) -> None:
                task = group.create_task(self._deliver(delivery, settlements))
                in_hand.add(task)
                task.add_done_callback(in_hand.discard)
                task.add_done_callback(lambda _: slots.release())

            stopping = group.create_task(stop.wait())
            taking = group.create_task(self._take_all(lane, consumer, slots, start))
            log.info("lane.opened", lane=lane)
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            taking.cancel()  # it only ever waits for a slot or for a message
            await _insist(consumer.stop, stop, told=lambda _: None)
            taken.set()
            while in_hand and not stop.is_set():
                await asyncio.wait({stopping, *in_hand}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if in_hand:
                _, late = await asyncio.wait(in_hand, timeout=self._grace)
                for task in late:
                    task.cancel()
                if late:
                    self._over.set()

    async def _take_all(
        self, lane: Lane, consumer: Consumer, slots: asyncio.Semaphore, start: Callable[[Delivery], None]
    ) -> None:
        """Start every delivery of *lane*, a slot before each, until its APIs are held back."""

        async def take() -> Delivery | None:
            try:
                async with asyncio.timeout(REST_SECONDS):
                    await self._wait_open(lane)
            except TimeoutError:
                return None
            return await consumer.take()

        def told(error: QudaoError, _: float) -> None:
            log.warning("queue.unavailable", lane=lane, reason=str(error))

        while True:
            await slots.acquire()
            try:
                delivery = await retried(take, PATIENT, told=told)
            except BaseException:
                slots.release()
                raise
            if delivery is None:
                slots.release()
                log.info("lane.rested", lane=lane)
                return
            start(delivery)

    async def _deliver(self, delivery: Delivery, settlements: asyncio.TaskGroup) -> None:
        """Handle one delivery, decide and settle. The only place that catches every exception."""
        passing("delivery.taken")
        started = asyncio.get_running_loop().time()
        work: Work | None = None
        task = Task.MARK
        outcome: Outcome | Verdict
        try:
            work = decode(delivery.message.body)
            task = task_of(work, delivery.lane)
            outcome = await self._handle(delivery, work, task)
        except asyncio.CancelledError:
            await asyncio.shield(settlements.create_task(_release(delivery)))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the message must end somewhere
            if not isinstance(error, QudaoError):
                self._reporter.unforeseen(error, delivery)
            now = self._clock.time()
            outcome = decide(error, task=task, work=work, message=delivery.message, now=now)
        seconds = asyncio.get_running_loop().time() - started
        self._reporter.delivered(delivery, work, outcome, seconds=seconds)
        passing("delivery.handled")
        entry = None if work is None else entry_for(delivery, work, outcome, at=self._clock.time())
        await asyncio.shield(settlements.create_task(self._settle(delivery, outcome, entry)))

    async def _handle(self, delivery: Delivery, work: Work, task: Task) -> Outcome | Demote:
        if is_stale(delivery.lane, work.created_at, self._clock.time()):
            return Demote()
        if delivery.redelivered and task is Task.MARK:
            await asyncio.sleep(SETTLE_SECONDS)  # or we might look before the last write of the dead is to be seen
        return await self._handlers[delivery.lane](work, delivery.message.failure)

    async def _settle(self, delivery: Delivery, outcome: Outcome | Verdict, entry: JournalEntry | None = None) -> None:
        """Carry out *outcome*, however long queue or journal cannot take it; what is lost to us comes again."""

        async def settle() -> None:
            if entry is not None:
                await self._note(entry)
                passing("delivery.noted")
            await self._settle_once(delivery, outcome)
            passing("delivery.settled")

        try:
            await _insist(settle, self._over, told=lambda error: _say_failed(delivery, error))
        except DeliveryLost as error:
            log.warning("delivery.lost", event_id=delivery.message.event_id, reason=str(error))

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
                await delivery.retry(delivery.message, 1, Lane.BULK)
            case _:
                assert_never(outcome)


async def _release(delivery: Delivery) -> None:
    """Give *delivery* back; if even that fails it goes back when its consumer is closed, which is soon."""
    try:
        await delivery.release()
    except (QueueUnavailable, DeliveryLost) as error:
        _say_failed(delivery, error)


async def _insist(
    call: Callable[[], Awaitable[None]], over: asyncio.Event, *, told: Callable[[QueueUnavailable], None]
) -> None:
    """Try *call* until the queue takes it, or until *over*: then what is left goes back with its consumer."""
    failures = 0
    while True:
        try:
            return await call()
        except QueueUnavailable as error:
            told(error)
            pause = PATIENT.pause(error, failures)
        failures += 1
        await wait_at_most(over, pause)
        if over.is_set():
            return None


def _say_failed(delivery: Delivery, error: QudaoError) -> None:
    log.warning("settlement.failed", event_id=delivery.message.event_id, reason=str(error))
