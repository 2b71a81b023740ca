"""
SQLite off the event loop, with group commit: whatever waits is committed together and costs one fsync.

Knows nothing of what is stored: each user brings its own tables and runs its own statements. Writes share one
connection in one thread. Reads have another, so that counting a million rows delays nobody's commit. Other
processes may use the same file: apsw brings a SQLite without the WAL-reset bug
(https://sqlite.org/wal.html#walresetbug).
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from errno import EINVAL, ENOENT
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final, Generic, Self, TypeVar

import apsw
from apsw import Connection

from shared.domain.errors import ConfigurationError, QueueUnavailable

T = TypeVar("T")
R = TypeVar("R")

BUSY_MS: Final = 3000
"""Longest wait for another process's transaction: WeCom gives up on a callback after 5 s."""

_OLDEST_SAFE: Final = (3, 51, 3)

_SETTINGS: Final = """
PRAGMA synchronous = FULL;              -- what is committed is on the disk, not only in the kernel
PRAGMA wal_autocheckpoint = 4000;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -16000;
"""

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (apsw.FullError, "the disk is full"),
    (apsw.BusyError, "another process keeps it locked"),
    (apsw.LockedError, "another process keeps it locked"),
    (apsw.ReadOnlyError, "it is read-only"),
    (apsw.CantOpenError, "it cannot be opened or made there"),
    (apsw.NotADBError, "it is not a SQLite database"),
    (apsw.CorruptError, "it is damaged"),
    (apsw.IOError, "the disk reports an error"),
    (apsw.Error, "SQLite refuses"),
    (OSError, "the system refuses"),
)


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
        self._writer = _Thread(path, writes=True)
        self._reader = _Thread(path, writes=False)
        self._waiting: list[_Job[Any, Any]] = []
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
            await self._writer.call(lambda connection: connection.changes())
        except BaseException:
            await self._writer.close()
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
            await self._reader.close()
            await self._writer.close()

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        """
        Bring the tables of *name* up to date: each of *steps* is SQL that runs once per file, in order.

        Raises:
            ConfigurationError: A newer Qudao wrote the file.
        """
        await self.write(lambda connection: _migrate(connection, self.path, name, steps))

    async def write(self, work: Callable[[Connection], R]) -> R:
        """
        Return what *work* returned, once its changes are on the disk.

        It runs in a savepoint of a transaction that it shares with other writes: if it raises, its own changes
        alone are undone. When the caller is cancelled they may still be made.
        """
        return await self.submit(work)

    def submit(self, work: Callable[[Connection], R]) -> "asyncio.Future[R]":
        """Begin a :meth:`write` whose result somebody needs even when the caller is cancelled."""

        def run(connection: Connection, works: list[Callable[[Connection], R]]) -> list[R]:
            return [work(connection) for work in works]

        return self._enqueue(_Job(run)).add(work)

    def batched(self, work: Callable[[Connection, list[T]], Sequence[R]]) -> Callable[[T], "asyncio.Future[R]"]:
        """
        Return a function that begins to write one item; its result is there once it is on the disk.

        Items that come together are given to *work* together, which returns a result for each. When it raises it
        is called again for each alone, so that a bad item fails only itself.
        """
        current: _Job[T, R] | None = None

        def write(item: T) -> "asyncio.Future[R]":
            nonlocal current
            if current is None or current.started:
                current = self._enqueue(_Job(work))
            return current.add(item)

        return write

    async def read(self, work: Callable[[Connection], R]) -> R:
        """Return what *work* returns; it sees one committed state and cannot write."""
        self._require_open()
        return await self._reader.call(lambda connection: _in_transaction(connection, "DEFERRED", work))

    def _require_open(self) -> None:
        if self._closed:
            raise QueueUnavailable(f"{self.path} is closed")

    def _enqueue(self, job: "_Job[T, R]") -> "_Job[T, R]":
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
        self._writer.executor.submit(self._commit, jobs)

    def _commit(self, jobs: "list[_Job[Any, Any]]") -> None:
        """Carry out *jobs* in one transaction; in the writer's thread."""
        failure: Exception | None = None
        try:
            _in_transaction(self._writer.connection(), "IMMEDIATE", lambda connection: _run(connection, jobs))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            failure = error
        self._loop.call_soon_threadsafe(self._finish, jobs, failure)

    def _finish(self, jobs: "list[_Job[Any, Any]]", failure: Exception | None) -> None:
        self._start()
        for job in jobs:
            job.resolve(self.path, failure)


