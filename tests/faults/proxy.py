"""A TCP proxy of our own: a network that loses, delays, cuts and resets on demand."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.rabbitmq.node import free_ports

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that turns a close into a reset."""


class Link:
    """
    The way to ``host:port`` by a port of its own.

    Attributes:
        open: Cleared while nothing gets through: both ends see silence, and what was sent arrives later.
        delay: Seconds that each piece takes.
        most: Bytes in a piece.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.port = free_ports(1)[0]
        self.open = asyncio.Event()
        self.open.set()
        self.delay = 0.0
        self.most = 65536
        self._writers: set[asyncio.StreamWriter] = set()

    def reset(self) -> int:
        """Reset every connection, and return how many there were."""
        writers = list(self._writers)
        for writer in writers:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        return len(writers)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect to the target and carry everything both ways."""
        self._writers.add(writer)
        try:
            await self.open.wait()
            to, back = await asyncio.open_connection(*self._target)
            self._writers.add(back)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, back))
                    group.create_task(self._carry(to, writer))
            finally:
                self._writers.discard(back)
                back.transport.abort()
        except (OSError, ExceptionGroup):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry until the end of *source*, and end the connection then."""
        while data := await source.read(self.most):
            if self.delay:
                await asyncio.sleep(self.delay)
            await self.open.wait()
            sink.write(data)
            await sink.drain()
        raise ConnectionResetError


@asynccontextmanager
async def linked(host: str, port: int) -> AsyncIterator[Link]:
    """Yield a link to ``host:port`` that works until it is told otherwise."""
    link = Link(host, port)
    async with asyncio.TaskGroup() as group:

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            group.create_task(link.pass_on(reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", link.port)
        try:
            yield link
        finally:
            server.close()
            link.open.set()
            link.reset()
