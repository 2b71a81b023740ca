"""Runs HTTP listeners, and the one that faces operators: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.domain.errors import ConfigurationError, QueueUnavailable

_CHECK_TIMEOUT: Final = 2.0
_KEEPALIVE: Final = 75.0
_LINGERING: Final = 2.0
_BACKLOG: Final = 1024
_ADMIN_GRACE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Port 0 takes a free one."""

    host: str
    port: int


@asynccontextmanager
async def listening(app: web.Application, address: Address, *, grace: float) -> AsyncIterator[tuple[Address, web.Server]]:
    """
    Serve *app* at *address*; yield the address with the port it got. Leaving accepts no more, then gives handlers *grace* seconds.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    runner = web.AppRunner(
        app,
        handler_cancellation=False,  # a publish is not cancelled because the caller hangs up
        access_log=None,  # it would write query strings
        auto_decompress=False,  # compressed bodies are refused: nothing is to be unpacked before
        keepalive_timeout=_KEEPALIVE,
        lingering_time=_LINGERING,
        shutdown_timeout=grace,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, address.host, address.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise ConfigurationError([f"cannot listen on {address.host}:{address.port}: {error.strerror}"]) from error
        server = runner.server
        assert server is not None, "set by setup()"
        yield Address(address.host, site.port), server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def admin_listening(
    address: Address, *, registry: CollectorRegistry, check: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> AsyncIterator[Address]:
    """
    Serve operators at *address* while the context is open.

    Ready means that *check* does not raise QueueUnavailable and *stop* is not set.
    """
    app = create_admin_app(registry=registry, check=check, stop=stop)
    async with listening(app, address, grace=_ADMIN_GRACE) as (bound, _):
        yield bound


def create_admin_app(
    *, registry: CollectorRegistry, check: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> web.Application:
    """
    Return the application that faces operators: ``/healthz``, ``/readyz``, ``/metrics``.

    Ready means that *check* does not raise QueueUnavailable and *stop* is not set.
    """

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
