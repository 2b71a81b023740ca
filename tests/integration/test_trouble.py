"""Marks while WeCom refuses, brakes and forgets, and while members write: no part costs another, no person's text."""

import asyncio

import pytest

from simulator.verdict import broken_rules
from tests.e2e.processes import until
from tests.rigs.marks import FILES, marking

SHORT = {"QUDAO_QUOTA_MINUTE_SECONDS": "3", "QUDAO_QUOTA_HOUR_SECONDS": "3600"}
"""A brake lasts three seconds."""

REMARK, TAG, ADD_TAG = "externalcontact/remark", "externalcontact/mark_tag", "externalcontact/add_corp_tag"
WELCOME = "externalcontact/send_welcome_msg"
REFUSED, SPAM, TAKEN, UNKNOWN, NO_FUNCTION = 48002, 40201, 40071, 40068, 84074


def overwritten(rig) -> list:
    return broken_rules(rig.simulator.scenario)["staff_remarks_overwritten"]


async def scanned(rig, state: str, count: int, config_id: str = "") -> list:
    """Let *count* customers scan, and return their relations at once."""
    found = []
    code = {"config_id": config_id} if config_id else {"state": state}
    for number in range(count):
        scan = await rig.simulator.scan(**code, customer={"name": f"n{number}"})
        found.append(rig.simulator.relation(scan.userid, scan.external_userid))
    return found


def writes(rig, relation) -> None:
    rig.simulator.act("write_remark", relation.member.userid, relation.customer.external_userid, remark="老客户，勿动")


async def test_a_person_who_writes_while_the_call_waits_is_not_overwritten(tmp_path):
    """WeCom says 45009 once; members write a second later, while the marks wait for the brake to end."""
    async with marking(tmp_path, SHORT) as rig:
        rig.simulator.fail("errcode", REMARK, count=1, code=45009)
        relations = await scanned(rig, "qd_unset", 20)
        await until(lambda: rig.simulator.journal.codes[REMARK])
        await asyncio.sleep(1.0)
        written = [relation for relation in relations[::2] if relation.remark is None]
        for relation in written:
            writes(rig, relation)
        assert len(written) > 5
        for relation in relations:
            await rig.process.logged("delivery.done", customer=relation.customer.external_userid, lane="live")
        assert overwritten(rig) == []
        assert all(relation.remark == "老客户，勿动" for relation in written)
        assert all(relation.remark == f"微博-{relation.customer.name}" for relation in relations[1::2])


@pytest.mark.parametrize("code", [REFUSED, 40126, -1])
async def test_trouble_with_tags_does_not_cost_the_remark(tmp_path, code):
    """Tags cannot be made, for whatever reason: remark and description stand all the same, and the tags wait."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail("errcode", ADD_TAG, rate=1.0, code=code)
        (relation,) = await scanned(rig, "qd_unset", 1)
        await until(lambda: relation.remark == "微博-n0" and relation.description == "微博")
        retried = await rig.process.logged("delivery.retried", endpoint=ADD_TAG)
        assert retried["delay"] == (1 if code == -1 else 300)
        rig.simulator.faults.clear()
        if code == -1:
            await rig.process.logged("delivery.done", customer=relation.customer.external_userid, lane="live")
            assert rig.tags_of(relation) == ["来源/微博"]


@pytest.mark.parametrize(
    "fault", [{"fault": "foreign"}, {"fault": "status", "code": 404}, {"fault": "status", "code": 302}]
)
async def test_what_is_not_wecoms_loses_and_parks_nobody(tmp_path, fault):
    """For a while something in between answers every call: marks and welcomes are made once it is gone."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail(endpoint="*", rate=1.0, **fault)
        relations = await scanned(rig, "qd_silent", 3) + await scanned(rig, "qd_unset", 3)
        await rig.process.logged("delivery.retried", lane="live")
        await rig.process.logged("delivery.retried", lane="fast")
        rig.simulator.faults.clear()
        for relation in relations:
            await rig.process.logged("delivery.done", customer=relation.customer.external_userid, lane="live")
        await until(lambda: all(relation.welcomes for relation in relations[:3]))
        assert all(relation.remark == f"微博-{relation.customer.name}" for relation in relations[3:])
        assert not [line for line in rig.process.lines if line["event"] == "delivery.parked"]


