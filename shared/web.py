"""HTTP listeners: how every service serves, and what it shows its operators (`/healthz`, `/readyz`, `/metrics`)."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.http import HttpProcessingError
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError, QueueUnavailable

_CHECK_TIMEOUT: Final = 2.0
_KEEPALIVE: Final = 75.0
_LINGERING: Final = 2.0
_BACKLOG: Final = 1024
_ADMIN_GRACE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Listener:
    """An application that is being served: where, and by what."""

    address: Address
    server: web.Server


def bind(address: Address) -> socket.socket:
    """
    Return a socket that is bound to *address*.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it cannot be resolved"
        raise ConfigurationError(
            [f"cannot listen on {address.host}:{address.port}: {reason}; end what listens there or set another address"]
        ) from error


@asynccontextmanager
async def listening(app: web.Application, bound: socket.socket, *, grace: float) -> AsyncIterator[Listener]:
    """Serve *app* on *bound*; leaving the context stops accepting first and gives handlers *grace* seconds."""
    runner = web.AppRunner(
        app,
        handler_cancellation=False,  # a publish is not cancelled because the caller hangs up
        logger=_http_logger(),
        access_log=None,  # it would write query strings
        auto_decompress=False,  # compressed bodies are refused: nothing is to be unpacked before
        keepalive_timeout=_KEEPALIVE,
        lingering_time=_LINGERING,
        shutdown_timeout=grace,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, bound, backlog=_BACKLOG).start()
        server = runner.server
        assert server is not None, "set by setup()"
        host, port = bound.getsockname()[:2]
        yield Listener(address=Address(host, port), server=server)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def admin_listening(
    address: Address, *, registry: CollectorRegistry, check: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> AsyncIterator[Address]:
    """
    Serve operators at *address* while the context is open.

    Ready means that *check* does not raise QueueUnavailable and *stop* is not set.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    app = create_admin_app(registry=registry, check=check, stop=stop)
    with bind(address) as bound:
        async with listening(app, bound, grace=_ADMIN_GRACE) as listener:
            yield listener.address


def create_admin_app(
    *, registry: CollectorRegistry, check: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> web.Application:
    """Return the application that faces operators."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        if stop.is_set():
            return web.Response(status=503, text="stopping\n")
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT):
                await check()
        except (QueueUnavailable, TimeoutError):
            return web.Response(status=503, text="queue unavailable\n")
        return web.Response(text="ready\n")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


def _http_logger() -> logging.Logger:
    """Return a logger for aiohttp that keeps what it complains about out of the log: pieces of requests."""
    logger = logging.getLogger("qudao.http")
    logger.addFilter(_hide_request)
    return logger


def _hide_request(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.msg, record.args, record.exc_info = "malformed HTTP", None, None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
    return True
