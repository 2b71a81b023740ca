"""Remarks, contact ways, paging, tags and unknown fields: S31 to S35 of the checklist."""

from typing import Any

import pytest

from simulator import App
from simulator.corp import Writer
from tests.rigs.simulator import Rig, rig

REMARK = "externalcontact/remark"
ADD_WAY = "externalcontact/add_contact_way"
BATCH = "externalcontact/batch/get_by_user"


async def write(r: Rig, external_userid: str, **fields: Any) -> int:
    return await r.client.code(REMARK, userid="lin.qiao", external_userid=external_userid, **fields)


async def follow(r: Rig, external_userid: str) -> dict:
    return (await r.client.get("externalcontact/get", external_userid=external_userid))["follow_user"][0]


@pytest.mark.parametrize(("field", "limit"), [("remark", 20), ("description", 150), ("remark_company", 20)])
async def test_s31_texts_have_limits(field: str, limit: int) -> None:
    """At the limit: stored. One over: 40058 naming the field, and nothing stored."""
    async with rig() as r:
        customer = await r.friend()
        body = {"userid": "lin.qiao", "external_userid": customer}
        answer = await r.client.post(REMARK, **body, **{field: "字" * (limit + 1)})
        assert (answer["errcode"], f"field `{field}` exceed max length {limit}" in answer["errmsg"]) == (40058, True)
        assert r.simulator.relation("lin.qiao", customer).remarks == []
        assert await write(r, customer, **{field: "字" * limit}) == 0
        shown = {"remark_company": "remark_corp_name"}.get(field, field)
        assert (await follow(r, customer))[shown] == "字" * limit


@pytest.mark.parametrize(
    ("unit", "fits", "too_long"),
    [
        ("utf16", "🌸" * 10, "🌸" * 10 + "x"),
        ("code_points", "🌸" * 20, "🌸" * 20 + "x"),
        ("bytes", "🌸" * 5, "🌸" * 5 + "x"),
        ("graphemes", "👨‍👩‍👧‍👦" * 20, "👨‍👩‍👧‍👦" * 20 + "x"),
    ],
)
async def test_s31_the_unit_of_the_limit_is_a_switch(unit: str, fits: str, too_long: str) -> None:
    """Twenty of code points, UTF-16 units, bytes or graphemes."""
    async with rig(length_unit=unit) as r:
        customer = await r.friend()
        assert (await write(r, customer, remark=fits), await write(r, customer, remark=too_long)) == (0, 40058)


async def test_s31_over_long_texts_may_be_cut() -> None:
    """With the switch the remark is cut instead of refused."""
    async with rig(remark_overflow="truncate") as r:
        customer = await r.friend()
        assert await write(r, customer, remark="x" * 19 + "🌸") == 0
        assert (await follow(r, customer))["remark"] == "x" * 19


async def test_s31_all_empty_is_refused_and_absent_stays() -> None:
    """Nothing to change: 40058. A field left out, or null, keeps its value."""
    async with rig() as r:
        customer = await r.friend()
        assert await write(r, customer) == 40058
        assert await write(r, customer, remark="", description=None, remark_mobiles=[]) == 40058
        assert await write(r, customer, remark="a", description="b") == 0
        assert await write(r, customer, remark="c", description=None) == 0
        assert (await follow(r, customer))["description"] == "b"


@pytest.mark.parametrize(("switch", "remark"), [("clears", "Nana"), ("ignored", "a")])
async def test_s31_an_empty_text_clears_or_is_ignored(switch: str, remark: str) -> None:
    """A cleared remark comes back as the nickname."""
    async with rig(empty_text=switch) as r:
        customer = (await r.scan(config_id=await r.client.add_way(), customer={"name": "Nana"})).external_userid
        await write(r, customer, remark="a", description="b")
        assert await write(r, customer, remark="", description="c") == 0
        assert (await follow(r, customer))["remark"] == remark


@pytest.mark.parametrize("cleared", ["", [""]])
async def test_s31_mobiles_are_overwritten_and_cleared(cleared: object) -> None:
    """A new list replaces the old one; both forms of clearing clear."""
    async with rig() as r:
        customer = await r.friend()
        for mobiles in (["13800000000"], ["13900000000"]):
            assert await write(r, customer, remark_mobiles=mobiles) == 0
            assert (await follow(r, customer))["remark_mobiles"] == mobiles
        assert await write(r, customer, remark_mobiles=cleared, description="d") == 0
        assert (await follow(r, customer))["remark_mobiles"] == []