@pytest.mark.parametrize(
    "fault", [{"fault": "errcode", "code": -1}, {"fault": "reset"}, {"fault": "status", "code": 404}]
)
async def test_trouble_with_the_token_is_nobodys_attempt(tmp_path, fault):
    """There is no token for a while: nothing that came meanwhile counts as tried, and all is done when there is one."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail(endpoint="gettoken", rate=1.0, **fault)
        rig.simulator.revoke_tokens()
        relations = await scanned(rig, "qd_unset", 40)
        await rig.process.logged("delivery.retried", endpoint="gettoken")
        rig.simulator.faults.clear()
        done = [
            await rig.process.logged("delivery.done", customer=relation.customer.external_userid, lane="live")
            for relation in relations
        ]
        assert {line["attempt"] for line in done} == {1}
        assert all(relation.remark == f"微博-{relation.customer.name}" for relation in relations)


async def test_a_name_that_somebody_took_is_looked_up(tmp_path):
    """Two make one tag at the same moment: WeCom refuses the second, who finds it in the list."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail("errcode", ADD_TAG, count=1, code=TAKEN)
        relation = await rig.scan("qd_unset", name="Nana")
        assert (relation.remark, rig.tags_of(relation)) == ("微博-Nana", ["来源/微博"])


async def test_a_tag_made_a_moment_ago_is_tried_again(tmp_path):
    """mark_tag does not know a fresh id: the remark stands, and the tag is given a little later."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail("errcode", TAG, count=2, code=UNKNOWN)
        (relation,) = await scanned(rig, "qd_unset", 1)
        retried = await rig.process.logged("delivery.retried", endpoint=TAG)
        assert (relation.remark, retried["delay"]) == ("微博-n0", 10)


async def test_a_held_tag_api_keeps_no_channel_without_tags(tmp_path):
    """mark_tag needs a permission: customers of a channel that wants no tags are marked as if nothing was."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail("errcode", TAG, rate=1.0, code=REFUSED)
        tagged = await scanned(rig, "qd_unset", 5)
        await rig.process.logged("api.held_back", endpoint=TAG)
        plain = await scanned(rig, "qd_always", 20)
        async with asyncio.timeout(10):
            for relation in plain:
                await rig.process.logged("delivery.done", customer=relation.customer.external_userid, lane="live")
        assert [relation.remark for relation in plain] == [f"n{number}@门店" for number in range(20)]
        assert [relation.remark for relation in tagged] == [f"微博-n{number}" for number in range(5)]


async def test_a_refused_member_s_customers_cost_next_to_no_calls(tmp_path):
    """WeCom refuses one member: the others' customers are marked, and hers are read a handful of times in all."""
    async with marking(tmp_path, default_latency=0.02, latency_scale=1.0) as rig:
        hers_way = rig.simulator.add_contact_way("qd_always", ["zhou.yi"])
        rig.simulator.fail("errcode", REMARK, rate=1.0, code=NO_FUNCTION, userid="zhou.yi")
        hers = await scanned(rig, "qd_always", 100, hers_way)
        await rig.process.logged("api.held_back", endpoint=REMARK)
        reads = rig.calls("get")
        his = await scanned(rig, "qd_unset", 10)
        for relation in his:
            await rig.process.logged("delivery.done", customer=relation.customer.external_userid, lane="live")
        assert [relation.remark for relation in his] == [f"微博-n{number}" for number in range(10)]
        for relation in hers:
            retried = await rig.process.logged("delivery.retried", customer=relation.customer.external_userid)
            assert (retried["delay"], retried["counted"], retried["errcode"]) == (600, True, NO_FUNCTION)
        assert reads <= 10
        assert rig.calls("get") - reads <= 10 + 5


async def test_a_nickname_taken_for_spam_is_left_out(tmp_path):
    """The channel stands in the remark; only the name, which WeCom refuses, does not."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail("errcode", REMARK, count=1, code=SPAM)
        relation = await rig.scan("qd_unset", name="Nana")
        assert relation.remark == "微博"


async def test_details_carry_our_state_where_the_event_carries_another_system_s(tmp_path):
    """The event's state is foreign now and then; the customer's details tell which channel it was."""
    async with marking(tmp_path) as rig:
        rig.simulator.configure(state_foreign_in_event_rate=1.0)
        relation = await rig.scan("qd_unset", name="Nana")
        assert relation.remark == "微博-Nana"


async def test_a_customer_of_two_channels_at_once_is_the_event_s_and_it_is_told(tmp_path):
    """Event and details name two channels of ours: the event's marks them, and the log line and the metric say so."""

    def told_otherwise(relation) -> None:
        relation.state = "qd_tagged"

    async with marking(tmp_path) as rig:
        relation = await rig.scan("qd_unset", before=told_otherwise, name="Nana")
        assert (relation.remark, rig.tags_of(relation)) == ("微博-Nana", ["来源/微博"])
        assert await rig.process.logged("delivery.done", reason="states_disagree", channel="unset")


