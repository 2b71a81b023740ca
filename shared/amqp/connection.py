"""
An AMQP connection that comes back by itself.

Built on aio-pika's plain connection: its robust one retries without jitter and loops for ever on a queue that was
declared differently. None of aio-pika's exceptions leaves as such: see :func:`translated`.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from itertools import cycle
from typing import Any, Final, Self, cast

import structlog
from aio_pika import Connection
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError, InvalidFrameError, ProbableAuthenticationError
from aiormq import Channel
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.exceptions import PAMQPException
from yarl import URL

from shared.amqp.rights import Right, refusal
from shared.amqp.urls import hosts_in
from shared.domain.errors import ConfigurationError, QudaoError, QueueUnavailable
from shared.tasks import beside, wait_at_most

log = structlog.get_logger()

CONNECT_SECONDS: Final = 5.0
CALL_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 2.0
PAUSES: Final = (0.5, 15.0)
"""Shortest and longest pause between two attempts to connect."""

STEADY_SECONDS: Final = 10.0
"""A connection that lived this long starts the pauses afresh."""

BLOCKED: Final = "the broker takes no messages: it is short of memory or disk"

FAILURES: Final = (AMQPError, ChannelInvalidStateError, PAMQPException, OSError, StopAsyncIteration)
"""
What aiormq fails with when the broker or the link to it does. aio-pika's own list has every RuntimeError, which would
make an absent broker of our own mistakes; the one that aiormq raises when its connection closed is asked for before.
"""

Prepare = Callable[[AbstractConnection], Awaitable[None]]
"""What must be done on a new connection before it is offered to anybody, such as declaring queues."""


@contextmanager
def translated(doing: str, needs: Right = "configure") -> Iterator[None]:
    """
    Turn whatever aio-pika fails with while *doing* something, which *needs* a right, into QueueUnavailable.

    That includes CancelledError: aiormq uses it to end the calls that wait on a connection that closes. A
    cancellation that was asked of this task meanwhile passes, even where aiormq swallows it.
    """
    asked = _cancellations()
    try:
        yield
    except asyncio.CancelledError as exc:
        raise QueueUnavailable(f"cannot {doing}: the connection closed") from exc
    except TimeoutError as exc:
        raise QueueUnavailable(f"cannot {doing}: the broker does not answer") from exc
    except FAILURES as exc:
        raise QueueUnavailable(f"cannot {doing}: {refusal(exc, needs) or said(exc)}") from exc
    except Exception as exc:
        if type(exc) is Exception:  # what aiormq ends waits with on a channel that closed for no reason given
            raise QueueUnavailable(f"cannot {doing}: the channel closed") from exc
        raise
    finally:
        if _cancellations() > asked:
            raise asyncio.CancelledError


class AmqpConnection:
    """One named connection, kept up for as long as the context is open."""

    def __init__(self, url: str, name: str, prepare: Prepare | None = None) -> None:
        """
        Args:
            url: ``amqp://user:password@host:port/vhost`` or ``amqps://…``. Several hosts may be named, comma between:
                they are tried in an order of chance, the next one at once when one is lost.
            name: What the broker's own tools show.
            prepare: Runs on every new connection; its ConfigurationError or QueueUnavailable means another attempt.

        Raises:
            ConfigurationError: *url* is not one. The text does not quote it: it holds a password.
        """
        self._urls = [each.update_query(name=name) for each in hosts_in(url)]
        random.shuffle(self._urls)
        self._name = name
        self._prepare = prepare
        self._connection: AbstractConnection | None = None
        self._lost = asyncio.Event()
        self._usable = asyncio.Event()
        self._tried = asyncio.Event()
        self._stack = AsyncExitStack()
        self.problem: QudaoError | None = QueueUnavailable("not connected yet")
        """Why the connection cannot be used now; None when it can."""

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(beside(self._supervise()))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def tried(self) -> None:
        """Return after the first attempt to connect to each host, however they ended: see ``problem``."""
        await self._tried.wait()

    async def usable(self) -> None:
        """Return once there is a connection, prepared and not blocked."""
        await self._usable.wait()

    async def channel(self, *, confirms: bool = False) -> Channel:
        """
        Open a channel; with *confirms* for publishing. The caller closes it, see :func:`close_channel`.

        Raises:
            QueueUnavailable: There is no usable connection, or it does not answer and is therefore given up.
        """
        if self._connection is None or self.problem is not None:
            raise QueueUnavailable(str(self.problem))
        lost = self._lost
        try:
            return await open_channel(self._connection, confirms=confirms)
        except QueueUnavailable:
            lost.set()
            raise

    async def _supervise(self) -> None:
        """Connect, watch and connect again, for ever."""
        loop = asyncio.get_running_loop()
        failures = 0
        for url in cycle(self._urls):
            started = loop.time()
            transport = _Transport()
            connection = Connection(url)
            connection.kwargs["transport_factory"] = transport
            problem: QudaoError = QueueUnavailable("the connection was lost")
            try:
                await self._open(connection)
                await self._watch(connection)
            except (ConfigurationError, QueueUnavailable) as error:
                problem = error
            finally:
                self._connection = None
                await _close(connection, transport)
            failures = 0 if loop.time() - started > STEADY_SECONDS else failures + 1
            rounds, more = divmod(failures, len(self._urls))
            self._report(problem, final=not more)
            if not more:
                await asyncio.sleep(pause(rounds))

    async def _open(self, connection: Connection) -> None:
        self._lost = lost = asyncio.Event()
        connection.close_callbacks.add(lambda *_: lost.set())
        try:
            with translated("connect"):
                async with asyncio.timeout(CONNECT_SECONDS):
                    await connection.connect()
        except QueueUnavailable as error:
            problem = _refusal(error.__cause__)
            if problem:
                raise ConfigurationError([problem]) from error
            raise
        if self._prepare is not None:
            await self._prepare(connection)

    async def _watch(self, connection: Connection) -> None:
        """Offer *connection* until it is lost, and hold it back while the broker blocks it."""
        lost = self._lost
        self._connection = connection
        while not lost.is_set():
            self._report(QueueUnavailable(BLOCKED) if await _is_blocked(connection) else None)
            await wait_at_most(lost, 0.1)

    def _report(self, problem: QudaoError | None, *, final: bool = True) -> None:
        if str(problem) != str(self.problem):
            if problem is None:
                log.info("amqp.connected", connection=self._name)
            else:
                log.warning("amqp.unavailable", connection=self._name, reason=str(problem))
        self.problem = problem
        if final:
            self._tried.set()
        if problem is None:
            self._usable.set()
        else:
            self._usable.clear()


async def open_channel(connection: AbstractConnection, *, confirms: bool = False) -> Channel:
    """
    Open a channel on *connection*; with *confirms* for publishing.

    It is aiormq's: aio-pika's leaves callbacks with the connection for as long as that lives.
    """
    with translated("open a channel"):
        async with asyncio.timeout(CALL_SECONDS):
            if connection.transport is not None:
                await connection.transport.ready()
            if connection.transport is None or connection.transport.connection.is_closed:
                raise ConnectionError("the connection closed")
            channel = await connection.transport.connection.channel(
                publisher_confirms=confirms, on_return_raises=confirms
            )
    return cast("Channel", channel)


async def close_channel(channel: Channel) -> None:
    """Close *channel* whatever state it and its connection are in; what was not acknowledged on it goes back."""
    with suppress(QueueUnavailable), translated("close a channel"):
        async with asyncio.timeout(CLOSE_SECONDS):
            await channel.close()


@asynccontextmanager
async def channel_for_now(opening: Callable[[], Awaitable[Channel]]) -> AsyncIterator[Channel]:
    """Yield the channel of *opening*, and close it."""
    channel = await opening()
    try:
        yield channel
    finally:
        await close_channel(channel)


class _Transport(TransportFactory):
    """Remembers the socket, so that a link that swallows everything can be cut instead of being waited for."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self,
        url: URL,
        **options: Any,  # noqa: ANN401 - aiormq's own, handed on
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **options)
        return reader, self._writer

    def abort(self) -> None:
        """Cut the link."""
        if self._writer is not None:
            self._writer.transport.abort()


