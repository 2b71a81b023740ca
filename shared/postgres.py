"""
PostgreSQL off the beaten track of errors: a pool, one listener, tables that bring themselves up to date.

Whatever goes wrong with the server or the line to it is ``QueueUnavailable`` with a reason that quotes neither URL nor
password. The next call makes a new connection: a server that comes back is used again at once, and so is another of
those that the URL names once it writes. What a person must mend is ``ConfigurationError``, at the start alone: later on
whoever works waits until it is mended.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

import asyncpg
import structlog

from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.tasks import beside, wait_at_most

log = structlog.get_logger()

CALL_SECONDS: Final = 5.0
"""Longest wait for an answer."""

CONNECT_SECONDS: Final = 4.0
"""Longest wait for a connection, by all hosts together: less than that for an answer, which it may be a part of."""

LISTENER_SECONDS: Final = 10.0
"""How often the listener makes sure that the server is there: one that lost its power does not say so."""

MOST_CONNECTIONS: Final = 4
OLDEST: Final = 13
_MIGRATION_LOCK: Final = 0x71756461  # "quda"
_AGAIN_SECONDS: Final = 1.0
_HEARD_SECONDS: Final = 2.0

Row = Mapping[str, Any]


class Postgres:
    """One database, used by entering the context."""

    def __init__(self, url: str) -> None:
        """
        *url* is ``postgresql://user:password@host:port/database``.

        Several hosts may be named, comma between: the one that writes is used, whichever it is by now.
        """
        self._urls = _one_for_each_host(url)
        self._pool: asyncpg.Pool | None = None
        self._listeners: list[Callable[[str], None]] = []
        self._line_lost = asyncio.Event()
        self.heard = asyncio.Event()
        """Set while this process hears what others notify."""

    async def __aenter__(self) -> Self:
        """
        Connect.

        Raises:
            ConfigurationError: The server refuses the login, is too old, does not write, or is not the server itself.
            QueueUnavailable: It cannot be reached.
        """
        with at_start(), translated():
            self._pool = await asyncpg.create_pool(
                min_size=0, max_size=MOST_CONNECTIONS, connect=self._connect, reset=_leave_as_it_is
            )
            try:
                await self._examine()
            except BaseException:
                self._pool.terminate()
                raise
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

    async def _connect(self, *_: object, **given: Any) -> asyncpg.Connection:  # noqa: ANN401 - the pool's own
        """Connect to the host that writes, beginning with the last that did; none may use up the time of the others."""
        errors: list[Exception] = []
        for url in tuple(self._urls):
            try:
                connection = await self._connect_to(url, **given)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InternalClientError) as error:
                errors.append(error)
            else:
                self._urls.remove(url)
                self._urls.insert(0, url)
                return connection
        # a standby that may yet be promoted says less than a host that is away, and that less than a wrong password
        raise next(
            each for kind in (asyncpg.PostgresError, OSError, Exception) for each in errors if isinstance(each, kind)
        )

    async def _connect_to(self, url: str, **given: Any) -> asyncpg.Connection:  # noqa: ANN401 - the pool's own
        async with asyncio.timeout(CONNECT_SECONDS / len(self._urls)):
            connection = await asyncpg.connect(
                url, command_timeout=CALL_SECONDS, server_settings={"application_name": "qudao"}, **given
            )
            writes = False
            try:
                # asyncpg's own way to find out does not see all of this before PostgreSQL 14
                writes = await connection.fetchval("SHOW transaction_read_only") == "off"
            finally:
                if not writes:
                    connection.terminate()
        if not writes:
            raise asyncpg.TargetServerAttributeNotMatched("it does not write")
        return connection

    async def _examine(self) -> None:
        """Make sure that this is a PostgreSQL we can use, and no pooler that hands each transaction another session."""
        async with self.connection() as one:
            version = one.get_server_version().major
            if version < OLDEST:
                raise ConfigurationError(
                    [f"QUDAO_STATE_URL: PostgreSQL {version} is too old; {OLDEST} or newer is needed"]
                )
            if await one.fetchval("SELECT pg_backend_pid()") != one.get_server_pid():
                await self._refuse_a_careless_pooler(one)

    async def _refuse_a_careless_pooler(self, one: asyncpg.pool.PoolConnectionProxy) -> None:
        """Find out whether who stands between lets *one* keep its session while *other* is served."""
        heard = asyncio.Event()

        def hear(*_: object) -> None:
            heard.set()

        await one.add_listener("qudao_start", hear)
        async with self.connection() as other:
            await other.execute("NOTIFY qudao_start")
        try:
            async with asyncio.timeout(_HEARD_SECONDS):
                await heard.wait()
        except TimeoutError:
            raise ConfigurationError([f"QUDAO_STATE_URL: {_POOLER}"]) from None
        finally:
            await one.remove_listener("qudao_start", hear)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.pool.PoolConnectionProxy]:
        """
        Yield a connection.

        Raises:
            QueueUnavailable: There is none, or what is done with it fails.
        """
        assert self._pool is not None, "the context was entered"
        with translated():
            async with self._pool.acquire(timeout=CALL_SECONDS) as connection:
                try:
                    yield connection
                except TimeoutError:
                    connection.terminate()  # to ask a silent server to cancel would be to wait once more
                    raise
                except asyncpg.ReadOnlySQLTransactionError:
                    await self._pool.expire_connections()  # another one may write by now
                    self._line_lost.set()
                    raise

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
        with at_start():
            async with self.connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
                if not await connection.fetchval("SELECT to_regclass('qudao_schema')"):
                    await connection.execute("CREATE TABLE qudao_schema (name text PRIMARY KEY, step integer)")
                done = await connection.fetchval("SELECT step FROM qudao_schema WHERE name = $1", name) or 0
                if done > len(steps):
                    raise ConfigurationError(
                        [f"QUDAO_STATE_URL: a newer Qudao has used this database (its {name} tables are at {done})"]
                    )
                if done == len(steps):
                    return
                for step in steps[done:]:
                    await connection.execute(step)
                await connection.execute(
                    "INSERT INTO qudao_schema VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET step = excluded.step",
                    name,
                    len(steps),
                )

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call *listener* with whatever any process notifies on ``qudao``, "" when some may have been missed."""
        self._listeners.append(listener)

    async def _listen(self) -> None:
        """Listen on a connection of our own, for ever."""
        away = False
        while True:
            try:
                with translated():
                    await self._hear()
                away = False
            except QueueUnavailable as error:
                if not away:
                    log.warning("state.unavailable", reason=str(error))
                away = True
            self.heard.clear()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _hear(self) -> None:
        self._line_lost.clear()
        connection = await self._connect()
        try:
            connection.add_termination_listener(lambda _: self._line_lost.set())
            await connection.add_listener("qudao", lambda *told: self._tell(str(told[3])))
            self._tell("")
            self.heard.set()
            while not self._line_lost.is_set():
                await wait_at_most(self._line_lost, LISTENER_SECONDS)
                await connection.execute("SELECT 1")
        finally:
            connection.terminate()

    def _tell(self, payload: str) -> None:
        for listener in self._listeners:
            listener(payload)


