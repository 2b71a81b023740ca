"""Answers that go wrong on the wire: never, slowly, or with a reset."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

_PIECES = 10
_LOOK = 0.05


async def hang(request: web.Request, seconds: float, stopping: asyncio.Event) -> web.StreamResponse:
    """Keep the caller waiting until it gives up, *seconds* have passed or the simulator stops; then close."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline and not stopping.is_set():
        if request.transport is None or request.transport.is_closing():
            break
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_LOOK, seconds)):
                await stopping.wait()
    return reset(request)


async def slow(request: web.Request, body: bytes, headers: Mapping[str, str], seconds: float) -> web.StreamResponse:
    """Send the head at once and the body in pieces over *seconds*."""
    response = web.StreamResponse(headers=headers)
    response.content_length = len(body)
    step = -(-len(body) // _PIECES)
    try:
        await response.prepare(request)
        for start in range(0, len(body), step):
            await asyncio.sleep(seconds / _PIECES)
            await response.write(body[start : start + step])
        await response.write_eof()
    except ConnectionError:
        return reset(request)
    return response


def reset(request: web.Request) -> web.StreamResponse:
    """Reset the connection; the response returned can no longer be sent."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            with suppress(OSError):  # the caller was faster
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()
