"""A running ingress for tests: the real server on free ports, and the requests WeCom would send it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote

import aiohttp
from prometheus_client import CollectorRegistry

from ingress.server import serve
from shared.clock import SystemClock
from shared.domain.addresses import Address
from shared.domain.events import Lane
from shared.queue.message import Message
from shared.queue.port import EventQueue
from shared.web.admin import admin_listening
from shared.web.connections import Bounds
from shared.web.doors import Shortage
from shared.web.listener import bind
from shared.wecom.crypto import CallbackKeys, Keyring
from tests.callback_vectors import OWN
from tests.doubles.queue import MemoryQueue

ANY_PORT = Address("127.0.0.1", 0)
ADD_EVENT = (
    "<xml><ToUserName><![CDATA[ww9f8e7d6c5b4a3210]]></ToUserName><FromUserName><![CDATA[sys]]></FromUserName>"
    "<CreateTime>1767229384</CreateTime><MsgType><![CDATA[event]]></MsgType>"
    "<Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType>"
    "<UserID><![CDATA[lin.qiao]]></UserID>"
    "<ExternalUserID><![CDATA[wmK3vTBwAAh2Yq0ZsPd7uXn4rCf6LmEg]]></ExternalUserID>"
    "<State><![CDATA[渠道{number}]]></State><WelcomeCode><![CDATA[canary-code]]></WelcomeCode></xml>"
)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request's path with query, and its body."""

    path: str
    body: bytes = b""


def query(keys: CallbackKeys, encrypted: str, *, timestamp: str = "1767225600", nonce: str = "7") -> str:
    """Return the path and query that sign *encrypted*."""
    signature = keys.sign(timestamp, nonce, encrypted)
    return f"/wecom/callback?msg_signature={signature}&timestamp={timestamp}&nonce={nonce}"


def envelope(encrypted: str) -> bytes:
    """Return the XML envelope of *encrypted*."""
    return (
        "<xml><ToUserName><![CDATA[x]]></ToUserName><AgentID><![CDATA[1000027]]></AgentID>"
        f"<Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
    ).encode()


def post(message: str | bytes, keys: CallbackKeys = OWN) -> Sent:
    """Return the callback that carries *message*."""
    encrypted = keys.encrypt(message if isinstance(message, bytes) else message.encode(), random=bytes(16))
    return Sent(path=query(keys, encrypted), body=envelope(encrypted))


def added(number: int = 0) -> Sent:
    """Return the callback of a customer added; each number is an event of its own."""
    return post(ADD_EVENT.replace("{number}", str(number)))


def check(keys: CallbackKeys, encrypted: str, *, timestamp: str = "1767225600", nonce: str = "7") -> Sent:
    """Return the URL check with *encrypted*, percent-encoded as WeCom does."""
    path = query(keys, encrypted, timestamp=timestamp, nonce=nonce)
    return Sent(path=f"{path}&echostr={quote(encrypted, safe='')}")


class HeldQueue(MemoryQueue):
    """A queue whose publishes wait until the test lets them."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.begun = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()
        self.published: list[Message] = []
        self.error: Exception | None = None

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Wait, then fail as told or publish."""
        self.begun.release()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        await super().publish(message, lanes)
        self.published.append(message)


@dataclass(kw_only=True)
class Ingress:
    """A running ingress."""

    queue: EventQueue
    registry: CollectorRegistry
    session: aiohttp.ClientSession
    stop: asyncio.Event
    callbacks: Address = field(init=False)
    admin: Address = field(init=False)

    @property
    def url(self) -> str:
        """Where WeCom calls."""
        return f"http://127.0.0.1:{self.callbacks.port}"

    @property
    def admin_url(self) -> str:
        """Where operators look."""
        return f"http://127.0.0.1:{self.admin.port}"

    async def get(self, sent: Sent) -> tuple[int, bytes]:
        """Send a URL check; return status and body."""
        async with self.session.get(self.url + sent.path) as response:
            return response.status, await response.read()

    async def post(self, sent: Sent) -> tuple[int, bytes]:
        """Send an event; return status and body."""
        async with self.session.post(self.url + sent.path, data=sent.body) as response:
            return response.status, await response.read()

    async def waiting(self) -> dict[str, int]:
        """Return how many messages wait in each lane."""
        depths = await self.queue.depths()
        return {depth.name: depth.messages for depth in depths if depth.messages}

    def count(self, name: str, **labels: str) -> float:
        """Return the value of a metric, 0 if it was never set."""
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running_ingress(
    *,
    keys: CallbackKeys = OWN,
    keyring: Keyring | None = None,
    queue: EventQueue | None = None,
    deadline: float = 2.5,
    limit: int = 100,
    read_timeout: float = 5.0,
    listen: Address = ANY_PORT,
    bounds: Bounds | None = None,
    settle: float = 0.0,
    farewell: float = 0.0,
) -> AsyncIterator[Ingress]:
    """Run an ingress; leaving stops it and waits for its end."""
    shortage = Shortage()
    tokens, aes_keys = (keys.token,), (keys.aes_key,)
    ring = keyring or Keyring(tokens=tokens, aes_keys=aes_keys, receive_id=keys.receive_id)
    listening: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        ingress = Ingress(
            queue=queue or MemoryQueue(SystemClock()),
            registry=CollectorRegistry(),
            session=session,
            stop=asyncio.Event(),
        )
        async with (
            admin_listening(
                bind(ANY_PORT),
                registry=ingress.registry,
                check=ingress.queue.check,
                stop=ingress.stop,
                shortage=shortage,
            ) as ingress.admin,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(
                serve(
                    keyring=ring,
                    queue=ingress.queue,
                    clock=SystemClock(),
                    registry=ingress.registry,
                    listen=listen,
                    stop=ingress.stop,
                    shortage=shortage,
                    on_listening=listening.set_result,
                    deadline=deadline,
                    limit=limit,
                    read_timeout=read_timeout,
                    bounds=bounds,
                    settle=settle,
                    farewell=farewell,
                )
            )
            ingress.callbacks = await listening
            try:
                yield ingress
            finally:
                ingress.stop.set()
