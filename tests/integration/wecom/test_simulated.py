"""The WeCom client against the simulator: the same facts, read by two people."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from shared.clock import SystemClock
from shared.domain.errors import (
    ConfigurationNeeded,
    CursorExpired,
    NameTaken,
    PermanentError,
    StaffBlocked,
    TooEarly,
    TransientError,
    WeComError,
    WelcomeRefused,
)
from shared.domain.events import Lane
from shared.domain.ids import ContactWayId, CorpId, ExternalUserId, StaffUserId
from shared.quota.port import Limits
from shared.wecom.client import WeCom, open_wecom
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.config import EmptyBatch, TokenRenewal
from tests.doubles.quota import MemoryQuota
from tests.rigs.relations import mark_tag, remark

LIN = StaffUserId("lin.qiao")


class Rig:
    """A simulator that is served, and clients of it."""

    def __init__(self, simulator: Simulator, url: str, stack: AsyncExitStack) -> None:
        self.simulator = simulator
        self._url = url
        self._stack = stack

    async def client(self, *, secret: str = "", in_flight: int = 3, timeout: float = 5.0) -> WeCom:
        return await self._stack.enter_async_context(
            open_wecom(
                base_url=self._url,
                corp=CorpId(self.simulator.corp.corp_id),
                corp_secret=secret or self.simulator.app.secret,
                quota=MemoryQuota(Limits(in_flight=in_flight), SystemClock()),
                in_flight=in_flight,
                timeout=timeout,
            )
        )

    def calls(self, endpoint: str, code: int = 0) -> int:
        return self.simulator.journal.codes[endpoint][code]


@pytest.fixture
async def rig():
    simulator = Simulator(SimulatorConfig.quiet())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(run_simulator(simulator))
        yield Rig(simulator, server.url, stack)


def populated(rig: Rig, count: int = 1, *, state: str = "qd_expo26", userid: str = LIN) -> list[ExternalUserId]:
    relations = rig.simulator.populate(count, state=state, userid=userid)
    return [ExternalUserId(relation.customer.external_userid) for relation in relations]


async def test_a_customer_is_read_and_marked(rig):
    """What the client reads is what the simulator holds, and a remark it writes is there afterwards."""
    wecom = await rig.client()
    (nana,) = populated(rig)
    relation = (await wecom.get_customer(nana)).relation_with(StaffUserId("LIN.QIAO"))
    assert relation is not None
    assert (relation.state, relation.remark) == ("qd_expo26", relation.name)
    await remark(wecom, LIN, nana, remark="展会26-x", description="2026")
    assert rig.simulator.remark_of(LIN, nana) == "展会26-x"
    again = (await wecom.get_customer(nana)).relation_with(LIN)
    assert again is not None
    assert (again.remark, again.description) == ("展会26-x", "2026")


async def test_a_customer_of_many_members_is_read_over_pages(rig):
    """More follow users than a page holds come from several calls, each once."""
    rig.simulator.configure(follow_user_page=2)
    wecom = await rig.client()
    everybody = ["chen.wei", "lin.qiao", "wang.fang", "zhou.yi"]
    way = await wecom.add_contact_way(state="qd_a", users=[StaffUserId(userid) for userid in everybody])
    for userid in everybody:
        await rig.simulator.scan(config_id=way.config_id, userid=userid, customer="wmNana")
    customer = await wecom.get_customer(ExternalUserId("wmNana"))
    assert sorted(relation.staff for relation in customer.relations) == everybody
    assert rig.calls("externalcontact/get") == 2


async def test_a_backfill_reads_a_hundred_relations_per_call(rig):
    """get_by_user brings every relation exactly once, a hundred in a call."""
    customers = populated(rig, 950)
    wecom = (await rig.client()).on(Lane.BULK)
    found = [relation async for page in wecom.get_by_user([LIN]) for relation in page.relations]
    assert sorted(relation.customer for relation in found) == sorted(customers)
    assert {relation.state for relation in found} == {"qd_expo26"}
    assert rig.calls("externalcontact/batch/get_by_user") == 10


async def test_short_pages_lose_nobody(rig):
    """Pages that hold less than asked for do not end the listing."""
    rig.simulator.configure(short_page_rate=0.7)
    customers = populated(rig, 500)
    found = [r async for page in (await rig.client()).get_by_user([LIN]) for r in page.relations]
    assert {relation.customer for relation in found} == set(customers)
    assert rig.calls("externalcontact/batch/get_by_user") > 5


async def test_a_listing_goes_on_where_it_broke_off(rig):
    """After a failure the listing goes on at the last cursor: nobody is missing, nobody comes twice."""
    customers = populated(rig, 450)
    wecom = await rig.client()
    pages = wecom.get_by_user([LIN])
    first, second = await anext(pages), await anext(pages)
    rig.simulator.fail("status", "externalcontact/batch/get_by_user", count=1, code=502)
    with pytest.raises(TransientError):
        await anext(pages)
    rest = [page async for page in wecom.get_by_user([LIN], cursor=second.cursor)]
    found = [relation.customer for page in (first, second, *rest) for relation in page.relations]
    assert sorted(found) == sorted(customers)
    assert rest[-1].cursor == ""


async def test_members_without_a_licence_block_only_themselves(rig):
    """A listing of members who all lack a licence says that it is about them, not about the app."""
    rig.simulator.put_member("lin.qiao", licensed=False)
    populated(rig)
    wecom = await rig.client()
    with pytest.raises(StaffBlocked, match="licence"):
        _ = [page async for page in wecom.get_by_user([LIN])]
    (page,) = [page async for page in wecom.get_by_user([LIN, StaffUserId("zhou.yi")])]
    assert page.unlicensed == (LIN,)


async def test_a_cursor_that_expired_has_its_own_error(rig):
    """A listing that took too long says that it must begin again."""
    populated(rig, 300)
    pages = (await rig.client()).get_by_user([LIN])
    assert len((await anext(pages)).relations) == 100
    rig.simulator.clock.advance(3000)
    with pytest.raises(CursorExpired):
        await anext(pages)


@pytest.mark.parametrize("empty", EmptyBatch)
async def test_members_without_customers_are_no_error(rig, empty):
    """However WeCom says that there is nobody, the client says it with an empty list."""
    rig.simulator.configure(empty_batch=empty)
    wecom = await rig.client()
    assert [r async for page in wecom.get_by_user([LIN]) for r in page.relations] == []
    assert await wecom.list_customers(LIN) == []
    assert rig.calls("externalcontact/list", 84061) == 1


async def test_listings_name_everybody(rig):
    """Members and a member's customers are listed in full."""
    customers = populated(rig, 30)
    wecom = await rig.client()
    assert sorted(await wecom.get_follow_user_list()) == ["chen.wei", "lin.qiao", "wang.fang", "zhou.yi"]
    assert sorted(await wecom.list_customers(LIN)) == sorted(customers)


