"""
Closes connections on which no callback arrives.

aiohttp waits as long for a first request as for the next one, over a minute. Whoever opens connections and
sends headers letter by letter, or nothing, would hold them all that time.
"""

import asyncio
from typing import Final

from aiohttp import web

from ingress.metrics import IngressMetrics

PATIENCE: Final = 5.0
"""Seconds from connection to the end of the first callback's headers."""


async def reap(
    server: web.Server, heard: set[web.RequestHandler], metrics: IngressMetrics, *, patience: float = PATIENCE
) -> None:
    """Close *server*'s connections that are *patience* seconds old and not *heard* of, until cancelled."""
    loop = asyncio.get_running_loop()
    seen: dict[web.RequestHandler, float] = {}
    while True:
        await asyncio.sleep(patience / 5)
        now = loop.time()
        seen = {connection: seen.get(connection, now) for connection in server.connections}
        heard.intersection_update(seen)
        for connection, since in seen.items():
            if connection not in heard and now - since >= patience:
                connection.force_close()
                metrics.reaped.inc()
