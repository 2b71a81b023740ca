"""
Publishing that nobody cancels half way: neither a deadline nor a caller that hangs up.

A cancelled publish may or may not be durable and may leave the broker's channel unusable, so each runs to
its end in a task of its own; only the wait for it has a deadline.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog

from ingress.metrics import IngressMetrics
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.queue.message import Message
from shared.queue.port import EventQueue

DEADLINE: Final = 2.5
"""Seconds after which a callback is answered 503; WeCom hangs up after 5 and counts from further back."""

log = structlog.get_logger()


class Publisher:
    """Publishes to *queue* in tasks of *group*."""

    def __init__(
        self,
        queue: EventQueue,
        group: asyncio.TaskGroup,
        metrics: IngressMetrics,
        *,
        deadline: float = DEADLINE,
    ) -> None:
        self._queue = queue
        self._group = group
        self._metrics = metrics
        self._deadline = deadline
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """
        Return when *message* is durable in all *lanes*.

        Raises:
            QueueUnavailable: It is not, or not in time; in the latter case it may yet become so.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = self._group.create_task(self._carry(message, lanes, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            async with asyncio.timeout(self._deadline):
                await done
        except TimeoutError as error:
            raise QueueUnavailable("not durable in time") from error

    async def finish(self, grace: float) -> None:
        """Wait *grace* seconds for what is on its way; what hangs longer was answered 503 before."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()

    async def _carry(self, message: Message, lanes: Sequence[Lane], done: asyncio.Future[None]) -> None:
        failure: QueueUnavailable | None = None
        with self._metrics.publishing.track_inprogress():
            try:
                await self._queue.publish(message, lanes)
            except QueueUnavailable as error:
                failure = error
            except Exception as error:  # a bug costs one callback, not the group of all
                log.exception("publish.crashed", event_id=message.event_id)
                failure = QueueUnavailable(f"unexpected {type(error).__name__}")
        if done.done():
            self._metrics.late.labels("failed" if failure else "durable").inc()
            log.warning("publish.ended_late", event_id=message.event_id, durable=failure is None)
        elif failure:
            done.set_exception(failure)
        else:
            done.set_result(None)


@asynccontextmanager
async def publishing(
    queue: EventQueue, metrics: IngressMetrics, *, deadline: float = DEADLINE
) -> AsyncIterator[Publisher]:
    """Yield a publisher; leaving waits for what is on its way, twice the deadline at most."""
    async with asyncio.TaskGroup() as group:
        publisher = Publisher(queue, group, metrics, deadline=deadline)
        try:
            yield publisher
        finally:
            await publisher.finish(2 * deadline)
