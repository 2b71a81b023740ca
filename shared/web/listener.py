"""Serves an application at an address, and ends without a caller noticing."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError
from shared.summaries import Summaries
from shared.tasks import beside
from shared.web.connections import Bounds, Connection, Connections, Cut, connection_of
from shared.web.doors import Door, Shortage

SETTLE: Final = 0.5
"""Seconds in which handshakes end: a round trip, and less than the second after which a client begins one anew."""

FAREWELL: Final = 3.0
"""Seconds in which whoever keeps a connection open may send one more request, and be told that it is the last."""

_KEEPALIVE: Final = 75.0
_LINGERING: Final = 2.0
_BACKLOG: Final = 1024
_HEADERS: Final = 64
_BUFFER: Final = 16 * 1024
"""Bytes that the kernel holds each way for a connection, about, and so the size of a read."""

_OPTIONS: Final[dict[str, Any]] = {
    "access_log": None,  # it would write query strings
    "auto_decompress": False,  # compressed bodies are refused: nothing is to be unpacked before
    "keepalive_timeout": _KEEPALIVE,
    "lingering_time": _LINGERING,
    "max_headers": _HEADERS,
}

log = structlog.get_logger()


def bind(address: Address, *, shared: bool = False, reserve: bool = False) -> socket.socket:
    """
    Return a socket that listens at *address*, or with *reserve* has it and lets nobody in.

    *shared* lets another process of the same user listen there, too, on Linux.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared and hasattr(socket, "SO_REUSEPORT") and (reserve or address.port != 0):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # 0.0.0.0 is another address
        for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            bound.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER)  # inherited by each connection
        bound.bind((address.host, address.port))
        if not reserve:
            bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "it cannot be resolved"
        raise ConfigurationError(
            [f"cannot listen on {address.host}:{address.port}: {reason}; end what listens there or set another address"]
        ) from error
    return bound


@asynccontextmanager
async def listening(
    app: web.Application,
    bound: socket.socket,
    *,
    grace: float,
    settle: float = 0.0,
    farewell: float = 0.0,
    bounds: Bounds | None = None,
    shortage: Shortage,
    summaries: Summaries | None = None,
    on_cut: Callable[[Cut], None] = lambda _why: None,
) -> AsyncIterator[Address]:
    """
    Serve *app* on *bound*; yield where.

    Leaving the context accepts no more (see :meth:`Door.shut` for *settle*), gives who is connected *farewell* seconds
    to send what they are about to send, and handlers *grace* seconds to end.
    """
    sums = summaries or Summaries()
    connections = Connections(bounds or Bounds.here(), partial(_cut, on_cut, sums))
    app.middlewares.insert(0, _keep_or_close)
    runner = web.AppRunner(app, handler_cancellation=False, shutdown_timeout=grace)  # who hangs up cancels no publish
    await runner.setup()
    try:
        server = runner.server
        assert server is not None, "set by setup()"
        host, port = bound.getsockname()[:2]
        connect = partial(Connection, connections, server, _OPTIONS)
        door = Door(bound, connect, partial(_exhausted, shortage, sums, connections))
        async with beside(door.run()), beside(_watch(connections, sums)):
            yield Address(host, port)
            connections.leaving = True
            await door.shut(settle)
            await connections.left_within(farewell)
    finally:
        await runner.cleanup()
        sums.flush(all_of_it=True)


@web.middleware
async def _keep_or_close(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep the connection of whoever deserved an answer; close that of whoever is refused, and any when we leave."""
    connection = connection_of(request)
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    if response.status >= 400 or connection.leaving:
        response.force_close()
    else:
        connection.trust()
    return response


async def _watch(connections: Connections, sums: Summaries) -> None:
    """Close what is open for nothing, and say what was kept back, for ever."""
    while True:
        await asyncio.sleep(connections.tick)
        connections.cut_slow()
        sums.flush()


def _cut(on_cut: Callable[[Cut], None], sums: Summaries, why: Cut) -> None:
    on_cut(why)
    sums.note(why, lambda times: log.info("connection.cut", reason=why.value, times=times))


def _exhausted(shortage: Shortage, sums: Summaries, connections: Connections, error: OSError) -> None:
    connections.make_room()
    shortage.note()
    reason = os.strerror(error.errno or 0)
    remedy = "raise the limit of open files: ulimit -n, LimitNOFILE="
    sums.note("exhausted", lambda times: log.error("accept.failed", reason=reason, remedy=remedy, times=times))
