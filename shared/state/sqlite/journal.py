"""The journal in a SQLite file: a commit of the file serves all who note something at the same time."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import astuple, fields
from typing import Any, Final, cast

import orjson
from apsw import Connection

from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.reports.recollection import Told
from shared.sqlite.database import Database
from shared.state.journal import TOLD, JournalEntry

AT_ONCE: Final = 1000
"""Entries that one expiry removes, so that nobody waits for long."""

_COLUMNS: Final = ", ".join(field.name for field in fields(JournalEntry))

STEPS: Final = (
    """
CREATE TABLE journal (
    id INTEGER PRIMARY KEY, event_id TEXT NOT NULL, at REAL NOT NULL, task TEXT NOT NULL, result TEXT NOT NULL,
    staff TEXT NOT NULL, customer TEXT NOT NULL, reason TEXT NOT NULL, channel TEXT NOT NULL, state TEXT NOT NULL,
    digest TEXT NOT NULL, created_at INTEGER NOT NULL
);
CREATE UNIQUE INDEX journal_once ON journal (event_id, task, result);
CREATE INDEX journal_customer ON journal (customer);
CREATE INDEX journal_digest ON journal (digest) WHERE digest <> '';
CREATE INDEX journal_at ON journal (at);
CREATE TABLE journal_forgotten (at REAL NOT NULL, entries INTEGER NOT NULL);
CREATE TABLE journal_kept (since REAL NOT NULL);
INSERT INTO journal_kept VALUES (unixepoch('subsec'));
""",
)
_SINCE: Final = "SELECT since FROM journal_kept"
_TELL: Final = f"SELECT {TOLD} FROM journal WHERE at >= ? AND task <> 'welcome' ORDER BY customer, at, id"  # noqa: S608 - our own names


class SqliteJournal:
    """:class:`~shared.state.journal.CustomerJournal` in a SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.batched(_insert)

    async def prepare(self) -> None:
        """Make the table when missing."""
        await self._database.migrate("journal", STEPS)

    async def note(self, entry: JournalEntry) -> None:
        """Add *entry* with all others that come together."""
        await asyncio.shield(self._insert(entry))

    async def written(self, digests: Collection[str]) -> frozenset[str]:
        """Return those of *digests* that we wrote."""

        def look(connection: Connection) -> frozenset[str]:
            rows: list[Any] = connection.execute(
                "SELECT digest FROM journal WHERE digest <> '' AND digest IN (SELECT value FROM json_each(?))",
                (orjson.dumps(list(digests)).decode(),),
            ).fetchall()
            return frozenset(digest for (digest,) in rows)

        return await self._database.read(look)

    async def story(self, customer: ExternalUserId) -> Sequence[JournalEntry]:
        """Return what happened to *customer*, oldest first."""

        def look(connection: Connection) -> list[JournalEntry]:
            rows: list[Any] = connection.execute(
                f"SELECT {_COLUMNS} FROM journal WHERE customer = ? ORDER BY at, id",  # noqa: S608 - our own names
                (customer,),
            ).fetchall()
            return [JournalEntry(**dict(zip(_COLUMNS.split(", "), row, strict=True))) for row in rows]

        return await self._database.read(look)

    async def kept_since(self) -> float:
        """Return since when all entries are there."""
        return await self._database.read(lambda connection: float(connection.execute(_SINCE).get))

    async def members(self) -> frozenset[StaffUserId]:
        """Return all whose customers there are entries of."""

        def look(connection: Connection) -> frozenset[StaffUserId]:
            rows: list[Any] = connection.execute("SELECT DISTINCT staff FROM journal").fetchall()
            return frozenset(staff for (staff,) in rows)

        return await self._database.read(look)

    async def tell(self, since: float, hear: Callable[[Iterable[Told]], None]) -> None:
        """Hand to *hear* what the entries from *since* on tell of relations."""
        await self._database.read(
            lambda connection: hear(cast("Iterable[Told]", connection.execute(_TELL, (since,))))  # tuples alike
        )

    async def forget(self, customer: ExternalUserId, now: float) -> int:
        """Remove all entries of *customer*, and note that it was done."""

        def work(connection: Connection) -> int:
            connection.execute("DELETE FROM journal WHERE customer = ?", (customer,))
            removed = connection.changes()
            connection.execute("INSERT INTO journal_forgotten VALUES (?, ?)", (now, removed))
            return removed

        return await self._database.write(work)

    async def expire(self, before: float) -> int:
        """Remove some of the entries from *before*."""

        def work(connection: Connection) -> int:
            connection.execute(
                "DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE at < ? LIMIT ?)", (before, AT_ONCE)
            )
            removed = connection.changes()
            if removed:
                connection.execute("UPDATE journal_kept SET since = ?1 WHERE since < ?1", (before,))
            return removed

        return await self._database.write(work)


def _insert(connection: Connection, entries: list[JournalEntry]) -> Sequence[None]:
    connection.executemany(
        f"INSERT OR IGNORE INTO journal ({_COLUMNS}) VALUES ({', '.join('?' * len(fields(JournalEntry)))})",  # noqa: S608 - our own names
        map(astuple, entries),
    )
    return [None] * len(entries)
