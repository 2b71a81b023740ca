"""Calls through an HTTP proxy, as a machine makes them whose own address cannot be a trusted IP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from shared.domain.errors import ConfigurationNeeded, TransientError
from shared.domain.ids import CorpId
from shared.wecom.client import open_wecom
from simulator import Simulator, SimulatorConfig, run_simulator
from tests.doubles.wecom import OpenQuota

USER, PASSWORD = "qudao", "canary-password"


class Proxy:
    """Forwards what comes with the right credentials."""

    def __init__(self) -> None:
        self.forwarded: list[str] = []
        self.address = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Forward *request* and return the answer."""
        given = request.headers.get("Proxy-Authorization", "")
        if given != aiohttp.encode_basic_auth(USER, PASSWORD):
            return web.Response(status=407, headers={"Proxy-Authenticate": "Basic"})
        self.forwarded.append(request.path)
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, request.raw_path, data=await request.read()) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read())


@asynccontextmanager
async def proxying() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    runner = web.ServerRunner(web.Server(proxy.handle))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        proxy.address = "{}:{}".format(*runner.addresses[0][:2])
        yield proxy
    finally:
        await runner.cleanup()


@asynccontextmanager
async def through(proxy: str, path: str = ""):
    """Yield a client of a simulator that goes through *proxy*."""
    simulator = Simulator(SimulatorConfig.quiet())
    async with (
        run_simulator(simulator) as server,
        open_wecom(
            base_url=server.url + path,
            corp=CorpId(simulator.corp.corp_id),
            corp_secret=simulator.app.secret,
            quota=OpenQuota(),
            proxy=proxy,
        ) as wecom,
    ):
        yield wecom


async def test_every_call_goes_through_the_proxy():
    """gettoken and what follows, GET and POST."""
    async with proxying() as proxy, through(f"http://{USER}:{PASSWORD}@{proxy.address}") as wecom:
        assert await wecom.get_follow_user_list()
        await wecom.get_corp_tags()
        names = ("gettoken", "externalcontact/get_follow_user_list", "externalcontact/get_corp_tag_list")
        assert proxy.forwarded == [f"/cgi-bin/{name}" for name in names]


async def test_a_proxy_that_refuses_is_named_without_its_password():
    """The message says which setting to look at, and holds no secret."""
    async with proxying() as proxy, through(f"http://{USER}:wrong-canary@{proxy.address}") as wecom:
        with pytest.raises((TransientError, ConfigurationNeeded)) as caught:
            await wecom.get_follow_user_list()
    assert "the proxy answered 407. Check QUDAO_API_PROXY" in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_a_proxy_that_is_away_is_named():
    """So is one that nobody listens at."""
    async with through("http://127.0.0.1:9") as wecom:
        with pytest.raises(TransientError, match=r"the proxy cannot be reached\. Check QUDAO_API_PROXY"):
            await wecom.get_follow_user_list()
