"""Apps, members, relations and state: S11 to S21 of the checklist."""

import pytest

from simulator import App
from simulator.clients import NotPossible
from simulator.corp import RelationStatus
from simulator.scans import ScanOutcome
from tests.rigs.simulator import Rig, rig

SECOND = {
    "agent_id": 1000028,
    "secret": "another-secret",
    "token": "another",
    "aes_key": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
}


async def details(r: Rig, external_userid: str) -> dict:
    return await r.client.get("externalcontact/get", external_userid=external_userid)


async def follow(r: Rig, external_userid: str) -> dict:
    return (await details(r, external_userid))["follow_user"][0]


async def test_s11_apps_have_their_own_tokens_and_refusals() -> None:
    """Two apps of one corp have different tokens; switches refuse one of them only."""
    async with rig() as r:
        await r.client.control("POST", "apps", SECOND)
        first = r.client.token
        second = (await r.client.get_token(corpsecret="another-secret"))["access_token"]
        assert second != first
        for refusal in (60031, 48006):
            await r.client.control("POST", "apps", {"agent_id": 1000028, "refusal": refusal})
            assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == refusal
        r.client.token = first
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 0


async def test_s11_an_app_without_permission_gets_48002() -> None:
    """An app that is not in the allowed list gets 48002 from customer contact."""
    async with rig() as r:
        await r.client.control("POST", "apps", {"allowed": False})
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 48002


async def test_s12_a_userid_is_looked_up_ignoring_case() -> None:
    """LIN.QIAO and lin.qiao are one member."""
    async with rig() as r:
        customer = await r.friend()
        assert (await r.client.get("externalcontact/list", userid="LIN.QIAO"))["external_userid"] == [customer]
        body = {"userid": "Lin.Qiao", "external_userid": customer, "remark": "x"}
        assert await r.client.code("externalcontact/remark", **body) == 0


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"activated": False}, 41054),
        ({"verified": False}, 40098),
        ({"contact_function": False}, 84074),
        ({"departed": True}, 40003),
    ],
)
async def test_s12_a_member_who_cannot_be_added_gets_no_contact_way(change: dict, code: int) -> None:
    """Members not activated, not verified, without the function, or gone are refused with a code each."""
    async with rig() as r:
        await r.client.control("POST", "members", {"userid": "lin.qiao", **change})
        body = {"type": 1, "scene": 2, "user": ["lin.qiao"]}
        assert await r.client.code("externalcontact/add_contact_way", **body) == code


async def test_s12_unknown_and_departed_members_are_told_apart() -> None:
    """As documented, 60111 for a userid that never was, 40003 for a member who left and is no follow user any more."""
    async with rig(documented=True) as r:
        r.simulator.put_member("zhou.yi", departed=True)
        assert (await r.client.get("externalcontact/list", userid="nobody"))["errcode"] == 60111
        assert (await r.client.get("externalcontact/list", userid="zhou.yi"))["errcode"] == 40003
        listed = await r.client.get("externalcontact/get_follow_user_list")
        assert listed["follow_user"] == ["lin.qiao", "wang.fang", "chen.wei"]


async def test_s13_the_visible_range_filters_lists_and_denies_calls() -> None:
    """An app sees and touches only the members in its range, and gets no events about others."""
    async with rig() as r:
        way = await r.client.add_way(type=2, user=["lin.qiao", "zhou.yi"])
        customer = (await r.scan(config_id=way, userid="lin.qiao")).external_userid
        await r.scan(config_id=way, userid="zhou.yi", customer=customer)
        assert len((await details(r, customer))["follow_user"]) == 2
        await r.client.control("POST", "apps", {"visible": ["Zhou.Yi"]})
        assert [f["userid"] for f in (await details(r, customer))["follow_user"]] == ["zhou.yi"]
        assert (await r.client.get("externalcontact/get_follow_user_list"))["follow_user"] == ["zhou.yi"]
        assert (await r.client.get("externalcontact/list", userid="lin.qiao"))["errcode"] == 60011
        events = len(r.receiver.events)
        await r.scan(config_id=way, userid="lin.qiao")
        assert len(r.receiver.events) == events


async def test_s14_customers_have_opaque_ids() -> None:
    """An external_userid is 32 characters of mixed case after wm or wo, and is looked up byte for byte."""
    async with rig() as r:
        customer = await r.friend()
        assert (len(customer), customer[:2] in {"wm", "wo"}) == (32, True)
        assert (await details(r, customer.swapcase()))["errcode"] == 40096


