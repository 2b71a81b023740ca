"""What strangers can do to the callback listener: send what they like, as slowly as they like, and as often."""

import asyncio
import gc
import socket
import tracemalloc
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from shared.web.connections import Bounds
from tests.callback_vectors import OWN, OWN_CHECK
from tests.rigs.ingress import HeldQueue, Ingress, added, check, running_ingress
from tests.rigs.strangers import connection, request_head, until, whole

BLOCK = 64 * 1024
CHUNKED = request_head(added(), "Transfer-Encoding: chunked")
HEAD = CHUNKED[:-2]
ENDLESS = {
    "header line": (HEAD + b"X: ", b"a" * BLOCK, "malformed"),
    "request line": (b"GET /", b"a" * BLOCK, "malformed"),
    "headers": (HEAD, b"X: y\r\n" * 10_000, "too long"),
    "long headers": (HEAD, (b"X: " + b"y" * 7_000 + b"\r\n") * 10, "too long"),
    "tiny chunks": (CHUNKED, b"1\r\na\r\n" * 10_000, "too long"),
    "chunk extension": (CHUNKED + b"1;", b"a" * BLOCK, "too long"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 10_000, "too long"),
    "malformed chunks": (CHUNKED + b"5\r\n<xml>\r\n", b"nonsense\r\n" * 6_000, "too long"),
    "large chunks": (CHUNKED, b"10000\r\n" + b" " * BLOCK + b"\r\n", "too long"),
    "pipelined requests": (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000, "too long"),
}
CUT = "qudao_connections_cut_total"
PATIENT = Bounds(patience=3600.0)


async def send_until_cut(ingress: Ingress, head: bytes, block: bytes, *, admin: bool = False) -> None:
    """Send *head*, and *block* again and again, until nobody reads it any longer."""
    async with connection(ingress, admin=admin) as (_, writer):
        writer.write(head)
        with suppress(ConnectionError):
            while True:
                writer.write(block)
                await writer.drain()


class TestEndless:
    """There is an end to whatever is read, long before patience ends."""

    @pytest.mark.parametrize("name", ENDLESS)
    async def test_it_is_cut(self, name: str):
        """What never ends is cut off, counted, and said in a line or two; others are served."""
        head, block, reason = ENDLESS[name]
        with capture_logs() as logs:
            async with running_ingress(bounds=PATIENT, read_timeout=3600.0) as ingress, asyncio.timeout(10):
                for _ in range(5):
                    await send_until_cut(ingress, head, block)
                await until(lambda: ingress.count(CUT, reason=reason) >= 5)
                assert await ingress.post(added()) == (200, b"")
        cut = [entry for entry in logs if entry["event"] == "connection.cut" and entry["reason"] == reason]
        assert sum(entry["times"] for entry in cut) == 5
        assert len(cut) == 2

    @pytest.mark.parametrize("name", ["header line", "tiny chunks"])
    async def test_it_is_cut_where_operators_look(self, name: str):
        """Whoever reaches the other listener gets no further there."""
        head, block, _ = ENDLESS[name]
        async with running_ingress() as ingress, asyncio.timeout(4):  # less than patience
            await send_until_cut(ingress, head, block, admin=True)

    @pytest.mark.parametrize("name", ENDLESS)
    async def test_nothing_of_it_is_kept(self, name: str):
        """What was read is free at once, and does not wait for the garbage collector in the traceback of an error."""
        head, block, _ = ENDLESS[name]
        async with running_ingress(bounds=PATIENT, read_timeout=3600.0) as ingress:
            await send_until_cut(ingress, head, block)
            gc.collect()
            gc.disable()
            tracemalloc.start()
            try:
                for _ in range(20):
                    await send_until_cut(ingress, head, block)
                await asyncio.sleep(0.2)  # a last word may be waited for
                kept = [trace.size for trace in tracemalloc.take_snapshot().traces if trace.size > 8_000]
            finally:
                tracemalloc.stop()
                gc.enable()
        assert sum(kept) < 20 * 2_000


