"""The WeCom client over real HTTP, against a server that answers what each test tells it to."""

import asyncio
import logging
import traceback

import orjson
import pytest
from aiohttp import web

from shared.domain.channels.ways import ContactWayType
from shared.domain.errors import (
    ConfigurationNeeded,
    Congested,
    CursorExpired,
    PermanentError,
    QueueUnavailable,
    RateLimited,
    StaffBlocked,
    TokenRefused,
    TooEarly,
    TransientError,
    WeComError,
    WelcomeRefused,
)
from shared.domain.events import Lane
from shared.domain.ids import ContactWayId, ExternalUserId, StaffUserId, TagId
from tests.doubles.wecom import (
    SECRET,
    OpenQuota,
    answer,
    client_of,
    cut,
    hang,
    raw,
    reset,
    scripted_wecom,
)
from tests.rigs.relations import mark_tag, remark

GET = "externalcontact/get"
BATCH = "externalcontact/batch/get_by_user"
REMARK = "externalcontact/remark"
LIN, ZHOU = StaffUserId("lin.qiao"), StaffUserId("zhou.yi")
NANA, BO = ExternalUserId("wmNana"), ExternalUserId("wmBo")


@pytest.fixture
async def server():
    async with scripted_wecom() as running:
        yield running


@pytest.fixture
def quota():
    return OpenQuota()


@pytest.fixture
async def wecom(server, quota):
    async with client_of(server, quota) as client:
        yield client


def name_of(reply):
    """Name a scripted reply for the test's id."""
    if isinstance(reply, web.Response):
        return f"http-{reply.status}-{(reply.body or b'')[:8]!r}"
    return reply.__name__ if callable(reply) else str(reply)[:40]


def contact(customer=NANA, **more):
    return {"external_userid": customer, "name": "Nana 🌸", "type": 1, "avatar": "http://a", "gender": 2, **more}


def follow(staff=LIN, **more):
    return {"userid": staff, "remark": "Nana", "createtime": 1767229383, "add_way": 1, "state": "qd_expo26", **more}


# --- reading customers


async def test_a_customer_comes_with_every_page_of_relations(server, wecom):
    """get follows the cursor to the end and gathers the relations of all pages, empty ones included."""
    server.script(
        GET,
        {"errcode": 0, "external_contact": contact(), "follow_user": [follow(LIN)], "next_cursor": "c1"},
        {"errcode": 0, "external_contact": contact(), "follow_user": [], "next_cursor": "c2"},
        {"external_contact": contact(), "follow_user": [follow(ZHOU, state="qd_b")], "next_cursor": ""},
    )
    customer = await wecom.get_customer(NANA)
    assert [relation.staff for relation in customer.relations] == [LIN, ZHOU]
    assert [call.query.get("cursor") for call in server.calls(GET)] == [None, "c1", "c2"]
    assert {call.query["external_userid"] for call in server.calls(GET)} == {NANA}


