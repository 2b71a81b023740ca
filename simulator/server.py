"""Serves a simulator: the APIs, the control API, and the callbacks that go out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from simulator.api import CgiBin
from simulator.callbacks import CallbackSender, UrlCheck
from simulator.control import Control
from simulator.corp import App
from simulator.forgeries import Forgery, forge
from simulator.play import Simulator
from simulator.qr_images import QrImages

_BODY_LIMIT = 2 * 2**20
_GRACE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A simulator that is being served at ``url``."""

    simulator: Simulator
    url: str
    sender: CallbackSender

    async def verify_url(self, app: App | None = None) -> UrlCheck:
        """Check an app's callback URL as the console does at every save."""
        return await self.sender.verify_url(app or self.simulator.app)

    async def send_forged(self, kind: Forgery | str, app: App | None = None) -> int:
        """Send a callback that WeCom would never send; return the HTTP status of the answer, 0 for none."""
        target = app or self.simulator.app
        query, body = forge(self.simulator.scenario, target, Forgery(kind))
        return await self.sender.post_raw(target, query, body)


def create_app(simulator: Simulator, sender: CallbackSender) -> web.Application:
    """Return the application: ``/cgi-bin/`` for clients, the QR images, ``/_simulator/`` for who directs the play."""
    app = web.Application(client_max_size=_BODY_LIMIT)
    CgiBin(simulator.scenario, simulator.tokens).add_routes(app)
    QrImages(simulator.scenario).add_routes(app)
    Control(simulator, sender).add_routes(app)
    app.router.add_route("*", "/{anything:.*}", _unknown_path)
    return app


async def _unknown_path(_: web.Request) -> web.Response:
    return web.Response(status=404)


@asynccontextmanager
async def run_simulator(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Server]:
    """Serve *simulator* while the block runs; port 0 takes a free one."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        sender = CallbackSender(simulator.scenario, session)
        runner = web.AppRunner(create_app(simulator, sender), access_log=None, shutdown_timeout=_GRACE)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            failure: Exception | None = None
            bound = runner.addresses[0][1]
            simulator.scenario.url = f"http://{host}:{bound}"
            async with asyncio.TaskGroup() as group:
                delivering = group.create_task(sender.run())
                try:
                    yield Server(simulator=simulator, url=simulator.scenario.url, sender=sender)
                except Exception as error:  # noqa: BLE001 - the block's own error leaves without the group's wrapping
                    failure = error
                delivering.cancel()
            if failure is not None:
                raise failure
        finally:
            simulator.scenario.stopping.set()
            await runner.cleanup()
