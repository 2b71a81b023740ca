"""A SQLite file on virtual time: the real statements on one connection in memory, with the latency of a disk."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

import apsw
from apsw import Connection

from shared.domain.errors import QueueUnavailable
from shared.state.sqlite.ledger import LEASE, Process

R = TypeVar("R")


class File:
    """The file that all processes share, and which of them are alive."""

    def __init__(self, random: Random) -> None:
        self.connection = Connection(":memory:")
        self.random = random
        self.alive: set[int] = set()
        self.migrated = False
        self.away = False

    def require(self) -> None:
        """Raise QueueUnavailable while nobody can use it."""
        if self.away:
            raise QueueUnavailable("the file cannot be used")


class OpenFile:
    """What one process has of the file; stands for ``shared.sqlite.Database``."""

    def __init__(self, file: File) -> None:
        self._file = file
        self.dead = False
        self.frozen: asyncio.Event | None = None

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        if not self._file.migrated:
            self._file.migrated = True
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

    async def _wait(self) -> None:
        await asyncio.sleep(self._file.random.choice((0.0002, 0.001, 0.005)))
        if self.frozen is not None:
            await self.frozen.wait()
        if self.dead:
            raise QueueUnavailable("this process was killed")
        self._file.require()


class Neighbours:
    """Processes by number; those that were killed are not alive."""

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
