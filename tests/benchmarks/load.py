"""Sends requests over a fixed number of connections as fast as they are answered, at little cost to the machine."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from tests.rigs.ingress import Sent

TAIL = b"\r\n\r\n"


@dataclass
class Outcome:
    """
    What came of it.

    Attributes:
        statuses: How often which status was answered.
        seconds: From the first request to the last answer.
        latencies: Seconds of each request.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


def rendered(sent: Sent) -> bytes:
    """Return the bytes of a request as WeCom sends it."""
    lines = (f"POST {sent.path} HTTP/1.1", "Host: qudao", "Content-Type: text/xml", f"Content-Length: {len(sent.body)}")
    return "\r\n".join(lines).encode() + TAIL + sent.body


class _Caller(asyncio.Protocol):
    """One connection: the next request leaves when the answer to the last one is here."""

    def __init__(self, requests: Iterator[bytes], outcome: Outcome, ended: "asyncio.Future[None]") -> None:
        self._requests, self._outcome, self._ended = requests, outcome, ended
        self._heard = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, tail, rest = self._heard.partition(TAIL)
        length = _content_length(head)
        if not tail or len(rest) < length:
            return
        self._heard = rest[length:]
        self._outcome.statuses[int(head[9:12])] += 1
        self._outcome.latencies.append(time.perf_counter() - self._sent_at)
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(exc or ConnectionError("the connection was closed"))

    def _next(self) -> None:
        assert self._transport is not None, "it is connected"
        request = next(self._requests, None)
        if request is None:
            self._ended.set_result(None)
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def send_all(port: int, requests: Sequence[bytes], connections: int) -> Outcome:
    """Send all *requests* to a *port* of this machine."""
    loop = asyncio.get_running_loop()
    outcome, remaining = Outcome(), iter(requests)
    ended = [loop.create_future() for _ in range(connections)]
    begun = time.perf_counter()
    for future in ended:
        await loop.create_connection(lambda future=future: _Caller(remaining, outcome, future), "127.0.0.1", port)
    for future in ended:
        await future
    outcome.seconds = time.perf_counter() - begun
    return outcome
