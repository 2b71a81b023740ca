"""What was recorded of the live service where it differs from its documents, and the shapes its clients send."""

import pytest

from tests.rigs.simulator import rig

ADD_WAY, ADD_TAG = "externalcontact/add_contact_way", "externalcontact/add_corp_tag"
WAY = {"type": 2, "scene": 2, "user": ["lin.qiao"], "state": "qd_a"}
WARNING = "ok. Warning: wrong json format. "


async def test_s41_a_taken_tag_name_fails_the_whole_call():
    """40071, and nothing is made, not even the names that are free; as documented they are passed over."""
    async with rig() as r:
        assert await r.client.code(ADD_TAG, group_name="来源", tag=[{"name": "展会"}]) == 0
        assert await r.client.code(ADD_TAG, group_name="来源", tag=[{"name": "展会"}, {"name": "官网"}]) == 40071
        listed = await r.client.post("externalcontact/get_corp_tag_list")
        assert [tag["name"] for tag in listed["tag_group"][0]["tag"]] == ["展会"]
        r.simulator.configure(documented=True)
        assert await r.client.code(ADD_TAG, group_name="来源", tag=[{"name": "展会"}, {"name": "官网"}]) == 0


@pytest.mark.parametrize(
    "extra",
    [
        {"style": 0},
        {"style": 1},
        {"expires_in": 0, "chat_expires_in": 0},
        {"style": 1, "expires_in": 0, "is_temp": False, "unionid": "", "party": [], "remark": ""},
        {"type": "2", "scene": "2"},
    ],
    ids=["style 0", "style 1", "zero lifetimes", "everything", "numbers as text"],
)
async def test_s41_what_clients_send_without_need_is_taken(extra):
    """The shapes of seven published clients make a contact way, as they do live; as documented some do not."""
    async with rig() as r:
        made = await r.client.post(ADD_WAY, **WAY | extra)
        assert made["errcode"] == 0
        assert made["errmsg"] == (WARNING if "2" in extra.values() else "ok")
        way = await r.client.post("externalcontact/get_contact_way", config_id=made["config_id"])
        assert (way["contact_way"]["type"], way["contact_way"]["scene"]) == (2, 2)
        assert "style" not in way["contact_way"]


@pytest.mark.parametrize(
    ("path", "body", "live", "documented"),
    [
        ("externalcontact/remark", {"userid": "nobody", "external_userid": "wm", "remark": "x"}, 40003, 60111),
        (ADD_TAG, {"group_name": "来源", "tag": [{"name": ""}]}, 41018, 40063),
        ("externalcontact/edit_corp_tag", {"name": "x"}, 41017, 40063),
        ("externalcontact/del_corp_tag", {}, 41017, 40063),
        ("externalcontact/mark_tag", {"userid": "lin.qiao", "external_userid": "wm"}, 41017, 40063),
    ],
)
async def test_s41_codes_are_those_that_were_recorded(path, body, live, documented):
    """The live code by default, the documented one by the knob."""
    async with rig() as r:
        assert await r.client.code(path, **body) == live
        r.simulator.configure(documented=True)
        assert await r.client.code(path, **body) == documented


async def test_s41_lists_of_nobody():
    """list for an empty userid 60111, for an unknown one 40003; the documentation has 41009 and 60111."""
    async with rig() as r:
        codes = [(await r.client.get("externalcontact/list", userid=userid))["errcode"] for userid in ("", "nobody")]
        r.simulator.configure(documented=True)
        codes += [(await r.client.get("externalcontact/list", userid=userid))["errcode"] for userid in ("", "nobody")]
        assert codes == [60111, 40003, 41009, 60111]


async def test_s41_a_text_where_a_list_belongs_is_passed_over():
    """mark_tag with a text for its tags answers 0 with a warning, and marks nothing."""
    async with rig() as r:
        pair = {"userid": "lin.qiao", "external_userid": await r.friend()}
        answer = await r.client.post("externalcontact/mark_tag", **pair, add_tag="et1")
        assert (answer["errcode"], answer["errmsg"]) == (0, WARNING)


async def test_s41_a_list_from_time_zero_is_the_last_ninety_days():
    """Zero times mean none given."""
    async with rig() as r:
        way = await r.client.add_way("qd_a")
        listed = await r.client.post("externalcontact/list_contact_way", start_time=0, end_time=0)
        assert listed["contact_way"] == [{"config_id": way}]


async def test_s41_a_wecom_user_has_a_profile_and_members_have_tags_of_their_own():
    """A profile with an attribute of each kind, in both details; private tags without an id, in one."""
    async with rig(personal_tags=True) as r:
        way = await r.client.add_way()
        customer = (await r.scan(config_id=way, customer={"type": 2})).external_userid
        details = await r.client.get("externalcontact/get", external_userid=customer)
        assert details["follow_user"][0]["tags"] == [{"group_name": "个人标签", "tag_name": "重要", "type": 2}]
        profile = details["external_contact"]["external_profile"]
        assert profile["external_corp_name"] == details["external_contact"]["corp_name"] != ""
        assert [(a["type"], set(a) - {"type", "name"}) for a in profile["external_attr"]] == [
            (0, {"text"}),
            (1, {"web"}),
            (2, {"miniprogram"}),
        ]
        listed = await r.client.post("externalcontact/batch/get_by_user", userid_list=["lin.qiao"])
        (row,) = listed["external_contact_list"]
        assert (row["external_contact"], row["follow_info"]["tag_id"]) == (details["external_contact"], [])


