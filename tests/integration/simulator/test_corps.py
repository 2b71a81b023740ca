"""Several corps in one simulator: what each has for itself, and the little that they share."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from simulator import Simulator
from simulator.journal import Kind
from tests.rigs.simulator import Rig, corps

GET, LIST, REMARK = "externalcontact/get", "externalcontact/list", "externalcontact/remark"


async def test_s11_a_token_opens_the_data_of_its_own_corp_alone() -> None:
    """Whatever one corp has, another corp's token does not find: its members of the same name have other customers."""
    async with corps(2, welcome_lifetime=60.0) as (one, other):
        mine, theirs = await one.friend(), await other.friend("qd_other")
        assert (await one.client.get(LIST, userid="lin.qiao"))["external_userid"] == [mine]
        assert (await other.client.get(LIST, userid="lin.qiao"))["external_userid"] == [theirs]
        code = one.receiver.events[0]["WelcomeCode"]
        way = next(iter(one.simulator.corp.ways))
        group = await one.client.post("externalcontact/add_corp_tag", group_name="来源", tag=[{"name": "展会"}])
        tag_id = group["tag_group"]["tag"][0]["id"]
        media_id = one.simulator.add_media("image", "a.png", b"")
        image = {"msgtype": "image", "image": {"media_id": media_id}}
        pair = {"userid": "lin.qiao", "external_userid": theirs}
        wrong: list[tuple[str, dict[str, Any], int]] = [
            (REMARK, {"userid": "lin.qiao", "external_userid": mine, "remark": "x"}, 40096),
            ("externalcontact/get_contact_way", {"config_id": way}, 41044),
            ("externalcontact/update_contact_way", {"config_id": way, "state": "stolen"}, 41044),
            ("externalcontact/del_contact_way", {"config_id": way}, 41044),
            ("externalcontact/mark_tag", {**pair, "add_tag": [tag_id]}, 40068),
            ("externalcontact/del_corp_tag", {"tag_id": [tag_id]}, 40068),
            ("externalcontact/send_welcome_msg", {"welcome_code": code, "text": {"content": "x"}}, 41050),
            (
                "externalcontact/send_welcome_msg",
                {"welcome_code": other.receiver.events[0]["WelcomeCode"], "attachments": [image]},
                40007,
            ),
        ]
        for path, body, expected in wrong:
            assert await other.client.code(path, **body) == expected, path
        assert (await other.client.get(GET, external_userid=mine))["errcode"] == 40096
        assert (await other.client.post("externalcontact/get_corp_tag_list"))["tag_group"] == []
        assert (await other.client.post("externalcontact/list_contact_way"))["contact_way"] != [{"config_id": way}]
        assert (await one.client.get(GET, external_userid=mine))["follow_user"][0]["state"] == "qd_expo"
        assert await one.client.code("externalcontact/send_welcome_msg", welcome_code=code, text={"content": "x"}) == 0


async def test_s11_a_cursor_is_no_good_in_another_corp() -> None:
    """Page two of one corp's survey cannot be had with another's token."""
    async with corps(2) as (one, other):
        for each in (one, other):
            each.simulator.populate(3, userid="lin.qiao")
        path, body = "externalcontact/batch/get_by_user", {"userid_list": ["lin.qiao"], "limit": 2}
        cursor = (await one.client.post(path, **body))["next_cursor"]
        assert await other.client.code(path, **body, cursor=cursor) == 50100
        assert len((await one.client.post(path, **body, cursor=cursor))["external_contact_list"]) == 1


async def test_s11_a_secret_belongs_to_its_corp() -> None:
    """One corp's id with another's secret is 40001; nobody's id is 40013."""
    async with corps(2) as (one, other):
        assert one.client.token != other.client.token
        assert (await one.client.get_token(corpsecret=other.simulator.app.secret))["errcode"] == 40001
        assert (await one.client.get_token(corpid="ww0000000000000000"))["errcode"] == 40013


