"""The state in PostgreSQL: every row carries its corp, so that a database may hold the state of several."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.domain.errors import ConfigurationError
from shared.domain.ids import CorpId
from shared.postgres import Postgres
from shared.quota.port import FileInUse, Limits, no_file
from shared.state.port import SharedState
from shared.state.postgres.copying import PostgresTables
from shared.state.postgres.journal import PostgresJournal
from shared.state.postgres.notices import PostgresNotices
from shared.state.postgres.quota import PostgresQuota
from shared.state.postgres.ways import PostgresWays


@asynccontextmanager
async def open_state(
    url: str, corp: CorpId, limits: Limits, *, onlooker: bool = False, file: FileInUse = no_file
) -> AsyncIterator[SharedState]:
    """
    Yield the state of *corp* in the database that *url* names, whose tables are made when missing.

    Args:
        url, onlooker, file: As in :class:`Postgres` and :class:`PostgresQuota`.

    Raises:
        ConfigurationError: No corp is told, the server refuses the login or is too old, a process of the deployment
            goes by other limits, or a newer Qudao has used the database.
        QueueUnavailable: It cannot be reached.
    """
    if not corp:
        raise ConfigurationError(["QUDAO_CORP_ID: is not set; PostgreSQL may hold the state of several corps"])
    async with Postgres(url) as database, PostgresQuota(database, corp, limits, onlooker=onlooker, file=file) as quota:
        journal = PostgresJournal(database, corp)
        ways = PostgresWays(database, corp)
        for part in (journal, ways):
            await part.prepare()

        async def tell_time() -> float:
            (row,) = await database.fetch("SELECT qudao_now() AS now")
            return float(row["now"])

        yield SharedState(
            name=await quota.store(),
            counters=quota,
            notices=PostgresNotices(database, quota, corp),
            journal=journal,
            ways=ways,
            tables=PostgresTables(database, corp),
            tell_time=tell_time,
        )