class _Thread:
    """A connection and the one thread that may use it."""

    def __init__(self, path: Path, *, writes: bool) -> None:
        self.executor = ThreadPoolExecutor(1, f"sqlite-{'write' if writes else 'read'}")
        self._path = path
        self._writes = writes
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        """
        Return the connection, opened on first use.

        Raises:
            FileNotFoundError: The file is no longer there: what is written to it would be gone with the process.
        """
        if self._connection is None:
            self._connection = _connect(self._path, writes=self._writes)
            self._inode = self._path.stat().st_ino
        elif self._path.stat().st_ino != self._inode:
            raise FileNotFoundError(ENOENT, "the file was replaced")
        return self._connection

    async def call(self, work: Callable[[Connection], R]) -> R:
        """Run *work* in the thread."""
        running = asyncio.get_running_loop().run_in_executor(self.executor, lambda: work(self.connection()))
        try:
            return await running
        except (apsw.Error, OSError) as error:
            raise _unavailable(self._path, error) from error

    async def close(self) -> None:
        """Close the connection after whatever is running."""
        closing = asyncio.wrap_future(self.executor.submit(self._close))
        self.executor.shutdown(wait=False)
        await asyncio.shield(closing)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


class _Job(Generic[T, R]):
    """Items to be written by one function, and those who wait for them."""

    def __init__(self, work: Callable[[Connection, list[T]], Sequence[R]]) -> None:
        self.started = False
        self._work = work
        self._items: list[T] = []
        self._futures: list[asyncio.Future[R]] = []
        self._outcomes: Sequence[R | Exception] = []

    def add(self, item: T) -> "asyncio.Future[R]":
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._items.append(item)
        self._futures.append(future)
        return future

    def run(self, connection: Connection) -> None:
        """Write; raises only if SQLite gave up the whole transaction."""
        try:
            self._outcomes = _in_savepoint(connection, self._work, self._items)
        except Exception as error:
            if not connection.in_transaction:
                raise
            self._outcomes = [error] if len(self._items) == 1 else self._run_each(connection)

    def _run_each(self, connection: Connection) -> Sequence[R | Exception]:
        outcomes: list[R | Exception] = []
        for item in self._items:
            try:
                outcomes += _in_savepoint(connection, self._work, [item])
            except Exception as error:
                if not connection.in_transaction:
                    raise
                outcomes.append(error)
        return outcomes

    def resolve(self, path: Path, failure: Exception | None) -> None:
        """Tell those who wait; *failure* is why nothing was committed."""
        outcomes = self._outcomes if failure is None else [failure] * len(self._futures)
        for future, outcome in zip(self._futures, outcomes, strict=True):
            if future.done():
                continue  # cancelled meanwhile
            if isinstance(outcome, Exception):
                future.set_exception(_unavailable(path, outcome))
            else:
                future.set_result(outcome)


def _connect(path: Path, *, writes: bool) -> Connection:
    if writes:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it will hold personal data
    connection = Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_MS)
        journal = _write_ahead(connection)
        connection.execute(_SETTINGS)
        connection.pragma("query_only", not writes)
    except BaseException:
        connection.close()
        raise
    if journal != "wal":
        connection.close()
        raise OSError(EINVAL, "no write-ahead log is possible there")
    return connection


def _write_ahead(connection: Connection) -> str:
    """
    Switch a new file to a write-ahead log, and return which journal it has.

    Of several who open a new file at once all but one are told that it is busy, without the wait that they asked for:
    SQLite sees a deadlock coming.
    """
    until = monotonic() + BUSY_MS / 1000
    while True:
        try:
            return str(connection.pragma("journal_mode", "wal"))
        except apsw.BusyError:
            if monotonic() > until:
                raise
            sleep(0.01)


def _run(connection: Connection, jobs: list[_Job[Any, Any]]) -> None:
    for job in jobs:
        job.run(connection)


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


def _in_savepoint(
    connection: Connection, work: Callable[[Connection, list[T]], Sequence[R]], items: list[T]
) -> Sequence[R]:
    connection.execute("SAVEPOINT job")
    try:
        outcomes = work(connection, items)
    except Exception:
        if connection.in_transaction:
            connection.execute("ROLLBACK TO job; RELEASE job")
        raise
    connection.execute("RELEASE job")
    return outcomes


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


def _unavailable(path: Path, error: Exception) -> Exception:
    """Return what to raise for *error*: itself, unless it comes from SQLite or from the system."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            detail = error.strerror if isinstance(error, OSError) else reason
            unavailable = QueueUnavailable(f"{path}: {detail}")
            unavailable.__cause__ = error
            return unavailable
    return error
