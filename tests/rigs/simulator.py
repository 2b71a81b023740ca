"""A running simulator, a client that knows nothing but JSON over HTTP, and a receiver of callbacks."""

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from shared.wecom.crypto import CallbackKeys
from simulator import App, Simulator, SimulatorConfig, run_simulator
from simulator.server import Server


@dataclass
class Client:
    """Calls the APIs of one app, each call with the present token."""

    session: aiohttp.ClientSession
    simulator: Simulator
    token: str = ""

    async def get_token(self, **query: str) -> dict[str, Any]:
        query = {"corpid": self.simulator.corp.corp_id, "corpsecret": self.simulator.app.secret} | query
        answer = await self.raw("GET", "gettoken", query)
        self.token = answer.get("access_token", self.token)
        return answer

    async def raw(self, method: str, path: str, query: dict[str, str], **request: Any) -> dict[str, Any]:
        async with self.session.request(method, f"/cgi-bin/{path}", params=query, **request) as response:
            return await response.json()

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        return await self.raw("GET", path, {"access_token": self.token, **query})

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        return await self.raw("POST", path, {"access_token": self.token}, json=body)

    async def code(self, path: str, **body: Any) -> int:
        return (await self.post(path, **body))["errcode"]

    async def control(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        async with self.session.request(method, f"/_simulator/{path}", json=body, params=query) as response:
            return await response.json()

    async def add_way(self, state: str = "qd_expo", **fields: Any) -> str:
        body = {"type": 1, "scene": 2, "state": state, "user": ["lin.qiao"]} | fields
        answer = await self.post("externalcontact/add_contact_way", **body)
        assert answer["errcode"] == 0, answer
        return answer["config_id"]


@dataclass
class Receiver:
    """Receives callbacks, decrypts them, and answers what ``answer`` says (200 and nothing unless told otherwise)."""

    keys: CallbackKeys
    url: str = ""
    events: list[dict[str, str]] = field(default_factory=list)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    plain: list[bytes] = field(default_factory=list)
    answer: Callable[[], web.Response] = web.Response
    answer_check: Callable[[bytes], Any] = lambda plaintext: web.Response(body=plaintext)

    async def receive(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.requests.append((request.rel_url.raw_query_string, raw))
        encrypted = ET.fromstring(raw).findtext("Encrypt") if raw[:1] == b"<" else (await request.json())["encrypt"]
        message = self.open(request, encrypted or "")
        self.plain.append(message)
        if message[:1] == b"<":
            self.events.append({child.tag: child.text or "" for child in ET.fromstring(message)})
        return self.answer()

    async def check(self, request: web.Request) -> web.Response:
        self.requests.append((request.rel_url.raw_query_string, b""))
        answer = self.answer_check(self.open(request, request.query["echostr"]))
        return await answer if asyncio.iscoroutine(answer) else answer

    def open(self, request: web.Request, encrypted: str) -> bytes:
        query = request.query
        assert self.keys.verify(query["msg_signature"], query["timestamp"], query["nonce"], encrypted)
        return self.keys.decrypt(encrypted)

    def changes(self) -> list[str]:
        return [event["ChangeType"] for event in self.events]


@asynccontextmanager
async def receiver(app: App, corp_id: str) -> AsyncIterator[Receiver]:
    """Serve a receiver for *app* and point the app at it."""
    keys = CallbackKeys(token=app.token, aes_key=app.aes_key, receive_id=corp_id)
    receiving = Receiver(keys=keys)
    web_app = web.Application()
    web_app.router.add_post("/wecom/callback", receiving.receive)
    web_app.router.add_get("/wecom/callback", receiving.check)
    runner = web.AppRunner(web_app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiving.url = app.callback_url = f"http://127.0.0.1:{runner.addresses[0][1]}/wecom/callback"
    try:
        yield receiving
    finally:
        await runner.cleanup()


@dataclass
class Rig:
    """Everything a test of the simulator needs."""

    simulator: Simulator
    server: Server
    client: Client
    receiver: Receiver

    async def scan(self, **where: Any) -> Any:
        """Let a customer scan and wait until the events are delivered."""
        scan = await self.simulator.scan(**where)
        await self.simulator.settled()
        return scan

    async def friend(self, state: str = "qd_expo") -> str:
        """Return a new customer of lin.qiao."""
        return (await self.scan(config_id=await self.client.add_way(state))).external_userid


@asynccontextmanager
async def rig(**knobs: Any) -> AsyncIterator[Rig]:
    """Run a quiet simulator with *knobs*, a client with a token, and a receiver of its callbacks."""
    async with corps(1, **knobs) as (only,):
        yield only


@asynccontextmanager
async def corps(count: int, **knobs: Any) -> AsyncIterator[list[Rig]]:
    """Run one quiet simulator of *count* corps, each with a client and a receiver of its own."""
    first = Simulator(SimulatorConfig.quiet(**knobs))
    for _ in range(count - 1):
        first.add_corp()
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(receiver(s.app, s.corp.corp_id)) for s in first.corps]
        server = await stack.enter_async_context(run_simulator(first))
        session = await stack.enter_async_context(aiohttp.ClientSession(server.url))
        clients = [Client(session, simulator) for simulator in first.corps]
        for client in clients:
            await client.get_token()
        yield [
            Rig(client.simulator, server, client, receiving)
            for client, receiving in zip(clients, receivers, strict=True)
        ]
