"""
Downloads the images of QR codes.

Their addresses come from WeCom by way of a file on the disk, so they are followed with care: over https, never into a
private network, nothing large, nothing that is no image. Only the simulator, if that is the API, may serve them itself.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.domain.errors import QudaoError

MOST_BYTES: Final = 2 * 2**20
TIMEOUT: Final = 15.0
_REDIRECTS: Final = 3
_MAGIC: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_NUMERIC: Final = re.compile(r"(?:\A|\.)(?:\d+|0[xX][0-9a-fA-F]*)\.?\Z")
"""A name that ends in a number is an IPv4 address to most clients, however short: ``127.1``."""
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


class PictureUnavailable(QudaoError):
    """The image of a QR code could not be had; says why, without its address."""


class _PublicOnly(AbstractResolver):
    """Resolves names to addresses, those of private networks never: anybody may give such an address a public name."""

    def __init__(self, trusted: str) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._trusted = trusted

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host != self._trusted and not all(ipaddress.ip_address(each["host"]).is_global for each in found):
            raise PictureUnavailable("its address names no public host")
        return found

    async def close(self) -> None:
        await self._resolver.close()


@asynccontextmanager
async def open_pictures(*, api_url: str, proxy: str = "") -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a session for :func:`fetch_picture`. Through a *proxy* it is the proxy that resolves names."""
    resolver = _PublicOnly(urlsplit(api_url).hostname or "")
    async with aiohttp.ClientSession(
        connector=None if proxy else aiohttp.TCPConnector(resolver=resolver),
        cookie_jar=aiohttp.DummyCookieJar(),
        proxy=proxy or None,
    ) as session:
        yield session


async def fetch_picture(session: aiohttp.ClientSession, url: str, *, api_url: str, timeout: float = TIMEOUT) -> bytes:
    """
    Return the PNG or JPEG at *url*.

    Raises:
        PictureUnavailable: It is not to be had, or not to be trusted.
    """
    try:
        async with asyncio.timeout(timeout):
            return await _follow(session, url, api_url)
    except TimeoutError:
        reason = f"no answer within {timeout:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = f"no answer: {type(error).__name__}"
    raise PictureUnavailable(reason)


async def _follow(session: aiohttp.ClientSession, url: str, api_url: str) -> bytes:
    for _ in range(1 + _REDIRECTS):
        _check(urlsplit(url), urlsplit(api_url))
        async with session.get(url, allow_redirects=False) as response:
            if response.status not in _MOVED:
                return await _body(response)
            url = urljoin(url, response.headers.get("Location", ""))
    raise PictureUnavailable("redirected too often")


def _check(url: SplitResult, api: SplitResult) -> None:
    """Refuse an address that no QR code of WeCom's has."""
    if (url.scheme, url.netloc) == (api.scheme, api.netloc):
        return
    if url.scheme != "https" or not url.hostname or url.username or url.port not in (None, 443):
        raise PictureUnavailable("its address is not one of https://")
    if "." not in url.hostname.rstrip(".") or ":" in url.hostname or _NUMERIC.search(url.hostname):
        raise PictureUnavailable("its address names no public host")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise PictureUnavailable(f"HTTP {response.status}")
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MOST_BYTES:
            raise PictureUnavailable(f"larger than {MOST_BYTES // 2**20} MiB")
    if not body.startswith(_MAGIC):
        raise PictureUnavailable("neither PNG nor JPEG")
    return bytes(body)