async def test_a_customer_is_read_field_by_field(server, wecom):
    """Every field we use is read; private tags, unknown fields and missing ones do no harm."""
    tags = [
        {"group_name": "g", "tag_name": "t", "tag_id": "et1", "type": 1},
        {"group_name": "", "tag_name": "mine", "type": 2},
    ]
    server.script(
        GET,
        {
            "external_contact": contact(type=2, corp_name="ACME", unionid="oT9", new_field={"a": [1]}),
            "follow_user": [follow("Lin.Qiao", tags=tags, description="d", add_way=999), {"userid": "zhou.yi"}],
            "something": None,
        },
    )
    customer = await wecom.get_customer(NANA)
    assert (customer.customer, customer.name, customer.corp_name) == (NANA, "Nana 🌸", "ACME")
    assert (customer.type, customer.unionid) == (2, "oT9")
    lin = customer.relation_with(StaffUserId("LIN.QIAO"))
    assert lin is not None
    assert (lin.staff, lin.remark, lin.description, lin.state) == ("Lin.Qiao", "Nana", "d", "qd_expo26")
    assert (lin.created_at, lin.add_way, lin.tag_ids) == (1767229383, 999, {"et1"})
    assert (lin.name, lin.corp_name, lin.customer) == ("Nana 🌸", "ACME", NANA)
    zhou = customer.relation_with(ZHOU)
    assert zhou is not None
    assert (zhou.remark, zhou.state, zhou.created_at, zhou.tag_ids) == ("", "", 0, frozenset())
    assert customer.relation_with(StaffUserId("nobody")) is None


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"external_contact": contact()},
        {"external_contact": contact(), "follow_user": None},
        {"external_contact": contact(), "follow_user": {"userid": "x"}},
        {"external_contact": contact(), "follow_user": ["x"]},
        {"external_contact": contact(), "follow_user": [{"userid": ""}]},
        {"external_contact": contact(), "follow_user": [follow(createtime="yesterday")]},
        {"external_contact": contact(), "follow_user": [follow(createtime=True)]},
        {"external_contact": contact(), "follow_user": [follow(remark=7)]},
        {"external_contact": contact(), "follow_user": [follow(tags=[{"tag_id": 1}])]},
        {"external_contact": [], "follow_user": []},
        {"external_contact": contact(name=["PLANTED-name"]), "follow_user": []},
        {"external_contact": contact(), "follow_user": [], "next_cursor": 5},
    ],
)
async def test_a_malformed_answer_is_unreadable(server, wecom, broken):
    """A missing list or a field of the wrong type is never guessed at: the call may be tried again."""
    server.script(GET, {"errcode": 0, **broken})
    with pytest.raises(TransientError, match="unreadable answer") as caught:
        await wecom.get_customer(NANA)
    assert "PLANTED" not in "".join(traceback.format_exception(caught.value))


async def test_relations_come_page_by_page(server, wecom):
    """get_by_user goes by the cursor, not by the length of a page, and names members WeCom left out."""
    item = {"external_contact": contact(), "follow_info": follow(tag_id=["et1", "et2"])}
    other = {"external_contact": contact(BO), "follow_info": follow(ZHOU)}
    server.script(
        BATCH,
        {"errcode": 0, "external_contact_list": [item], "next_cursor": "c1"},
        {"errcode": 0, "external_contact_list": [], "next_cursor": "c2"},
        {"external_contact_list": [other], "fail_info": {"unlicensed_userid_list": ["wu"]}},
    )
    pages = [page async for page in wecom.get_by_user([LIN, ZHOU])]
    assert [[(r.staff, r.customer) for r in page.relations] for page in pages] == [[(LIN, NANA)], [], [(ZHOU, BO)]]
    assert pages[0].relations[0].tag_ids == {"et1", "et2"}
    assert pages[2].unlicensed == ("wu",)
    assert [call.body for call in server.calls(BATCH)] == [
        {"userid_list": [LIN, ZHOU], "limit": 100},
        {"userid_list": [LIN, ZHOU], "limit": 100, "cursor": "c1"},
        {"userid_list": [LIN, ZHOU], "limit": 100, "cursor": "c2"},
    ]


@pytest.mark.parametrize(
    ("code", "error"), [(50100, CursorExpired), (-1, TransientError), (45009, RateLimited), (84061, TransientError)]
)
async def test_a_listing_that_breaks_off_never_looks_complete(server, wecom, code, error):
    """A later page that fails raises, though its answer holds an empty list; 50100 has an error of its own."""
    item = {"external_contact": contact(), "follow_info": follow()}
    server.script(
        BATCH,
        {"errcode": 0, "external_contact_list": [item], "next_cursor": "c1"},
        {"errcode": code, "external_contact_list": [], "next_cursor": ""},
    )
    pages = wecom.get_by_user([LIN])
    assert len((await anext(pages)).relations) == 1
    with pytest.raises(error) as caught:
        await anext(pages)
    assert type(caught.value) is error


