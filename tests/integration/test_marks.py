"""Marks and welcomes, from a scan to what stands in the simulator, through the real services."""

import json

import pytest

from simulator.config import UnsetRemark
from tests.e2e.processes import run_to_end, until
from tests.rigs.marks import FILES, marking


@pytest.fixture
async def rig(tmp_path):
    async with marking(tmp_path) as running:
        yield running


async def test_a_customer_gets_remark_description_and_tags(rig):
    """The templates are filled in with what is known of customer, member and moment; the tags are made and given."""
    relation = await rig.scan("qd_full", name="Nana", type=2, corp_name="青禾")
    assert relation.remark == "展会26-Nana"
    channel, moment, staff, corp_name, state = relation.description.split(", ")
    assert (channel, staff, corp_name, state) == ("展会26", "lin.qiao", "青禾", "qd_full")
    assert moment[:2] == "20"
    assert rig.tags_of(relation) == ["城市/上海", "来源/展会", "来源/线下"]


async def test_tags_are_made_once_and_their_ids_kept(rig):
    """Two groups cost two calls to make and one to look, however many customers come; each is tagged in one call."""
    for number in range(5):
        await rig.scan("qd_full", name=f"n{number}")
    assert (rig.calls("get_corp_tag_list"), rig.calls("add_corp_tag"), rig.calls("mark_tag")) == (1, 2, 5)
    groups = [group for group in rig.simulator.corp.tag_groups.values() if not group.deleted]
    assert sorted((group.name, len(group.tags)) for group in groups) == [("城市", 1), ("来源", 2)]


async def test_only_missing_tags_are_given(rig):
    """A customer who bears a tag already is given the others alone; one who bears all of them costs no call."""
    first = await rig.scan("qd_full")
    exhibition = next(tag for tag in first.tags if rig.simulator.corp.tag(tag)[1].name == "展会")
    before = rig.calls("mark_tag")
    relation = await rig.scan("qd_tagged", before=lambda relation: relation.tags.add(exhibition))
    assert rig.calls("mark_tag") == before
    assert relation.remark is None
    assert rig.calls("remark") == 1


async def test_a_deleted_tag_is_made_again(rig):
    """Somebody deletes a tag of ours while its id is remembered: it is made again, and the customer gets it."""
    first = await rig.scan("qd_tagged")
    (tag_id,) = first.tags
    group, tag = rig.simulator.corp.tag(tag_id)
    tag.deleted = group.deleted = True
    second = await rig.scan("qd_tagged")
    assert rig.tags_of(second) == ["来源/展会"]
    assert second.tags != first.tags


async def test_a_welcome_carries_its_text_and_every_kind_of_attachment(rig):
    """The welcome goes out once, naming the customer, with image, link, mini program, video and file."""
    relation = await rig.scan("qd_full")
    assert len(relation.welcomes) == 1
    assert relation.welcomed_with["text"] == {"content": "你好 Nana，欢迎！"}
    image, link, mini_program, video, file = relation.welcomed_with["attachments"]
    assert link == {
        "msgtype": "link",
        "link": {"title": "产品目录", "url": "https://example.com/catalogue", "desc": "全部产品"},
    }
    cover = mini_program["miniprogram"].pop("pic_media_id")
    assert mini_program["miniprogram"] == {"title": "预约", "appid": "wx1", "page": "/pages/book"}
    media = rig.simulator.corp.media
    sent = [media[each] for each in (image["image"]["media_id"], cover)]
    sent += [media[each[each["msgtype"]]["media_id"]] for each in (video, file)]
    assert [(each.type, each.name, each.size) for each in sent] == [
        (kind, name, len(FILES[name])) for kind, name in zip(("image", "image", "video", "file"), FILES, strict=True)
    ]


async def test_a_welcome_may_be_attachments_alone(rig):
    """A channel without a text sends its attachments alone, and with an empty remark leaves the relation as it is."""
    relation = await rig.scan("qd_silent")
    assert relation.welcomed_with == {
        "attachments": [{"msgtype": "image", "image": {"pic_url": "https://example.com/a.png"}}]
    }
    assert (relation.remark, relation.description, relation.tags) == (None, "", set())
    assert rig.calls("remark") == 0


def person_writes(relation) -> None:
    relation.remark, relation.description = "老客户，勿动", "谈了三次"


async def test_unset_leaves_what_a_person_wrote(rig):
    """Under "unset" a person's remark and description stay, and the tags are given all the same."""
    relation = await rig.scan("qd_unset", before=person_writes)
    assert (relation.remark, relation.description) == ("老客户，勿动", "谈了三次")
    assert rig.tags_of(relation) == ["来源/微博"]
    assert rig.calls("remark") == 0


async def test_always_replaces_what_a_person_wrote(rig):
    """Under "always" both are replaced, in one call."""
    relation = await rig.scan("qd_always", before=person_writes)
    assert (relation.remark, relation.description) == ("Nana@门店", "门店")
    assert rig.calls("remark") == 1


async def test_a_survey_replaces_as_much_as_was_asked_for(tmp_path):
    """A reconciliation replaces no text; a backfill goes by `overwrite`, and with --refresh-marks replaces ours."""
    async with marking(tmp_path) as rig:
        (changed,) = rig.simulator.populate(1, state="qd_always")
        (moved,) = rig.simulator.populate(1, state="qd_unset")
        ours = f"{moved.customer.name}@门店"
        changed.remark, changed.description, moved.remark = "老客户", "门店", ours

        async def survey(*command: str) -> dict:
            code, out, err = await run_to_end(*command, "--json", folder=tmp_path, env=rig.env)
            assert code == 0, err
            return json.loads(out)["found"]

        assert (await survey("reconcile", "--older-than", "0s"))["person_wrote"] == 1
        dry = await survey("backfill", "--dry-run")
        assert (dry["incomplete"], dry["ours_older"]) == (1, 1)
        await survey("backfill")
        await until(lambda: changed.remark == f"{changed.customer.name}@门店")
        assert moved.remark == ours
        await survey("backfill", "--refresh-marks")
        await until(lambda: moved.remark == f"微博-{moved.customer.name}")


@pytest.mark.parametrize("unset", UnsetRemark)
async def test_an_unset_remark_is_known_in_both_its_forms(tmp_path, unset):
    """Whether WeCom shows an unset remark as the nickname or as nothing, it is written."""
    async with marking(tmp_path, unset_remark=unset) as rig:
        relation = await rig.scan("qd_unset")
        assert (relation.remark, relation.description) == ("微博-Nana", "微博")


async def test_the_same_event_twice_writes_once(tmp_path):
    """Every event comes twice: each customer is marked and tagged once."""
    async with marking(tmp_path, duplicate_rate=1.0) as rig:
        relation = await rig.scan("qd_full")
        await until(lambda: rig.simulator.summary()["callbacks"].get("delivered") == 2)
        assert relation.remark == "展会26-Nana"
        assert (rig.calls("remark"), rig.calls("mark_tag"), len(relation.welcomes)) == (1, 1, 1)
