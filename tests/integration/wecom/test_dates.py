"""The time at WeCom, as the Date of its answers tells it."""

import time

import pytest

from shared.clock import HeardClock, SystemClock
from shared.domain.ids import CorpId
from shared.wecom.client import open_wecom
from tests.doubles.wecom import SECRET, OpenQuota, raw, scripted_wecom

TOKEN = b'{"errcode":0,"access_token":"t","expires_in":7200}'
MIDNIGHT = 1_767_225_600


async def heard(date: str, body: bytes = TOKEN) -> HeardClock:
    """Return the clock of a client whose gettoken was answered with this Date."""
    clock = HeardClock(SystemClock())
    async with scripted_wecom() as server:
        reply = raw(body, content_type="application/json")
        reply.headers["Date"] = date
        server.script("gettoken", reply)
        async with open_wecom(
            base_url=server.url, corp=CorpId("ww1"), corp_secret=SECRET, quota=OpenQuota(), clock=clock
        ) as wecom:
            await wecom.prepare()
    return clock


@pytest.mark.parametrize("zone", ["", " GMT", " +0000", " -0000"])
async def test_a_date_is_of_greenwich(monkeypatch, zone):
    """HTTP knows one zone, whatever this machine's is."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        clock = await heard(f"Thu, 01 Jan 2026 00:00:00{zone}")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert clock.time() == pytest.approx(MIDNIGHT, abs=10)


@pytest.mark.parametrize("date", ["yesterday", "Thu, 99 Jan 2026 00:00:00 GMT", "0", "Thu, 01 Jan 99999 00:00:00 GMT"])
async def test_what_is_no_date_tells_no_time(date):
    """The call succeeds, and the machine's own clock goes on counting."""
    assert (await heard(date)).skew is None


@pytest.mark.parametrize("body", [b'{"status":"ok"}', b"<html>", b"[]"])
async def test_what_is_not_wecoms_tells_no_time(body):
    """Something in between may have any clock."""
    assert (await heard("Thu, 01 Jan 2026 00:00:00 GMT", body)).skew is None