async def test_members_without_customers_have_no_pages(server, wecom):
    """84061 on the first page of get_by_user, and at list, says that there are no customers."""
    server.script(BATCH, {"errcode": 84061, "external_contact_list": []})
    server.script("externalcontact/list", {"errcode": 84061, "external_userid": []})
    assert [page async for page in wecom.get_by_user([LIN])] == []
    assert await wecom.list_customers(LIN) == []


async def test_a_cursor_that_does_not_move_ends_the_listing_with_an_error(server, wecom):
    """A listing that would go round for ever is broken off."""
    server.script(BATCH, {"errcode": 0, "external_contact_list": [], "next_cursor": "c1"})
    with pytest.raises(TransientError, match="cursor"):
        async for _ in wecom.get_by_user([LIN]):
            pass
    assert len(server.calls(BATCH)) == 2


@pytest.mark.parametrize("members", [0, 101])
async def test_get_by_user_takes_1_to_100_members(wecom, server, members):
    """A list that WeCom would refuse is not sent."""
    with pytest.raises(ValueError, match="100"):
        async for _ in wecom.get_by_user([LIN] * members):
            pass
    assert server.seen == []


async def test_a_listing_without_its_list_is_unreadable(server, wecom):
    """An answer without the list it is about, even an empty object, is not "nobody"."""
    server.script("externalcontact/list", {"errcode": 0})
    server.script("externalcontact/get_follow_user_list", {})
    with pytest.raises(TransientError):
        await wecom.list_customers(LIN)
    with pytest.raises(TransientError):
        await wecom.get_follow_user_list()


async def test_members_and_customers_are_listed(server, wecom):
    """The two plain lists come back as they are."""
    server.script("externalcontact/get_follow_user_list", {"errcode": 0, "follow_user": ["lin.qiao", "zhou.yi"]})
    server.script("externalcontact/list", {"errcode": 0, "external_userid": ["wmNana", "wmBo"]})
    assert await wecom.get_follow_user_list() == [LIN, ZHOU]
    assert await wecom.list_customers(LIN) == [NANA, BO]
    assert server.calls("externalcontact/list")[0].query["userid"] == LIN


# --- writing


async def test_remark_sends_only_what_is_given(server, wecom):
    """A field that is not given is not in the body; the text goes out as raw UTF-8."""
    await remark(wecom, LIN, NANA, remark="展会26-Nana 🌸")
    await remark(wecom, LIN, NANA, description="", remark_mobiles=())
    first, second = server.calls(REMARK)
    assert first.body == {"userid": LIN, "external_userid": NANA, "remark": "展会26-Nana 🌸"}
    assert "展会26-Nana 🌸".encode() in first.raw
    assert b"\\u" not in first.raw
    assert second.body == {"userid": LIN, "external_userid": NANA, "description": "", "remark_mobiles": [""]}


async def test_a_write_that_changes_nothing_is_not_sent(server, wecom):
    """remark without a field and mark_tag without a tag are bugs of the caller."""
    with pytest.raises(ValueError, match="field"):
        await remark(wecom, LIN, NANA)
    with pytest.raises(ValueError, match="tag"):
        await mark_tag(wecom, LIN, NANA)
    assert server.seen == []


async def test_writes_to_one_relation_never_overlap(server, quota, wecom):
    """Two writes to a relation go one after the other, whatever the case of the userid; another relation's need not."""
    arrived: list[str] = []
    news, release = asyncio.Event(), asyncio.Event()

    async def hold(request):
        arrived.append((await request.json())["external_userid"] + request.path[-6:])
        news.set()
        await release.wait()
        return answer({"errcode": 0})

    server.script(REMARK, hold)
    server.script("externalcontact/mark_tag", hold)
    async with asyncio.TaskGroup() as group:
        group.create_task(remark(wecom, LIN, NANA, remark="a"))
        await news.wait()
        group.create_task(mark_tag(wecom.on(Lane.BULK), StaffUserId("LIN.QIAO"), NANA, add=[TagId("et1")]))
        group.create_task(remark(wecom, LIN, BO, remark="b"))
        async with asyncio.timeout(5):
            while len(arrived) < 2:
                news.clear()
                await news.wait()
        # The second write was asked for before the third, which has arrived: it waits, and holds no permit.
        assert arrived == ["wmNanaremark", "wmBoremark"]
        assert quota.open == 2
        release.set()
    assert arrived[2] == "wmNanark_tag"


