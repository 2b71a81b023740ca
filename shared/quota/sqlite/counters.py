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
from random import uniform
from typing import Any, Final, Self

from apsw import Connection

from shared.clock import Clock
from shared.domain.errors import QueueUnavailable
from shared.domain.events import Lane
from shared.quota import ledger
from shared.quota.ledger import Answer, SlotRequest
from shared.quota.port import FileInUse, Grant, Limits, Snapshot, WorkerSeen, no_file
from shared.quota.processes import Machine, Neighbours
from shared.quota.tether import granted
from shared.quota.turns import Turns
from shared.sqlite import Database

MAX_AGE: Final = 2.0
"""Seconds after which a grant is not used: the process was stopped in between."""

POLL: Final = 0.02
"""Seconds between looks while other processes hold places, which nobody tells us they gave back."""

LOOK_AGAIN: Final = 1.0
"""Longest wait for room without telling the other processes that somebody still waits."""

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
        self._apis: dict[str, _Api] = {}

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
            api = self._apis[endpoint] = _Api(self, endpoint, self._tasks)
        while True:
            grant = await api.acquire(lane)
            if self._monotonic() - grant.reserved <= MAX_AGE:
                return grant
            grant.release()

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

    async def exchange(self, endpoint: str, held: Collection[int], turns: "Turns[_Grant]") -> tuple[Answer, float]:
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


class _Api:
    """Those who wait for one API, and the calls of this process that run."""

    def __init__(self, quota: SqliteQuota, endpoint: str, tasks: asyncio.TaskGroup) -> None:
        self._quota = quota
        self._endpoint = endpoint
        self._turns: Turns[_Grant] = Turns()
        self.held: dict[int, _Grant] = {}
        self._stopped = False
        tasks.create_task(self._serve(), name=f"quota.{endpoint}")

    async def acquire(self, lane: Lane) -> "_Grant":
        if self._stopped:
            raise QueueUnavailable("the quota is closed")
        return await self._turns.wait(lane)

    def release(self, row: int) -> None:
        self.held.pop(row, None)
        self._turns.changed.set()

    def stop(self) -> None:
        self._stopped = True
        self._turns.fail(QueueUnavailable("the quota is closed"))
        self._turns.changed.set()

    async def _serve(self) -> None:
        """Reserve whenever somebody waits, settle whenever a call ended, until stopped and settled."""
        pause: float | None = None
        while not self._stopped:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._turns.changed.wait()
            self._turns.changed.clear()
            try:
                answer, now = await self._quota.exchange(self._endpoint, self.held, self._turns)
            except QueueUnavailable as error:
                self._turns.fail(error)
                pause = LOOK_AGAIN  # what ended is not settled yet
            else:
                self._hand_out(answer, now)
                pause = self._pause(answer, now)

    def _hand_out(self, answer: Answer, now: float) -> None:
        for row in answer.lost:
            if row in self.held:
                self.held[row].lose()
        for lane, row in answer.granted:
            grant = self.held[row] = _Grant(self, row, now)
            if not self._turns.give(grant, [lane]):
                grant.release()  # whoever wanted it gave up

    def _pause(self, answer: Answer, now: float) -> float | None:
        """Return how long to wait for something to happen in this process before looking again."""
        if not len(self._turns):
            return None
        if answer.room_at is not None:
            return min(max(answer.room_at - now, POLL / 10), LOOK_AGAIN)
        return POLL * uniform(0.5, 1.5) if answer.shared else LOOK_AGAIN  # noqa: S311 - jitter


class _Grant:
    """One running call: its row, and when that was written."""

    def __init__(self, api: _Api, row: int, reserved: float) -> None:
        self.reserved = reserved
        self._api: _Api | None = api
        self._row = row
        self._lost = False
        self._end: Callable[[], None] | None = None

    def release(self) -> None:
        """Give the place back."""
        if self._api is not None:
            api, self._api = self._api, None
            api.release(self._row)

    def when_lost(self, end: Callable[[], None] | None) -> None:
        """Call *end* once if this process was silent for so long that it lost the place; at once if it has."""
        self._end = end
        if self._lost and end is not None:
            end()

    def lose(self) -> None:
        """Note that the place was given to others."""
        if not self._lost:
            self._lost = True
            if self._end is not None:
                self._end()
