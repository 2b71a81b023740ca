"""
The quota of embedded mode: counted in the SQLite file that holds the queue, by all processes that share it.

Every grant is on the disk before it is used, so a kill -9 never makes the count too low. One writer for each API and
process settles what ended and reserves what is wanted in one transaction; ``shared.quota.ledger`` has its rules. The
windows run on the machine's monotonic clock: all its processes read the same, and setting the wall clock moves nothing.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final, Self

from apsw import Connection

from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota import ledger
from shared.quota.ledger import Answer, SlotRequest
from shared.quota.port import FileInUse, Grant, Limits, Snapshot, WorkerSeen, no_file
from shared.quota.processes import Machine, Neighbours
from shared.quota.slots import MAX_AGE, Slot, Slots
from shared.quota.tether import granted
from shared.quota.turns import Turns
from shared.sqlite import Database

POLL: Final = 0.02
"""Seconds between looks while other processes hold places, which nobody tells us they gave back."""

SHOW_UP: Final = 5.0
"""Seconds between signs of life when nothing else is written."""


class SqliteQuota:
    """A :class:`~shared.quota.port.Quota` in a SQLite file, used by entering the context."""

    def __init__(
        self,
        database: Database,
        limits: Limits,
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        neighbours: Neighbours | None = None,
        onlooker: bool = False,
        file: FileInUse = no_file,
    ) -> None:
        """
        Args:
            onlooker: Do not count this process among those that use the quota: it only asks for a snapshot.
            file: What others are told of the channels file of this process.
        """
        self._file = file
        self._database = database
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._neighbours = neighbours or Machine()
        self._process = self._neighbours.me()
        self._onlooker = onlooker
        self._apis: dict[str, Slots] = {}

    async def __aenter__(self) -> Self:
        """
        Make the tables when missing.

        Raises:
            QueueUnavailable: The file cannot be used.
        """
        await self._database.migrate("quota", ledger.TABLES)
        await self._show_up()
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._showing = self._tasks.create_task(self._show_up_for_ever(), name="quota.show_up")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Settle what ended and leave. Calls that still run stay counted until this process ends."""
        self._showing.cancel()
        for api in self._apis.values():
            api.stop()
        try:
            await self._tasks.__aexit__(None, None, None)  # an error of the context leaves it unwrapped
        finally:
            await self._sign_off()

    def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AbstractAsyncContextManager[None]:
        """Wait until *endpoint* may be called once for *lane* and hold one place in flight."""
        del staff  # matters to the valve alone
        return granted(self, endpoint, lane)

    async def acquire(self, endpoint: str, lane: Lane) -> Grant:
        """Wait for leave to call *endpoint* once for *lane*."""
        api = self._apis.get(endpoint)
        if api is None:
            api = self._apis[endpoint] = Slots(endpoint, self.exchange, self._tasks, poll=POLL)
        while True:
            grant = await api.acquire(lane)
            if self._monotonic() - grant.reserved <= MAX_AGE:
                return grant
            grant.release()

    async def store(self) -> str:
        """Return what tells this file from any other."""
        return await self._database.read(lambda connection: str(connection.execute("SELECT id FROM quota_store").get))

    async def snapshot(self) -> Snapshot:
        """Return what is used now, by all processes that share the file."""

        def look(connection: Connection) -> Snapshot:
            now = self._monotonic()
            endpoints: list[Any] = connection.execute(
                "SELECT endpoint FROM quota_ended UNION SELECT endpoint FROM quota_running ORDER BY 1"
            ).fetchall()
            workers: list[Any] = connection.execute(
                "SELECT worker, wall, file FROM quota_worker WHERE died IS NULL ORDER BY worker"
            ).fetchall()
            return Snapshot(
                usage=[ledger.count(connection, endpoint, self._limits, now) for (endpoint,) in endpoints],
                workers=[WorkerSeen(name=name, seen=seen, file=file) for name, seen, file in workers],
            )

        return await self._database.read(look)

    async def exchange(self, endpoint: str, held: Collection[int], turns: Turns[Slot]) -> tuple[Answer, float]:
        """Settle what ended and reserve for those who wait; return the answer and when it was given."""
        request = SlotRequest(
            worker=self._process.worker,
            endpoint=endpoint,
            limits=self._limits,
            held=frozenset(held),
            wanted=turns.first(self._limits.in_flight),
            urgent=turns.first(self._limits.in_flight, [Lane.FAST]),
            oldest=turns.oldest(),
        )

        def work(connection: Connection) -> tuple[Answer, float]:
            now = self._monotonic()
            ledger.bury(connection, request, now, self._neighbours.alive)
            ledger.settle(connection, request, now)
            ledger.forget(connection, request.endpoint, request.limits, now)
            return ledger.grant(connection, request, now), now

        return await self._database.write(work)

    async def _sign_off(self) -> None:
        """Settle, and forget this process unless calls of it still run: those end with it."""
        held = {row for api in self._apis.values() for row in api.held}

        def work(connection: Connection) -> None:
            now = self._monotonic()
            for endpoint in self._apis:
                request = SlotRequest(worker=self._process.worker, endpoint=endpoint, limits=self._limits, held=held)
                ledger.settle(connection, request, now)
            if not held:
                ledger.sign_off(connection, self._process.worker)

        with suppress(QueueUnavailable):  # the others will find this process gone
            await self._database.write(work)

    async def _show_up(self) -> None:
        def work(connection: Connection) -> None:
            now, wall = self._monotonic(), self._clock.time()
            ledger.keep_time(connection, self._neighbours.boot(), now, wall)
            if not self._onlooker:
                ledger.show_up(connection, self._process, now, wall, self._file())

        await self._database.write(work)

    async def _show_up_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SHOW_UP)
            try:
                await self._show_up()
            except QueueUnavailable:
                continue  # whoever asks for a grant is told
