"""What waits to be written, and those who wait for it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import apsw
from apsw import Connection

from shared.sqlite.reasons import unavailable

T = TypeVar("T")
R = TypeVar("R")


class Job(Generic[T, R]):
    """Items to be written by one function, and those who wait for them."""

    def __init__(self, work: Callable[[Connection, list[T]], Sequence[R]], *, grows: bool = False) -> None:
        self.started = False
        self.grows = grows
        self._work = work
        self._items: list[T] = []
        self._futures: list[asyncio.Future[R]] = []
        self._outcomes: Sequence[R | Exception] = []

    @property
    def lacked_room(self) -> bool:
        """Whether an item found the disk full."""
        return any(isinstance(outcome, apsw.FullError) for outcome in self._outcomes)

    def add(self, item: T) -> "asyncio.Future[R]":
        """Add *item*; its result is there once it is on the disk."""
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

    def refuse(self, error: Exception) -> None:
        """Write nothing, because of *error*."""
        self._outcomes = [error] * len(self._items)

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
                future.set_exception(unavailable(path, outcome))
            else:
                future.set_result(outcome)


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