async def test_a_write_after_a_failed_one_goes_on(server, wecom):
    """A write that fails leaves the relation free for the next."""
    server.script(REMARK, {"errcode": 45035}, {"errcode": 0})
    with pytest.raises(Congested):
        await remark(wecom, LIN, NANA, remark="a")
    await remark(wecom, LIN, NANA, remark="a")


async def test_contact_ways_live_their_whole_life(server, wecom):
    """Contact ways are made, read, listed, changed by the given fields only, and deleted."""
    server.script("externalcontact/add_contact_way", {"errcode": 0, "config_id": "cfg1", "qr_code": "https://q/1"})
    way = {"config_id": "cfg1", "type": 2, "scene": 2, "state": "qd_a", "user": [LIN], "party": [3], "remark": "hall"}
    server.script("externalcontact/get_contact_way", {"contact_way": {**way, "skip_verify": False, "qr_code": "u"}})
    server.script(
        "externalcontact/list_contact_way",
        {"contact_way": [{"config_id": "cfg1"}], "next_cursor": "n"},
        {"contact_way": [{"config_id": "cfg2"}]},
    )
    made = await wecom.add_contact_way(
        state="qd_a", users=[LIN], type=ContactWayType.SINGLE, style=3, skip_verify=True, is_exclusive=True
    )
    assert (made.config_id, made.qr_code) == ("cfg1", "https://q/1")
    assert server.calls("externalcontact/add_contact_way")[0].body == {
        "type": 1,
        "scene": 2,
        "style": 3,
        "state": "qd_a",
        "user": [LIN],
        "skip_verify": True,
        "is_exclusive": True,
    }
    read = await wecom.get_contact_way(made.config_id)
    fields = read.fields
    assert (read.state, fields.staff, fields.party, fields.memo) == ("qd_a", (LIN,), (3,), "hall")
    assert (fields.type, fields.scene, fields.skip_verify, read.qr_code) == (2, 2, False, "u")
    assert [page async for page in wecom.list_contact_way(start_time=5)] == [("cfg1",), ("cfg2",)]
    assert server.calls("externalcontact/list_contact_way")[1].body == {"start_time": 5, "limit": 1000, "cursor": "n"}
    await wecom.update_contact_way(made.config_id, users=[ZHOU], style=1, skip_verify=False)
    assert server.calls("externalcontact/update_contact_way")[0].body == {
        "config_id": "cfg1",
        "user": [ZHOU],
        "style": 1,
        "skip_verify": False,
    }
    await wecom.del_contact_way(made.config_id)
    assert server.calls("externalcontact/del_contact_way")[0].body == {"config_id": "cfg1"}


async def test_a_deleted_contact_way_is_permanent(server, wecom):
    """A config_id WeCom does not know will never answer."""
    server.script("externalcontact/get_contact_way", {"errcode": 41044})
    with pytest.raises(PermanentError):
        await wecom.get_contact_way(ContactWayId("gone"))


