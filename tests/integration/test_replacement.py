"""One ingress replaces another at one address, and nobody who calls notices."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from shared.domain.addresses import Address
from tests.rigs.ingress import added, running_ingress
from tests.rigs.strangers import whole

SETTLE = 0.3


@pytest.fixture
def listen() -> Iterator[Address]:
    """A free address that several may listen at, kept free by one who does not."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield Address("127.0.0.1", holder.getsockname()[1])


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int = 0) -> bytes:
    """Send a callback; return the head of its answer."""
    writer.write(whole(added(number)))
    return await reader.readuntil(b"\r\n\r\n")


async def test_all_who_connected_before_are_answered(listen: Address):
    """Whoever is connected when an ingress stops may still say what they came for, and is told that it was the last."""
    async with AsyncExitStack() as stack:
        async with running_ingress(listen=listen, settle=SETTLE, farewell=5.0) as old:
            used = await asyncio.open_connection(listen.host, listen.port)
            assert b"Connection: close" not in await ask(*used)
            await stack.enter_async_context(running_ingress(listen=listen))
            before = [await asyncio.open_connection(listen.host, listen.port) for _ in range(40)]
            old.stop.set()
            await asyncio.sleep(0)
            assert b"Connection: close" in await ask(*used)
            answers = [await ask(*each, number) for number, each in enumerate(before)]
        assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
        assert 0 < sum(b"Connection: close" in answer for answer in answers) < 40
        for _, writer in [used, *before]:
            writer.close()


async def test_who_connects_meanwhile_is_served_by_the_other(listen: Address):
    """Fresh connections while one of two stops, and after: none is refused or reset, and the other one serves all."""
    async with running_ingress(listen=listen) as other:
        async with running_ingress(listen=listen, settle=SETTLE) as old:
            old.stop.set()
            await asyncio.sleep(0.02)
            async with asyncio.TaskGroup() as group:

                async def come(number: int) -> bytes:
                    reader, writer = await asyncio.open_connection(listen.host, listen.port)
                    answer = await ask(reader, writer, number)
                    writer.close()
                    return answer

                callers = []
                for number in range(60):
                    callers.append(group.create_task(come(number)))
                    await asyncio.sleep(0.01)
        answers = [caller.result() for caller in callers]
        assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 60
        assert not [answer for answer in answers if b"Connection: close" in answer]
        assert (await other.post(added(61)))[0] == 200


async def test_nobody_else_gets_in(listen: Address):
    """An address is shared with those alone who agree to share it, and one on a port that was not named with nobody."""
    async with running_ingress(listen=listen) as ingress, running_ingress() as anywhere:
        with socket.socket() as another, pytest.raises(OSError, match="in use"):
            another.bind((listen.host, ingress.callbacks.port))
        with socket.socket() as another:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                another.bind((listen.host, anywhere.callbacks.port))
