"""Answers that are too large, from a real server to a real process: no memory is spent on them."""

import asyncio
import gzip
import sys
import zlib

import pytest
from aiohttp import web

from shared.domain.errors import TransientError
from tests.doubles.wecom import client_of, raw, scripted_wecom

JSON = "application/json"
MB = 2**20
FRAME = b'{"errcode":0,"follow_user":["'
BOMB = 100 * MB

CHILD = """
import asyncio, resource, sys
from shared.domain.errors import TransientError
from tests.doubles.wecom import ScriptedWeCom, client_of

async def main():
    async with client_of(ScriptedWeCom(url=sys.argv[1]), timeout=60) as wecom:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            await wecom.get_follow_user_list()
        except TransientError as error:
            print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, error)

asyncio.run(main())
"""
"""Calls once, and prints by how many MB that made the process grow at most, and what the call failed with."""


def sized(size: int) -> bytes:
    """Return a good answer of *size* bytes."""
    return FRAME + b"a" * (size - len(FRAME) - 3) + b'"]}'


def bomb(wbits: int) -> bytes:
    """Return 100 MB of a list, compressed to a hundred kilobytes."""
    packer = zlib.compressobj(9, wbits=wbits)
    return packer.compress(FRAME) + b"".join(packer.compress(b"a" * MB) for _ in range(BOMB // MB)) + packer.flush()


def flood(length: int | None):
    """Send 100 MB, with or without a Content-Length, until the client has enough."""

    async def reply(request):
        response = web.StreamResponse(headers={"Content-Type": JSON})
        if length is not None:
            response.content_length = length
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            for _ in range(BOMB // MB):
                await response.write(b" " * MB)
        except ConnectionError:
            return response
        raise AssertionError("the client took all of it")

    return reply


def packed(encoding: str, wbits: int) -> web.Response:
    """Return a bomb of this encoding."""
    return web.Response(body=bomb(wbits), headers={"Content-Type": JSON, "Content-Encoding": encoding})


@pytest.mark.parametrize(
    "reply",
    [
        lambda: flood(BOMB),
        lambda: flood(None),
        lambda: packed("gzip", 31),
        lambda: packed("deflate", 15),
        lambda: packed("deflate", -15),
    ],
    ids=["length", "chunks", "gzip", "zlib", "deflate"],
)
async def test_an_answer_that_is_too_large_costs_no_memory(reply):
    """Of 100 MB no more is taken than an answer may have, however they are sent; the call is to be tried again."""
    async with scripted_wecom() as server:
        server.script("externalcontact/get_follow_user_list", reply())
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, server.url, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await child.communicate()
    grown, said = out.decode().split(maxsplit=1)
    assert "larger than 16 MB" in said
    assert int(grown) < 64


@pytest.mark.parametrize("pack", [lambda body: body, gzip.compress], ids=["plain", "gzip"])
async def test_sixteen_megabytes_are_read_and_no_more(pack):
    """The largest answer that is allowed is read whole; with one byte more it is none."""
    headers = {"Content-Encoding": "gzip"} if pack is gzip.compress else {}
    endpoint = "externalcontact/get_follow_user_list"
    async with scripted_wecom() as server, client_of(server) as wecom:
        server.script(
            endpoint,
            web.Response(body=pack(sized(16 * MB)), headers=headers),
            web.Response(body=pack(sized(16 * MB + 1)), headers=headers),
            {"errcode": 0, "follow_user": ["lin.qiao"]},
        )
        (userid,) = await wecom.get_follow_user_list()
        assert len(userid) > 16 * MB - 100
        with pytest.raises(TransientError, match="larger than 16 MB"):
            await wecom.get_follow_user_list()
        assert await wecom.get_follow_user_list() == ["lin.qiao"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
async def test_a_body_that_is_not_what_its_head_says_is_no_answer(encoding):
    """A body that cannot be unpacked is one that did not come."""
    async with scripted_wecom() as server, client_of(server) as wecom:
        broken = raw(b"\x1f\x8b" + b"\xff" * 100, content_type=JSON)
        broken.headers["Content-Encoding"] = encoding
        server.script("getcallbackip", broken)
        with pytest.raises(TransientError):
            await wecom.get_callback_ips()