async def test_s15_each_state_of_a_relation_answers_in_its_way() -> None:
    """Pending and half relations give 84061, full and one-way ones work, deleted and transferred give 84061."""
    async with rig() as r:
        way = await r.client.add_way(skip_verify=False)
        customer = (await r.scan(config_id=way)).external_userid
        pair = ("lin.qiao", customer)
        relation = r.simulator.relation(*pair)
        seen = []

        async def look() -> None:
            body = {"userid": "lin.qiao", "external_userid": customer, "description": "d"}
            codes = (await details(r, customer))["errcode"], await r.client.code("externalcontact/remark", **body)
            seen.append((r.simulator.relation(*pair).status, *codes))

        await look()
        relation.status = RelationStatus.HALF
        await look()
        for action in ("accept", "customer_deletes", "staff_deletes"):
            r.simulator.act(action, *pair)
            await look()
        await r.scan(config_id=await r.client.add_way(), customer=customer)
        r.simulator.act("transfer", *pair, to="zhou.yi")
        body = {"userid": "lin.qiao", "external_userid": customer, "description": "d"}
        assert await r.client.code("externalcontact/remark", **body) == 84061
        assert (await follow(r, customer))["userid"] == "zhou.yi"
        assert seen == [
            (RelationStatus.PENDING, 84061, 84061),
            (RelationStatus.HALF, 84061, 84061),
            (RelationStatus.FULL, 0, 0),
            (RelationStatus.CUSTOMER_LEFT, 0, 0),
            (RelationStatus.DELETED, 84061, 84061),
        ]


async def test_s15_people_cannot_do_what_their_relation_does_not_allow() -> None:
    """Accepting twice, deleting what is gone, editing strangers: refused, and 400 over HTTP."""
    async with rig() as r:
        pair = ("lin.qiao", await r.friend())
        with pytest.raises(NotPossible):
            r.simulator.act("accept", *pair)
        r.simulator.act("staff_deletes", *pair)
        for action in ("staff_deletes", "customer_deletes"):
            with pytest.raises(NotPossible):
                r.simulator.act(action, *pair)
        body = {"action": "write_remark", "userid": "lin.qiao", "external_userid": "wm", "remark": "x"}
        assert "no such relation" in (await r.client.control("POST", "relations", body))["error"]


async def test_s16_fields_belong_to_the_relation() -> None:
    """Remark, description, state, tags and time are per member and customer."""
    async with rig() as r:
        first, second = await r.client.add_way("one"), await r.client.add_way("two", user=["zhou.yi"])
        customer = (await r.scan(config_id=first, customer={"name": "Nana"})).external_userid
        await r.scan(config_id=second, customer=customer)
        await r.client.post("externalcontact/remark", userid="zhou.yi", external_userid=customer, remark="Z")
        answer = await details(r, customer)
        follows = {f["userid"]: f for f in answer["follow_user"]}
        assert [(f["remark"], f["state"]) for f in follows.values()] == [("Nana", "one"), ("Z", "two")]
        assert answer["external_contact"]["name"] == "Nana"
        assert follows["lin.qiao"]["add_way"] == 1
        assert follows["lin.qiao"]["oper_userid"] == customer
        assert follows["lin.qiao"]["createtime"] == int(r.simulator.relation("lin.qiao", customer).added_at)


async def test_s16_an_unset_remark_may_be_empty() -> None:
    """With the switch a remark that nobody wrote is empty, not the nickname."""
    async with rig(unset_remark="empty") as r:
        assert (await follow(r, await r.friend()))["remark"] == ""


async def test_s17_a_new_customer_gives_an_add_event_with_state() -> None:
    """A scan by a new customer makes a relation and an add event with State and WelcomeCode."""
    async with rig() as r:
        scan = await r.scan(config_id=await r.client.add_way("展会🎪"))
        event = r.receiver.events[-1]
        assert scan.outcome is ScanOutcome.ADDED
        assert (event["ChangeType"], event["State"]) == ("add_external_contact", "展会🎪")
        assert (event["UserID"], event["ExternalUserID"]) == ("lin.qiao", scan.external_userid)
        assert (event["FromUserName"], event["MsgType"], event["Event"]) == ("sys", "event", "change_external_contact")
        assert event["ToUserName"] == r.simulator.corp.corp_id
        assert abs(int(event["CreateTime"]) - r.simulator.clock.time()) < 5
        assert event["WelcomeCode"]
        assert not {"MsgId", "AgentID"} & event.keys()