async def test_s31_the_company_is_ignored_for_users_of_wecom() -> None:
    """remark_company has an effect for WeChat users only."""
    async with rig() as r:
        scan = await r.scan(config_id=await r.client.add_way(), customer={"type": 2, "corp_name": "B"})
        assert await write(r, scan.external_userid, remark_company="C") == 0
        assert r.simulator.relation("lin.qiao", scan.external_userid).remark_company == ""


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"type": None}, 41037),
        ({"type": 3}, 41039),
        ({"scene": None}, 41038),
        ({"scene": 0}, 41040),
        ({"style": 1}, 41040),
        ({"scene": 1, "style": 4}, 41042),
        ({"type": 2, "scene": 1, "style": 3}, 41042),
        ({"state": "s" * 31}, 40058),
        ({"remark": "备" * 31}, 40058),
        ({"user": []}, 40063),
        ({"user": ["lin.qiao", "zhou.yi"]}, 40031),
        ({"user": "lin.qiao"}, 40058),
        ({"user": ["nobody"]}, 60111),
        ({"type": 2, "user": [], "party": [9]}, 60123),
        ({"type": 2, "user": ["lin.qiao", "zhou.yi", "wang.fang"]}, 41041),
        ({"type": 2, "user": [], "party": [1]}, 41041),
        ({"skip_verify": "yes"}, 40058),
        ({"type": 2, "is_temp": True}, 40058),
        ({"is_temp": True, "expires_in": 1_209_601}, 40058),
        ({"is_temp": True, "conclusions": {"text": {"content": "再" * 1334}}}, 40058),
    ],
)
async def test_s32_every_rule_of_a_contact_way_has_its_code(change: dict, code: int) -> None:
    """Missing, bad, too long, too many, unknown, as documented."""
    async with rig(way_member_limit=2, documented=True) as r:
        body = {"type": 1, "scene": 2, "user": ["lin.qiao"]} | change
        assert await r.client.code(ADD_WAY, **body) == code
        assert r.simulator.corp.ways == {}


async def test_s32_a_way_is_read_changed_and_deleted() -> None:
    """Lists are overwritten, type and QR code stay; a deleted way gives 41044, a missing id 41043."""
    async with rig() as r:
        added = await r.client.post(ADD_WAY, type=2, scene=2, state="qd", user=["lin.qiao", "zhou.yi"], remark="展会")
        way = {"config_id": added["config_id"]}
        read = (await r.client.post("externalcontact/get_contact_way", **way))["contact_way"]
        assert (read["state"], read["user"], read["skip_verify"]) == ("qd", ["lin.qiao", "zhou.yi"], True)
        assert read["qr_code"] == added["qr_code"]
        change = {"user": ["chen.wei"], "state": "qd2", "type": 1}
        assert await r.client.code("externalcontact/update_contact_way", **way, **change) == 0
        after = (await r.client.post("externalcontact/get_contact_way", **way))["contact_way"]
        assert after == read | {"user": ["chen.wei"], "state": "qd2"}
        assert await r.client.code("externalcontact/del_contact_way", **way) == 0
        for verb in ("get", "update", "del"):
            assert await r.client.code(f"externalcontact/{verb}_contact_way", **way) == 41044
            assert await r.client.code(f"externalcontact/{verb}_contact_way") == 41043


async def test_s32_a_mini_program_way_has_no_qr_code() -> None:
    """Scene 1 has a style and no QR code."""
    async with rig() as r:
        answer = await r.client.post(ADD_WAY, type=1, scene=1, style=1, user=["lin.qiao"])
        assert (answer["errcode"], "qr_code" in answer) == (0, False)


async def test_s32_a_repeat_makes_a_second_way_and_the_number_is_limited() -> None:
    """add_contact_way is not idempotent; beyond the corp's limit 41045; temporary ways count apart."""
    async with rig(contact_way_limit=2, temp_way_limit=1) as r:
        assert await r.client.add_way("same") != await r.client.add_way("same")
        body = {"type": 1, "scene": 2, "user": ["lin.qiao"]}
        assert await r.client.code(ADD_WAY, **body) == 41045
        assert [await r.client.code(ADD_WAY, **body, is_temp=True) for _ in range(2)] == [0, 41045]