async def test_s14_a_person_has_another_id_in_each_corp() -> None:
    """The same customer scans codes of two corps: one name, two ids, each the same at the next scan."""
    async with corps(2) as (one, other):
        way = other.simulator.add_contact_way("qd_b", ["lin.qiao"])
        second = other.simulator.add_contact_way("qd_c", ["zhou.yi"])
        mine = (
            await one.scan(config_id=await one.client.add_way(), customer={"name": "Nana", "gender": 2})
        ).external_userid
        theirs = (await other.scan(config_id=way, customer=mine)).external_userid
        assert theirs != mine
        again = await other.scan(config_id=second, customer=mine)
        assert (again.outcome, again.external_userid) == ("added", theirs)
        details = await other.client.get(GET, external_userid=theirs)
        assert [follow["userid"] for follow in details["follow_user"]] == ["lin.qiao", "zhou.yi"]
        here = (await one.client.get(GET, external_userid=mine))["external_contact"]
        there = details["external_contact"]
        assert (here["name"], here["gender"]) == (there["name"], there["gender"]) == ("Nana", 2)
        assert here["unionid"] != there["unionid"]


async def test_s26_events_go_to_the_apps_of_their_corp_with_its_keys() -> None:
    """Each receiver decrypts its own events, which name its corp, and gets no others."""
    async with corps(2) as (one, other):
        mine, theirs = await one.friend("qd_a"), await other.friend("qd_b")
        for each, customer, state in ((one, mine, "qd_a"), (other, theirs, "qd_b")):
            (event,) = each.receiver.events
            assert event["ToUserName"] == each.simulator.corp.corp_id
            assert (event["ExternalUserID"], event["State"]) == (customer, state)


async def test_s36_a_corp_s_limits_are_its_own_and_an_address_s_are_not() -> None:
    """A corp that used up its minute stops nobody else; what all corps call from one address adds up."""
    async with corps(2, corp_per_minute=2) as (one, other):
        assert [(await one.client.get(LIST, userid="lin.qiao"))["errcode"] for _ in range(3)] == [84061, 84061, 84061]
        customers = [each.simulator.populate(1, userid="lin.qiao")[0].key[1] for each in (one, other)]
        codes = [(await one.client.get(GET, external_userid=customers[0]))["errcode"] for _ in range(3)]
        assert codes == [0, 0, 45009]
        assert (await other.client.get(GET, external_userid=customers[1]))["errcode"] == 0
    async with corps(2, ip_per_minute=2) as (one, other):
        customers = [each.simulator.populate(1, userid="lin.qiao")[0].key[1] for each in (one, other)]
        assert (await one.client.get(GET, external_userid=customers[0]))["errcode"] == 0
        assert (await other.client.get(GET, external_userid=customers[1]))["errcode"] == 0
        assert (await one.client.get(GET, external_userid=customers[0]))["errcode"] == 45009
        assert (await other.client.get(GET, external_userid=customers[1]))["errcode"] == 45009


async def test_s37_calls_in_flight_are_counted_by_corp() -> None:
    """Five calls of one corp under way leave five places to another."""
    async with corps(2, latency_scale=1.0, default_latency=0.2) as (one, other):
        customers = {id(each): each.simulator.populate(1, userid="lin.qiao")[0].key[1] for each in (one, other)}

        async def call(each: Rig) -> int:
            answer = await each.client.get(GET, external_userid=customers[id(each)])
            return int(answer["errcode"])

        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(call(each)) for each in (one, other) for _ in range(5)]
        assert [task.result() for task in calls] == [0] * 10


async def test_s05_wrong_secrets_ban_an_address_in_every_corp() -> None:
    """The address is refused, not the corp whose secret was guessed."""
    async with corps(2, wrong_secret_limit=2) as (one, other):
        for each in (one, other):
            assert (await each.client.get_token(corpsecret="guess"))["errcode"] == 40001
        for each in (one, other):
            assert (await each.client.get_token())["errcode"] == 45009


async def test_s39_time_is_the_same_in_every_corp() -> None:
    """Pushed in one, the clock has moved in all: tokens of both have expired."""
    async with corps(2, token_lifetime=7200) as (one, other):
        one.simulator.clock.advance(7300)
        for each in (one, other):
            assert (await each.client.get(LIST, userid="lin.qiao"))["errcode"] == 42001


async def test_s11_faults_knobs_and_revocations_are_for_one_corp() -> None:
    """What breaks for one corp goes on for the other."""
    async with corps(2) as (one, other):
        one.simulator.fail("errcode", LIST, code=6000, count=10)
        one.simulator.configure(early_errcode=40096)
        assert (await one.client.get(LIST, userid="lin.qiao"))["errcode"] == 6000
        assert (await other.client.get(LIST, userid="lin.qiao"))["errcode"] == 84061
        assert other.simulator.config.early_errcode == 84061
        one.simulator.faults.clear()
        assert one.simulator.revoke_tokens() == 1
        assert (await one.client.get(LIST, userid="lin.qiao"))["errcode"] == 40014
        assert (await other.client.get(LIST, userid="lin.qiao"))["errcode"] == 84061