@pytest.mark.parametrize(("code", "tries"), [(40007, 2), (40058, 1)])
async def test_a_refused_attachment_costs_the_attachments_alone(tmp_path, code, tries):
    """
    The text goes out at once without it, and a person is told.

    A media id that WeCom does not know any longer is renewed first, once; what else is wrong no repeat changes.
    """
    async with marking(tmp_path) as rig:
        await until(lambda: len(rig.simulator.corp.media) == len(FILES), seconds=10)
        rig.simulator.fail("errcode", WELCOME, count=tries, code=code)
        relation = await rig.scan("qd_full", name="Nana")
        assert relation.welcomed_with == {"text": {"content": "你好 Nana，欢迎！"}}
        done = await rig.process.logged("delivery.done", lane="fast", reason="without_attachments")
        assert (done["level"], done["trouble"]["errcode"]) == ("error", code)
        assert "channels.toml" in done["trouble"]["reason"]
        assert rig.calls("send_welcome_msg") == tries + 1


async def test_a_welcome_of_refused_attachments_alone_is_parked_at_once(tmp_path):
    """There is no text to send instead; it is not tried nineteen times."""
    async with marking(tmp_path) as rig:
        rig.simulator.fail("errcode", WELCOME, rate=1.0, code=40007)
        scan = await rig.simulator.scan(state="qd_silent", customer={"name": "Nana"})
        parked = await rig.process.logged("delivery.parked", customer=scan.external_userid)
        assert (parked["errcode"], rig.calls("send_welcome_msg")) == (40007, 1)


async def test_a_customer_who_agrees_to_the_archive_is_welcomed_then(tmp_path):
    """The first code is refused until they agree; the event of that brings another, and it is used, once."""
    async with marking(tmp_path, chat_archive=True) as rig:
        relation = await rig.scan("qd_full", name="Nana")
        assert relation.welcomes == []
        rig.simulator.act("agree", *relation.key)
        await until(lambda: relation.welcomes, seconds=10)
        assert relation.welcomed_with["text"] == {"content": "你好 Nana，欢迎！"}


async def test_who_was_welcomed_is_not_welcomed_again_for_agreeing(tmp_path):
    """WeCom refuses the second code, and that is the end of it."""
    async with marking(tmp_path) as rig:
        relation = await rig.scan("qd_full", name="Nana")
        fields = {"UserID": relation.key[0], "ExternalUserID": relation.key[1], "WelcomeCode": "another"}
        rig.simulator.emit("change_external_contact", "msg_audit_approved", **fields)
        await rig.process.logged("delivery.done", reason="welcome_refused")
        assert len(relation.welcomes) == 1


async def test_a_customer_whose_return_is_told_as_an_edit_is_marked(tmp_path):
    """The member had removed them; they scan again, and WeCom tells of an edit alone."""
    async with marking(tmp_path, readded_event="edit") as rig:
        relation = await rig.scan("qd_unset", name="Nana")
        rig.simulator.act("staff_deletes", *relation.key)
        again = await rig.simulator.scan(state="qd_unset", customer=relation.key[1])
        relation = rig.simulator.relation(again.userid, again.external_userid)
        await until(lambda: relation.remark and relation.tags, seconds=10)
        assert relation.remark == "微博-Nana"


async def test_a_member_s_edit_is_nobody_s_business(tmp_path):
    """A member who takes remark and tags away a minute later gets no new ones; the look costs one read."""
    async with marking(tmp_path) as rig:
        relation = await rig.scan("qd_unset", name="Nana")
        reads, writes = rig.calls("get"), rig.calls("remark")
        relation.tags.clear()
        relation.createtime -= 61
        rig.simulator.act("write_remark", *relation.key, remark="")
        fields = {"UserID": relation.key[0], "ExternalUserID": relation.key[1], "State": "qd_unset"}
        rig.simulator.emit("change_external_contact", "edit_external_contact", **fields)
        await rig.process.logged("delivery.done", reason="edited")
        assert (relation.remark, relation.tags, rig.calls("remark")) == ("", set(), writes)
        assert rig.calls("get") == reads + 1
