"""Callbacks: S22 to S30 of the checklist."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from shared.domain.errors import CallbackRejected
from shared.wecom.crypto import CallbackKeys
from simulator import App
from simulator.forgeries import Forgery, forge
from tests.rigs.simulator import Rig, receiver, rig

SPARE_BITS = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
"""The official sample key: its last character carries spare bits."""


async def slowly(plaintext: bytes) -> web.Response:
    await asyncio.Event().wait()
    return web.Response(body=plaintext)


async def test_s22_the_url_check_is_percent_encoded_and_accepts_the_plaintext() -> None:
    """echostr arrives with +, / and = encoded; the bare plaintext is accepted."""
    async with rig() as r:
        for _ in range(10):
            assert (await r.server.verify_url()).accepted
        echostrs = [re.search(r"echostr=([^&]*)", query)[1] for query, _ in r.receiver.requests]
        assert all(re.fullmatch(r"(?:[A-Za-z0-9]|%2B|%2F|%3D)+", echostr) for echostr in echostrs)
        assert any("%2B" in echostr for echostr in echostrs)
        assert await r.client.control("POST", "apps/verify", {}) == {"accepted": True, "reason": ""}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda plain: web.Response(body=b'"' + plain + b'"'), "quotes"),
        (lambda plain: web.Response(body=b"\xef\xbb\xbf" + plain), "byte order mark"),
        (lambda plain: web.Response(body=plain + b"\n"), "white space"),
        (lambda plain: web.Response(body=b"ok"), "not the plaintext"),
        (lambda plain: web.Response(body=plain, status=403), "HTTP status 403"),
        (lambda plain: web.Response(status=302, headers={"Location": "/wecom/callback"}), "HTTP status 302"),
        (slowly, "no answer"),
    ],
)
async def test_s22_the_url_check_refuses_anything_else(answer: Callable[[bytes], Any], reason: str) -> None:
    """Quotes, BOM, newline, other text, other status, more than a second: the console would not save."""
    async with rig(verify_timeout=0.2) as r:
        r.receiver.answer_check = answer
        check = await r.server.verify_url()
        assert (check.accepted, reason in check.reason) == (False, True)


async def test_s22_nobody_at_the_url() -> None:
    """A URL where nobody listens is refused."""
    async with rig() as r:
        r.simulator.app.callback_url = "http://127.0.0.1:9/"
        assert (await r.server.verify_url()).reason == "cannot connect"


async def test_s23_the_envelope_is_xml_with_all_pads() -> None:
    """Receiver, agentid and ciphertext in XML; every pad from 1 to 32 occurs; random prefixes differ."""
    async with rig() as r:
        for length in range(32):
            r.simulator.emit("t", "t", Text="x" * length)
        await r.simulator.settled()
        pads = {32 - (20 + len(message) + len("ww9f8e7d6c5b4a3210")) % 32 for message in r.receiver.plain}
        assert pads == set(range(1, 33))
        pattern = rb"<xml><ToUserName><!\[CDATA\[ww9f8e7d6c5b4a3210\]\]></ToUserName><AgentID><!\[CDATA\[1000027\]\]>"
        assert all(re.match(pattern, body) for _, body in r.receiver.requests)
        ciphertexts = {re.search(rb"<Encrypt><!\[CDATA\[(.{20})", body)[1] for _, body in r.receiver.requests}
        assert len(ciphertexts) == 32


async def test_s23_keys_with_spare_bits_are_used_as_they_are() -> None:
    """The official sample key, which strict decoders refuse, encrypts what wechatpy decrypts."""
    from wechatpy.enterprise.crypto import WeChatCrypto

    async with rig() as r:
        await r.client.control("POST", "apps", {"aes_key": SPARE_BITS})
        r.receiver.keys = CallbackKeys(token="chanMark01", aes_key=SPARE_BITS, receive_id=r.simulator.corp.corp_id)
        await r.friend("展会🎪👨‍👩‍👧‍👦")
        assert r.receiver.events[0]["State"] == "展会🎪👨‍👩‍👧‍👦"
        query, body = r.receiver.requests[0]
        signature, timestamp, nonce = (pair.split("=")[1] for pair in query.split("&"))
        crypto = WeChatCrypto("chanMark01", SPARE_BITS, r.simulator.corp.corp_id)
        assert crypto.decrypt_message(body, signature, timestamp, nonce).encode() == r.receiver.plain[0]


async def test_s23_cdata_ends_in_a_state_do_not_break_the_xml() -> None:
    """A state with ]]> and markup arrives as it is."""
    async with rig() as r:
        await r.friend("]]><State>&amp;")
        assert r.receiver.events[0]["State"] == "]]><State>&amp;"


async def test_s23_json_envelopes_by_switch() -> None:
    """With the switch envelope and message are JSON."""
    async with rig(envelope="json") as r:
        customer = await r.friend("展会")
        envelope = orjson.loads(r.receiver.requests[0][1])
        assert (envelope["tousername"], envelope["agentid"]) == (r.simulator.corp.corp_id, "1000027")
        assert orjson.loads(r.receiver.plain[0])["ExternalUserID"] == customer


async def test_s23_the_order_of_elements_may_vary() -> None:
    """With the switch the elements of the envelope come in any order."""
    async with rig(shuffle_envelope=True) as r:
        for _ in range(30):
            r.simulator.emit("t")
        await r.simulator.settled()
        orders = {tuple(re.findall(rb"<(\w+)><!", body)) for _, body in r.receiver.requests}
        assert len(orders) == 6


@pytest.mark.parametrize(("retries", "attempts"), [(3, 4), (2, 3)])
async def test_s24_an_event_that_is_refused_is_sent_again_and_then_lost(retries: int, attempts: int) -> None:
    """1 + 3 attempts, or 3 in all; then the event is lost and counted."""
    async with rig(callback_retries=retries, callback_retry_interval=0.0) as r:
        r.receiver.answer = lambda: web.Response(status=503)
        await r.friend()
        assert len(r.receiver.requests) == attempts
        assert len(set(r.receiver.plain)) == 1
        assert len({body for _, body in r.receiver.requests}) == attempts
        summary = await r.client.control("GET", "summary")
        assert summary["lost_events"] == {"1000027": 1}
        assert summary["callbacks"] == {"failed": attempts - 1, "lost": 1}


async def test_s24_retries_may_be_identical() -> None:
    """With the switch a repeat has the same nonce, timestamp and ciphertext."""
    async with rig(callback_fresh=False, callback_retry_interval=0.0) as r:
        r.receiver.answer = lambda: web.Response(status=500)
        await r.friend()
        assert len(set(r.receiver.requests)) == 1


async def test_s24_a_retry_waits_for_its_interval_on_the_scenarios_clock() -> None:
    """After a failure nothing comes until the interval has passed; advancing the clock is enough."""
    async with rig(callback_retry_interval=600.0) as r:
        answers = iter([web.Response(status=500), web.Response()])
        r.receiver.answer = lambda: next(answers)
        await r.simulator.scan(config_id=await r.client.add_way())
        while not r.simulator.scenario.callback_outcomes["failed"]:
            await asyncio.sleep(0)
        r.simulator.clock.advance(599)
        assert (len(r.receiver.requests), len(r.simulator.scenario.outbox)) == (1, 1)
        r.simulator.clock.advance(1)
        await r.simulator.settled()
        assert r.simulator.summary()["callbacks"] == {"failed": 1, "delivered": 1}


async def test_s24_a_receiver_that_is_too_slow_gets_the_event_again() -> None:
    """Beyond the timeout the connection is dropped and the event sent again."""
    async with rig(callback_timeout=0.1, callback_retries=1, callback_retry_interval=0.0) as r:
        async with hung_receiver(r):
            await r.friend()
        outcomes = [(e.code, e.note) for e in r.simulator.journal.find(kind="callback")]
        assert outcomes == [(0, "failed"), (0, "lost")]


def hung_receiver(r: Rig) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def serve() -> Any:
        async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(swallow, "127.0.0.1", 0)
        r.simulator.app.callback_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield
        finally:
            server.close()

    return serve()


async def test_s25_duplicates_bursts_and_reordering() -> None:
    """Events come twice without cause, many in one second, and later ones overtake earlier ones."""
    async with rig(duplicate_rate=0.5, reorder_rate=0.5, reorder_seconds=0.2) as r:
        way = await r.client.add_way()
        scans = (await r.client.control("POST", "scan", {"config_id": way, "count": 60}))["scans"]
        await r.simulator.settled()
        arrived = [event["ExternalUserID"] for event in r.receiver.events]
        sent = [scan["external_userid"] for scan in scans]
        assert set(arrived) == set(sent)
        assert 60 < len(arrived) < 120
        assert list(dict.fromkeys(arrived)) != sent
        assert len({event["CreateTime"] for event in r.receiver.events}) <= 2


async def test_s25_delivery_may_be_delayed_by_minutes() -> None:
    """A delayed event keeps its CreateTime and comes when the clock gets there."""
    async with rig(delay_rate=1.0, delay_seconds=300.0) as r:
        await r.simulator.scan(config_id=await r.client.add_way())
        r.simulator.clock.advance(299)
        assert r.receiver.events == []
        r.simulator.clock.advance(1)
        await r.simulator.settled()
        assert r.simulator.clock.time() - int(r.receiver.events[0]["CreateTime"]) >= 300


async def test_s25_events_may_be_dropped_silently() -> None:
    """A dropped event is never sent, and counted as lost."""
    async with rig(drop_rate=1.0) as r:
        await r.friend()
        summary = r.simulator.summary()
        assert (r.receiver.requests, summary["events_dropped"], summary["lost_events"]) == ([], 1, {"1000027": 1})


async def test_s26_each_app_gets_its_own_copy_and_the_first_welcome_wins() -> None:
    """Two apps, two keys, one WelcomeCode: the second to use it gets 41051."""
    async with rig() as r:
        other = App(agent_id=1000028, secret="another-secret", token="another", aes_key=SPARE_BITS)
        r.simulator.put_app(other)
        async with receiver(other, r.simulator.corp.corp_id) as second:
            await r.friend()
        assert r.receiver.plain == second.plain
        assert b"1000028" in second.requests[0][1]
        body = {"welcome_code": second.events[0]["WelcomeCode"], "text": {"content": "hi"}}
        assert await r.client.code("externalcontact/send_welcome_msg", **body) == 0
        await r.client.get_token(corpsecret="another-secret")
        assert await r.client.code("externalcontact/send_welcome_msg", **body) == 41051


async def test_s27_a_welcome_code_works_once_and_for_twenty_seconds() -> None:
    """Again: 41050; after 20 s: 41050; unknown: 41050."""
    async with rig() as r:
        for wait, codes in ((0, [0, 41050]), (19, [0, 41050]), (20, [41050])):
            await r.friend()
            body = {"welcome_code": r.receiver.events[-1]["WelcomeCode"], "text": {"content": "hi"}}
            r.simulator.clock.advance(wait)
            assert [await r.client.code("externalcontact/send_welcome_msg", **body) for _ in codes] == codes
        body["welcome_code"] = "unknown"
        assert await r.client.code("externalcontact/send_welcome_msg", **body) == 41050
        assert sum(t["welcomes"] for t in r.simulator.truth()) == 2


async def test_s27_a_welcome_under_way_or_a_chat_refuses_another() -> None:
    """41096 while a call with the same code is under way, 41051 once the two are chatting."""
    async with rig() as r:
        customer = await r.friend()
        body = {"welcome_code": r.receiver.events[-1]["WelcomeCode"], "text": {"content": "hi"}}
        r.simulator.configure(latency_scale=1.0, default_latency=0.05)
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(r.client.code("externalcontact/send_welcome_msg", **body)) for _ in range(2)]
        assert sorted(call.result() for call in calls) == [0, 41096]
        customer = await r.friend("two")
        r.simulator.act("chat", "lin.qiao", customer)
        body["welcome_code"] = r.receiver.events[-1]["WelcomeCode"]
        assert await r.client.code("externalcontact/send_welcome_msg", **body) == 41051


async def test_s27_some_events_have_no_welcome_code() -> None:
    """No code for members with a console welcome, users of WeCom, and customers already welcomed."""
    async with rig() as r:
        way = await r.client.add_way()
        await r.scan(config_id=way, customer={"type": 2, "corp_name": "B"})
        r.simulator.put_member("lin.qiao", console_welcome=True)
        await r.scan(config_id=way)
        assert ["WelcomeCode" in event for event in r.receiver.events] == [False, False]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 41049),
        ({"welcome_code": "c"}, 40063),
        ({"welcome_code": "c", "text": {"content": "好" * 1334}}, 40058),
        ({"welcome_code": "c", "attachments": [{"msgtype": "image", "image": {"media_id": "m"}}] * 10}, 41064),
        ({"welcome_code": "c", "attachments": [{"msgtype": "image", "link": {}}]}, 41065),
        ({"welcome_code": "c", "attachments": [{"msgtype": "link", "link": {"title": "t"}}]}, 40063),
        ({"welcome_code": "c", "attachments": [{"msgtype": "link", "link": {"title": "t" * 129, "url": "u"}}]}, 40058),
    ],
)
async def test_s27_a_welcome_is_checked_before_its_code(body: dict, code: int) -> None:
    """Missing code, nothing to say, too long, too many or mismatched attachments."""
    async with rig() as r:
        assert await r.client.code("externalcontact/send_welcome_msg", **body) == code


@pytest.mark.parametrize(("switch", "events"), [(False, 1), (True, 2)])
async def test_s28_api_writes_make_no_events_unless_switched_on(switch: bool, events: int) -> None:
    """A remark by API is silent; with the switch it comes back as an edit."""
    async with rig(api_events=switch) as r:
        customer = await r.friend()
        body = {"userid": "lin.qiao", "external_userid": customer, "remark": "x"}
        assert await r.client.code("externalcontact/remark", **body) == 0
        await r.simulator.settled()
        assert r.receiver.changes() == ["add_external_contact", "edit_external_contact"][:events]


async def test_s28_what_people_edit_makes_an_event() -> None:
    """Remark, description and tag written in a client: one edit event each, without State."""
    async with rig() as r:
        pair = ("lin.qiao", await r.friend())
        r.simulator.act("write_remark", *pair, remark="老客户")
        r.simulator.act("write_description", *pair, description="d")
        r.simulator.act("tag", *pair, tag_id="et")
        await r.simulator.settled()
        assert r.receiver.changes()[1:] == ["edit_external_contact"] * 3
        assert "State" not in r.receiver.events[-1]
        assert r.simulator.remark_of(*pair) == "老客户"


async def test_s29_any_event_can_be_sent() -> None:
    """Transfers, groups, tags, acquisition links, archives, and kinds nobody has invented yet."""
    async with rig() as r:
        customer = await r.friend()
        r.simulator.act("refuse_transfer", "lin.qiao", customer, to="zhou.yi")
        r.simulator.act("transfer", "lin.qiao", customer, to="zhou.yi")
        for event, change, fields in (
            ("change_external_chat", "update", {"ChatId": "wr", "UpdateDetail": "add_member"}),
            ("change_external_tag", "delete", {"Id": "et", "TagType": "tag"}),
            ("customer_acquisition", "balance_low", {}),
            ("change_external_contact", "msg_audit_approved", {"UserID": "lin.qiao"}),
            ("change_external_contact", "beamed_up_external_contact", {"Planet": "Mars"}),
        ):
            await r.client.control("POST", "events", {"event": event, "change": change, **fields})
        await r.simulator.settled()
        assert sorted(r.receiver.changes()) == sorted([
            "add_external_contact",
            "transfer_fail",
            "del_external_contact",
            "add_external_contact",
            "update",
            "delete",
            "balance_low",
            "msg_audit_approved",
            "beamed_up_external_contact",
        ])  # fmt: skip
        by_change = {event["ChangeType"]: event for event in r.receiver.events}
        assert by_change["del_external_contact"]["Source"] == "DELETE_BY_TRANSFER"
        assert by_change["transfer_fail"]["UserID"] == "zhou.yi"
        assert by_change["beamed_up_external_contact"]["Planet"] == "Mars"


@pytest.mark.parametrize("kind", list(Forgery))
async def test_s30_forged_callbacks_are_wrong_in_the_way_they_say(kind: Forgery) -> None:
    """Signature, base64, padding, length and receiver are each caught by the check they are made for."""
    async with rig() as r:
        query, body = forge(r.simulator.scenario, r.simulator.app, kind)
        given = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        found = re.search(rb"<Encrypt><!\[CDATA\[(.*?)\]\]>", body)
        encrypted = found[1].decode() if found else ""
        keys = r.receiver.keys
        signed = bool(given) and keys.verify(given["msg_signature"], given["timestamp"], given["nonce"], encrypted)
        try:
            opened = keys.decrypt(encrypted).decode()
        except CallbackRejected as rejected:
            opened = rejected.reason
        verdict = {
            Forgery.BAD_SIGNATURE: not signed and "forged" in opened,
            Forgery.NO_SIGNATURE: not given and "forged" in opened,
            Forgery.WRONG_RECEIVER: signed and opened == "wrong receiver",
            Forgery.TRUNCATED: signed and opened != "wrong receiver" and "forged" not in opened,
            Forgery.WRONG_LENGTH: signed and opened == "wrong length field",
            Forgery.PAD_ZERO: signed and opened == "wrong padding",
            Forgery.PAD_33: signed and opened == "wrong padding",
            Forgery.NOT_BASE64: signed and opened == "ciphertext is not base64",
            Forgery.NO_ENCRYPT: not encrypted and b"<Cipher>" in body,
            Forgery.NOT_XML: b"<" not in body,
            Forgery.XML_BOMB: signed and body.startswith(b"<!DOCTYPE") and "forged" in opened,
            Forgery.INNER_XML_BOMB: signed and opened.startswith("<!DOCTYPE") and "&i;" in opened,
            Forgery.OVERSIZED: signed and len(body) > 10_000_000,
        }
        assert verdict[kind]


async def test_s30_a_forgery_is_sent_on_demand() -> None:
    """The receiver's status comes back, over Python and over HTTP."""
    async with rig() as r:
        r.receiver.answer = lambda: web.Response(status=403)
        assert await r.client.control("POST", "forgeries", {"kind": "pad_zero"}) == {"status": 500}
        assert await r.server.send_forged("xml_bomb") in {403, 500}
