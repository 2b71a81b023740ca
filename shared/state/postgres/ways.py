"""The contact ways in PostgreSQL."""

from collections.abc import Mapping
from typing import Final

from shared.domain.channels.lock import LockedWays
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId
from shared.postgres import Postgres
from shared.state.ways import CLAIM, TAKEN_OVER, WayRow, difference, locked_ways

STEPS: Final = (
    """
CREATE TABLE qudao_way (
    number bigserial PRIMARY KEY, corp text NOT NULL, kind text NOT NULL, id text NOT NULL, document text NOT NULL,
    UNIQUE (corp, kind, id)
);
CREATE TABLE qudao_way_of_others (corp text, config_id text, state text NOT NULL, PRIMARY KEY (corp, config_id));
""",
)
_READ: Final = "SELECT kind, id, document FROM qudao_way WHERE corp = $1 ORDER BY number"
_HELD: Final = "SELECT 1 FROM qudao_claim WHERE corp = $1 AND name = $2 AND owner = $3 FOR UPDATE"
_REMOVE: Final = (
    "DELETE FROM qudao_way WHERE corp = $1 AND (kind, id) IN (SELECT * FROM unnest($2::text[], $3::text[]))"
)
_WRITE: Final = """
INSERT INTO qudao_way (corp, kind, id, document) SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])
ON CONFLICT (corp, kind, id) DO UPDATE SET document = excluded.document
"""
_KEEP: Final = "INSERT INTO qudao_way_of_others SELECT $1, * FROM unnest($2::text[], $3::text[])"


class PostgresWays:
    """A :class:`~shared.state.ways.WayStore` in a PostgreSQL database."""

    def __init__(self, database: Postgres, corp: CorpId) -> None:
        self._database = database
        self._corp = corp

    async def prepare(self) -> None:
        """Make the tables when missing."""
        await self._database.migrate("ways", STEPS)

    async def read(self) -> LockedWays:
        """Return all that is kept."""
        rows = await self._database.fetch(_READ, self._corp)
        return locked_ways(self._corp, [WayRow(**dict(row)) for row in rows])

    async def write(self, owner: str, before: LockedWays, after: LockedWays) -> None:
        """Keep *after* in place of *before* if *owner* holds the claim."""
        written, removed = difference(before, after)
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetchval(_HELD, self._corp, CLAIM, owner) is None:
                raise ConfigurationError([TAKEN_OVER])
            await connection.execute(_REMOVE, self._corp, [kind for kind, _ in removed], [id_ for _, id_ in removed])
            columns = [[getattr(row, name) for row in written] for name in ("kind", "id", "document")]
            await connection.execute(_WRITE, self._corp, *columns)

    async def others(self) -> dict[ContactWayId, str]:
        """Return the states of ways that others made, as far as they were read."""
        rows = await self._database.fetch(
            "SELECT config_id, state FROM qudao_way_of_others WHERE corp = $1", self._corp
        )
        return {ContactWayId(row["config_id"]): row["state"] for row in rows}

    async def keep_others(self, states: Mapping[ContactWayId, str]) -> None:
        """Keep *states* in place of those."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute("DELETE FROM qudao_way_of_others WHERE corp = $1", self._corp)
            await connection.execute(_KEEP, self._corp, list(states), list(states.values()))
