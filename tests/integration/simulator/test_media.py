"""Temporary media: uploaded files, and the ids that name them for three days."""

import io

import aiohttp
import pytest

from tests.rigs.simulator import rig

UPLOAD = "media/upload"
REMARK = "externalcontact/remark"
PNG = b"\x89PNG\r\n\x1a\n picture"
MP4 = b"\0\0\0\x18ftypisom film"


async def upload(r, kind: str, content: bytes, name: str = "a") -> dict:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("media", io.BytesIO(content), filename=name)
    return await r.client.raw("POST", UPLOAD, {"access_token": r.client.token, "type": kind}, data=form)


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("image", PNG, 0),
        ("video", MP4, 0),
        ("file", b"123456", 0),
        ("picture", PNG, 40004),
        ("image", b"GIF89a picture", 40005),
        ("video", PNG, 40005),
        ("file", b"12345", 40006),
        ("file", b"x" * (20 * 2**20 + 1), 40006),
        ("image", PNG + b"x" * 10 * 2**20, 40006),
        ("file", b"", 44001),
    ],
    ids=lambda value: str(value)[:12],
)
async def test_s44_what_may_be_uploaded(kind, content, code):
    """Pictures, films and files within their sizes are kept; everything else has its code."""
    async with rig() as r:
        assert (await upload(r, kind, content))["errcode"] == code
        assert len(r.simulator.corp.media) == (code == 0)


async def test_s44_a_name_that_is_encoded_is_not_read():
    """The live service passes over ``filename*``, and then finds no file."""
    body = (
        b"--b\r\nContent-Disposition: form-data; name=\"media\"; filename*=utf-8''%E4%BB%B7\r\n\r\n123456\r\n--b--\r\n"
    )
    async with rig() as r:
        query = {"access_token": r.client.token, "type": "file"}
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert (await r.client.raw("POST", UPLOAD, query, data=body, headers=headers))["errcode"] == 41005
        assert (await r.client.raw("POST", UPLOAD, query, json={}))["errcode"] == 41005


async def test_s44_an_id_lives_three_days():
    """What names a file that is gone, or that never was, is refused whole."""
    async with rig() as r:
        media_id = (await upload(r, "image", PNG, "海报.png"))["media_id"]
        assert r.simulator.corp.media[media_id].name == "海报.png"
        (relation,) = r.simulator.populate(1, userid="lin.qiao")
        write = {"userid": "lin.qiao", "external_userid": relation.customer.external_userid, "remark": "a"}
        assert await r.client.code(REMARK, **write, remark_pic_mediaid=media_id) == 0
        assert await r.client.code(REMARK, **write, remark_pic_mediaid="never") == 40007
        r.simulator.clock.advance(3 * 86_400)
        await r.client.get_token()
        assert await r.client.code(REMARK, **write, remark_pic_mediaid=media_id) == 40007
