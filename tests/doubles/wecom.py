"""A WeCom that answers what a test tells it to, over real HTTP: for what the simulator would never do."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from shared.domain.events import Lane
from shared.domain.ids import CorpId
from shared.quota.port import Permit
from shared.wecom.client import WeCom, open_wecom

SECRET = "PLANTED-secret"
TOKEN = "PLANTED-token"

Reply = dict | web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Seen:
    """One request as the server saw it."""

    endpoint: str
    method: str
    query: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict:
        return orjson.loads(self.raw)

    @property
    def token(self) -> str:
        return self.query["access_token"]


@dataclass
class ScriptedWeCom:
    """
    Answers each API with its scripted replies in turn, the last one for ever; ``{"errcode": 0}`` without any.

    gettoken hands out ``PLANTED-token-1``, ``-2``… and, as WeCom does, only the newest is taken by the other APIs.
    """

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    scripts: dict[str, list[Reply]] = field(default_factory=lambda: defaultdict(list))
    issued: int = 0
    revoked: set[str] = field(default_factory=set)
    expires_in: int = 7200

    def script(self, endpoint: str, *replies: Reply) -> None:
        self.scripts[endpoint] = list(replies)

    def calls(self, endpoint: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.endpoint == endpoint]

    @property
    def token(self) -> str:
        return f"{TOKEN}-{self.issued}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        endpoint = request.path.removeprefix("/cgi-bin/")
        seen = Seen(endpoint, request.method, dict(request.query), await request.read())
        self.seen.append(seen)
        if endpoint == "gettoken" and not self.scripts[endpoint]:
            self.issued += 1
            return answer({"errcode": 0, "access_token": self.token, "expires_in": self.expires_in})
        if endpoint != "gettoken" and (seen.token != self.token or seen.token in self.revoked):
            return answer({"errcode": 40014, "errmsg": "invalid access_token"})
        return await self._scripted(endpoint, request)

    async def _scripted(self, endpoint: str, request: web.Request) -> web.StreamResponse:
        replies = self.scripts[endpoint]
        reply = {"errcode": 0, "errmsg": "ok"} if not replies else replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, dict):
            return answer(reply)
        if isinstance(reply, web.Response):
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        return await reply(request)


def answer(fields: dict) -> web.Response:
    return web.Response(body=orjson.dumps(fields), headers={"Content-Type": "application/json; charset=UTF-8"})


def raw(body: bytes, status: int = 200, content_type: str = "text/html") -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": content_type})


async def reset(request: web.Request) -> web.StreamResponse:
    """Break the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def cut(request: web.Request) -> web.StreamResponse:
    """Break the connection in the middle of the answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"errcode":0,')
    assert request.transport is not None
    request.transport.close()
    return response


async def hang(request: web.Request) -> web.StreamResponse:
    """Never answer; end when the client has gone."""
    await asyncio.Event().wait()
    return web.Response()


@asynccontextmanager
async def scripted_wecom() -> AsyncIterator[ScriptedWeCom]:
    """Yield a server on a free port of the loopback."""
    server = ScriptedWeCom()
    app = web.Application(client_max_size=2**25)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()


@dataclass
class OpenPermit:
    """Leave for a call, at any time unless it is stale."""

    stale: bool = False


@dataclass
class OpenQuota:
    """A quota without limits that remembers what left each permit: None for a success."""

    left: list[tuple[str, Lane, type[BaseException] | None]] = field(default_factory=list)
    open: int = 0
    staff: list[str] = field(default_factory=list)
    stale: bool = False

    def require_open(self, endpoint: str, staff: str) -> bool:
        return True

    @asynccontextmanager
    async def permit(self, endpoint: str, lane: Lane, staff: str = "") -> AsyncIterator[Permit]:
        self.open += 1
        self.staff.append(staff)
        try:
            yield OpenPermit(self.stale)
        except BaseException as error:
            self.left.append((endpoint, lane, type(error)))
            raise
        else:
            self.left.append((endpoint, lane, None))
        finally:
            self.open -= 1


@asynccontextmanager
async def client_of(
    server: ScriptedWeCom, quota: OpenQuota | None = None, *, timeout: float = 5.0
) -> AsyncIterator[WeCom]:
    """Yield a client of *server* that pools connections enough for a hundred calls at once."""
    async with open_wecom(
        base_url=server.url,
        corp=CorpId("ww-corp"),
        corp_secret=SECRET,
        quota=quota or OpenQuota(),
        in_flight=100,
        timeout=timeout,
    ) as wecom:
        yield wecom