async def test_corp_tags_are_read_and_written(server, wecom):
    """Tags are listed by group, added to a group by name, renamed, deleted, and put on a relation."""
    group = {"group_id": "g1", "group_name": "来源", "tag": [{"id": "et1", "name": "展会"}, {"id": "et2", "name": "b"}]}
    server.script("externalcontact/get_corp_tag_list", {"tag_group": [group, {"group_id": "g2", "deleted": True}]})
    server.script("externalcontact/add_corp_tag", {"errcode": 0, "tag_group": group})
    groups = await wecom.get_corp_tags()
    assert [(tag.tag_id, tag.name) for tag in groups[0].tags] == [("et1", "展会"), ("et2", "b")]
    assert (groups[0].name, groups[0].deleted, groups[1].deleted, groups[1].tags) == ("来源", False, True, ())
    assert server.calls("externalcontact/get_corp_tag_list")[0].body == {}
    assert (await wecom.add_corp_tag("来源", ["展会", "b"])).group_id == "g1"
    assert server.calls("externalcontact/add_corp_tag")[0].body == {
        "group_name": "来源",
        "tag": [{"name": "展会"}, {"name": "b"}],
    }
    await wecom.edit_corp_tag("et1", "新")
    assert server.calls("externalcontact/edit_corp_tag")[0].body == {"id": "et1", "name": "新"}
    await wecom.del_corp_tag(tag_ids=[TagId("et1")])
    assert server.calls("externalcontact/del_corp_tag")[0].body == {"tag_id": ["et1"]}
    await mark_tag(wecom, LIN, NANA, add=[TagId("et1")], remove=[TagId("et2")])
    assert server.calls("externalcontact/mark_tag")[0].body == {
        "userid": LIN,
        "external_userid": NANA,
        "add_tag": ["et1"],
        "remove_tag": ["et2"],
    }


async def test_a_welcome_is_sent_once(server, wecom):
    """The welcome carries the code and what is given; a spent code is told apart from a busy one."""
    server.script("externalcontact/send_welcome_msg", {"errcode": 0}, {"errcode": 41096}, {"errcode": 41051})
    image = {"msgtype": "image", "image": {"media_id": "m"}}
    await wecom.send_welcome_msg("code", text="你好", attachments=[image])
    assert server.calls("externalcontact/send_welcome_msg")[0].body == {
        "welcome_code": "code",
        "text": {"content": "你好"},
        "attachments": [image],
    }
    with pytest.raises(TransientError):
        await wecom.send_welcome_msg("code", text="你好")
    with pytest.raises(WelcomeRefused):
        await wecom.send_welcome_msg("code", text="你好")


async def test_a_file_is_uploaded_under_its_own_name(server, wecom):
    """As a form, its name as it is: WeCom reads no filename*, and shows the name to the customer."""
    server.script("media/upload", {"errcode": 0, "type": "file", "media_id": "m1", "created_at": "1380000000"})
    assert await wecom.upload_media("file", "价目表 2026.pdf", b"%PDF-1.7" + b"x" * 2**21) == "m1"
    seen = server.calls("media/upload")[0]
    assert (seen.method, seen.query["type"]) == ("POST", "file")
    head = seen.raw.split(b"\r\n\r\n")[0].decode()
    assert 'name="media"; filename="价目表 2026.pdf"; filelength="2097160"' in head
    assert "Content-Type: application/pdf" in head
    assert seen.raw.split(b"\r\n\r\n")[1].startswith(b"%PDF-1.7xxx")


async def test_addresses_are_listed(server, wecom):
    """Both address lists come back as texts, wildcards included."""
    server.script("getcallbackip", {"ip_list": ["203.0.113.7", "198.51.100.*"]})
    server.script("get_api_domain_ip", {"ip_list": []})
    assert await wecom.get_callback_ips() == ["203.0.113.7", "198.51.100.*"]
    assert await wecom.get_api_domain_ips() == []


async def test_any_api_can_be_called_raw(server, wecom):
    """A call with a body is a POST, one without a GET, and the answer comes back whole."""
    server.script("externalcontact/get_user_behavior_data", {"errcode": 0, "behavior_data": [{"a": 1}]})
    posted = await wecom.call("externalcontact/get_user_behavior_data", body={"userid": ["x"]})
    assert posted["behavior_data"] == [{"a": 1}]
    await wecom.call("user/get", params={"userid": "a b&c=+"})
    assert [(seen.method, seen.endpoint) for seen in server.seen[1:]] == [
        ("POST", "externalcontact/get_user_behavior_data"),
        ("GET", "user/get"),
    ]
    assert server.seen[2].query["userid"] == "a b&c=+"


