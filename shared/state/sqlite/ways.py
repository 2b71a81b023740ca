"""The contact ways in a SQLite file."""

from collections.abc import Mapping
from typing import Any, Final

from apsw import Connection

from shared.domain.channels.lock import LockedWays
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId
from shared.sqlite.database import Database
from shared.state.ways import CLAIM, TAKEN_OVER, WayRow, difference, locked_ways

STEPS: Final = (
    """
CREATE TABLE way (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, document TEXT NOT NULL, UNIQUE (kind, id)
);
CREATE TABLE way_of_others (config_id TEXT PRIMARY KEY, state TEXT NOT NULL) WITHOUT ROWID;
""",
)


class SqliteWays:
    """A :class:`~shared.state.ways.WayStore` in a SQLite file."""

    def __init__(self, database: Database, corp: CorpId) -> None:
        self._database = database
        self._corp = corp

    async def prepare(self) -> None:
        """Make the tables when missing."""
        await self._database.migrate("ways", STEPS)

    async def read(self) -> LockedWays:
        """Return all that is kept."""

        def look(connection: Connection) -> list[WayRow]:
            rows: list[Any] = connection.execute("SELECT kind, id, document FROM way ORDER BY number").fetchall()
            return [WayRow(kind=kind, id=id_, document=document) for kind, id_, document in rows]

        return locked_ways(self._corp, await self._database.read(look))

    async def write(self, owner: str, before: LockedWays, after: LockedWays) -> None:
        """Keep *after* in place of *before* if *owner* holds the claim."""
        written, removed = difference(before, after)

        def work(connection: Connection) -> None:
            held: Any = connection.execute(
                "SELECT 1 FROM quota_claim WHERE name = ? AND owner = ?", (CLAIM, owner)
            ).fetchone()
            if held is None:
                raise ConfigurationError([TAKEN_OVER])
            connection.executemany("DELETE FROM way WHERE kind = ? AND id = ?", removed)
            connection.executemany(
                "INSERT INTO way (kind, id, document) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, id) DO UPDATE SET document = excluded.document",
                [(row.kind, row.id, row.document) for row in written],
            )

        await self._database.write(work)

    async def others(self) -> dict[ContactWayId, str]:
        """Return the states of ways that others made, as far as they were read."""

        def look(connection: Connection) -> dict[ContactWayId, str]:
            rows: list[Any] = connection.execute("SELECT config_id, state FROM way_of_others").fetchall()
            return {ContactWayId(config_id): state for config_id, state in rows}

        return await self._database.read(look)

    async def keep_others(self, states: Mapping[ContactWayId, str]) -> None:
        """Keep *states* in place of those."""

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM way_of_others")
            connection.executemany("INSERT INTO way_of_others VALUES (?, ?)", list(states.items()))

        await self._database.write(work)
