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


async def test_s41_what_only_some_customers_have():
    """Private tags without an id, and the profile of a WeCom user, come in the details."""
    async with rig(personal_tags=True) as r:
        customer = await r.friend()
        r.simulator.corp.customers[customer].type = 2
        details = await r.client.get("externalcontact/get", external_userid=customer)
        assert details["follow_user"][0]["tags"] == [{"group_name": "个人标签", "tag_name": "重要", "type": 2}]
        assert details["external_contact"]["external_profile"]["external_attr"][0]["type"] == 0


async def test_s41_closing_words_come_back_with_an_address():
    """The picture of a temporary way's closing words is read as pic_url, not as the media id that was given."""
    async with rig() as r:
        closing = {"text": {"content": "再见"}, "image": {"media_id": r.simulator.add_media("image", "a.png", b"")}}
        made = await r.client.post(ADD_WAY, **WAY | {"type": 1, "is_temp": True, "conclusions": closing})
        way = await r.client.post("externalcontact/get_contact_way", config_id=made["config_id"])
        assert list(way["contact_way"]["conclusions"]["image"]) == ["pic_url"]