@pytest.mark.parametrize("endpoint", ["", "/x", "../x", "a//b", "http://x/y", "a?b=c", "a#b", "a b", "x\n"])
async def test_only_api_names_are_called(server, wecom, endpoint):
    """What is no path below /cgi-bin/ is refused before a token could go anywhere."""
    with pytest.raises(PermanentError):
        await wecom.call(endpoint)
    assert server.seen == []


# --- the permit


async def test_a_failure_leaves_the_permit_as_what_it_means(server, quota, wecom):
    """The quota sees success or the mapped error, under the lane and the API of the call."""
    server.script(REMARK, {"errcode": 0}, {"errcode": 45009}, {"errcode": 60011}, reset)
    await remark(wecom, LIN, NANA, remark="a")
    for lane, error in [(Lane.FAST, RateLimited), (Lane.BULK, StaffBlocked), (Lane.LIVE, TransientError)]:
        with pytest.raises(error):
            await remark(wecom.on(lane), LIN, NANA, remark="a")
    assert quota.left == [
        (REMARK, Lane.LIVE, None),
        (REMARK, Lane.FAST, RateLimited),
        (REMARK, Lane.BULK, StaffBlocked),
        (REMARK, Lane.LIVE, TransientError),
    ]
    assert quota.open == 0


async def test_a_cancelled_call_gives_its_permit_back(server, quota, wecom):
    """Cancellation passes through, and no permit stays behind."""
    server.script(GET, hang)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        call = group.create_task(wecom.get_customer(NANA))
        while not server.calls(GET):
            await asyncio.sleep(0)
        call.cancel()
    assert call.cancelled()
    assert quota.left == [(GET, Lane.LIVE, asyncio.CancelledError)]


async def test_the_quota_learns_which_member_a_call_acts_for(quota, wecom):
    """A call for one member names it to the quota; a call for several, or for none, names nobody."""
    await remark(wecom, LIN, NANA, remark="a")
    await mark_tag(wecom, LIN, NANA, add=[TagId("et1")])
    await wecom.update_contact_way(ContactWayId("c"), users=[LIN])
    await wecom.update_contact_way(ContactWayId("c"), users=[LIN, ZHOU])
    await wecom.send_welcome_msg("code", text="hi")
    assert quota.staff == [LIN, LIN, LIN, "", ""]


# --- transport failures


async def test_a_broken_connection_is_one_call(server, wecom):
    """Nothing is sent again behind the quota's back, be it a GET on a connection used before."""
    server.script(GET, {"external_contact": contact(), "follow_user": []}, reset)
    await wecom.get_customer(NANA)
    with pytest.raises(TransientError):
        await wecom.get_customer(NANA)
    assert len(server.calls(GET)) == 2


@pytest.mark.parametrize(
    "reply",
    [
        reset,
        cut,
        raw(b""),
        raw(b"<html><h1>502 Bad Gateway</h1></html>", status=502),
        raw(b"<html>maintenance</html>"),
        raw(b'{"errcode":0}', status=500),
        raw(b"{", content_type="application/json"),
        raw(b"[]"),
        raw(b'"ok"'),
        raw(b"null"),
        raw(b"\xff\xfe\x00"),
        raw(b"[" * 100_000),
        {"errcode": "0"},
    ],
    ids=name_of,
)
async def test_no_readable_answer_is_transient(server, wecom, reply):
    """A broken connection, a 5xx, an empty, HTML or unreadable answer leaves the outcome unknown: try again."""
    server.script(REMARK, reply)
    with pytest.raises(TransientError) as caught:
        await remark(wecom, LIN, NANA, remark="a")
    assert type(caught.value) is TransientError
    assert caught.value.errcode is None


