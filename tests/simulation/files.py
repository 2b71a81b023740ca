"""A SQLite file on virtual time: the real statements on one connection in memory, with the latency of a disk."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import apsw
from apsw import Connection

from shared.domain.errors import QueueUnavailable
from shared.state.sqlite.ledger import LEASE, Process
from tests.simulation.life import Life

T = TypeVar("T")
R = TypeVar("R")


class File:
    """The file that all processes share, and which of them are alive."""

    def __init__(self, random: Random) -> None:
        self.connection = Connection(":memory:")
        self.random = random
        self.alive: set[int] = set()
        self.migrated: set[str] = set()
        self.away = False


class OpenFile:
    """What one process has of the file; stands for ``Database``. ``cut`` off, it is away for this one."""

    def __init__(self, file: File, life: Life) -> None:
        self._file = file
        self._life = life
        self.cut = False

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        if name not in self._file.migrated:
            self._file.migrated.add(name)
            for step in steps:
                self._file.connection.execute(step)

    async def write(self, work: Callable[[Connection], R]) -> R:
        await self._wait()
        connection = self._file.connection
        connection.execute("SAVEPOINT job")
        try:
            result = work(connection)
        except apsw.Error:
            connection.execute("ROLLBACK TO job")
            raise
        finally:
            connection.execute("RELEASE job")
        await self._wait()
        return result

    async def read(self, work: Callable[[Connection], R]) -> R:
        await self._wait()
        return work(self._file.connection)

    def batched(self, work: Callable[[Connection, list[T]], Sequence[R]]) -> Callable[[T], "asyncio.Future[R]"]:
        def write(item: T) -> "asyncio.Future[R]":
            writing = asyncio.get_running_loop().create_task(self.write(lambda connection: work(connection, [item])[0]))
            writing.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be there to hear
            return writing

        return write

    async def _wait(self) -> None:
        await asyncio.sleep(self._file.random.choice((0.0002, 0.001, 0.005)))
        await self._life.go_on()
        if self._file.away or self.cut:
            raise QueueUnavailable("the file cannot be used")


class Neighbours:
    """Processes by number; those that were killed are not alive."""

    lease = LEASE

    def __init__(self, file: File, pid: int) -> None:
        self._file = file
        self._pid = pid

    def me(self) -> Process:
        self._file.alive.add(self._pid)
        return Process(worker=str(self._pid), place="simulation", pid=self._pid, born="")

    def boot(self) -> str:
        return "one"

    def alive(self, place: str, pid: int, born: str, seen: float, now: float) -> bool:
        return pid in self._file.alive and seen > now - LEASE
