"""
Delivery of callbacks: encrypt, post, try again, give up and count (doc 90930).

Receivers are asked over real HTTP. Which events exist and when is not decided here.
"""

import asyncio
from dataclasses import dataclass
from random import Random
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from shared.wecom.crypto import CallbackKeys
from simulator.config import Envelope
from simulator.corp import App
from simulator.due import DueCallback
from simulator.events import element
from simulator.journal import Kind
from simulator.scenario import Scenario

_VERIFY_LIMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlCheck:
    """Outcome of a URL verification; ``reason`` says why the console would refuse to save."""

    accepted: bool
    reason: str = ""


def keys_of(app: App, corp_id: str) -> CallbackKeys:
    """Return the keys that *app*'s callbacks are encrypted with."""
    return CallbackKeys(token=app.token, aes_key=app.aes_key, receive_id=corp_id)


def sealed(scenario: Scenario, delivery: DueCallback) -> tuple[str, bytes]:
    """Return the query string and the body of a callback."""
    app, corp_id = delivery.app, scenario.corp.corp_id
    keys = keys_of(app, corp_id)
    encrypted = keys.encrypt(delivery.message, random=scenario.ids.random_bytes(16))
    query = signed_query(scenario, keys, encrypted)
    if scenario.config.envelope is Envelope.JSON:
        return query, orjson.dumps({"tousername": corp_id, "encrypt": encrypted, "agentid": str(app.agent_id)})
    if scenario.config.envelope is Envelope.JSON_CAPITALS:
        return query, orjson.dumps({"ToUserName": corp_id, "Encrypt": encrypted, "AgentID": str(app.agent_id)})
    shuffle = scenario.random if scenario.config.shuffle_envelope else None
    return query, _xml_envelope(corp_id, app.agent_id, encrypted, shuffle)


def signed_query(scenario: Scenario, keys: CallbackKeys, encrypted: str) -> str:
    """Return the query string that signs *encrypted* now."""
    timestamp, nonce = str(int(scenario.clock.time())), scenario.ids.nonce()
    signature = keys.sign(timestamp, nonce, encrypted)
    return f"msg_signature={signature}&timestamp={timestamp}&nonce={nonce}"


def _xml_envelope(corp_id: str, agent_id: int, encrypted: str, shuffle: Random | None) -> bytes:
    elements = [
        element("ToUserName", corp_id),
        element("AgentID", str(agent_id)),
        element("Encrypt", encrypted),
    ]
    if shuffle is not None:
        shuffle.shuffle(elements)
    return f"<xml>{''.join(elements)}</xml>".encode()


class CallbackSender:
    """Takes deliveries from the outbox and posts them, several at once."""

    def __init__(self, scenario: Scenario, session: aiohttp.ClientSession) -> None:
        self._scenario = scenario
        self._session = session

    async def run(self) -> None:
        """Deliver until cancelled."""
        slots = asyncio.Semaphore(self._scenario.config.callback_concurrency)
        async with asyncio.TaskGroup() as group:
            while True:
                await slots.acquire()
                delivery = await self._scenario.outbox.take()
                task = group.create_task(self._attempt(delivery))
                task.add_done_callback(lambda _: slots.release())

    async def _attempt(self, delivery: DueCallback) -> None:
        """Post *delivery* once; put it back, or count it as lost."""
        scenario = self._scenario
        started = scenario.clock.time()
        delivery.attempt += 1
        status = await self._post(delivery)
        now = scenario.clock.time()
        outcome = "delivered"
        if status != 200:
            outcome = self._failed(delivery, now)
        scenario.journal.append(
            Kind.CALLBACK,
            started,
            now,
            delivery.change,
            code=status,
            agent_id=delivery.app.agent_id,
            userid=delivery.userid,
            external_userid=delivery.external_userid,
            note=outcome,
        )
        scenario.callback_outcomes[outcome] += 1
        scenario.outbox.done()

    def _failed(self, delivery: DueCallback, now: float) -> str:
        config = self._scenario.config
        if delivery.attempt > config.callback_retries:
            delivery.app.lost_events += 1
            return "lost"
        self._scenario.outbox.put(delivery, now + config.callback_retry_interval)
        return "failed"

    async def _post(self, delivery: DueCallback) -> int:
        """Return the HTTP status, 0 for a connection that failed or took too long."""
        envelope = delivery.envelope or sealed(self._scenario, delivery)
        if not self._scenario.config.callback_fresh:
            delivery.envelope = envelope
        return await self.post_raw(delivery.app, *envelope)

    async def post_raw(self, app: App, query: str, body: bytes) -> int:
        """Post anything to *app*'s callback URL and return the HTTP status, 0 for none."""
        kind = "json" if body.startswith(b"{") else "xml"
        try:
            url = URL(with_query(app.callback_url, query), encoded=True)
            async with (
                asyncio.timeout(self._scenario.config.callback_timeout),
                self._session.post(url, data=body, headers=_HEADERS[kind], allow_redirects=False) as answer,
            ):
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return 0

    async def verify_url(self, app: App) -> UrlCheck:
        """Ask *app*'s URL as the console does at every save: the plaintext, nothing else, within a second."""
        scenario = self._scenario
        plaintext = str(scenario.random.randrange(10**18, 10**19))
        keys = keys_of(app, scenario.corp.corp_id)
        echostr = keys.encrypt(plaintext.encode(), random=scenario.ids.random_bytes(16))
        query = f"{signed_query(scenario, keys, echostr)}&echostr={quote(echostr, safe='')}"
        url = URL(with_query(app.callback_url, query), encoded=True)
        try:
            async with (
                asyncio.timeout(scenario.config.verify_timeout),
                self._session.get(url, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(_VERIFY_LIMIT)
                return _judge(answer.status, body, plaintext.encode())
        except TimeoutError:
            return UrlCheck(accepted=False, reason="no answer within the time allowed")
        except (aiohttp.ClientError, OSError):
            return UrlCheck(accepted=False, reason="cannot connect")


_HEADERS = {
    "xml": {"Content-Type": "text/xml; charset=utf-8", "User-Agent": "Mozilla/4.0"},
    "json": {"Content-Type": "application/json; charset=utf-8", "User-Agent": "Mozilla/4.0"},
}


def with_query(url: str, query: str) -> str:
    """Return *url* with *query* added to whatever query it has."""
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _judge(status: int, body: bytes, plaintext: bytes) -> UrlCheck:
    if status != 200:
        return UrlCheck(accepted=False, reason=f"HTTP status {status}")
    if body == plaintext:
        return UrlCheck(accepted=True)
    if body.startswith(b"\xef\xbb\xbf"):
        reason = "the answer starts with a byte order mark"
    elif body.strip() == plaintext:
        reason = "the answer has white space around the plaintext"
    elif body.strip(b"\"'") == plaintext:
        reason = "the answer has quotes around the plaintext"
    else:
        reason = "the answer is not the plaintext"
    return UrlCheck(accepted=False, reason=reason)
