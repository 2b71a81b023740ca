"""Downloading the images of QR codes, from servers that mean no good."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from shared.wecom.pictures import MOST_BYTES, PictureUnavailable, fetch_picture, open_pictures

PNG = b"\x89PNG\r\n\x1a\n and so on"


class Server:
    """Serves what it is told to, and takes itself for the API."""

    def __init__(self) -> None:
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
        self.url = ""
        self.asked = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        return await self.answer(request)

    async def fetch(self, url: str = "", *, api_url: str | None = None, timeout: float = 5.0) -> bytes:
        api = self.url if api_url is None else api_url
        async with open_pictures(api_url=api) as session:
            return await fetch_picture(session, url or f"{self.url}/q", api_url=api, timeout=timeout)

    async def refusal(self, **options: object) -> str:
        with pytest.raises(PictureUnavailable) as caught:
            await self.fetch(**options)
        assert caught.value.__cause__ is None, "an address could be in there"
        return str(caught.value)


@pytest.fixture
async def server():
    serving = Server()
    app = web.Application()
    app.router.add_get("/{path:.*}", serving.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield serving
    await runner.cleanup()


def sends(body: bytes, status: int = 200, **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    return answer


@pytest.mark.parametrize("body", [PNG, b"\xff\xd8\xff\xe0 jpeg"])
async def test_an_image_is_returned_as_it_is(server, body):
    """PNG and JPEG are what WeCom serves."""
    server.answer = sends(body)
    assert await server.fetch() == body


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [(b"<html>", 200, "neither PNG nor JPEG"), (b"", 200, "neither"), (PNG, 404, "HTTP 404"), (PNG, 500, "HTTP 500")],
)
async def test_anything_else_is_refused(server, body, status, reason):
    """An error page is not saved as a QR code."""
    server.answer = sends(body, status)
    assert reason in await server.refusal()


async def test_an_endless_image_is_cut_off(server):
    """No more is read than an image can have, whatever the server goes on sending."""
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        piece = PNG + bytes(2**18)
        try:
            for _ in range(200):
                await response.write(piece)
                sent += len(piece)
        except ConnectionError:
            pass
        return response

    server.answer = endless
    assert "larger than 2 MiB" in await server.refusal()
    assert sent < 10 * MOST_BYTES


async def test_a_slow_server_is_left(server):
    """The time counts for the whole, not for each byte."""

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for byte in PNG * 100:
                await response.write(bytes([byte]))
                await asyncio.sleep(0.02)
        except ConnectionError:
            pass
        return response

    server.answer = slow
    assert "no answer within" in await server.refusal(timeout=0.2)


async def test_a_broken_connection_is_told_without_the_address(server):
    """The exception of the HTTP library quotes the URL; ours does not."""
    reason = await server.refusal(url="http://127.0.0.1:1/q?secret", api_url="http://127.0.0.1:1")
    assert reason.startswith("no answer: ")
    assert "secret" not in reason


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/q",
        "https://127.0.0.1/q",
        "https://[::1]/q",
        "https://169.254.169.254/latest",
        "https://localhost/q",
        "https://localhost./q",
        "https://127.1/q",
        "https://0x7f.1./q",
        "https://2130706433/q",
        "https://broker/q",
        "https://user@example.com/q",
        "https://example.com:8443/q",
        "file:///etc/passwd",
        "ftp://example.com/q",
        "/q",
        "https://",
        "https://[/q",
    ],
)
async def test_an_address_that_no_qr_code_has_is_never_asked(server, url):
    """Only https to a public host; addresses in the own network are not for a file to choose."""
    await server.refusal(url=url)
    assert server.asked == 0


async def test_a_public_name_for_a_private_address_is_not_asked(server, monkeypatch):
    """Whoever owns a name decides what it stands for; only the API itself may live in the own network."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 443))])
    assert "names no public host" in await server.refusal(url="https://127.0.0.1.nip.example/q")
    assert server.asked == 0
    server.answer = sends(PNG)
    monkeypatch.undo()
    local = server.url.replace("127.0.0.1", "localhost")
    assert await server.fetch(f"{local}/q", api_url=local) == PNG


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/x", "https://10.0.0.1/x", "file:///etc/passwd"])
async def test_a_redirect_leads_nowhere_that_could_not_be_asked_for(server, target):
    """Each step is checked like the first."""
    server.answer = sends(b"", 302, Location=target)
    await server.refusal()
    assert server.asked == 1


async def test_a_redirect_on_the_same_host_is_followed_a_few_times(server):
    """A short chain is followed, a circle is not."""

    async def moves(request: web.Request) -> web.Response:
        if request.path == "/there":
            return web.Response(body=PNG)
        return web.Response(status=301, headers={"Location": "/there"})

    server.answer = moves
    assert await server.fetch() == PNG
    server.answer = sends(b"", 302, Location="/q")
    assert "too often" in await server.refusal()