async def _close(connection: Connection, transport: _Transport) -> None:
    try:
        with suppress(QueueUnavailable), translated("close the connection"):
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.close()
    finally:
        transport.abort()


async def _is_blocked(connection: Connection) -> bool:
    """Tell whether the broker sent ``connection.blocked``: aiormq keeps that to itself, but lets us wait for it."""
    if connection.transport is None:
        return False
    try:
        async with asyncio.timeout(0):
            await connection.transport.ready()
    except TimeoutError:
        return True
    return False


def _refusal(cause: BaseException | None) -> str:
    """Return why the broker refuses us for good, if it does."""
    if isinstance(cause, ProbableAuthenticationError):
        return f"the broker refuses the login: {said(cause)}"
    if isinstance(cause, InvalidFrameError) and "Connection.OpenOk" in str(cause):  # aiormq drops the reason
        return "the broker refuses the vhost in the queue's URL: create it, or give the user permissions there"
    return ""


def pause(failures: int) -> float:
    """Return the next pause: doubling, with jitter, so that a fleet does not knock in step."""
    shortest, longest = PAUSES
    return min(shortest * 2.0**failures, longest) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret


def _cancellations() -> int:
    """Return how often this task was asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def said(error: BaseException) -> str:
    """Return what the broker or the system said; neither repeats a password."""
    return str(error) or type(error).__name__