async def test_s41_who_came_through_wechat_channels_says_so():
    """add_way 10 comes with wechat_channels, in both details; any other way without."""
    async with rig() as r:
        way = await r.client.add_way()
        plain = (await r.scan(config_id=way)).external_userid
        body = {"config_id": way, "add_way": 10}
        customer = (await r.client.control("POST", "scan", body))["scans"][0]["external_userid"]
        listed = await r.client.post("externalcontact/batch/get_by_user", userid_list=["lin.qiao"])
        rows = {row["external_contact"]["external_userid"]: row for row in listed["external_contact_list"]}
        for id_, add_way, keys in ((plain, 1, set()), (customer, 10, {"nickname", "source"})):
            details = await r.client.get("externalcontact/get", external_userid=id_)
            for relation in (details["follow_user"][0], rows[id_]["follow_info"]):
                assert relation["add_way"] == add_way
                assert set(relation.get("wechat_channels", ())) == keys


async def test_s41_only_a_question_by_id_is_told_what_is_deleted():
    """Neither the answer of add_corp_tag nor the list of all tags has the field."""
    async with rig() as r:
        made = (await r.client.post(ADD_TAG, group_name="来源", tag=[{"name": "展会"}]))["tag_group"]
        listed = (await r.client.post("externalcontact/get_corp_tag_list"))["tag_group"][0]
        by_id = {"tag_id": [made["tag"][0]["id"]]}
        asked = (await r.client.post("externalcontact/get_corp_tag_list", **by_id))["tag_group"][0]
        for group, told in ((made, False), (listed, False), (asked, True)):
            assert ("deleted" in group, "deleted" in group["tag"][0]) == (told, told)


async def test_s41_closing_words_come_back_with_an_address():
    """The picture of a temporary way's closing words is read as pic_url, not as the media id that was given."""
    async with rig() as r:
        closing = {"text": {"content": "再见"}, "image": {"media_id": r.simulator.add_media("image", "a.png", b"")}}
        made = await r.client.post(ADD_WAY, **WAY | {"type": 1, "is_temp": True, "conclusions": closing})
        way = await r.client.post("externalcontact/get_contact_way", config_id=made["config_id"])
        assert list(way["contact_way"]["conclusions"]["image"]) == ["pic_url"]


OLD_PATHS = {
    "get_customer_contacts": "get_follow_user_list",
    "get_external_contact_list": "list",
    "get_external_contact": "get",
    "add_contact_way": "add_contact_way",
    "get_contact_way": "get_contact_way",
    "update_contact_way": "update_contact_way",
    "del_contact_way": "del_contact_way",
}


async def test_s42_the_old_paths_do_what_their_successors_do():
    """A client of 2019 sees its members, makes a way, changes and reads it, and sees the customer who scanned it."""
    async with rig() as r:
        client = r.client
        members = await client.get("crm/get_customer_contacts")
        assert (members["errcode"], members["customer_contacts"][0]) == (0, "lin.qiao")
        assert "follow_user" not in members
        way = (await client.post("crm/add_contact_way", **WAY))["config_id"]
        assert await client.code("crm/update_contact_way", config_id=way, state="qd_b") == 0
        read = await client.post("crm/get_contact_way", config_id=way)
        assert read["contact_way"]["state"] == "qd_b"
        scan = await r.scan(config_id=way)
        listed = await client.get("crm/get_external_contact_list", userid=scan.userid)
        assert listed["external_userid"] == [scan.external_userid]
        customer = await client.get("crm/get_external_contact", external_userid=scan.external_userid)
        assert customer == await client.get("externalcontact/get", external_userid=scan.external_userid)
        assert await client.code("crm/del_contact_way", config_id=way) == 0
        assert await client.code("externalcontact/get_contact_way", config_id=way) == 41044


async def test_s42_an_old_path_that_fails_has_its_own_empty_field():
    """The field of the old name, as the answer that succeeds has it."""
    async with rig() as r:
        r.client.token = "fake"
        answer = await r.client.get("crm/get_customer_contacts")
        assert (answer["errcode"], answer["customer_contacts"], "follow_user" in answer) == (40014, [], False)


@pytest.mark.parametrize(("old", "new"), OLD_PATHS.items())
async def test_s42_an_old_path_counts_as_its_successor(old, new):
    """One window, one name for faults and in the journal."""
    async with rig(corp_per_minute=1, rate_check="first") as r:
        await r.client.post(f"crm/{old}")
        assert (await r.client.post(f"externalcontact/{new}"))["errcode"] == 45009
        calls = r.simulator.journal.find(endpoint=f"externalcontact/{new}")
        assert len(calls) == 2
        r.simulator.fail("errcode", f"externalcontact/{new}", code=6000, count=1)
        assert (await r.client.post(f"crm/{old}"))["errcode"] == 6000


@pytest.mark.parametrize("path", ["crm/remark", "crm/send_welcome_msg", "crm/mark_tag", "crm/batch/get_by_user"])
async def test_s42_what_came_after_the_old_paths_has_none(path):
    """Nothing that is younger than the new paths was ever served under the old ones: 404."""
    async with rig() as r, r.client.session.post(f"/cgi-bin/{path}") as response:
        assert (response.status, await response.read()) == (404, b"")
