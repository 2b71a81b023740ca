"""The file behind a database: opened, kept private, and put back where somebody deleted it."""

import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EINVAL, ENOENT
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Final, TypeVar

import apsw
import structlog
from apsw import Connection

log = structlog.get_logger()

R = TypeVar("R")

BUSY_MS: Final = 3000
"""Longest wait for another process's transaction: WeCom gives up on a callback after 5 s."""

_SETTINGS: Final = """
PRAGMA synchronous = FULL;              -- what is committed is on the disk, not only in the kernel
PRAGMA wal_autocheckpoint = 4000;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -16000;
"""

PRIVATE: Final = 0o600
"""Its owner's alone: it holds personal data."""

Inodes = tuple[int, int, int]


class Moved(Exception):
    """The file is not where it was when it was opened."""


class DatabaseFile:
    """
    One connection that writes and one that reads, each used by a thread of its own, opened on first use.

    Before each use it is made sure that the file, its write-ahead log and its index are those that were opened: what is
    written to a deleted file would be gone with the process. Whatever of them was deleted is put back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Connection | None = None
        self._reader: Connection | None = None
        self._reading = Lock()
        self._inodes: Inodes | None = None

    def writer(self) -> Connection:
        """
        Return the connection that writes.

        Raises:
            FileNotFoundError: Another file is in its place.
        """
        if self._writer is not None and self._look() != self._inodes:
            self._put_back()
        if self._writer is None:
            self._writer = self._open()
        return self._writer

    def read(self, work: Callable[[Connection], R]) -> R:
        """
        Return what *work* returns.

        Raises:
            Moved: The writer must put things right first: use it and read again.
        """
        with self._reading:
            if self._inodes is None or self._look() != self._inodes:
                raise Moved
            if self._reader is None:
                self._reader = _connect(self.path)
                self._reader.pragma("query_only", True)
            return work(self._reader)

    def close(self) -> None:
        """Close both connections."""
        with self._reading:
            self._close()

    def _close(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = self._inodes = None

    def _open(self) -> Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.touch(mode=PRIVATE)
        self._make_private()
        connection = _connect(self.path)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()  # makes its log and index
            self._inodes = self._look()
        except BaseException:
            connection.close()
            raise
        return connection

    def _put_back(self) -> None:
        """Save what is in deleted files where it should be, and close: whoever opens now finds all of it."""
        assert self._inodes is not None, "only what was opened is put back"
        assert self._writer is not None, "only what was opened is put back"
        there = self._look()[0]
        if there not in (0, self._inodes[0]):
            raise FileNotFoundError(ENOENT, "the file was replaced by another one: restart what uses it")
        with self._reading:
            if there:
                if self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]:
                    raise apsw.BusyError
                self._close()
            else:
                copy = self.path.with_name(f"{self.path.name}-restored")
                self.path.parent.mkdir(parents=True, exist_ok=True)
                _copy(self._writer, copy)
                self._close()
                for leftover in self._companions():
                    leftover.unlink(missing_ok=True)
                copy.rename(self.path)
        log.error("file.put_back", file=str(self.path), remedy="find out who deletes it while it is in use")

    def _make_private(self) -> None:
        for path in (self.path, *self._companions()):
            with suppress(FileNotFoundError):
                if stat.S_IMODE(path.stat().st_mode) & ~PRIVATE:
                    path.chmod(PRIVATE)
                    log.warning("file.made_private", file=str(path), reason="it holds personal data")

    def _companions(self) -> Iterator[Path]:
        """Yield the write-ahead log and its index."""
        for suffix in ("-wal", "-shm"):
            yield self.path.with_name(self.path.name + suffix)

    def _look(self) -> Inodes:
        """Return what is there now; 0 for what is not."""
        main, log_file, index = (_inode(path) for path in (self.path, *self._companions()))
        return main, log_file, index


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _copy(connection: Connection, path: Path) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=PRIVATE)
    target = Connection(str(path))
    try:
        with target.backup("main", connection, "main") as backup:
            while not backup.done:
                backup.step(1000)
    finally:
        target.close()


def _connect(path: Path) -> Connection:
    connection = Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_MS)
        journal = _write_ahead(connection)
        connection.execute(_SETTINGS)
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
