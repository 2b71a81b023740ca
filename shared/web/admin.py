"""What a service shows its operators: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.domain.addresses import Address
from shared.domain.errors import QueueUnavailable
from shared.web.doors import Shortage
from shared.web.listener import bind, listening

_CHECK_TIMEOUT: Final = 2.0
_GRACE: Final = 2.0


@asynccontextmanager
async def admin_listening(
    address: Address,
    *,
    registry: CollectorRegistry,
    check: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    shortage: Shortage,
) -> AsyncIterator[Address]:
    """
    Serve operators at *address* while the context is open.

    Ready means that *check* does not raise QueueUnavailable, there is no *shortage* and *stop* is not set.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    Gauge(
        "qudao_descriptors_short",
        "1 while callers wait for want of a file descriptor",
        registry=registry,
    ).set_function(lambda: float(shortage.lasts))
    app = create_admin_app(registry=registry, check=check, stop=stop, shortage=shortage)
    with bind(address) as bound:
        async with listening(app, bound, grace=_GRACE, shortage=shortage) as open_at:
            yield open_at


def create_admin_app(
    *, registry: CollectorRegistry, check: Callable[[], Awaitable[None]], stop: asyncio.Event, shortage: Shortage
) -> web.Application:
    """Return the application that faces operators."""

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        if stop.is_set():
            return web.Response(status=503, text="stopping\n")
        if shortage.lasts:
            return web.Response(status=503, text="no file descriptors left\n")
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
