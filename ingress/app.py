"""The two HTTP applications: one faces WeCom and knows one path, the other faces operators."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ingress.callbacks import Callbacks
from shared.domain.errors import QueueUnavailable
from shared.wecom.fields import MAX_BODY

_CHECK_TIMEOUT: Final = 2.0


def create_app(callbacks: Callbacks) -> web.Application:
    """Return the application that faces WeCom: GET and POST of ``/wecom/callback``, nothing else."""
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_get("/wecom/callback", callbacks.check_url, allow_head=False)
    app.router.add_post("/wecom/callback", callbacks.receive)
    app.on_response_prepare.append(_hide_versions)
    return app


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


async def _hide_versions(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "qudao"