async def test_s32_ways_are_listed_by_time_in_pages_without_temporary_ones() -> None:
    """Only ids, only those made between start and end, behind a cursor."""
    async with rig() as r:
        old = await r.client.add_way("old")
        r.simulator.clock.advance(91 * 86_400)
        await r.client.get_token()
        new = {await r.client.add_way(f"s{n}") for n in range(5)}
        await r.client.add_way("temp", is_temp=True)
        listed: list[str] = []
        cursor = ""
        while True:
            page = await r.client.post("externalcontact/list_contact_way", limit=2, cursor=cursor)
            listed += [way["config_id"] for way in page["contact_way"]]
            cursor = page["next_cursor"]
            if not cursor:
                break
        assert (len(listed), set(listed)) == (5, new)
        end = int(r.simulator.clock.time()) - 86_400
        early = await r.client.post("externalcontact/list_contact_way", start_time=1, end_time=end)
        assert early["contact_way"] == [{"config_id": old}]


async def test_s32_ways_made_before_2021_07_10_are_not_listed() -> None:
    """Older ways exist and are not listed."""
    async with rig() as r:
        way = await r.client.add_way()
        r.simulator.corp.ways[way].created_at = 1_625_000_000
        assert (await r.client.post("externalcontact/list_contact_way", start_time=1))["contact_way"] == []
        assert await r.client.code("externalcontact/get_contact_way", config_id=way) == 0


async def test_s32_a_changed_way_takes_effect_late() -> None:
    """get shows the new state at once, scans get the old one for a while."""
    async with rig(way_update_delay=60.0) as r:
        way = await r.client.add_way("one")
        await r.client.post("externalcontact/update_contact_way", config_id=way, state="two")
        states = [(await r.scan(config_id=way)).state]
        r.simulator.clock.advance(61)
        states.append((await r.scan(config_id=way)).state)
        assert states == ["one", "two"]


async def test_s32_a_temporary_way_serves_one_customer_and_expires() -> None:
    """Its QR code dies once the friend is added, or after its time; the session can be closed once."""
    async with rig() as r:
        way = await r.client.add_way(is_temp=True, expires_in=60)
        customer = (await r.scan(config_id=way)).external_userid
        assert (await r.scan(config_id=way)).outcome == "dead_code"
        pair = {"userid": "lin.qiao", "external_userid": customer}
        codes = [await r.client.code("externalcontact/close_temp_chat", **pair)]
        r.simulator.clock.advance(61)
        codes.append(await r.client.code("externalcontact/close_temp_chat", **pair))
        assert codes == [0, 40035]
        assert await r.client.code("externalcontact/update_contact_way", config_id=way, state="x") == 41044


async def test_s32_contact_ways_take_their_time() -> None:
    """About 650 ms, which a scale shortens; others take the default."""
    async with rig(latency_scale=0.1) as r:
        await r.client.add_way()
        await r.friend()
        await r.client.get("externalcontact/get_follow_user_list")
        way, _, short = (e for e in r.simulator.journal.find(kind="call") if e.endpoint != "gettoken")
        assert way.finished - way.started >= 0.06
        assert short.finished - short.started < way.finished - way.started


async def test_s32_the_call_may_succeed_while_the_client_sees_a_timeout() -> None:
    """After a timeout_after the way is there; a client that repeats blindly has two."""
    async with rig() as r:
        r.simulator.fail("timeout_after", ADD_WAY, count=1, seconds=0.05)
        with pytest.raises(OSError):
            await r.client.add_way("qd_once")
        listed = await r.client.post("externalcontact/list_contact_way")
        assert len(listed["contact_way"]) == 1


async def test_s33_get_pages_over_many_follow_users() -> None:
    """With more follow users than fit, next_cursor leads to the rest; a made-up cursor gives 50100."""
    async with rig(follow_user_page=2) as r:
        way = await r.client.add_way(type=2, user=["lin.qiao", "zhou.yi", "wang.fang"])
        customer = (await r.scan(config_id=way, userid="lin.qiao")).external_userid
        for userid in ("zhou.yi", "wang.fang"):
            await r.scan(config_id=way, userid=userid, customer=customer)
        first = await r.client.get("externalcontact/get", external_userid=customer)
        second = await r.client.get("externalcontact/get", external_userid=customer, cursor=first["next_cursor"])
        pages = [[f["userid"] for f in page["follow_user"]] for page in (first, second)]
        assert pages == [["lin.qiao", "zhou.yi"], ["wang.fang"]]
        assert second["next_cursor"] == ""
        bad = await r.client.get("externalcontact/get", external_userid=customer, cursor="³")
        assert bad["errcode"] == 50100


async def all_pages(r: Rig, **body: Any) -> list[dict]:
    relations, cursor = [], ""
    while True:
        page = await r.client.post(BATCH, cursor=cursor, **body)
        assert page["errcode"] == 0, page
        relations += page["external_contact_list"]
        cursor = page["next_cursor"]
        if not cursor:
            return relations