async def test_s17_friends_who_scan_again_give_nothing() -> None:
    """No event, no change of state."""
    async with rig() as r:
        customer = await r.friend("one")
        again = await r.scan(config_id=await r.client.add_way("two"), customer=customer)
        assert again.outcome is ScanOutcome.ALREADY_FRIENDS
        assert (len(r.receiver.events), (await follow(r, customer))["state"]) == (1, "one")


@pytest.mark.parametrize(("switch", "state"), [("old", "one"), ("none", None)])
async def test_s17_a_customer_who_left_comes_back_with_the_old_state_or_none(switch: str, state: str | None) -> None:
    """The relation goes on; the event carries the old state or none, never the new code's."""
    async with rig(readded_state=switch) as r:
        customer = await r.friend("one")
        r.simulator.act("customer_deletes", "lin.qiao", customer)
        again = await r.scan(config_id=await r.client.add_way("two"), customer=customer)
        assert again.outcome is ScanOutcome.READDED
        assert r.receiver.changes() == ["add_external_contact", "del_follow_user", "add_external_contact"]
        assert r.receiver.events[-1].get("State") == state


@pytest.mark.parametrize("event", ["add", "edit"])
async def test_s17_a_deleted_customer_who_comes_back_is_added_or_edited(event: str) -> None:
    """After the member deleted them, the new scan gives a new relation with the new state."""
    async with rig(readded_event=event) as r:
        customer = await r.friend("one")
        r.simulator.act("staff_deletes", "lin.qiao", customer)
        await r.scan(config_id=await r.client.add_way("two"), customer=customer)
        assert r.receiver.changes()[1:] == ["del_external_contact", f"{event}_external_contact"]
        assert (await follow(r, customer))["state"] == "two"


async def test_s17_without_skip_verify_nothing_happens_until_the_member_accepts() -> None:
    """The relation is pending and silent; accepting it sends the add event."""
    async with rig() as r:
        scan = await r.scan(config_id=await r.client.add_way(skip_verify=False))
        assert (scan.outcome, r.receiver.events) == (ScanOutcome.PENDING, [])
        body = {"action": "accept", "userid": "lin.qiao", "external_userid": scan.external_userid}
        assert (await r.client.control("POST", "relations", body))["status"] == "full"
        await r.simulator.settled()
        assert [(e["ChangeType"], e["State"]) for e in r.receiver.events] == [("add_external_contact", "qd_expo")]


async def test_s17_skip_verify_may_be_ignored() -> None:
    """With the switch the scan gives add_half, and add when the member accepts; one welcome for both."""
    async with rig(honour_skip_verify=False) as r:
        scan = await r.scan(config_id=await r.client.add_way())
        assert (scan.outcome, r.receiver.changes()) == (ScanOutcome.HALF_ADDED, ["add_half_external_contact"])
        assert (await details(r, scan.external_userid))["errcode"] == 84061
        code = r.receiver.events[0]["WelcomeCode"]
        assert await r.client.code("externalcontact/send_welcome_msg", welcome_code=code, text={"content": "hi"}) == 0
        r.simulator.act("accept", "lin.qiao", scan.external_userid)
        await r.simulator.settled()
        assert r.receiver.changes()[1:] == ["add_external_contact"]
        assert "WelcomeCode" not in r.receiver.events[1]


async def test_s17_a_dead_code_leads_nowhere() -> None:
    """A deleted code, or one whose members have left, adds nobody."""
    async with rig() as r:
        way = await r.client.add_way()
        r.simulator.put_member("lin.qiao", departed=True)
        assert (await r.scan(config_id=way)).outcome is ScanOutcome.NO_MEMBER
        await r.client.post("externalcontact/del_contact_way", config_id=way)
        assert (await r.scan(config_id=way)).outcome is ScanOutcome.DEAD_CODE
        assert (r.simulator.corp.customers, r.receiver.events) == ({}, [])


async def test_s18_the_state_may_be_missing_in_the_event() -> None:
    """The event has no State, the details do."""
    async with rig(state_missing_in_event_rate=1.0) as r:
        customer = await r.friend("one")
        assert ("State" in r.receiver.events[0], (await follow(r, customer))["state"]) == (False, "one")


async def test_s18_the_state_may_be_missing_in_the_details() -> None:
    """The event has State, the details do not."""
    async with rig(state_missing_in_get_rate=1.0) as r:
        customer = await r.friend("one")
        assert (r.receiver.events[0]["State"], "state" in await follow(r, customer)) == ("one", False)


