"""What every marker is told by its environment, and the two calls that mark a customer."""

import os
from typing import Any

import aiohttp

QUEUE_URL = os.environ["QUEUE_URL"]
QUEUE = os.environ["QUEUE"]
AT_ONCE = int(os.environ["AT_ONCE"])
API = os.environ["API"]
TOKEN = os.environ["ACCESS_TOKEN"]
READY = "ready"
"""Printed once events are taken."""


async def mark(session: aiohttp.ClientSession, event: dict[str, str]) -> None:
    """Read the customer and write the remark unless a person did."""
    userid, external_userid = event["userid"], event["external_userid"]
    query = {"access_token": TOKEN, "external_userid": external_userid}
    async with session.get(f"{API}/cgi-bin/externalcontact/get", params=query) as response:
        customer = await _ok(response)
    relation = next(each for each in customer["follow_user"] if each["userid"] == userid)
    name = customer["external_contact"]["name"]
    if relation["remark"] != name:
        raise ValueError("a person wrote the remark")
    written = {"userid": userid, "external_userid": external_userid, "remark": f"南京路店-{name[:6]}"}
    query = {"access_token": TOKEN}
    async with session.post(f"{API}/cgi-bin/externalcontact/remark", params=query, json=written) as response:
        await _ok(response)


async def _ok(response: aiohttp.ClientResponse) -> dict[str, Any]:
    answer: dict[str, Any] = await response.json(content_type=None)
    if answer["errcode"]:
        raise ValueError(f"errcode {answer['errcode']}")
    return answer