class TestTrust:
    """A connection is kept for a callback that is WeCom's, and for nothing else."""

    @pytest.mark.parametrize(
        "refused",
        [
            b"GET /wecom/callback HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"PUT /wecom/callback HTTP/1.1\r\nHost: x\r\n\r\n",
            whole(replace(added(), path=added().path.replace("nonce=7", "nonce=8"))),
            whole(replace(added(), body=b"<xml>")),
        ],
    )
    @pytest.mark.parametrize("after", [b"", whole(added())])
    async def test_who_is_refused_is_disconnected(self, refused: bytes, after: bytes):
        """No bad request buys another second, not on a connection that WeCom used before either; and it is told so."""
        async with running_ingress(bounds=PATIENT) as ingress, connection(ingress) as (reader, writer):
            if after:
                writer.write(after)
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.write(refused)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 4")
            assert answer.count(b"HTTP/1.1") == 1
            assert b"Connection: close" in answer

    async def test_a_publish_that_takes_longer_than_patience(self):
        """Whoever sent what is WeCom's is waited for, however long the broker takes."""
        queue = HeldQueue()
        async with (
            running_ingress(queue=queue, bounds=Bounds(patience=0.1)) as ingress,
            connection(ingress) as (reader, writer),
            connection(ingress) as (stranger, _),
        ):
            writer.write(whole(added()))
            await queue.begun.acquire()
            assert await stranger.read() == b""
            queue.go_on.set()
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")

    async def test_a_body_that_trickles(self):
        """A slow body keeps a stranger no longer than a slow head."""
        async with running_ingress(bounds=Bounds(patience=0.2)) as ingress, connection(ingress) as (reader, writer):
            writer.write(request_head(added(), "Content-Length: 1000") + b"<")
            with suppress(ConnectionError):
                assert await reader.read() == b""
            assert ingress.count(CUT, reason="slow") == 1

    async def test_callers_who_read_no_answer(self):
        """Answers pile up for nobody."""
        sent = check(OWN, OWN_CHECK.encrypted)
        request = f"GET {sent.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with running_ingress(bounds=PATIENT) as ingress:
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(deaf, ("127.0.0.1", ingress.callbacks.port))
                with suppress(ConnectionError):
                    async with asyncio.timeout(20):
                        while True:
                            await loop.sock_sendall(deaf, request)
            assert ingress.count(CUT, reason="answers unread") == 1


class TestCrowds:
    """Who waited longest without showing anything makes room; nobody who comes is turned away."""

    async def test_from_one_address(self):
        """The oldest stranger of an address goes, others stay; so do those who are none."""
        async with running_ingress(bounds=Bounds(patience=3600.0, strangers=3)) as ingress, AsyncExitStack() as stack:
            known, known_writer = await stack.enter_async_context(connection(ingress))
            known_writer.write(whole(added()))
            assert (await known.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            elsewhere = await asyncio.open_connection("127.0.0.1", ingress.callbacks.port, local_addr=("127.0.0.2", 0))
            stack.callback(elsewhere[1].close)
            opened = []
            for number in range(5):
                opened.append(await stack.enter_async_context(connection(ingress)))
                await until(lambda number=number: ingress.count(CUT, reason="crowd") == max(0, number - 2))
            for reader, _ in opened[:2]:
                with suppress(ConnectionError):
                    assert await reader.read() == b""
            for reader, writer in [*opened[2:], (known, known_writer), elsewhere]:
                writer.write(whole(added()))
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")

    async def test_in_all(self):
        """The same when there are too many altogether."""
        async with running_ingress(bounds=Bounds(patience=3600.0, connections=3)) as ingress, AsyncExitStack() as stack:
            known, known_writer = await stack.enter_async_context(connection(ingress))
            known_writer.write(whole(added()))
            assert (await known.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            opened = [await stack.enter_async_context(connection(ingress)) for _ in range(10)]
            await until(lambda: ingress.count(CUT, reason="crowd") == 8)
            for reader, writer in [opened[-1], (known, known_writer)]:
                writer.write(whole(added()))
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


class TestLog:
    """Strangers cannot fill the disk."""

    async def test_a_flood_of_refused_requests_is_a_line_or_two(self):
        """Each reason is said at once, then in sums; the counters count each."""
        forged = replace(added(), path=added().path.replace("nonce=7", "nonce=8"))
        with capture_logs() as logs:
            async with running_ingress() as ingress:
                for _ in range(300):
                    assert (await ingress.post(forged))[0] == 403
                assert (await ingress.post(replace(added(), body=b"<xml>")))[0] == 400
                rejected = "qudao_callbacks_rejected_total"
                assert ingress.count(rejected, status="403", reason="wrong signature") == 300
                assert ingress.count("qudao_callbacks_refused_in_a_row", setting="QUDAO_CALLBACK_TOKEN") == 300
        lines = [entry for entry in logs if entry["event"] == "callback.rejected"]
        forged_lines = [entry["times"] for entry in lines if entry["status"] == 403]
        assert forged_lines[0] == 1
        assert sum(forged_lines) == 300
        assert len(lines) <= 5
        assert len([entry for entry in logs if entry["event"] == "callback.setting_suspected"]) == 1
