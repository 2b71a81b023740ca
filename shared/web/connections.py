"""
Who is connected to a listener, and what strangers may do there.

A connection is a stranger's until something came on it that is owed an answer. A stranger has a few seconds, may send
as much as one request takes, and is the first to go when there are too many: so whoever comes is let in, and who waited
longest without showing anything makes room. Nobody is turned away for the address they come from, as all of WeCom may
come through one proxy: what comes from there is known within milliseconds, and no stranger's any longer.

All that is relied upon of aiohttp's inner parts is in this file: what :class:`Connection` overrides of
``RequestHandler`` and looks at in it.
"""

import asyncio
import resource
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from itertools import islice
from typing import Any, Final, Self, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

from shared.tasks import wait_at_most

_TICK: Final = 0.05
_AT_A_TIME: Final = 50
_LAST_WORD: Final = 0.1
"""Seconds in which a refusal may still be answered once more came than is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    What a listener holds at most.

    Attributes:
        request: Bytes of one request, head and framing included.
        lines: Line ends in it, which is what tiny chunks cost to read: an envelope has ten, a head some dozens.
        patience: Seconds from connection to the first request that is owed an answer.
        connections: Connections in all.
        strangers: Strangers from one address; of IPv6 from one /64, which is one customer's.
    """

    request: int = 80 * 1024
    lines: int = 1000
    patience: float = 5.0
    connections: int = 6000
    strangers: int = 4000

    @classmethod
    def here(cls) -> Self:
        """Return the usual bounds, or lower ones that leave others half of the files that this process may open."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        half = limit // 2 if limit != resource.RLIM_INFINITY else sys.maxsize
        usual = cls()
        return cls(connections=min(usual.connections, half), strangers=min(usual.strangers, half))


def allow_files() -> None:
    """Let this process open as many files as a listener may need, as far as the system lets it; 1024 are usual."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * Bounds().connections
    if soft < wanted and soft != resource.RLIM_INFINITY:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


class Cut(StrEnum):
    """Why a connection was closed that its peer would have kept."""

    SLOW = "slow"
    CROWD = "crowd"
    TOO_LONG = "too long"
    MALFORMED = "malformed"
    UNREAD = "answers unread"


class Connections:
    """
    All connections of one listener.

    Attributes:
        leaving: Whether each answer from now on is the last one on its connection.
        tick: How often :meth:`cut_slow` is to be called, in seconds.
    """

    def __init__(self, bounds: Bounds, on_cut: Callable[[Cut], None]) -> None:
        self.bounds = bounds
        self.tick = min(_TICK, bounds.patience / 5)
        self.leaving = False
        self._on_cut = on_cut
        self._open: set[Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._strangers: dict[Connection, float] = {}
        self._by_address: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def arrived(self, connection: "Connection") -> None:
        """Let *connection* in, a stranger, and the oldest strangers out that are too many then."""
        self._open.add(connection)
        self._empty.clear()
        self._strangers[connection] = asyncio.get_running_loop().time()
        neighbours = self._by_address.setdefault(connection.address, {})
        neighbours[connection] = None
        if len(neighbours) > self.bounds.strangers:
            self.cut(next(iter(neighbours)), Cut.CROWD)
        if len(self._open) > self.bounds.connections:
            self.make_room()

    def make_room(self) -> None:
        """Let the oldest stranger out."""
        for oldest in self._strangers:
            self.cut(oldest, Cut.CROWD)
            break

    def known(self, connection: "Connection") -> None:
        """Note that *connection* is no stranger's."""
        if self._strangers.pop(connection, None) is not None:
            neighbours = self._by_address[connection.address]
            del neighbours[connection]
            if not neighbours:
                del self._by_address[connection.address]

    def cut(self, connection: "Connection", why: Cut) -> None:
        """Close *connection* and count it."""
        self.refused(connection, why)
        connection.abort()

    def refused(self, connection: "Connection", why: Cut) -> None:
        """Count *connection*, which is closed with an answer."""
        if connection in self._open:
            self.left(connection)
            self._on_cut(why)

    def left(self, connection: "Connection") -> None:
        """Note that *connection* is closed."""
        self._open.discard(connection)
        self.known(connection)
        if not self._open:
            self._empty.set()

    def cut_slow(self) -> None:
        """Close what strangers left open for too long; of many some, for it takes time."""
        due = asyncio.get_running_loop().time() - self.bounds.patience
        oldest = islice(self._strangers.items(), _AT_A_TIME)
        for connection in [each for each, since in oldest if since <= due]:
            self.cut(connection, Cut.SLOW)

    async def left_within(self, seconds: float) -> None:
        """Return when nobody is connected any longer, or after *seconds*."""
        await wait_at_most(self._empty, seconds)


class Connection(web.RequestHandler):
    """
    aiohttp's side of one connection, with an end to what it reads.

    Attributes:
        address: Where it comes from.
    """

    __slots__ = ("_allowance", "_among", "_lines", "_over", "address")

    def __init__(self, among: Connections, server: web.Server, options: Mapping[str, Any]) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._among = among
        self._allowance, self._lines = among.bounds.request, among.bounds.lines
        self._over: Cut | None = None
        self.address = ""

    @property
    def leaving(self) -> bool:
        """Whether the next answer is the last one."""
        return self._among.leaving

    def trust(self) -> None:
        """Note that what was sent deserves an answer: no stranger, and the next request may be as long again."""
        self._allowance, self._lines = self._among.bounds.request, self._among.bounds.lines
        self._among.known(self)

    def abort(self) -> None:
        """Close at once; a handler at work learns of it as if the peer had done so."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self.address = neighbourhood(transport.get_extra_info("peername"))
        self._among.arrived(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._among.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """
        Read *data* as far as a request may go, and nothing behind the first error.

        aiohttp feeds its parser until the answer to that error is written. Each read makes an error more, whose
        traceback keeps what was read in a circle that only the garbage collector would break.
        """
        self._lines -= data.count(b"\n")
        if self._over or self._lines < 0:
            if data:  # else aiohttp asks for more
                self._among.cut(self, self._over or Cut.TOO_LONG)
            return
        self._allowance -= len(data)
        super().data_received(data if self._allowance >= 0 else data[: self._allowance])
        error = getattr(self._messages[-1][0], "exc", None) if self._messages else None
        if error is not None:
            error.__traceback__ = None
            self._read_no_more(Cut.MALFORMED)
        elif self._allowance < 0:
            self._read_no_more(Cut.TOO_LONG)

    def _read_no_more(self, why: Cut) -> None:
        """Close in a moment: what was read may deserve an answer."""
        self._over = why
        if self.transport is not None:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(_LAST_WORD, self._among.cut, self, why)

    def pause_writing(self) -> None:
        """Close: answers are short, and whoever leaves so many of them unread reads none."""
        super().pause_writing()
        self._among.cut(self, Cut.UNREAD)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP with 400 and not with what was read, which nobody is to keep or to log either."""
        if not isinstance(exc, HttpProcessingError):
            return super().handle_error(request, status, exc, message)
        self._among.refused(self, Cut.MALFORMED)
        response = web.Response(status=400)
        response.force_close()
        return response


def connection_of(request: web.BaseRequest) -> Connection:
    """Return the connection that *request* came on."""
    return cast("Connection", request.protocol)


def neighbourhood(peer: tuple[str, int] | None) -> str:
    """Return the address of *peer*, of IPv6 the /64 that is one customer's; empty if it is gone already."""
    if not peer:
        return ""
    host = peer[0].partition("%")[0]
    address = ip_address(host)
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return address.exploded[:19]
    return host
