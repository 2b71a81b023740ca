"""The state in a SQLite file: all its parts over one connection for writes, which commits what comes together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

from apsw import Connection

from shared.clock import Clock
from shared.domain.errors import ConfigurationError
from shared.domain.ids import CorpId
from shared.quota.port import FileInUse, Limits, no_file
from shared.sqlite.database import Database
from shared.state.port import SharedState
from shared.state.sqlite.copying import SqliteTables
from shared.state.sqlite.journal import SqliteJournal
from shared.state.sqlite.notices import SqliteNotices
from shared.state.sqlite.quota import SqliteQuota
from shared.state.sqlite.ways import SqliteWays

STEPS: Final = (
    """
CREATE TABLE state (id TEXT NOT NULL, corp TEXT NOT NULL);
INSERT INTO state VALUES (lower(hex(randomblob(8))), '');
""",
)


@asynccontextmanager
async def open_state(
    database: Database,
    corp: CorpId,
    limits: Limits,
    clock: Clock,
    *,
    onlooker: bool = False,
    file: FileInUse = no_file,
) -> AsyncIterator[SharedState]:
    """
    Yield the state of *corp* in *database*, whose tables are made when missing.

    Args:
        corp: Whose state it is; empty for a command that was told no corp, and goes by whosever it is.
        onlooker, file: As in :class:`SqliteQuota`.

    Raises:
        ConfigurationError: It is another corp's, or a newer Qudao has written it.
        QueueUnavailable: The file cannot be used.
    """
    await database.migrate("state", STEPS)
    name = await _name(database, corp)
    journal = SqliteJournal(database)
    ways = SqliteWays(database, corp)
    for part in (journal, ways):
        await part.prepare()
    async with SqliteQuota(database, limits, clock, onlooker=onlooker, file=file) as quota:
        yield SharedState(
            name=name,
            counters=quota,
            notices=SqliteNotices(database),
            journal=journal,
            ways=ways,
            tables=SqliteTables(database, monotonic),
        )


async def _name(database: Database, corp: CorpId) -> str:
    """Return what tells this file from any other, having made sure that it is *corp*'s; the first one owns it."""

    def work(connection: Connection) -> str:
        if corp:
            connection.execute("UPDATE state SET corp = ? WHERE corp = ''", (corp,))
        name, owner = connection.execute("SELECT id, corp FROM state").get
        if corp and owner != corp:
            raise ConfigurationError(
                [f"{database.path}: is the state of corp {owner}, but QUDAO_CORP_ID is {corp}; use another file"]
            )
        return str(name)

    return await database.write(work)
