"""
PostgreSQL off the beaten track of errors: a pool, one listener, tables that bring themselves up to date.

Whatever goes wrong with the server or the line to it is ``QueueUnavailable`` with a reason that quotes neither URL nor
password. The next call makes a new connection: a server that comes back is used again at once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

import asyncpg
import structlog

from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.tasks import beside

log = structlog.get_logger()

CALL_SECONDS: Final = 5.0
"""Longest wait for an answer."""

CONNECT_SECONDS: Final = 5.0
MOST_CONNECTIONS: Final = 4
OLDEST: Final = 13
_MIGRATION_LOCK: Final = 0x71756461  # "quda"
_AGAIN_SECONDS: Final = 1.0

Row = Mapping[str, Any]


class Postgres:
    """One database, used by entering the context."""

    def __init__(self, url: str) -> None:
        """*url* is ``postgresql://user:password@host:port/database``; several hosts may be named, comma between."""
        self._url = url
        self._pool: asyncpg.Pool | None = None
        self._listeners: list[Callable[[str], None]] = []
        self.heard = asyncio.Event()
        """Set while this process hears what others notify."""

    async def __aenter__(self) -> Self:
        """
        Connect.

        Raises:
            ConfigurationError: The server refuses the login, is too old, or has no such database.
            QueueUnavailable: It cannot be reached.
        """
        with translated("connect"):
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                max_size=MOST_CONNECTIONS,
                timeout=CONNECT_SECONDS,
                command_timeout=CALL_SECONDS,
                server_settings={"application_name": "qudao"},
            )
        async with self.connection() as connection:
            version = connection.get_server_version().major
        if version < OLDEST:
            await self._pool.close()
            raise ConfigurationError([f"QUDAO_STATE_URL: PostgreSQL {version} is too old; {OLDEST} or newer is needed"])
        self._listening = beside(self._listen())
        await self._listening.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:  # noqa: ANN401 - handed on
        """Close."""
        await self._listening.__aexit__(*error)
        if self._pool is not None:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """
        Yield a connection.

        Raises:
            QueueUnavailable: There is none, or what is done with it fails.
        """
        assert self._pool is not None, "the context was entered"
        with translated("ask"):
            async with self._pool.acquire(timeout=CALL_SECONDS) as connection:
                yield connection

    async def fetch(self, statement: str, *arguments: object) -> list[Row]:
        """Return the rows of *statement*; QueueUnavailable when there is no answer."""
        async with self.connection() as connection:
            rows: list[Row] = await connection.fetch(statement, *arguments)
            return rows

    async def execute(self, statement: str, *arguments: object) -> str:
        """Run *statement* and return its tag, ``INSERT 0 1``; QueueUnavailable when there is no answer."""
        async with self.connection() as connection:
            tag: str = await connection.execute(statement, *arguments)
            return tag

    async def migrate(self, name: str, steps: Sequence[str]) -> None:
        """
        Bring the tables of *name* up to date: each of *steps* runs once per database, in order, one process at a time.

        Raises:
            ConfigurationError: A newer Qudao wrote the database, or the user may not make tables.
        """
        try:
            async with self.connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
                await connection.execute(
                    "CREATE TABLE IF NOT EXISTS qudao_schema (name text PRIMARY KEY, step integer)"
                )
                done = await connection.fetchval("SELECT step FROM qudao_schema WHERE name = $1", name) or 0
                if done > len(steps):
                    raise ConfigurationError(
                        [f"QUDAO_STATE_URL: a newer Qudao has used this database (its {name} tables are at {done})"]
                    )
                for step in steps[done:]:
                    await connection.execute(step)
                await connection.execute(
                    "INSERT INTO qudao_schema VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET step = excluded.step",
                    name,
                    len(steps),
                )
        except QueueUnavailable as error:
            if isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError | asyncpg.ReadOnlySQLTransactionError):
                raise ConfigurationError(
                    [f"QUDAO_STATE_URL: the tables cannot be made: {error}. Give its user CREATE on the schema"]
                ) from error
            raise

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call *listener* with whatever any process notifies on ``qudao``, "" when some may have been missed."""
        self._listeners.append(listener)

    async def _listen(self) -> None:
        """Listen on a connection of our own, for ever."""
        away = False
        while True:
            try:
                with translated("listen"):
                    await self._hear()
                away = False
            except (QueueUnavailable, ConfigurationError) as error:
                if not away:
                    log.warning("state.unavailable", reason=str(error))
                away = True
            self.heard.clear()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _hear(self) -> None:
        lost = asyncio.Event()
        connection = await asyncpg.connect(self._url, timeout=CONNECT_SECONDS, command_timeout=CALL_SECONDS)
        try:
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener("qudao", lambda *told: self._tell(str(told[3])))
            self._tell("")
            self.heard.set()
            await lost.wait()
        finally:
            await connection.close(timeout=CALL_SECONDS)

    def _tell(self, payload: str) -> None:
        for listener in self._listeners:
            listener(payload)


def storable(value: Any) -> Any:  # noqa: ANN401 - of any column
    """Return *value*; a text without the one character that PostgreSQL cannot keep."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


_WRONG: Final = {
    asyncpg.InvalidPasswordError: "the password is refused",
    asyncpg.InvalidAuthorizationSpecificationError: "the user is refused",
    asyncpg.InvalidCatalogNameError: "there is no such database",
}


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the errors of PostgreSQL and of the line to it into ours; nothing of a URL is in their text."""
    try:
        yield
    except tuple(_WRONG) as error:
        reason = next(said for kind, said in _WRONG.items() if isinstance(error, kind))
        raise ConfigurationError([f"QUDAO_STATE_URL: {reason}"]) from error
    except asyncpg.PostgresError as error:
        raise QueueUnavailable(f"PostgreSQL cannot {doing}: {type(error).__name__}") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        raise QueueUnavailable(f"PostgreSQL cannot be reached: {type(error).__name__}") from error
