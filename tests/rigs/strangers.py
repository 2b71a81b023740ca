"""Who connects to an ingress by bare sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from tests.rigs.ingress import Ingress, Sent


async def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def connection(
    ingress: Ingress, *, admin: bool = False
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a bare connection to the callback listener, or to the operators'."""
    address = ingress.admin if admin else ingress.callbacks
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def request_head(sent: Sent, *headers: str) -> bytes:
    """Return the head of a POST of *sent*."""
    return "\r\n".join([f"POST {sent.path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


def whole(sent: Sent) -> bytes:
    """Return the POST of *sent*."""
    return request_head(sent, f"Content-Length: {len(sent.body)}") + sent.body
