"""
What workers tell each other over RabbitMQ: which APIs are held back, which limits they go by, that they are there.

News goes out over a fanout exchange at once. Every beat repeats all that still holds, so news that got lost comes
again; and a queue that keeps one message, the last, tells whoever joins when nobody else is there.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Final

import orjson
import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.common import FieldValue

from shared.amqp.connection import CALL_SECONDS, AmqpConnection, close_channel, pause, translated
from shared.amqp.publisher import Publisher
from shared.clock import Clock
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.quota.holds import HoldChange, Key, hold_key
from shared.quota.names import Names, written
from shared.quota.notices import Listener
from shared.quota.port import FileInUse, HoldKind, Limits, WorkerSeen, no_file

log = structlog.get_logger()

BEAT: Final = 2.0
"""Seconds between signs of life."""

MISSED: Final = 3
"""Beats after which a worker is taken to be gone."""

_ONE: Final[dict[str, FieldValue]] = {"x-queue-type": "classic", "x-max-length": 1}


class RabbitNotices:
    """:class:`~shared.quota.notices.Notices` for one worker, while :meth:`run` runs."""

    def __init__(
        self,
        connection: AmqpConnection,
        publisher: Publisher,
        names: Names,
        *,
        limits: Limits,
        clock: Clock,
        worker: str,
        silent: bool = False,
        file: FileInUse = no_file,
    ) -> None:
        """
        Args:
            silent: Listen only; what others tell is not repeated either.
            file: What others are told of the channels file of this process.
        """
        self._file = file
        self._connection = connection
        self._publisher = publisher
        self._names = names
        self._limits = limits
        self._clock = clock
        self._worker = worker
        self._silent = silent
        self._listening_since = 0.0
        self._listeners: list[Listener] = []
        self._told: dict[Key, tuple[HoldChange, float]] = {}
        self._workers: dict[str, WorkerSeen] = {}
        self._others: dict[Limits, float] = {}
        self._lost = asyncio.Event()
        self.ready = asyncio.Event()
        """Set once it is known what others tell."""
        self.endpoints: set[str] = set()
        """APIs that any worker has used."""

    def listen(self, listener: Listener) -> None:
        """Call *listener* with whatever others tell, and with what was told before."""
        self._listeners.append(listener)
        listener(self._changes())

    async def refresh(self) -> None:
        """Return: news comes by itself."""

    async def tell(self, changes: Sequence[HoldChange]) -> None:
        """Tell all workers at once, and keep it for those that join."""
        self._keep(changes)
        await self._say({"changes": [asdict(change) for change in changes]})
        await self._remember()

    async def claim(self, name: str, seconds: float) -> bool:
        """Return True to one worker within *seconds*: a queue with room for one message decides."""
        queue = self._names.claim(name, seconds)
        milliseconds = round(seconds * 1000)
        arguments: dict[str, FieldValue] = {
            **_ONE,
            "x-overflow": "reject-publish",
            "x-message-ttl": milliseconds,
            "x-expires": 3 * milliseconds + 60_000,
        }
        channel = await self._connection.channel()
        try:
            with translated(f"declare {queue}"):
                await channel.declare_queue(queue, durable=True, arguments=arguments, timeout=CALL_SECONDS)
        finally:
            await close_channel(channel)
        return await self._publisher.publish(b"", exchange="", routing_key=queue)

    def others(self) -> list[Limits]:
        """Return other limits that still count: a worker goes by them, or did within the hour."""
        now = _now()
        self._others = {limits: until for limits, until in self._others.items() if until > now}
        return list(self._others)

    def workers(self) -> list[WorkerSeen]:
        """Return who was heard of lately."""
        now = self._clock.time()
        return [worker for _, worker in sorted(self._workers.items()) if worker.seen > now - MISSED * BEAT]

    async def heard_all(self) -> None:
        """Return when every worker had time for a sign of life: at once for one of them, which hears them all along."""
        if self._silent:
            await asyncio.sleep(self._listening_since + 1.25 * BEAT - _now())

    async def note_use(self, endpoint: str) -> None:
        """Tell the others that *endpoint* is used."""
        if endpoint not in self.endpoints:
            self.endpoints.add(endpoint)
            await self._remember()

    async def run(self) -> None:
        """Listen and give signs of life, for ever."""
        failures = 0
        while True:
            await self._connection.usable()
            try:
                await self._attend()
                failures = 0
            except QueueUnavailable as error:
                log.warning("quota.notices_unavailable", reason=str(error))
                failures += 1
            self.ready.clear()
            await asyncio.sleep(pause(failures))

    async def _attend(self) -> None:
        """Listen on one channel until it is lost."""
        channel = await self._connection.channel()
        try:
            self._lost = lost = asyncio.Event()
            channel.close_callbacks.add(lambda *_: lost.set())
            with translated("listen to the other workers"):
                async with asyncio.timeout(3 * CALL_SECONDS):
                    await self._subscribe(channel)
                    self._listening_since = _now()
                    await self._recall(channel)
            await self._publisher.ready()
            while not lost.is_set():
                if not self._silent:
                    await self._say({"changes": [asdict(change) for change in self._changes()]})
                if not self.ready.is_set():
                    if not self._silent:
                        await self._remember()
                    self.ready.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(BEAT):
                        await lost.wait()
        finally:
            await close_channel(channel)

    async def _subscribe(self, channel: AbstractChannel) -> None:
        exchange = await channel.declare_exchange(self._names.notices, "fanout", durable=True)
        queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        await queue.bind(exchange)
        await queue.consume(self._receive, no_ack=True)

    async def _recall(self, channel: AbstractChannel) -> None:
        """Read the last message; somebody else may just be looking at it."""
        state = await channel.declare_queue(self._names.state, durable=True, arguments=_ONE)
        for _ in range(10):
            message = await state.get(fail=False)
            if message is not None:
                self._hear(message.body)
                await message.nack(requeue=True)
                return
            if not state.declaration_result.message_count:
                return
            await asyncio.sleep(0.05)

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        self._hear(message.body)

    def _hear(self, body: bytes) -> None:
        """Take over what another worker told."""
        try:
            heard = _read(body)
        except (ValueError, TypeError, KeyError, ConfigurationError):
            log.warning("quota.notice_unreadable")
            return
        now, wall = _now(), self._clock.time()
        age = max(0.0, wall - heard["at"]) if heard["kept"] else 0.0
        self.endpoints.update(heard["endpoints"])
        if not heard["kept"]:
            self._workers[heard["worker"]] = WorkerSeen(name=heard["worker"], seen=wall, file=heard["file"])
        for limits, seen in heard["limits"]:
            if limits != self._limits:
                left = max(limits.hour, self._limits.hour) - min(age + seen, limits.hour)
                self._others[limits] = max(self._others.get(limits, 0.0), now + left)
        changes = [replace(change, seconds=max(0.0, change.seconds - age)) for change in heard["changes"]]
        if changes and heard["worker"] != self._worker:
            self._keep(changes)
            for listener in self._listeners:
                listener(changes)

    def _keep(self, changes: Sequence[HoldChange]) -> None:
        now = _now()
        for change in changes:
            known = self._told.get(hold_key(change))
            until = now + change.seconds
            if known is None or (known[0].version, known[1]) < (change.version, until):
                self._told[hold_key(change)] = (change, until)

    def _changes(self) -> list[HoldChange]:
        """Return what holds, and for a while what is over: how the next failure is taken depends on it."""
        now = _now()
        kept = {
            key: (change, until)
            for key, (change, until) in self._told.items()
            if change.kind is HoldKind.BREAKER or until + self._limits.minute > now
        }
        self._told = kept
        return [replace(change, seconds=max(0.0, until - now)) for change, until in kept.values()]

    async def _say(self, told: dict[str, Any]) -> None:
        await self._publisher.publish(self._message(told), exchange=self._names.notices, routing_key="")

    async def _remember(self) -> None:
        """Replace the last message by all we know."""
        told = {"changes": [asdict(change) for change in self._changes()], "kept": True}
        await self._publisher.publish(self._message(told), exchange="", routing_key=self._names.state)

    def _message(self, told: dict[str, Any]) -> bytes:
        now = _now()
        limits = [{"limits": written(self._limits), "seen": 0.0}]
        for other, until in self._others.items():
            ago = max(0.0, max(other.hour, self._limits.hour) - (until - now))
            limits.append({"limits": written(other), "seen": ago})
        return orjson.dumps(
            {
                "v": 1,
                "worker": self._worker,
                "file": self._file(),
                "at": self._clock.time(),
                "limits": limits if told.get("kept") else limits[:1],
                "endpoints": sorted(self.endpoints),
                "kept": False,
                **told,
            }
        )


def _read(body: bytes) -> dict[str, Any]:
    heard: Any = orjson.loads(body)
    return {
        "worker": str(heard["worker"]),
        "file": str(heard["file"]),
        "at": float(heard["at"]),
        "kept": bool(heard["kept"]),
        "endpoints": [str(endpoint) for endpoint in heard["endpoints"]],
        "limits": [(Limits(**item["limits"]), float(item["seen"])) for item in heard["limits"]],
        "changes": [HoldChange(**{**item, "kind": HoldKind(item["kind"])}) for item in heard["changes"]],
    }


def _now() -> float:
    return asyncio.get_running_loop().time()
