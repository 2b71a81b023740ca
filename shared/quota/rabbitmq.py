"""
The quota over RabbitMQ: the broker holds the windows and the places, so no worker leads and none can be missed.

A window is a queue that holds no more messages than the limit and drops each when its time is over: a publish that is
confirmed is a slot. Classic queues, because they count exactly and take the next message as soon as one has expired;
quorum queues refuse until a fifth has (docs/decisions/0007-quota.md).
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from random import Random
from typing import Final, Self

import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from pamqp.common import FieldValue
from yarl import URL

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, translated
from shared.amqp.publisher import Publisher, Unroutable
from shared.clock import Clock
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane
from shared.quota.acquirer import Acquirer, Place, Window, capacity, lifetime, places
from shared.quota.names import Names
from shared.quota.port import FileInUse, Grant, Limits, Snapshot, Usage, no_file
from shared.quota.rabbitmq_notices import RabbitNotices
from shared.quota.rabbitmq_places import Places, Vanished, declare_places
from shared.quota.tether import granted
from shared.tasks import beside

log = structlog.get_logger()

HEARTBEAT: Final = 2
"""Seconds: a worker whose machine is gone gives its places back within five."""

START_SECONDS: Final = 10.0
"""Longest that opening waits for the broker; later calls fail until it is there."""


class RabbitQuota:
    """A :class:`~shared.quota.port.Quota` on a RabbitMQ broker, used by entering the context."""

    def __init__(
        self,
        url: str,
        corp: str,
        limits: Limits,
        clock: Clock,
        *,
        prefix: str = "qudao",
        onlooker: bool = False,
        file: FileInUse = no_file,
    ) -> None:
        """
        Args:
            url: ``amqp://user:password@host:port/vhost`` or ``amqps://…``.
            corp: The corp whose quota it is.
            prefix: Begins every name on the broker, so that deployments can share a vhost.
            onlooker: Do not show this process to the others: it only asks for a snapshot.
            file: What others are told of the channels file of this process.

        Raises:
            ConfigurationError: *url* is not one.
        """
        self._limits = limits
        self._names = Names(corp, prefix)
        self._connection = AmqpConnection(_with_heartbeat(url), f"{prefix} quota", self._connected)
        self._publisher = Publisher(self._connection)
        worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self.notices = RabbitNotices(
            self._connection,
            self._publisher,
            self._names,
            limits=limits,
            clock=clock,
            worker=worker,
            silent=onlooker,
            file=file,
        )
        self._tasks = asyncio.TaskGroup()
        self._apis: dict[str, Acquirer] = {}
        self._serving: list[asyncio.Task[None]] = []
        self._declared: set[tuple[str, Limits]] = set()
        self._filled: set[tuple[str, Limits]] = set()
        self._declaring = asyncio.Lock()
        self._gone: dict[str, Vanished] = {}
        self._stack = AsyncExitStack()
        self._closed = False

    async def __aenter__(self) -> Self:
        """
        Connect. A broker that is away is no error: calls fail until it comes.

        Raises:
            ConfigurationError: The broker refuses the login.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._tasks)
            stack.push_async_callback(self._stop)
            await stack.enter_async_context(self._connection)
            await stack.enter_async_context(self._publisher)
            await stack.enter_async_context(beside(self.notices.run()))
            try:
                async with asyncio.timeout(START_SECONDS):
                    await self._connection.tried()
                    if self._connection.problem is None:
                        await self.notices.ready.wait()
            except TimeoutError:
                log.warning("quota.slow_start", reason=str(self._connection.problem))
            if isinstance(self._connection.problem, ConfigurationError):
                raise self._connection.problem
            self._places = Places(self._connection, self._tasks)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect: whatever places are still held go back."""
        self._closed = True
        for api in self._apis.values():
            api.fail(QueueUnavailable("the quota is closed"))
        await self._stack.aclose()

    def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AbstractAsyncContextManager[None]:
        """Wait until *endpoint* may be called once for *lane* and hold one place in flight."""
        del staff  # matters to the valve alone
        return granted(self, endpoint, lane)

    async def acquire(self, endpoint: str, lane: Lane) -> Grant:
        """
        Wait for leave to call *endpoint* once for *lane*.

        Raises:
            QueueUnavailable: The broker is away, or a queue of this API was deleted: its counts are lost.
        """
        self._require_usable(endpoint)
        api = self._apis.get(endpoint)
        if api is None:
            api = Acquirer(self, endpoint, self._limits, self._tasks, Random())  # noqa: S311 - jitter
            self._apis[endpoint] = api
            self._serving.append(self._tasks.create_task(api.serve(), name=f"quota.{endpoint}"))
        return await api.acquire(lane)

    async def place(self, endpoint: str, *, urgent: bool) -> Place:
        """Wait for a place in flight, of every set of limits that counts; all workers ask in the same order."""
        held: list[Place] = []
        try:
            for queue in sorted({self._names.places(endpoint, limits) for limits in await self._prepared(endpoint)}):
                taken = await self._places.take(queue, urgent=urgent)
                held.append(taken)
        except BaseException as error:
            for place in held:
                place.release()
            if isinstance(error, Vanished):
                raise self._lost(endpoint, error) from error
            raise
        return held[0] if len(held) == 1 else _Several(held)

    async def occupy(self, endpoint: str, window: Window) -> bool:
        """Occupy a slot of *window*, of every set of limits that counts."""
        all_limits = await self._prepared(endpoint)
        if not all(capacity(limits, window) for limits in all_limits):
            return False
        try:
            for queue in sorted({self._names.window(endpoint, window, limits) for limits in all_limits}):
                if not await self._publisher.publish(b"", exchange="", routing_key=queue):
                    return False
        except Unroutable as error:
            raise self._lost(endpoint, error) from error
        return True

    async def snapshot(self) -> Snapshot:
        """Return what is used now, by all workers."""
        self._require_usable("")
        await self.notices.heard_all()
        usage = [await self._usage(endpoint) for endpoint in sorted(self.notices.endpoints)]
        return Snapshot(usage=usage, workers=self.notices.workers())

    def _require_usable(self, endpoint: str) -> None:
        gone = self._gone.get(endpoint)
        problem = "the quota is closed" if self._closed else gone or self._connection.problem
        if problem is None and not self.notices.ready.is_set():
            problem = "it is not known yet what the other workers do"
        if problem is not None:
            raise QueueUnavailable(str(problem))

    def _lost(self, endpoint: str, error: QueueUnavailable) -> Vanished:
        """Note that a queue of *endpoint* was deleted: what was counted is unknown, so nothing more is called."""
        gone = Vanished(
            f"the quota of {endpoint} was deleted on the broker ({error}): what was used of it is not known."
            f" Wait an hour, or accept to overrun the limit once, and restart the workers"
        )
        if endpoint not in self._gone:
            log.error("quota.deleted", endpoint=endpoint, reason=str(error))
        self._gone[endpoint] = gone
        return gone

    async def _prepared(self, endpoint: str) -> list[Limits]:
        """Return the sets of limits that count now, with their queues declared."""
        all_limits = [self._limits, *self.notices.others()]
        for limits in all_limits:
            key = (endpoint, limits)
            if key not in self._declared or key not in self._filled:
                async with self._declaring:
                    await self._prepare(endpoint, limits)
        return all_limits

    async def _prepare(self, endpoint: str, limits: Limits) -> None:
        key = (endpoint, limits)
        if key not in self._declared:
            await self._declare(endpoint, limits)
            self._declared.add(key)
        if key not in self._filled:
            queue = self._names.places(endpoint, limits)
            await declare_places(self._connection, self._publisher, queue, places(limits))
            self._filled.add(key)

    async def _connected(self, _: AbstractConnection) -> None:
        """Look for the places again: the broker may have restarted. The windows outlive that, or are lost for good."""
        self._filled.clear()

    async def _declare(self, endpoint: str, limits: Limits) -> None:
        channel = await self._connection.channel()
        try:
            for window in Window:
                if capacity(limits, window):
                    await self._count(channel, endpoint, window, limits)
        finally:
            await close_channel(channel)
        await self.notices.note_use(endpoint)

    async def _count(self, channel: AbstractChannel, endpoint: str, window: Window, limits: Limits) -> int:
        """Declare the queue of *window* and return how many slots are occupied."""
        if not capacity(limits, window):
            return 0
        name = self._names.window(endpoint, window, limits)
        arguments: dict[str, FieldValue] = {
            "x-queue-type": "classic",
            "x-max-length": capacity(limits, window),
            "x-overflow": "reject-publish",
            "x-message-ttl": round(lifetime(limits, window) * 1000),
        }
        with translated(f"declare {name}"):
            queue = await channel.declare_queue(name, durable=True, arguments=arguments, timeout=CALL_SECONDS)
        return queue.declaration_result.message_count or 0

    async def _usage(self, endpoint: str) -> Usage:
        channel = await self._connection.channel()
        try:
            used = {window: await self._count(channel, endpoint, window, self._limits) for window in Window}
            with translated("count the places"):
                free = await channel.declare_queue(
                    self._names.places(endpoint, self._limits), passive=True, timeout=CALL_SECONDS
                )
        finally:
            await close_channel(channel)
        return Usage(
            endpoint=endpoint,
            minute=used[Window.MINUTE] + used[Window.MINUTE_FAST],
            hour=used[Window.HOUR] + used[Window.HOUR_FAST],
            in_flight=places(self._limits) - (free.declaration_result.message_count or 0),
            limits=self._limits,
        )

    async def _stop(self) -> None:
        for task in self._serving:
            task.cancel()


class _Several:
    """Places of several sets of limits, held for one call."""

    def __init__(self, places: list[Place]) -> None:
        self._places = places

    def release(self) -> None:
        """Give them all back."""
        for place in self._places:
            place.release()

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Call *end* if any of them is taken away."""
        for place in self._places:
            place.when_lost(end)


def _with_heartbeat(url: str) -> str:
    try:
        parsed = URL(url)
    except ValueError:
        return url  # the connection says what is wrong with it
    return url if "heartbeat" in parsed.query else str(parsed.update_query(heartbeat=str(HEARTBEAT)))
