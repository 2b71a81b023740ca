"""Serves a simulator: the APIs, the control API, and the callbacks that go out."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from simulator import api, control
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
    """A simulator that is being served at ``url``; what sends each corp's callbacks, by corp id."""

    simulator: Simulator
    url: str
    senders: Mapping[str, CallbackSender]

    async def verify_url(self, app: App | None = None) -> UrlCheck:
        """Check an app's callback URL as the console does at every save."""
        target = app or self.simulator.app
        return await self._sender(self._owner(target)).verify_url(target)

    async def send_forged(self, kind: Forgery | str, app: App | None = None) -> int:
        """Send a callback that WeCom would never send; return the HTTP status of the answer, 0 for none."""
        target = app or self.simulator.app
        owner = self._owner(target)
        query, body = forge(owner.scenario, target, Forgery(kind))
        return await self._sender(owner).post_raw(target, query, body)

    def _owner(self, app: App) -> Simulator:
        """Return the corp that has *app*, by identity: apps of two corps may be equal."""
        corps = self.simulator.corps
        return next((corp for corp in corps if any(own is app for own in corp.corp.apps.values())), self.simulator)

    def _sender(self, corp: Simulator) -> CallbackSender:
        return self.senders[corp.corp.corp_id]


def create_app(simulator: Simulator, senders: Mapping[str, CallbackSender]) -> web.Application:
    """Return the application: ``/cgi-bin/`` for clients, the QR images, ``/_simulator/`` for who directs the play."""
    app = web.Application(client_max_size=_BODY_LIMIT)
    api.add_routes(app, [CgiBin(corp.scenario, corp.tokens) for corp in simulator.corps])
    QrImages(simulator.scenario.world).add_routes(app)
    control.add_routes(app, {c.corp.corp_id: Control(c, senders[c.corp.corp_id]) for c in simulator.corps})
    app.router.add_route("*", "/{anything:.*}", _unknown_path)
    return app


async def _unknown_path(_: web.Request) -> web.Response:
    return web.Response(status=404)


@asynccontextmanager
async def run_simulator(simulator: Simulator, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Server]:
    """Serve *simulator* and the corps added to it while the block runs; port 0 takes a free one."""
    world = simulator.scenario.world
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        senders = {corp.corp.corp_id: CallbackSender(corp.scenario, session) for corp in simulator.corps}
        runner = web.AppRunner(create_app(simulator, senders), access_log=None, shutdown_timeout=_GRACE)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            failure: Exception | None = None
            bound = runner.addresses[0][1]
            world.url = f"http://{host}:{bound}"
            async with asyncio.TaskGroup() as group:
                delivering = [group.create_task(sender.run()) for sender in senders.values()]
                try:
                    yield Server(simulator=simulator, url=world.url, senders=senders)
                except Exception as error:  # noqa: BLE001 - the block's own error leaves without the group's wrapping
                    failure = error
                for task in delivering:
                    task.cancel()
            if failure is not None:
                raise failure
        finally:
            world.stopping.set()
            await runner.cleanup()
