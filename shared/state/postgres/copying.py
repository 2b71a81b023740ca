"""The tables of a state in PostgreSQL, to be copied."""

import orjson

from shared.domain.ids import CorpId
from shared.postgres import Postgres, storable
from shared.state.copying import AT_ONCE, Rows, Table


class PostgresTables:
    """:class:`~shared.state.copying.StateTables` of one corp in a PostgreSQL database."""

    def __init__(self, database: Postgres, corp: CorpId) -> None:
        self._database = database
        self._corp = corp

    async def now(self) -> float:
        """Return the time of the server's clock."""
        (row,) = await self._database.fetch("SELECT qudao_now() AS now")
        return float(row["now"])

    async def count(self, table: Table) -> int:
        """Return how many rows *table* has."""
        (row,) = await self._database.fetch(
            f"SELECT count(*) AS rows FROM {table.postgres} WHERE corp = $1",  # noqa: S608 - our own names
            self._corp,
        )
        return int(row["rows"])

    async def rows(self, table: Table, after: int = 0) -> tuple[Rows, int | None]:
        """Return the next rows of *table*, and where to go on."""
        number = table.cursor or "0"
        page = f"AND {number} > {after} ORDER BY {number} LIMIT {AT_ONCE}" if table.is_long else "ORDER BY 1"
        rows = await self._database.fetch(
            f"SELECT {number} AS number, {', '.join(table.columns)} FROM {table.postgres} WHERE corp = $1 {page}",  # noqa: S608 - our own names
            self._corp,
        )
        following = rows[-1]["number"] if table.is_long and len(rows) == AT_ONCE else None
        return [tuple(row[name] for name in table.columns) for row in rows], following

    async def put(self, table: Table, rows: Rows) -> None:
        """Write *rows* to *table*."""
        columns = ", ".join(table.columns)
        document = orjson.dumps([dict(zip(table.columns, map(storable, row), strict=True)) for row in rows]).decode()
        async with self._database.connection() as connection, connection.transaction():
            if not table.grows:
                await connection.execute(f"DELETE FROM {table.postgres} WHERE corp = $1", self._corp)  # noqa: S608 - our own names
            await connection.execute(
                f"INSERT INTO {table.postgres} (corp, {columns}) SELECT $1, {columns} "  # noqa: S608 - our own names
                f"FROM json_populate_recordset(NULL::{table.postgres}, $2::json) ON CONFLICT DO NOTHING",
                self._corp,
                document,
            )