async def test_s18_the_state_may_be_foreign_or_that_of_the_code_before() -> None:
    """Values of somebody else's making, and the previous scan's."""
    async with rig(state_foreign_rate=1.0) as r:
        await r.friend("one")
        assert r.receiver.events[-1]["State"].startswith("wb:1:")
        r.simulator.configure(state_foreign_rate=0.0, state_previous_rate=1.0)
        await r.friend("two")
        assert r.receiver.events[-1]["State"] == "one"


@pytest.mark.parametrize("code", [84061, 40096])
async def test_s19_right_after_the_event_the_apis_do_not_know_the_relation(code: int) -> None:
    """For a while get, remark and mark_tag fail, then they work."""
    async with rig(early_rate=1.0, early_seconds=(5, 5), early_errcode=code) as r:
        customer = await r.friend()
        pair = {"userid": "lin.qiao", "external_userid": customer}

        async def codes() -> list[int]:
            return [
                (await details(r, customer))["errcode"],
                await r.client.code("externalcontact/remark", **pair, remark="x"),
                await r.client.code("externalcontact/mark_tag", **pair, remove_tag=["et"]),
            ]

        assert await codes() == [code] * 3
        r.simulator.clock.advance(5)
        assert await codes() == [0] * 3


async def test_s20_a_deletion_shows_in_get_with_delay() -> None:
    """For a while get goes on listing the member; writing fails at once."""
    async with rig(deletion_delay=60.0) as r:
        customer = await r.friend()
        r.simulator.act("staff_deletes", "lin.qiao", customer)
        assert (await details(r, customer))["errcode"] == 0
        body = {"userid": "lin.qiao", "external_userid": customer, "remark": "x"}
        assert await r.client.code("externalcontact/remark", **body) == 84061
        r.simulator.clock.advance(61)
        assert (await details(r, customer))["errcode"] == 84061


async def test_s21_a_member_without_customers_gives_84061() -> None:
    """list for zero customers is an error with an empty list."""
    async with rig() as r:
        answer = await r.client.get("externalcontact/list", userid="lin.qiao")
        assert (answer["errcode"], answer["external_userid"]) == (84061, [])


async def test_existing_relations_can_be_put_in_place_silently() -> None:
    """populate makes relations that no event tells of, for tests of backfill."""
    async with rig() as r:
        assert await r.client.control("POST", "populate", {"count": 8, "state": "qd_old"}) == {"relations": 8}
        await r.simulator.settled()
        listed = await r.client.get("externalcontact/list", userid="lin.qiao")
        assert (len(listed["external_userid"]), r.receiver.events) == (2, [])
        assert (await follow(r, listed["external_userid"][0]))["state"] == "qd_old"


def test_a_second_app_is_checked() -> None:
    """An EncodingAESKey of the wrong length is refused when the app is added."""
    from simulator.play import Simulator

    with pytest.raises(ValueError, match="43"):
        Simulator().put_app(App(agent_id=1, secret="s", token="t", aes_key="short"))


async def test_s15_a_handed_over_customer_keeps_what_a_person_wrote() -> None:
    """Remark and tags go along with a transfer, the state does not; an API's earlier write is not counted again."""
    async with rig() as r:
        for writer in ("api", "staff"):
            customer = await r.friend(writer)
            pair = {"userid": "lin.qiao", "external_userid": customer}
            await r.client.post("externalcontact/remark", **pair, remark="展会-Nana")
            if writer == "staff":
                r.simulator.act("write_remark", *pair.values(), remark="老客户")
            r.simulator.act("transfer", *pair.values(), to="zhou.yi")
            taken = r.simulator.relation("zhou.yi", customer)
            assert (taken.state, taken.add_way, taken.oper_userid) == ("", 202, "lin.qiao")
            assert [write.by for write in taken.remarks] == (["staff"] if writer == "staff" else [])
            assert (await follow(r, customer))["remark"] == ("老客户" if writer == "staff" else "展会-Nana")


async def test_an_unusable_callback_url_loses_events_and_nothing_else() -> None:
    """A URL that cannot be used counts as a failed delivery; the simulator goes on."""
    async with rig(callback_retries=0) as r:
        r.simulator.app.callback_url = "http://127.0.0.1:99999/"
        await r.friend()
        assert r.simulator.app.lost_events == 1
        assert (await r.client.get_token())["errcode"] == 0