async def test_a_contact_way_lives_and_dies(rig):
    """A way is made, found, changed where asked and nowhere else, and deleted."""
    wecom = await rig.client()
    way = await wecom.add_contact_way(state="qd_a", users=[LIN], remark="hall A", skip_verify=False)
    assert way.qr_code
    assert [ids async for ids in wecom.list_contact_way()] == [(way.config_id,)]
    await wecom.update_contact_way(way.config_id, users=[LIN, StaffUserId("zhou.yi")])
    read = await wecom.get_contact_way(way.config_id)
    assert (read.state, read.fields.memo, read.fields.skip_verify) == ("qd_a", "hall A", False)
    assert (read.fields.staff, read.qr_code) == (("lin.qiao", "zhou.yi"), way.qr_code)
    await wecom.del_contact_way(way.config_id)
    with pytest.raises(PermanentError):
        await wecom.get_contact_way(way.config_id)
    with pytest.raises(PermanentError):
        await wecom.get_contact_way(ContactWayId("never"))


async def test_tags_are_made_once_and_put_on_a_relation(rig):
    """A taken name makes the call fail and nothing else; a relation carries its tag until it is taken off."""
    wecom = await rig.client()
    (nana,) = populated(rig)
    group = await wecom.add_corp_tag("来源", ["展会", "地推"])
    with pytest.raises(NameTaken):
        await wecom.add_corp_tag("来源", ["展会", "官网"])
    (listed,) = await wecom.get_corp_tags()
    assert (listed.group_id, listed.name) == (group.group_id, "来源")
    assert sorted(tag.name for tag in listed.tags) == ["地推", "展会"]
    tag = next(tag for tag in listed.tags if tag.name == "展会")
    await mark_tag(wecom, LIN, nana, add=[tag.tag_id])
    assert [relation.tag_ids for relation in (await wecom.get_customer(nana)).relations] == [{tag.tag_id}]
    pages = [page async for page in wecom.get_by_user([LIN])]
    assert pages[0].relations[0].tag_ids == {tag.tag_id}
    await mark_tag(wecom, LIN, nana, remove=[tag.tag_id])
    assert [relation.tag_ids for relation in (await wecom.get_customer(nana)).relations] == [frozenset()]
    await wecom.edit_corp_tag(tag.tag_id, "展览")
    await wecom.del_corp_tag(group_ids=[group.group_id])
    assert await wecom.get_corp_tags() == ()


