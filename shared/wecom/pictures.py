"""
Downloads the images of QR codes.

Their addresses come from WeCom by way of a file on the disk, so they are followed with care: over https, never into a
private network, nothing large, nothing that is no image. Only the simulator, if that is the API, may serve them itself.
"""

import asyncio
import ipaddress
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp

from shared.domain.errors import QudaoError

MOST_BYTES: Final = 2 * 2**20
TIMEOUT: Final = 15.0
_REDIRECTS: Final = 3
_MAGIC: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_MOVED: Final = frozenset({301, 302, 303, 307, 308})


class PictureUnavailable(QudaoError):
    """The image of a QR code could not be had; says why, without its address."""


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
    if "." not in url.hostname or _is_address(url.hostname):
        raise PictureUnavailable("its address names no public host")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


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