def storable(value: Any) -> Any:  # noqa: ANN401 - of any column
    """Return *value*; a text without the one character that PostgreSQL cannot keep."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


_POOLER: Final = (
    "there is a pooler between us and the server that gives each transaction another session, so that nothing is heard "
    "of what other processes notify; name the server itself, or let the pooler keep sessions"
)
_REASONS: Final = {
    asyncpg.InvalidPasswordError: "the password is refused",
    asyncpg.InvalidAuthorizationSpecificationError: "the user is refused",
    asyncpg.InvalidCatalogNameError: "there is no such database",
    socket.gaierror: "its host's name means nothing here (no such host?)",
    asyncpg.TargetServerAttributeNotMatched: "no server that is named can be written to (a standby?); name the primary",
    asyncpg.ReadOnlySQLTransactionError: "the server cannot be written to (a standby?); name the primary",
    asyncpg.InvalidSQLStatementNameError: _POOLER,
    asyncpg.DuplicatePreparedStatementError: _POOLER,
    asyncpg.InsufficientPrivilegeError: "the user may not do what is needed; give it CREATE on the schema, and all on "
    "the tables whose names begin with qudao_",
}
"""What a person must mend."""

_TROUBLE: Final = {
    asyncpg.DiskFullError: "its disk is full",
    asyncpg.OutOfMemoryError: "it is out of memory",
    asyncpg.TooManyConnectionsError: "it has no connection left for us (max_connections)",
    asyncpg.CannotConnectNowError: "it is starting or stopping",
    asyncpg.AdminShutdownError: "it ended the connection",
    asyncpg.CrashShutdownError: "it ended the connection",
    asyncpg.PostgresError: "it cannot do what it is asked",
}
"""What may pass by itself."""


def _one_for_each_host(url: str) -> list[str]:
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    login, at, hosts = authority.rpartition("@")
    return [f"{scheme}://{login}{at}{host}/{path}" for host in hosts.split(",")]


async def _leave_as_it_is(connection: asyncpg.Connection) -> None:
    """Nothing of ours outlives its transaction: to reset the session would be a second round trip for each call."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of PostgreSQL and of the line to it into ours; nothing of a URL is in their text."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        known = {**_REASONS, **_TROUBLE}
        reason = next((said for kind, said in known.items() if isinstance(error, kind)), "it cannot be reached")
        raise QueueUnavailable(f"PostgreSQL: {reason} ({type(error).__name__})") from error


@contextmanager
def at_start() -> Iterator[None]:
    """Turn what a person must mend into a ConfigurationError."""
    try:
        yield
    except QueueUnavailable as error:
        for kind, reason in _REASONS.items():
            if isinstance(error.__cause__, kind):
                raise ConfigurationError([f"QUDAO_STATE_URL: {reason}"]) from error
        raise