async def test_a_spent_welcome_code_is_settled(rig):
    """A code that WeCom never gave out is refused as a welcome that nothing can be done about."""
    with pytest.raises(WelcomeRefused):
        await (await rig.client()).send_welcome_msg("never", text="你好")


async def test_addresses_are_listed(rig):
    """Both address lists can be had with any token."""
    wecom = await rig.client()
    assert isinstance(await wecom.get_callback_ips(), list)
    assert isinstance(await wecom.get_api_domain_ips(), list)


async def test_a_hundred_calls_at_once_stay_within_the_quota(rig):
    """A hundred calls over one cold client cost one gettoken and never exceed three in flight."""
    customers = populated(rig, 100)
    rig.simulator.configure(default_latency=0.005, latency_scale=1.0)
    wecom = await rig.client()
    async with asyncio.TaskGroup() as group:
        for customer in customers:
            group.create_task(remark(wecom, LIN, customer, remark="展会26"))
    assert all(rig.simulator.remark_of(LIN, customer) == "展会26" for customer in customers)
    assert rig.calls("gettoken") == 1
    assert rig.simulator.journal.most_in_flight()["externalcontact/remark"] == 3


async def test_writes_to_one_relation_never_conflict(rig):
    """Remark and tag of one customer at the same moment are never refused for each other."""
    rig.simulator.configure(default_latency=0.005, latency_scale=1.0)
    (nana,) = populated(rig)
    wecom = await rig.client()
    (tag,) = (await wecom.add_corp_tag("来源", ["展会"])).tags
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(remark(wecom, LIN, nana, remark=f"展会{number}"))
            group.create_task(mark_tag(wecom, StaffUserId("LIN.QIAO"), nana, add=[tag.tag_id]))
    assert rig.calls("externalcontact/remark") == rig.calls("externalcontact/mark_tag") == 10


@pytest.mark.parametrize("code", [40014, 42001])
async def test_a_revoked_token_costs_one_gettoken(rig, code):
    """A hundred calls whose token dies all succeed, with one more gettoken between them."""
    customers = populated(rig, 100)
    wecom = await rig.client(in_flight=5)
    await wecom.get_customer(customers[0])
    rig.simulator.revoke_tokens(code)
    async with asyncio.TaskGroup() as group:
        for customer in customers:
            group.create_task(wecom.get_customer(customer))
    assert rig.calls("gettoken") == 2
    assert rig.calls("externalcontact/get") == 101


async def test_two_processes_that_end_each_others_tokens_go_on(rig):
    """Where a new token ends the old one, two clients refresh in turn and both get their answers."""
    rig.simulator.configure(token_renewal=TokenRenewal.NEW_KILLS_OLD)
    (nana,) = populated(rig)
    one, other = await rig.client(), await rig.client()
    for wecom in (one, other, one):
        assert (await wecom.get_customer(nana)).name
    assert rig.calls("gettoken") == 3