async def test_s40_each_corp_has_its_journal_and_no_two_calls_one_hint() -> None:
    """Calls are found in their corp's journal; a trace id names one call of all."""
    async with corps(2) as (one, other):
        for each in (one, other, one, other):
            await each.client.get(LIST, userid="lin.qiao")
        hints = [
            [call.hint for call in each.simulator.journal.find(kind=Kind.CALL, endpoint=LIST)] for each in (one, other)
        ]
        assert [len(each) for each in hints] == [2, 2]
        assert len({*hints[0], *hints[1]}) == 4


async def test_s32_the_codes_of_every_corp_are_drawn() -> None:
    """The address of a QR code leads to an image, whichever corp's it is, and to nothing once the way is gone."""
    async with corps(2) as (_, other):
        made = await other.client.post(
            "externalcontact/add_contact_way", type=1, scene=2, user=["lin.qiao"], state="qd_b"
        )
        async with other.client.session.get(made["qr_code"]) as response:
            assert (response.status, response.content_type) == (200, "image/png")
        assert await other.client.code("externalcontact/del_contact_way", config_id=made["config_id"]) == 0
        async with other.client.session.get(made["qr_code"]) as response:
            assert response.status == 404


async def test_s11_the_control_api_addresses_a_corp_by_its_id() -> None:
    """Without an id the first corp is meant; an unknown id is refused by name."""
    async with corps(2) as (one, other):
        corp_id = other.simulator.corp.corp_id
        listed = await one.client.control("GET", "corps")
        assert [corp["corp_id"] for corp in listed["corps"]] == [one.simulator.corp.corp_id, corp_id]
        other.simulator.add_contact_way("qd_b", ["lin.qiao"])
        assert (await one.client.control("POST", "scan", {"state": "qd_b"}))["scans"][0]["outcome"] == "dead_code"
        scans = (await one.client.control("POST", "scan", {"state": "qd_b"}, corp_id=corp_id))["scans"]
        assert scans[0]["outcome"] == "added"
        assert (await one.client.control("GET", "summary"))["customers"] == 0
        assert (await one.client.control("GET", "summary", corp_id=corp_id))["customers"] == 1
        assert (await one.client.control("GET", "apps", corp_id=corp_id))["corp_id"] == corp_id
        refused = await one.client.control("GET", "summary", corp_id="ww0000000000000000")
        assert "ww0000000000000000" in refused["error"]


async def test_s22_the_console_checks_the_url_of_the_corp_that_has_the_app() -> None:
    """An app is enough to say which corp is meant, for the URL check and for forged callbacks."""
    async with corps(2) as (one, other):
        for each in (one, other):
            assert (await one.server.verify_url(each.simulator.app)).accepted
        other.receiver.requests.clear()
        await one.server.send_forged("not_xml", other.simulator.app)
        assert len(other.receiver.requests) == 1


async def test_s11_corps_are_repeatable_and_unlike_each_other() -> None:
    """The same seed gives the same corps: settings written down stay good. No id or secret is another corp's."""

    def settings() -> list[dict[str, str]]:
        first = Simulator()
        return [first.settings("http://127.0.0.1:1"), *(first.add_corp().settings("") for _ in range(3))]

    assert settings() == settings()
    values = [value for each in settings() for name, value in each.items() if name != "QUDAO_API_URL"]
    assert len(set(values)) == len(values)


async def test_s11_corps_are_added_before_they_are_served_and_have_ids_of_their_own() -> None:
    """Two corps of one id, or a corp added while the simulator is served, are refused."""
    first = Simulator()
    with pytest.raises(ValueError, match="ww9f8e7d6c5b4a3210"):
        first.add_corp(corp_id=first.corp.corp_id)
    with pytest.raises(ValueError, match="callback URL"):
        first.add_corp(corp_id="ww1", callback_url="ftp://x/")
    assert first.corps == [first]
    assert first.add_corp(corp_id="ww1").corps == first.corps
    async with AsyncExitStack() as stack:
        (only,) = await stack.enter_async_context(corps(1))
        with pytest.raises(RuntimeError, match="before"):
            only.simulator.add_corp()