async def test_s33_batch_pages_over_relations_in_no_order() -> None:
    """Every relation once, a customer of two members twice, not in the order of adding, at most 100 a page."""
    async with rig(short_page_rate=0.5) as r:
        way = await r.client.add_way(type=2, user=["lin.qiao", "zhou.yi"])
        customers = [(await r.scan(config_id=way, userid="lin.qiao")).external_userid for _ in range(120)]
        await r.scan(config_id=way, userid="zhou.yi", customer=customers[0])
        page = await r.client.post(BATCH, userid_list=["lin.qiao"], limit=1000)
        assert len(page["external_contact_list"]) <= 100
        relations = await all_pages(r, userid_list=["lin.qiao", "ZHOU.yi"], limit=7)
        pairs = [(rel["follow_info"]["userid"], rel["external_contact"]["external_userid"]) for rel in relations]
        assert sorted(pairs) == sorted([("lin.qiao", c) for c in customers] + [("zhou.yi", customers[0])])
        assert [c for member, c in pairs if member == "lin.qiao"] != customers
        assert {"tag_id", "state", "remark"} <= relations[0]["follow_info"].keys()


async def test_s33_a_cursor_expires_and_belongs_to_its_members() -> None:
    """After its lifetime, made up, or with other members: 50100."""
    async with rig(cursor_lifetime=60.0) as r:
        r.simulator.populate(10, userid="lin.qiao")
        cursor = (await r.client.post(BATCH, userid_list=["lin.qiao"], limit=1))["next_cursor"]
        assert await r.client.code(BATCH, userid_list=["zhou.yi"], cursor=cursor) == 50100
        assert await r.client.code(BATCH, userid_list=["lin.qiao"], cursor="made up") == 50100
        assert await r.client.code(BATCH, userid_list=["lin.qiao"], cursor=cursor) == 0
        r.simulator.clock.advance(61)
        assert await r.client.code(BATCH, userid_list=["lin.qiao"], cursor=cursor) == 50100


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 40063),
        ({"userid_list": [f"m{n}" for n in range(101)]}, 40058),
        ({"userid_list": ["x" * 65]}, 40058),
        ({"userid_list": ["nobody"]}, 60111),
        ({"userid_list": ["lin.qiao"], "limit": "many"}, 40058),
        ({"userid_list": ["lin.qiao"]}, 0),
    ],
)
async def test_s33_batch_checks_its_members(body: dict, code: int) -> None:
    """None, too many, too long, unknown; members without customers are no error."""
    async with rig() as r:
        assert await r.client.code(BATCH, **body) == code


async def test_s33_an_empty_batch_may_be_an_error_and_licences_may_be_missing() -> None:
    """By switch 84061; unlicensed members are named, and when nobody has a licence 701008."""
    async with rig(empty_batch="error") as r:
        assert await r.client.code(BATCH, userid_list=["lin.qiao"]) == 84061
        r.simulator.populate(1, userid="lin.qiao")
        r.simulator.put_member("zhou.yi", licensed=False)
        answer = await r.client.post(BATCH, userid_list=["lin.qiao", "zhou.yi"])
        assert answer["fail_info"] == {"unlicensed_userid_list": ["zhou.yi"]}
        assert await r.client.code(BATCH, userid_list=["zhou.yi"]) == 701008


async def test_s34_tags_are_made_once_and_marked_per_relation() -> None:
    """As documented, the same name in a group is one tag; a tag marks one relation and shows with its names."""
    async with rig(documented=True) as r:
        body = {"group_name": "来源", "tag": [{"name": "展会"}, {"name": "官网", "order": 7}]}
        group = (await r.client.post("externalcontact/add_corp_tag", **body))["tag_group"]
        again = (await r.client.post("externalcontact/add_corp_tag", **body))["tag_group"]
        assert again == group
        tag = group["tag"][0]["id"]
        customer = await r.friend()
        pair = {"userid": "lin.qiao", "external_userid": customer}
        assert await r.client.code("externalcontact/mark_tag", **pair, add_tag=[tag]) == 0
        assert (await follow(r, customer))["tags"] == [
            {"group_name": "来源", "tag_name": "展会", "tag_id": tag, "type": 1}
        ]
        batch = await r.client.post(BATCH, userid_list=["lin.qiao"])
        assert batch["external_contact_list"][0]["follow_info"]["tag_id"] == [tag]
        assert r.simulator.truth()[0]["tag_names"] == ["来源/展会"]
        assert await r.client.code("externalcontact/mark_tag", **pair, remove_tag=[tag]) == 0
        assert (await follow(r, customer))["tags"] == []
        assert await r.client.code("externalcontact/mark_tag", **pair) == 40063
        assert await r.client.code("externalcontact/mark_tag", **pair, add_tag=["et"]) == 40068