async def test_a_wrong_secret_needs_a_person_and_is_tried_once(rig):
    """A wrong secret stops the client after one gettoken, however many calls follow."""
    wecom = await rig.client(secret="wrong")
    for _ in range(20):
        with pytest.raises(ConfigurationNeeded) as caught:
            await wecom.get_follow_user_list()
        assert caught.value.errcode == 40001
    assert rig.calls("gettoken", 40001) == 1


async def test_an_untrusted_address_is_named(rig):
    """60020 stops the client and names the address that the administrator must add."""
    rig.simulator.configure(trusted_ip_delay=0.0)
    rig.simulator.trust(["203.0.113.1"])
    with pytest.raises(ConfigurationNeeded, match=r"127\.0\.0\.1") as caught:
        await (await rig.client()).get_follow_user_list()
    assert caught.value.errcode == 60020
    assert caught.value.hint


@pytest.mark.parametrize(
    ("change", "error"),
    [({"activated": False}, StaffBlocked), ({"verified": False}, StaffBlocked), ({"departed": True}, PermanentError)],
)
async def test_a_member_who_cannot_serve_blocks_only_themselves(rig, change, error):
    """A contact way for a member who is not ready is refused with an error about that member."""
    rig.simulator.put_member("lin.qiao", **change)
    wecom = await rig.client()
    with pytest.raises(error):
        await wecom.add_contact_way(state="qd_a", users=[LIN])
    assert (await wecom.add_contact_way(state="qd_a", users=[StaffUserId("zhou.yi")])).config_id


async def test_a_relation_that_ended_or_never_was_is_early(rig):
    """A customer the member removed, and one nobody knows, are both told as no relation, or not yet."""
    (nana,) = populated(rig)
    wecom = await rig.client()
    rig.simulator.act("staff_deletes", LIN, nana)
    with pytest.raises(TooEarly):
        await remark(wecom, LIN, nana, remark="x")
    with pytest.raises(TooEarly):
        await wecom.get_customer(ExternalUserId("wmNobody"))


async def test_a_remark_that_is_too_long_is_permanent(rig):
    """21 characters are refused for good, and nothing is written."""
    (nana,) = populated(rig)
    with pytest.raises(PermanentError) as caught:
        await remark((await rig.client()), LIN, nana, remark="x" * 21)
    assert caught.value.errcode == 40058
    assert rig.simulator.remark_of(LIN, nana) != "x" * 21


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        ("errcode", {"code": -1}),
        ("errcode", {"code": 6000}),
        ("status", {"code": 502}),
        ("timeout_before", {"seconds": 30}),
        ("timeout_after", {"seconds": 30}),
        ("slow_body", {"seconds": 30}),
        ("reset", {}),
        ("reset_after", {}),
        ("html", {}),
        ("foreign", {}),
        ("status", {"code": 404}),
        ("status", {"code": 302}),
    ],
)
async def test_a_fault_costs_one_try(rig, fault, fields):
    """Whatever goes wrong once is transient, is one call, and the next try succeeds."""
    (nana,) = populated(rig)
    wecom = await rig.client(timeout=1.5)
    rig.simulator.fail(fault, "externalcontact/remark", count=1, **fields)
    with pytest.raises(TransientError) as caught:
        await remark(wecom, LIN, nana, remark="展会26")
    assert isinstance(caught.value, WeComError)
    await remark(wecom, LIN, nana, remark="展会26")
    assert rig.simulator.remark_of(LIN, nana) == "展会26"
    assert sum(1 for _ in rig.simulator.journal.calls("externalcontact/remark")) == 2


async def test_plain_http_is_not_led_on(rig):
    """The 301 that WeCom gives to plain http is not followed: a GET would come of a POST."""
    rig.simulator.configure(https_redirect=True)
    with pytest.raises(TransientError, match="https"):
        await (await rig.client()).get_follow_user_list()


async def test_unknown_fields_are_ignored(rig):
    """Fields that WeCom adds one day change nothing."""
    rig.simulator.configure(unknown_fields=True)
    (nana,) = populated(rig)
    wecom = await rig.client()
    assert (await wecom.get_customer(nana)).relation_with(LIN)
    assert [len(page.relations) async for page in wecom.get_by_user([LIN])] == [1]
