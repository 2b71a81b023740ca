"""What a service shows its operators: `/healthz`, `/readyz`, `/metrics`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from socket import socket
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from shared.domain.addresses import Address
from shared.domain.errors import QueueUnavailable
from shared.web.doors import Shortage
from shared.web.exposition import merged
from shared.web.listener import listening

Pages = Callable[[], Awaitable[dict[str, str]]]
"""Returns the pages of metrics of other processes, each by the name that its samples are to bear."""

_CHECK_TIMEOUT: Final = 2.0
_GRACE: Final = 2.0


@asynccontextmanager
async def admin_listening(
    bound: socket,
    *,
    registry: CollectorRegistry,
    check: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    shortage: Shortage,
    others: Pages | None = None,
) -> AsyncIterator[Address]:
    """
    Serve operators on *bound* while the context is open, and close it.

    Ready means that *check* does not raise QueueUnavailable, there is no *shortage* and *stop* is not set. With the
    metrics of this process are shown those of *others*.
    """
    Gauge(
        "qudao_descriptors_short",
        "1 while callers wait for want of a file descriptor",
        registry=registry,
    ).set_function(lambda: float(shortage.lasts))
    app = create_admin_app(registry=registry, check=check, stop=stop, shortage=shortage, others=others)
    with bound:
        async with listening(app, bound, grace=_GRACE, shortage=shortage) as open_at:
            yield open_at


def create_admin_app(
    *,
    registry: CollectorRegistry,
    check: Callable[[], Awaitable[None]],
    stop: asyncio.Event,
    shortage: Shortage,
    others: Pages | None = None,
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
        page = generate_latest(registry)
        if others is not None:
            page = merged({"parent": page.decode(), **await others()})
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app
