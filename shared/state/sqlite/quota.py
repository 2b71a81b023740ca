"""
The quota in SQLite: counted in one file by all processes of the machine that share it.

Every grant is on the disk before it is used, so a kill -9 never makes the count too low. One writer for each API and
process settles what ended and reserves what is wanted in one transaction; ``shared.state.sqlite.ledger`` has its rules.
The windows run on the machine's monotonic clock: all its processes read the same, and setting the wall clock moves
nothing.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final, Self

from apsw import Connection

from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.faults import passing
from shared.quota.port import FileInUse, Limits, Snapshot, WorkerSeen, no_file
from shared.quota.slots import Answer, Lease, Reservations, Slot
from shared.quota.turns import Turns
from shared.sqlite.database import Database
from shared.state.sqlite import ledger
from shared.state.sqlite.ledger import SlotRequest
from shared.state.sqlite.processes import Machine, Neighbours
from shared.tasks import beside

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
        self._lease = Lease(self._neighbours.lease, monotonic)
        self._reservations = Reservations(self.exchange, self._lease, poll=POLL)
        self.acquire, self.permit = self._reservations.acquire, self._reservations.permit

    async def __aenter__(self) -> Self:
        """
        Make the tables when missing.

        Raises:
            QueueUnavailable: The file cannot be used.
        """
        await self._database.migrate("quota", ledger.TABLES)
        await self._show_up()
        await self._reservations.__aenter__()
        self._showing = beside(self._show_up_for_ever())
        await self._showing.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Settle what ended and leave. Calls that still run stay counted until this process ends."""
        try:
            await self._showing.__aexit__(None, None, None)
            await self._reservations.__aexit__(None, None, None)
        finally:
            await self._sign_off()

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

        answer = await self._database.write(work)
        passing("quota.granted")
        return answer

    async def _sign_off(self) -> None:
        """Settle, and forget this process unless calls of it still run: those end with it."""
        held = {row for _, api in self._reservations for row in api.held}

        def work(connection: Connection) -> None:
            now = self._monotonic()
            for endpoint, _ in self._reservations:
                request = SlotRequest(worker=self._process.worker, endpoint=endpoint, limits=self._limits, held=held)
                ledger.settle(connection, request, now)
            if not held:
                ledger.sign_off(connection, self._process.worker)

        with suppress(QueueUnavailable):  # the others will find this process gone
            await self._database.write(work)

    async def _show_up(self) -> None:
        def work(connection: Connection) -> float:
            now, wall = self._monotonic(), self._clock.time()
            ledger.keep_time(connection, self._neighbours.boot(), now, wall)
            if not self._onlooker:
                ledger.show_up(connection, self._process, now, wall, self._file())
            return now

        self._lease.renew(await self._database.write(work))

    async def _show_up_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SHOW_UP)
            try:
                await self._show_up()
            except QueueUnavailable:
                continue  # whoever asks for a grant is told
