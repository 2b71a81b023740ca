"""Answers that are not WeCom's: whatever stands between may give them, to any call, and each is the network's fault."""

import orjson
import pytest
from aiohttp import web

from shared.domain.errors import TransientError
from shared.domain.ids import ContactWayId, ExternalUserId, StaffUserId, TagId
from shared.wecom.endpoints import APIS
from tests.doubles.wecom import OpenQuota, client_of, raw, scripted_wecom
from tests.rigs.relations import mark_tag, remark

LIN = StaffUserId("lin.qiao")
NANA = ExternalUserId("wmNana")
WAY = ContactWayId("c1")
JSON = "application/json; charset=UTF-8"


async def all_of(listing):
    return [page async for page in listing]


METHODS = {
    "getcallbackip": lambda wecom: wecom.get_callback_ips(),
    "get_api_domain_ip": lambda wecom: wecom.get_api_domain_ips(),
    "externalcontact/get_follow_user_list": lambda wecom: wecom.get_follow_user_list(),
    "externalcontact/list": lambda wecom: wecom.list_customers(LIN),
    "externalcontact/get": lambda wecom: wecom.get_relation(LIN, NANA),
    "externalcontact/batch/get_by_user": lambda wecom: all_of(wecom.get_by_user([LIN])),
    "externalcontact/get_contact_way": lambda wecom: wecom.get_contact_way(WAY),
    "externalcontact/list_contact_way": lambda wecom: all_of(wecom.list_contact_way()),
    "externalcontact/get_corp_tag_list": lambda wecom: wecom.get_corp_tags(),
    "externalcontact/get_user_behavior_data": lambda wecom: wecom.call(
        "externalcontact/get_user_behavior_data", body={"userid": ["lin.qiao"]}
    ),
    "externalcontact/remark": lambda wecom: remark(wecom, LIN, NANA, remark="a"),
    "externalcontact/mark_tag": lambda wecom: mark_tag(wecom, LIN, NANA, add=[TagId("et1")]),
    "externalcontact/add_contact_way": lambda wecom: wecom.add_contact_way(state="qd_a", users=[LIN]),
    "externalcontact/update_contact_way": lambda wecom: wecom.update_contact_way(WAY, state="qd_a"),
    "externalcontact/del_contact_way": lambda wecom: wecom.del_contact_way(WAY),
    "externalcontact/close_temp_chat": lambda wecom: wecom.call(
        "externalcontact/close_temp_chat", body={"userid": "a"}
    ),
    "externalcontact/send_welcome_msg": lambda wecom: wecom.send_welcome_msg("code", text="hi"),
    "externalcontact/add_corp_tag": lambda wecom: wecom.add_corp_tag("g", ["t"]),
    "externalcontact/edit_corp_tag": lambda wecom: wecom.edit_corp_tag("et1", "t"),
    "externalcontact/del_corp_tag": lambda wecom: wecom.del_corp_tag(tag_ids=[TagId("et1")]),
    "media/upload": lambda wecom: wecom.upload_media("image", "a.png", b"\x89PNG"),
    "gettoken": lambda wecom: wecom.get_callback_ips(),
}

READS = {
    "getcallbackip": {"ip_list": []},
    "get_api_domain_ip": {"ip_list": []},
    "externalcontact/get_follow_user_list": {"follow_user": ["lin.qiao"]},
    "externalcontact/list": {"external_userid": []},
    "externalcontact/get": {
        "external_contact": {"external_userid": NANA, "name": "Nana"},
        "follow_user": [{"userid": LIN}],
    },
    "externalcontact/batch/get_by_user": {"external_contact_list": []},
    "externalcontact/get_contact_way": {"contact_way": {"config_id": WAY, "type": 1, "scene": 2}},
    "externalcontact/list_contact_way": {"contact_way": []},
    "externalcontact/get_corp_tag_list": {"tag_group": []},
    "externalcontact/get_user_behavior_data": {"behavior_data": []},
}
"""What an answer to a reading call is about: WeCom may leave errcode out beside it (doc 90313)."""

FOREIGN = {
    "json without errcode": raw(b'{"status":"ok","code":0,"data":{}}', content_type=JSON),
    "empty object": raw(b"{}", content_type=JSON),
    "errmsg alone": raw(b'{"errmsg":"ok"}', content_type=JSON),
    "errcode null": raw(b'{"errcode":null}', content_type=JSON),
    "errcode true": raw(b'{"errcode":false}', content_type=JSON),
    "a list": raw(b"[]", content_type=JSON),
    "a text": raw(b'"ok"', content_type=JSON),
    "nothing": raw(b""),
    "html": raw(b"<html>Please log in</html>"),
    **{
        f"status {status}": web.Response(status=status, headers={"Location": "https://portal.example.com/"})
        for status in (204, 301, 302, 303, 307, 308)
    },
    **{
        f"status {status}": raw(b'{"errcode":0,"errmsg":"ok"}', status=status, content_type=JSON)
        for status in (201, 304, 400, 401, 403, 404, 405, 408, 413, 418, 429, 451, 500, 502, 503, 504, 599)
    },
}


def test_every_api_is_tried():
    """An API that the client learns is tried here as well."""
    assert set(METHODS) == set(APIS) | {"gettoken"}
    assert set(READS) == {name for name, api in APIS.items() if not api.writes}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("endpoint", METHODS)
async def test_a_foreign_answer_is_no_answer(endpoint, kind):
    """Whatever comes that is not WeCom's JSON, the call is to be tried again: it neither succeeded nor was refused."""
    async with scripted_wecom() as server, client_of(server) as wecom:
        server.script(endpoint, FOREIGN[kind])
        with pytest.raises(TransientError) as caught:
            await METHODS[endpoint](wecom)
    error = caught.value
    assert (error.endpoint, error.errcode) == (endpoint, None)
    assert "portal" not in str(error)


@pytest.mark.parametrize("endpoint", READS)
async def test_a_reading_answer_needs_no_errcode_beside_what_it_is_about(endpoint):
    """Some of WeCom's APIs leave errcode out of a success (doc 90313): what was asked for stands in its place."""
    async with scripted_wecom() as server, client_of(server) as wecom:
        server.script(endpoint, raw(orjson.dumps(READS[endpoint]), content_type=JSON))
        await METHODS[endpoint](wecom)


async def test_the_quota_learns_that_no_answer_came():
    """A foreign answer to a write leaves its permit as a failure of the network, not as a success."""
    quota = OpenQuota()
    async with scripted_wecom() as server, client_of(server, quota) as wecom:
        server.script("externalcontact/remark", FOREIGN["json without errcode"])
        with pytest.raises(TransientError, match="not WeCom's"):
            await remark(wecom, LIN, NANA, remark="a")
    assert [left for _, _, left in quota.left] == [TransientError]
