"""
A client that nobody here wrote works against the simulator as against WeCom: wechatpy.

Its two addresses are overridden and nothing else. It is synchronous and runs in a thread.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from wechatpy.enterprise import parse_message
from wechatpy.enterprise.client import WeChatClient
from wechatpy.enterprise.crypto import WeChatCrypto
from wechatpy.exceptions import APILimitedException, InvalidSignatureException, WeChatClientException

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.play import APP, CORP_ID
from simulator.server import Server

pytestmark = pytest.mark.filterwarnings(
    r"ignore:`_(get|post)` method of `WeChatClient` is deprecated:DeprecationWarning"
)


@asynccontextmanager
async def serving(**knobs: Any) -> AsyncIterator[Server]:
    async with run_simulator(Simulator(SimulatorConfig.quiet(**knobs))) as server:
        yield server


def wechatpy_client(url: str, secret: str = APP.secret) -> WeChatClient:
    """Return wechatpy's client with its two addresses pointing at the simulator."""

    class Client(WeChatClient):
        API_BASE_URL = f"{url}/cgi-bin/"

        def fetch_access_token(self) -> dict:
            params = {"corpid": self.corp_id, "corpsecret": self.secret}
            return self._fetch_access_token(url=f"{self.API_BASE_URL}gettoken", params=params)

    return Client(CORP_ID, secret, timeout=5)


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(work)


async def test_wechatpy_walks_from_contact_way_to_remark() -> None:
    """Follow users, contact way, list, details, tags: with wechatpy's own calls and its own token."""
    async with serving() as server:
        contact = wechatpy_client(server.url).external_contact
        way = await in_thread(lambda: contact.add_contact_way(1, 2, remark="展会", state="qd_expo", user=["lin.qiao"]))
        scan = await server.simulator.scan(config_id=way["config_id"], customer={"name": "Nana 🌸"})

        def walk() -> dict[str, Any]:
            tags = contact.add_corp_tag(None, "来源", 1, [{"name": "展会"}])["tag_group"]["tag"]
            contact.mark_tag("lin.qiao", scan.external_userid, add_tag=[tags[0]["id"]])
            contact.update_contact_way(way["config_id"], "展会 2", user=["zhou.yi"])
            return {
                "followers": contact.get_follow_user_list()["follow_user"],
                "way": contact.get_contact_way(way["config_id"])["contact_way"],
                "customers": contact.list("lin.qiao")["external_userid"],
                "customer": contact.get(scan.external_userid),
                "tags": contact.get_corp_tag_list()["tag_group"][0]["group_name"],
                "deleted": contact.del_contact_way(way["config_id"])["errcode"],
            }

        seen = await in_thread(walk)
    assert seen["followers"] == ["lin.qiao", "zhou.yi", "wang.fang", "chen.wei"]
    assert (seen["way"]["remark"], seen["way"]["user"]) == ("展会 2", ["zhou.yi"])
    assert (seen["customers"], seen["tags"], seen["deleted"]) == ([scan.external_userid], "来源", 0)
    follow = seen["customer"]["follow_user"][0]
    assert seen["customer"]["external_contact"]["name"] == "Nana 🌸"
    assert (follow["state"], follow["remark"], follow["tags"][0]["tag_name"]) == ("qd_expo", "Nana 🌸", "展会")


async def test_wechatpy_understands_the_errors() -> None:
    """A revoked token is fetched again, 45009 is a limit, others carry their code, a wrong secret fails."""
    async with serving(corp_per_minute=2) as server:
        client = wechatpy_client(server.url)
        contact = client.external_contact
        await in_thread(contact.get_follow_user_list)
        server.simulator.revoke_tokens()
        assert (await in_thread(contact.get_follow_user_list))["errcode"] == 0
        with pytest.raises(APILimitedException):
            await in_thread(contact.get_follow_user_list)
        with pytest.raises(WeChatClientException) as error:
            await in_thread(lambda: contact.list("lin.qiao"))
        assert error.value.errcode == 84061
        with pytest.raises(WeChatClientException) as error:
            await in_thread(wechatpy_client(server.url, "wrong").external_contact.get_follow_user_list)
        assert error.value.errcode == 40001
    calls = server.simulator.journal.codes["externalcontact/get_follow_user_list"]
    assert (calls[0], calls[40014], calls[45009]) == (2, 1, 1)


async def test_wechatpy_receives_the_callbacks() -> None:
    """A receiver made of wechatpy alone passes the URL check and reads the event; a forgery it refuses."""
    crypto = WeChatCrypto(APP.token, APP.aes_key, CORP_ID)
    received: list[Any] = []
    refused: list[str] = []

    async def check(request: web.Request) -> web.Response:
        query = request.query
        plain = crypto.check_signature(query["msg_signature"], query["timestamp"], query["nonce"], query["echostr"])
        return web.Response(text=plain)

    async def receive(request: web.Request) -> web.Response:
        query, body = request.query, await request.text()
        try:
            message = crypto.decrypt_message(body, query["msg_signature"], query["timestamp"], query["nonce"])
        except InvalidSignatureException as error:
            refused.append(type(error).__name__)
            return web.Response(status=403)
        received.append(parse_message(message))
        return web.Response()

    app = web.Application()
    app.router.add_get("/", check)
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with serving() as server:
            simulator = server.simulator
            simulator.change_app(simulator.app, callback_url=f"http://127.0.0.1:{runner.addresses[0][1]}/")
            assert (await server.verify_url()).accepted
            way = simulator.add_contact_way("展会26", ["lin.qiao"])
            scans = [await simulator.scan(config_id=way) for _ in range(40)]
            await simulator.settled()
            assert await server.send_forged("bad_signature") == 403
    finally:
        await runner.cleanup()
    data = [message._data for message in received]
    assert {event["ExternalUserID"] for event in data} == {scan.external_userid for scan in scans}
    assert {(e["ChangeType"], e["State"], e["UserID"]) for e in data} == {
        ("add_external_contact", "展会26", "lin.qiao")
    }
    assert len({event["WelcomeCode"] for event in data}) == 40
    assert refused == ["InvalidSignatureException"]