async def test_a_slow_answer_is_transient(server, quota):
    """An answer that does not come in time is given up, whether it never starts or never ends."""

    async def dribble(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        return await hang(request)

    for script in (hang, dribble):
        server.script(REMARK, script)
        async with client_of(server, quota, timeout=0.2) as wecom, asyncio.timeout(5):
            with pytest.raises(TransientError, match=r"within 0\.2 s"):
                await remark(wecom, LIN, NANA, remark="a")


async def test_an_unreachable_server_is_transient(server):
    """A refused connection is tried again, at gettoken and elsewhere."""
    server.url = "http://127.0.0.1:1"
    async with client_of(server) as wecom:
        with pytest.raises(TransientError):
            await wecom.get_callback_ips()


@pytest.mark.parametrize("status", [301, 302, 308])
async def test_a_redirect_is_not_followed(server, wecom, status):
    """Neither a token nor a customer goes where somebody in between points."""
    server.script(REMARK, web.Response(status=status, headers={"Location": f"{server.url}/cgi-bin/elsewhere"}))
    with pytest.raises(TransientError, match=str(status)):
        await remark(wecom, LIN, NANA, remark="a")
    assert server.calls("elsewhere") == []


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"\xef\xbb\xbf" + orjson.dumps({"n": "Nana"}), "Nana"),
        (b'{"n":"a\x01\tb"}', "a\x01\tb"),
        (b'{"n":"half \\ud83c"}', "half ?"),
        (b'{"n":"\\ud83c\\udf38 \xff"}', "🌸 \ufffd"),
        (b' {"errcode" : 0 ,\n"errmsg":"ok", "n":"\\u5c55\\u4f1a"} ', "展会"),
    ],
)
async def test_an_odd_nickname_does_not_spoil_an_answer(server, wecom, body, name):
    """A byte order mark, control characters, broken UTF-8 and half an emoji are read or replaced."""
    server.script("x", raw(body, content_type="text/plain"))
    answered = await wecom.call("x")
    assert answered["n"] == name
    assert orjson.dumps(answered)


# --- the token


async def test_a_hundred_calls_share_one_gettoken(server, wecom):
    """However many calls start at once, one gettoken is made."""
    server.script(GET, {"external_contact": contact(), "follow_user": []})
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(wecom.get_customer(NANA))
    assert len(server.calls("gettoken")) == 1
    assert len(server.calls(GET)) == 100
    assert server.calls("gettoken")[0].query == {"corpid": "ww-corp", "corpsecret": SECRET}


async def test_a_revoked_token_costs_a_hundred_calls_one_refresh(server, wecom):
    """When a token dies under a hundred calls, it is replaced once and each call is repeated once."""
    server.script(GET, {"external_contact": contact(), "follow_user": []})
    await wecom.get_customer(NANA)
    server.revoked.add(server.token)
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(wecom.get_customer(NANA))
    assert len(server.calls("gettoken")) == 2
    assert len(server.calls(GET)) == 201
    assert {call.token for call in server.calls(GET)[101:]} == {server.token}


@pytest.mark.parametrize("code", [40001, 40014, 42001])
async def test_a_refused_token_is_replaced_and_the_call_repeated(server, quota, wecom, code):
    """One refusal is invisible to the caller; the quota sees it as transient, never as a reason to stop."""
    server.script(REMARK, {"errcode": code}, {"errcode": 0})
    await remark(wecom, LIN, NANA, remark="a")
    assert len(server.calls("gettoken")) == 2
    assert [left for _, _, left in quota.left] == [TokenRefused, None]


@pytest.mark.parametrize(
    ("code", "error"), [(40001, ConfigurationNeeded), (40014, TokenRefused), (42001, TokenRefused)]
)
async def test_a_token_refused_twice_is_not_fetched_again(server, wecom, code, error):
    """The second refusal is told to the caller: 40001 needs a person, the others a later try."""
    server.script(REMARK, {"errcode": code})
    with pytest.raises(error):
        await remark(wecom, LIN, NANA, remark="a")
    assert len(server.calls(REMARK)) == 2
    assert len(server.calls("gettoken")) == 2


