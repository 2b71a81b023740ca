"""The tables of a state in SQLite, to be copied."""

from collections.abc import Callable
from typing import Any

from apsw import Connection

from shared.sqlite.database import Database
from shared.state.copying import AT_ONCE, Rows, Table


class SqliteTables:
    """:class:`~shared.state.copying.StateTables` in a SQLite file."""

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        """*monotonic* is the clock that the file's rows are measured by."""
        self._database = database
        self._monotonic = monotonic

    async def now(self) -> float:
        """Return the time of the machine's clock."""
        return self._monotonic()

    async def count(self, table: Table) -> int:
        """Return how many rows *table* has."""
        return await self._database.read(
            lambda connection: int(connection.execute(f"SELECT count(*) FROM {table.sqlite}").get)  # noqa: S608 - our own names
        )

    async def rows(self, table: Table, after: int = 0) -> tuple[Rows, int | None]:
        """Return the next rows of *table*, and where to go on."""
        number = table.cursor or "0"
        page = f"WHERE {number} > {after} ORDER BY {number} LIMIT {AT_ONCE}" if table.is_long else "ORDER BY 1"

        def look(connection: Connection) -> list[Any]:
            return connection.execute(
                f"SELECT {number}, {', '.join(table.columns)} FROM {table.sqlite} {page}"  # noqa: S608 - our own names
            ).fetchall()

        rows = await self._database.read(look)
        return [row[1:] for row in rows], rows[-1][0] if table.is_long and len(rows) == AT_ONCE else None

    async def put(self, table: Table, rows: Rows) -> None:
        """Write *rows* to *table*."""
        places = ", ".join("?" * len(table.columns))

        def work(connection: Connection) -> None:
            if not table.grows:
                connection.execute(f"DELETE FROM {table.sqlite}")  # noqa: S608 - our own names
            connection.executemany(
                f"INSERT OR IGNORE INTO {table.sqlite} ({', '.join(table.columns)}) VALUES ({places})",  # noqa: S608 - our own names
                list(rows),
            )

        await self._database.write(work)
