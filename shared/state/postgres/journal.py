"""The journal in PostgreSQL: whoever notes something while another write is under way goes with the next one."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import fields
from typing import Final

from shared.domain.ids import ExternalUserId, StaffUserId
from shared.domain.reports.recollection import Told
from shared.postgres import Postgres, storable
from shared.state.journal import TOLD, JournalEntry

AT_ONCE: Final = 1000

PIECE: Final = 10_000
"""Entries that are told of at once."""

TELLING_SECONDS: Final = 120.0
"""Longest wait for a piece: all entries are put in order before the first."""

_NAMES: Final = [field.name for field in fields(JournalEntry)]
_COLUMNS: Final = ", ".join(_NAMES)
_TYPES: Final = {"at": "double precision", "created_at": "bigint"}

STEPS: Final = (
    """
CREATE TABLE qudao_journal (
    id bigserial PRIMARY KEY, corp text NOT NULL, event_id text NOT NULL, at double precision NOT NULL,
    task text NOT NULL, result text NOT NULL, staff text NOT NULL, customer text NOT NULL, reason text NOT NULL,
    channel text NOT NULL, state text NOT NULL, digest text NOT NULL, created_at bigint NOT NULL
);
CREATE UNIQUE INDEX qudao_journal_once ON qudao_journal (corp, event_id, task, result);
CREATE INDEX qudao_journal_customer ON qudao_journal (corp, customer);
CREATE INDEX qudao_journal_digest ON qudao_journal (corp, digest) WHERE digest <> '';
CREATE INDEX qudao_journal_at ON qudao_journal (corp, at);
CREATE TABLE qudao_journal_forgotten (corp text NOT NULL, at double precision NOT NULL, entries integer NOT NULL);
CREATE TABLE qudao_journal_kept (corp text PRIMARY KEY, since double precision NOT NULL);
""",
)
_INSERT: Final = (
    f"INSERT INTO qudao_journal (corp, {_COLUMNS}) SELECT $1, * FROM unnest("  # noqa: S608 - our own names
    + ", ".join(f"${n}::{_TYPES.get(name, 'text')}[]" for n, name in enumerate(_NAMES, 2))
    + ") ON CONFLICT DO NOTHING"
)
_TELL: Final = (
    f"SELECT {TOLD} FROM qudao_journal WHERE corp = $1 AND at >= $2 AND task <> 'welcome' "  # noqa: S608 - our own names
    'ORDER BY customer COLLATE "C", at, id'
)


class PostgresJournal:
    """:class:`~shared.state.journal.CustomerJournal` in a PostgreSQL database."""

    def __init__(self, database: Postgres, corp: str) -> None:
        self._database = database
        self._corp = corp
        self._waiting: list[JournalEntry] = []
        self._writing = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the tables when missing, and note when the journal of the corp begins."""
        await self._database.migrate("journal", STEPS)
        await self._database.execute(
            "INSERT INTO qudao_journal_kept VALUES ($1, extract(epoch FROM now())) ON CONFLICT DO NOTHING", self._corp
        )

    async def note(self, entry: JournalEntry) -> None:
        """Add *entry* with all others that wait."""
        self._waiting.append(entry)
        async with self._writing:
            if not any(each is entry for each in self._waiting):
                return  # whoever wrote before took it along
            entries, self._waiting = self._waiting, []
            columns = [[storable(getattr(each, name)) for each in entries] for name in _NAMES]
            try:
                await self._database.execute(_INSERT, self._corp, *columns)
            except BaseException:
                self._waiting += [each for each in entries if each is not entry]
                raise

    async def written(self, digests: Collection[str]) -> frozenset[str]:
        """Return those of *digests* that we wrote."""
        rows = await self._database.fetch(
            "SELECT DISTINCT digest FROM qudao_journal WHERE corp = $1 AND digest <> '' AND digest = ANY ($2)",
            self._corp,
            list(digests),
        )
        return frozenset(str(row["digest"]) for row in rows)

    async def story(self, customer: ExternalUserId) -> Sequence[JournalEntry]:
        """Return what happened to *customer*, oldest first."""
        rows = await self._database.fetch(
            f"SELECT {_COLUMNS} FROM qudao_journal WHERE corp = $1 AND customer = $2 ORDER BY at, id",  # noqa: S608 - our own names
            self._corp,
            customer,
        )
        return [JournalEntry(**dict(row)) for row in rows]

    async def kept_since(self) -> float:
        """Return since when all entries are there."""
        (row,) = await self._database.fetch("SELECT since FROM qudao_journal_kept WHERE corp = $1", self._corp)
        return float(row["since"])

    async def members(self) -> frozenset[StaffUserId]:
        """Return all whose customers there are entries of."""
        rows = await self._database.fetch("SELECT DISTINCT staff FROM qudao_journal WHERE corp = $1", self._corp)
        return frozenset(StaffUserId(row["staff"]) for row in rows)

    async def tell(self, since: float, hear: Callable[[Iterable[Told]], None]) -> None:
        """Hand to *hear* what the entries from *since* on tell of relations."""
        async with self._database.connection() as connection, connection.transaction(readonly=True):
            cursor = await connection.cursor(_TELL, self._corp, since, timeout=TELLING_SECONDS)
            while rows := await cursor.fetch(PIECE, timeout=TELLING_SECONDS):
                hear(rows)

    async def forget(self, customer: ExternalUserId, now: float) -> int:
        """Remove all entries of *customer*, and note that it was done."""
        (row,) = await self._database.fetch(
            "WITH gone AS (DELETE FROM qudao_journal WHERE corp = $1 AND customer = $2 RETURNING 1), "
            "noted AS (INSERT INTO qudao_journal_forgotten SELECT $1, $3, count(*) FROM gone) "
            "SELECT count(*)::integer AS removed FROM gone",
            self._corp,
            customer,
            now,
        )
        return int(row["removed"])

    async def expire(self, before: float) -> int:
        """Remove some of the entries from *before*."""
        (row,) = await self._database.fetch(
            "WITH gone AS (DELETE FROM qudao_journal WHERE id IN ("
            "SELECT id FROM qudao_journal WHERE corp = $1 AND at < $2 LIMIT $3) RETURNING 1), "
            "kept AS (UPDATE qudao_journal_kept SET since = $2 "
            "WHERE corp = $1 AND since < $2 AND EXISTS (SELECT FROM gone)) "
            "SELECT count(*) AS removed FROM gone",
            self._corp,
            before,
            AT_ONCE,
        )
        return int(row["removed"])