async def test_a_wrong_secret_is_asked_about_once(server, quota, wecom):
    """A refused secret stops every call inside its own permit, after a single gettoken."""
    server.script("gettoken", {"errcode": 40001, "errmsg": "invalid credential, hint: [123]"})
    for call in (wecom.get_callback_ips, wecom.get_follow_user_list, wecom.get_callback_ips):
        with pytest.raises(ConfigurationNeeded) as caught:
            await call()
        assert (caught.value.endpoint, caught.value.errcode, caught.value.hint) == ("gettoken", 40001, "123")
    assert len(server.seen) == 1
    assert quota.left[0] == ("getcallbackip", Lane.LIVE, ConfigurationNeeded)


# --- secrets


def chain(error):
    """Every exception reachable from *error*, suppressed or not."""
    reached = []
    pending = [error]
    while pending:
        one = pending.pop()
        if one is not None and one not in reached:
            reached.append(one)
            pending += [one.__cause__, one.__context__]
    return reached


@pytest.mark.parametrize(
    "reply",
    [
        reset,
        cut,
        hang,
        raw(b"", status=404),
        raw(b"PLANTED-body", status=500),
        raw(b"PLANTED-body"),
        web.Response(status=301, headers={"Location": "http://x/?access_token=PLANTED"}),
        {"errcode": 40096, "errmsg": "PLANTED-errmsg, hint: [1767229399285610044732815], from ip: 198.51.100.23"},
        {"errcode": 0, "errmsg": "PLANTED. Warning: wrong json format. "},
        {"errcode": "PLANTED"},
        {"errcode": 40014, "errmsg": "PLANTED"},
    ],
    ids=name_of,
)
@pytest.mark.parametrize("endpoint", ["gettoken", REMARK])
async def test_no_secret_leaves_the_client(server, quota, caplog, reply, endpoint):
    """Whatever fails, no secret, token, address, text or part of the call is in the error, its chain or a log."""
    caplog.set_level(logging.DEBUG)
    server.script(endpoint, reply)
    async with client_of(server, quota, timeout=0.3) as wecom:
        with pytest.raises(WeComError) as caught:
            await remark(
                wecom, StaffUserId("PLANTED-staff"), ExternalUserId("PLANTED-customer"), remark="PLANTED-remark"
            )
        shown = [repr(wecom), repr(wecom.__dict__), caplog.text]
    errors = chain(caught.value)
    shown += [str(error) + repr(error) + repr(error.args) + repr(vars(error)) for error in errors]
    shown.append("".join(traceback.format_exception(caught.value)))
    text = "\n".join(shown)
    assert "PLANTED" not in text
    assert server.url.removeprefix("http://") not in text
    assert all(isinstance(error, WeComError) for error in errors)
    assert server.seen[0].query["corpsecret"] == SECRET  # planted where it could have leaked


async def test_a_process_that_was_stopped_begins_no_call(server, quota, wecom):
    """Whoever lost the place meanwhile leaves it at that: another may be calling in its stead."""
    quota.stale = True
    with pytest.raises(QueueUnavailable, match="nothing was called"):
        await wecom.get_customer(NANA)
    assert [seen.endpoint for seen in server.seen] == ["gettoken"]
    quota.stale = False
    server.script(GET, {"errcode": 0, "external_contact": contact(), "follow_user": [follow()]})
    await wecom.get_customer(NANA)


async def test_a_trace_id_is_kept(server, wecom):
    """The hint that WeCom's support asks for reaches the error."""
    server.script(GET, {"errcode": 84061, "errmsg": "not external contact, hint: [1767229399285610044732815], more"})
    with pytest.raises(TooEarly) as caught:
        await wecom.get_customer(NANA)
    assert caught.value.hint == "1767229399285610044732815"