async def test_s34_tags_belong_to_the_app_that_made_them() -> None:
    """Another app sees them and cannot change them; names are unique; the last tag takes its group along."""
    async with rig(tag_limit=3) as r:
        body = {"group_name": "来源", "tag": [{"name": "展会"}, {"name": "官网"}]}
        group = (await r.client.post("externalcontact/add_corp_tag", **body))["tag_group"]
        first, second = (tag["id"] for tag in group["tag"])
        more = {"group_id": group["group_id"], "tag": [{"name": "c"}, {"name": "d"}]}
        assert await r.client.code("externalcontact/add_corp_tag", **more) == 40126
        mine = r.client.token
        r.simulator.put_app(App(agent_id=2, secret="s2", token="t", aes_key=r.simulator.app.aes_key))
        await r.client.get_token(corpsecret="s2")
        assert await r.client.code("externalcontact/edit_corp_tag", id=first, name="x") == 40068
        assert await r.client.code("externalcontact/del_corp_tag", tag_id=[first]) == 40068
        assert len((await r.client.post("externalcontact/get_corp_tag_list"))["tag_group"]) == 1
        r.client.token = mine
        assert await r.client.code("externalcontact/edit_corp_tag", id=first, name="官网") == 40071
        assert await r.client.code("externalcontact/edit_corp_tag", id=first, name="门店", order=3) == 0
        listed = await r.client.post("externalcontact/get_corp_tag_list", tag_id=[first])
        assert [(t["name"], t["order"]) for t in listed["tag_group"][0]["tag"]] == [("门店", 3)]
        assert await r.client.code("externalcontact/del_corp_tag", tag_id=[first, second]) == 0
        assert (await r.client.post("externalcontact/get_corp_tag_list"))["tag_group"] == []
        deleted = await r.client.post("externalcontact/get_corp_tag_list", group_id=[group["group_id"]])
        assert deleted["tag_group"][0]["deleted"] is True


async def test_s35_unknown_fields_are_ignored_and_added() -> None:
    """An unknown request field does no harm; with the switch answers have one too."""
    async with rig(unknown_fields=True) as r:
        customer = await r.friend()
        assert await write(r, customer, remark="x", moon_phase={"a": [1]}) == 0
        answer = await r.client.get("externalcontact/get", external_userid=customer, moon="1")
        assert (answer["errcode"], "a_field_nobody_knows" in answer) == (0, True)


async def test_who_wrote_a_remark_is_kept() -> None:
    """The truth tells each write with its time and writer, and when an API wrote first."""
    async with rig() as r:
        customer = await r.friend()
        r.simulator.act("write_remark", "lin.qiao", customer, remark="老客户")
        await write(r, customer, remark="展会-Nana")
        truth = (await r.client.control("GET", "verify"))["relations"][0]
        assert [(w["by"], w["remark"]) for w in truth["remark_history"]] == [
            (Writer.STAFF, "老客户"),
            (Writer.API, "展会-Nana"),
        ]
        assert truth["added_at"] <= truth["remark_history"][0]["at"] <= truth["marked_at"]
        rules = await r.client.control("GET", "rules")
        assert rules["staff_remarks_overwritten"] == [["lin.qiao", customer]]
        assert rules["remarks_written_twice"] == []


async def test_s32_a_qr_code_is_an_image() -> None:
    """The address in ``qr_code`` serves a PNG, also of a way made before the simulator was served; others are 404."""
    async with rig() as r:
        made_here = r.simulator.add_contact_way("qd_shop")
        for config_id in (made_here, await r.client.add_way()):
            way = (await r.client.post("externalcontact/get_contact_way", config_id=config_id))["contact_way"]
            async with r.client.session.get(way["qr_code"]) as response:
                assert (response.status, response.content_type) == (200, "image/png")
                assert (await response.read()).startswith(b"\x89PNG")
        async with r.client.session.get("/wwpic/0000/0") as response:
            assert response.status == 404


async def test_s32_whether_a_way_is_exclusive_is_not_told() -> None:
    """``is_exclusive`` is taken and kept, and no answer shows it."""
    async with rig() as r:
        config_id = await r.client.add_way(is_exclusive=True)
        assert r.simulator.corp.ways[config_id].is_exclusive
        way = (await r.client.post("externalcontact/get_contact_way", config_id=config_id))["contact_way"]
        assert "is_exclusive" not in way
        assert await r.client.code(ADD_WAY, type=1, scene=2, user=["lin.qiao"], is_exclusive="yes") == 40058
