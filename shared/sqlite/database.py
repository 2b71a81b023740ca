"""
SQLite off the event loop, with group commit: whatever waits is committed together and costs one fsync.

Knows nothing of what is stored: each user brings its own tables and runs its own statements. Writes share one
connection in one thread. Reads have another, so that counting a million rows delays nobody's commit. Other
processes may use the same file: apsw brings a SQLite without the WAL-reset bug
(https://sqlite.org/wal.html#walresetbug).

On a full disk, room that was kept for it lets everything go on but writes that *grow* the file: those fail until there
is room again.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import apsw
from apsw import Connection

from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.sqlite.file import DatabaseFile, Moved
from shared.sqlite.jobs import Job
from shared.sqlite.reasons import unavailable
from shared.sqlite.reserve import Reserve

T = TypeVar("T")
R = TypeVar("R")

_OLDEST_SAFE: Final = (3, 51, 3)


def require_safe_sqlite(version: str) -> None:
    """
    Return when several connections may write to one file with this *version* of SQLite.

    Raises:
        ConfigurationError: It is older than 3.51.3 and can damage the file.
    """
    if tuple(int(part) for part in version.split(".")) < _OLDEST_SAFE:
        raise ConfigurationError([f"SQLite {version} can damage its file: install apsw 3.51.3.0 or newer"])


class Database:
    """
    One SQLite file, opened by entering the context.

    Everything raises ``QueueUnavailable`` with the reason when the file cannot be used. Exceptions that are not
    SQLite's pass through unchanged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = DatabaseFile(path)
        self._reserve = Reserve(path)
        self._writing = ThreadPoolExecutor(1, "sqlite-write")
        self._reading = ThreadPoolExecutor(1, "sqlite-read")
        self._waiting: list[Job[Any, Any]] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = True

    async def __aenter__(self) -> Self:
        """
        Open the file; make it and its folder when missing.

        Raises:
            ConfigurationError: The SQLite library is too old.
        """
        require_safe_sqlite(apsw.sqlite_lib_version())
        self._loop = asyncio.get_running_loop()
        try:
            await self._call(self._writing, self._open)
        except BaseException:
            await self._close()
            raise
        self._closed = False
        return self

    async def __aexit__(self, *_: object) -> None:
        """Commit what was asked for, and close."""
        self._closed = True
        try:
            await self._idle.wait()
        finally:
            abandoned, self._waiting = self._waiting, []
            self._finish(abandoned, QueueUnavailable(f"{self.path} is closed"))
            await self._close()

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        """
        Bring the tables of *name* up to date: each of *steps* is SQL that runs once per file, in order.

        Raises:
            ConfigurationError: A newer Qudao wrote the file.
        """
        await self.write(lambda connection: _migrate(connection, self.path, name, steps))

    async def write(self, work: Callable[[Connection], R], *, grows: bool = False) -> R:
        """
        Return what *work* returned, once its changes are on the disk.

        It runs in a savepoint of a transaction that it shares with other writes: if it raises, its own changes
        alone are undone. When the caller is cancelled they may still be made.
        """
        return await self.submit(work, grows=grows)

    def submit(self, work: Callable[[Connection], R], *, grows: bool = False) -> "asyncio.Future[R]":
        """Begin a :meth:`write` whose result somebody needs even when the caller is cancelled."""

        def run(connection: Connection, works: list[Callable[[Connection], R]]) -> list[R]:
            return [work(connection) for work in works]

        return self._enqueue(Job(run, grows=grows)).add(work)

    def batched(
        self, work: Callable[[Connection, list[T]], Sequence[R]], *, grows: bool = False
    ) -> Callable[[T], "asyncio.Future[R]"]:
        """
        Return a function that begins to write one item; its result is there once it is on the disk.

        Items that come together are given to *work* together, which returns a result for each. When it raises it
        is called again for each alone, so that a bad item fails only itself. What *grows* the file waits for nobody to
        make room on a full disk, and fails.
        """
        current: Job[T, R] | None = None

        def write(item: T) -> "asyncio.Future[R]":
            nonlocal current
            if current is None or current.started:
                current = self._enqueue(Job(work, grows=grows))
            return current.add(item)

        return write

    async def read(self, work: Callable[[Connection], R]) -> R:
        """Return what *work* returns; it sees one committed state and cannot write."""
        self._require_open()
        reading = partial(self._file.read, lambda connection: _in_transaction(connection, "DEFERRED", work))
        try:
            return await self._call(self._reading, reading)
        except Moved:
            await self._call(self._writing, self._file.writer)
            return await self._call(self._reading, reading)

    def _require_open(self) -> None:
        if self._closed:
            raise QueueUnavailable(f"{self.path} is closed")

    def _enqueue(self, job: Job[T, R]) -> Job[T, R]:
        self._require_open()
        self._waiting.append(job)
        if self._idle.is_set():
            self._idle.clear()
            self._loop.call_soon(self._start)
        return job

    def _start(self) -> None:
        if not self._waiting:
            self._idle.set()
            return
        jobs, self._waiting = self._waiting, []
        for job in jobs:
            job.started = True
        self._writing.submit(self._commit, jobs)

    def _commit(self, jobs: list[Job[Any, Any]]) -> None:
        """Carry out *jobs* in one transaction; in the writer's thread."""
        failure: Exception | None = None
        try:
            self._reserve.look()
            try:
                self._carry_out(jobs)
            except Exception as error:
                if self._reserve.given_up or not self._reserve.lacks_room(error):
                    raise
                self._reserve.give_up()
                self._carry_out(jobs)
            if any(job.lacked_room for job in jobs):
                self._reserve.give_up()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            failure = error
        self._loop.call_soon_threadsafe(self._finish, jobs, failure)

    def _carry_out(self, jobs: list[Job[Any, Any]]) -> None:
        def run(connection: Connection) -> None:
            for job in jobs:
                if job.grows and self._reserve.given_up:
                    job.refuse(apsw.FullError("the disk is full"))
                else:
                    job.run(connection)

        _in_transaction(self._file.writer(), "IMMEDIATE", run)

    def _finish(self, jobs: list[Job[Any, Any]], failure: Exception | None) -> None:
        self._start()
        for job in jobs:
            job.resolve(self.path, failure)

    def _open(self) -> None:
        """Open the file; on a full disk with what room the reserve has."""
        try:
            self._file.writer()
        except (apsw.Error, OSError) as error:
            if not self._reserve.lacks_room(error):
                raise
            self._reserve.give_up()
            self._file.writer()
        self._reserve.keep()

    async def _call(self, thread: ThreadPoolExecutor, work: Callable[[], R]) -> R:
        """Run *work* in *thread*."""
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        except (apsw.Error, OSError) as error:
            raise unavailable(self.path, error) from error

    async def _close(self) -> None:
        """Close the connections after whatever is running."""
        closing = asyncio.wrap_future(self._writing.submit(self._file.close))
        self._reading.shutdown(wait=False)
        self._writing.shutdown(wait=False)
        await asyncio.shield(closing)


def _in_transaction(connection: Connection, kind: str, work: Callable[[Connection], R]) -> R:
    connection.execute(f"BEGIN {kind}")
    try:
        result = work(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def _migrate(connection: Connection, path: Path, name: str, steps: Sequence[str]) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS tables_version (name TEXT PRIMARY KEY, version INTEGER)")
    found = connection.execute("SELECT version FROM tables_version WHERE name = ?", (name,)).get or 0
    if found > len(steps):
        raise ConfigurationError([f"{path} was written by a newer Qudao: use that one, or another file"])
    if found == len(steps):
        return
    for step in steps[found:]:
        connection.execute(step)
    connection.execute("INSERT OR REPLACE INTO tables_version VALUES (?, ?)", (name, len(steps)))
