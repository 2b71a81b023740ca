"""One file of the spool: events with the lanes they still have to get to, freshest first."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from apsw import Connection

from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.domain.marks import WELCOME_SECONDS
from shared.queue.message import Message
from shared.queue.port import Depth
from shared.sqlite.database import Database
from shared.sqlite.hold import hold

_SCHEMA: Final = (
    """
    CREATE TABLE spooled (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        lane TEXT NOT NULL,
        first_seen REAL NOT NULL,
        event_id TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT;
    CREATE INDEX spooled_by_age ON spooled (lane, first_seen);
    """,
)

_FIRST: Final = (
    "SELECT id, lane, first_seen, event_id, body FROM spooled "
    "WHERE lane = ? AND first_seen > ? AND first_seen <= ? ORDER BY first_seen DESC LIMIT ?"
)
_DEPTHS: Final = "SELECT lane, count(*), min(first_seen) FROM spooled GROUP BY lane"
_EVER: Final = float("inf")


@dataclass(frozen=True, slots=True)
class Spooled:
    """One event for one lane; ``late`` is a welcome whose time is over."""

    id: int
    lane: Lane
    message: Message
    late: bool


class SpoolFile:
    """A file that this process alone has; see :func:`open_spool_file`."""

    def __init__(self, database: Database) -> None:
        self.path = database.path
        self._database = database
        self.insert = database.batched(_insert, grows=True)
        """Begins to write a message for lanes; the result is there once it is durable."""

    async def first(self, now: float, limit: int) -> list[Spooled]:
        """
        Return up to *limit* that are to go first: welcomes while they can be sent, then marks, freshest first.

        Late welcomes, which are only to be recorded, come when there is nothing else.
        """
        in_time = now - WELCOME_SECONDS

        def work(connection: Connection) -> list[Spooled]:
            found: list[Spooled] = []
            for lane, after, until in (
                (Lane.FAST, in_time, _EVER),
                (Lane.LIVE, -_EVER, _EVER),
                (Lane.BULK, -_EVER, _EVER),
                (Lane.FAST, -_EVER, in_time),
            ):
                if len(found) < limit and not (found and until == in_time):
                    rows = connection.execute(_FIRST, (lane.value, after, until, limit - len(found))).fetchall()
                    found += [_spooled(row, late=until == in_time) for row in rows]
            return found

        return await self._database.read(work)

    async def remove(self, items: Sequence[Spooled]) -> None:
        """Remove *items*, which are durable elsewhere."""
        ids = [(item.id,) for item in items]
        await self._database.write(lambda connection: connection.executemany("DELETE FROM spooled WHERE id = ?", ids))

    async def depths(self, now: float) -> list[Depth]:
        """Return how much waits for each lane."""
        return await self._database.read(lambda connection: _depths(connection, now))

    async def check(self) -> None:
        """Return when events can be written; raises QueueUnavailable when not."""
        await self._database.write(lambda connection: connection.execute("PRAGMA user_version = 0"), grows=True)


@asynccontextmanager
async def open_spool_file(path: Path) -> AsyncIterator[SpoolFile | None]:
    """
    Yield the file at *path*, made when missing; None when another process has it.

    Raises:
        QueueUnavailable: It cannot be used.
        ConfigurationError: A newer Qudao wrote it.
    """
    held = hold(path.with_name(f"{path.name}.owner"))
    if held is None:
        yield None
        return
    try:
        async with Database(path) as database:
            await database.migrate("spool", _SCHEMA)
            yield SpoolFile(database)
    finally:
        os.close(held)


async def depths_in(path: Path, now: float) -> list[Depth]:
    """
    Return how much waits in the file at *path*, whoever has it.

    Raises:
        QueueUnavailable: It cannot be used.
    """
    async with Database(path) as database:
        await database.migrate("spool", _SCHEMA)
        return await SpoolFile(database).depths(now)


def _insert(connection: Connection, items: list[tuple[Message, Sequence[Lane]]]) -> Sequence[None]:
    connection.executemany(
        "INSERT INTO spooled (lane, first_seen, event_id, body) VALUES (?, ?, ?, ?)",
        [
            (lane.value, message.first_seen, message.event_id, message.body)
            for message, lanes in items
            for lane in lanes
        ],
    )
    return [None] * len(items)


def _spooled(row: Sequence[Any], *, late: bool) -> Spooled:
    row_id, lane, first_seen, event_id, body = row
    message = Message(event_id=EventId(event_id), body=body, first_seen=first_seen)
    return Spooled(row_id, Lane(lane), message, late)


def _depths(connection: Connection, now: float) -> list[Depth]:
    rows: list[Any] = connection.execute(_DEPTHS).fetchall()
    return [
        Depth(name=f"spool.{lane}", messages=count, oldest_seconds=max(0.0, now - oldest))
        for lane, count, oldest in rows
    ]
