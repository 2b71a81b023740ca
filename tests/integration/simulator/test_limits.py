"""Limits, faults, the scenario clock, the journal and the control API: S36 to S40 of the checklist."""

import asyncio
from typing import Any

import aiohttp
import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.rigs.simulator import Client, Rig, rig

FOLLOWERS = "externalcontact/get_follow_user_list"
REMARK = "externalcontact/remark"


async def codes(r: Rig, count: int, path: str = FOLLOWERS, **query: str) -> list[int]:
    return [(await r.client.get(path, **query))["errcode"] for _ in range(count)]


async def test_s36_calls_per_minute_are_limited_per_api() -> None:
    """The call over the limit gets 45009 and blocks that API for a minute; other APIs go on."""
    async with rig(corp_per_minute=3) as r:
        assert await codes(r, 4) == [0, 0, 0, 45009]
        assert (await r.client.get("externalcontact/get", external_userid="wm"))["errcode"] == 40096
        r.simulator.clock.advance(59)
        assert await codes(r, 1) == [45009]
        r.simulator.clock.advance(1.5)
        assert await codes(r, 3) == [0, 0, 0]


async def test_s36_the_window_slides() -> None:
    """Half a minute after three calls only they count; they leave one by one."""
    async with rig(corp_per_minute=4) as r:
        assert await codes(r, 3) == [0, 0, 0]
        r.simulator.clock.advance(40)
        assert await codes(r, 1) == [0]
        r.simulator.clock.advance(21)
        assert await codes(r, 3) == [0, 0, 0]
        assert await codes(r, 1) == [45009]


async def test_s36_calls_per_hour_are_limited_for_an_hour() -> None:
    """An overrun of the hour blocks for an hour; windows can be made shorter."""
    async with rig(corp_per_hour=2, hour_window=100.0) as r:
        assert await codes(r, 3) == [0, 0, 45009]
        r.simulator.clock.advance(99)
        assert await codes(r, 1) == [45009]
        r.simulator.clock.advance(2)
        assert await codes(r, 1) == [0]


async def test_s36_addresses_have_limits_of_their_own() -> None:
    """One address over its limit is refused, another is not."""
    async with rig(ip_per_minute=2, trust_forwarded_for=True) as r:
        query = {"access_token": r.client.token}

        async def call(address: str) -> int:
            headers = {"X-Forwarded-For": address}
            return (await r.client.raw("GET", FOLLOWERS, query, headers=headers))["errcode"]

        assert [await call("192.0.2.1") for _ in range(3)] == [0, 0, 45009]
        assert await call("192.0.2.2") == 0


async def test_s37_the_sixth_call_at_once_gets_45033() -> None:
    """Five in flight per API by default; the summary keeps the highest."""
    async with rig(latency_scale=1.0, default_latency=0.1) as r:
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(r.client.get(FOLLOWERS)) for _ in range(6)]
        assert sorted(call.result()["errcode"] for call in calls) == [0] * 5 + [45033]
        assert r.simulator.summary()["most_in_flight"][FOLLOWERS] == 6
        assert r.simulator.journal.most_in_flight()[FOLLOWERS] == 6


@pytest.mark.parametrize("conflict", [45035, 45033])
async def test_s37_two_calls_for_one_relation_conflict(conflict: int) -> None:
    """A remark while another for the same pair is under way is refused; for another pair it is not."""
    async with rig(conflict_errcode=conflict) as r:
        first, second = await r.friend("a"), await r.friend("b")
        r.simulator.configure(latency_scale=1.0, default_latency=0.1)
        async with asyncio.TaskGroup() as group:
            calls = [
                group.create_task(r.client.code(REMARK, userid=userid, external_userid=customer, remark="x"))
                for userid, customer in (("lin.qiao", first), ("LIN.QIAO", first), ("lin.qiao", second))
            ]
        assert sorted(call.result() for call in calls) == [0, 0, conflict]


@pytest.mark.parametrize("code", [-1, 6000, 81026])
async def test_s38_the_next_calls_may_get_an_errcode(code: int) -> None:
    """A scripted errcode hits the next calls of one API and does nothing."""
    async with rig() as r:
        customer = await r.friend()
        body = {"userid": "lin.qiao", "external_userid": customer, "remark": "x"}
        await r.client.control("POST", "faults", {"fault": "errcode", "code": code, "endpoint": REMARK, "count": 2})
        assert [await r.client.code(REMARK, **body) for _ in range(2)] == [code, code]
        assert r.simulator.relation("lin.qiao", customer).remarks == []
        assert await r.client.code(REMARK, **body) == 0


@pytest.mark.parametrize(
    ("fault", "executed"),
    [
        ({"fault": "status", "code": 503}, False),
        ({"fault": "status"}, False),
        ({"fault": "html"}, False),
        ({"fault": "reset"}, False),
        ({"fault": "reset_after"}, True),
        ({"fault": "timeout_before", "seconds": 0.2}, False),
        ({"fault": "timeout_after", "seconds": 0.2}, True),
        ({"fault": "slow_body", "seconds": 0.2}, True),
    ],
)
async def test_s38_the_wire_may_fail_before_or_after(fault: dict, executed: bool) -> None:
    """Status, HTML, reset, silence and slowness show as such; some after the call was carried out."""
    async with rig() as r:
        customer = await r.friend()
        await r.client.control("POST", "faults", fault | {"endpoint": REMARK, "count": 1})
        body = {"userid": "lin.qiao", "external_userid": customer, "remark": "x"}
        seen = await outcome(r, body)
        assert seen == {
            "status": fault.get("code", 502),
            "html": "text/html",
            "slow_body": 0,
        }.get(fault["fault"], "disconnected")
        assert bool(r.simulator.relation("lin.qiao", customer).remarks) == executed
        entry = r.simulator.journal.find(endpoint=REMARK)[0]
        assert (entry.note, entry.code) == (fault["fault"], 0 if executed else -2)
        assert await r.client.code(REMARK, **body) == 0


async def outcome(r: Rig, body: dict) -> Any:
    query = {"access_token": r.client.token}
    try:
        async with r.client.session.post(f"/cgi-bin/{REMARK}", params=query, json=body) as response:
            if response.content_type != "application/json":
                return response.content_type if response.status == 200 else response.status
            return (await response.json())["errcode"]
    except aiohttp.ClientConnectionError:
        return "disconnected"


async def test_s38_a_caller_that_gives_up_is_noticed() -> None:
    """A hung call ends when its caller disconnects, not only after its time."""
    async with rig() as r:
        r.simulator.fail("timeout_before", FOLLOWERS, count=1, seconds=3600.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await r.client.get(FOLLOWERS)
        assert (await r.client.get(FOLLOWERS))["errcode"] == 0
        assert r.simulator.limits.in_flight[FOLLOWERS] == 0


async def test_s38_faults_come_at_a_rate_and_can_be_cleared() -> None:
    """About the share asked for; gettoken is spared by a rule for all; cleared, everything works."""
    async with rig(in_flight=100) as r:
        await r.client.control("POST", "faults", {"fault": "errcode", "rate": 0.3})
        hit = (await codes(r, 200)).count(-1)
        assert 30 < hit < 90
        assert (await r.client.get_token())["errcode"] == 0
        assert r.simulator.summary()["faults"][0]["hits"] == hit
        await r.client.control("DELETE", "faults")
        assert set(await codes(r, 50)) == {0}


async def test_s39_the_clock_can_be_pushed() -> None:
    """Tokens, codes and blocks expire without waiting; time does not go back."""
    async with rig() as r:
        now = r.simulator.clock.time()
        answer = await r.client.control("POST", "clock/advance", {"seconds": 7201})
        assert answer["now"] - now >= 7201
        assert await codes(r, 1) == [42001]
        assert "never goes back" in (await r.client.control("POST", "clock/advance", {"seconds": -1}))["error"]


async def test_s40_the_journal_has_every_call_scan_edit_and_callback() -> None:
    """Filtered, in pages, with hint, time, endpoint, code and relation."""
    async with rig() as r:
        customer = await r.friend()
        r.simulator.act("chat", "lin.qiao", customer)
        await r.client.post(REMARK, userid="lin.qiao", external_userid=customer, remark="x")
        everything = (await r.client.control("GET", "journal"))["entries"]
        kinds = [(entry["kind"], entry["endpoint"]) for entry in everything]
        assert kinds == [
            ("call", "gettoken"),
            ("call", "externalcontact/add_contact_way"),
            ("scan", "added"),
            ("callback", "add_external_contact"),
            ("client", "chat"),
            ("call", REMARK),
        ]
        assert all(entry["external_userid"] == customer for entry in everything[2:])
        page = await r.client.control("GET", "journal", kind="call", limit="2")
        assert [entry["seq"] for entry in page["entries"]] == [1, 2]
        rest = await r.client.control("GET", "journal", kind="call", limit="2", after=str(page["next_after"]))
        assert ([entry["endpoint"] for entry in rest["entries"]], rest["next_after"]) == ([REMARK], None)


async def test_s40_broken_rules_are_told() -> None:
    """Remarks written twice, and the largest numbers of calls in a window and at once."""
    async with rig() as r:
        customer = await r.friend()
        for remark in ("a", "b"):
            await r.client.post(REMARK, userid="lin.qiao", external_userid=customer, remark=remark)
        rules = await r.client.control("GET", "rules")
        assert rules["remarks_written_twice"] == [["lin.qiao", customer]]
        assert rules["staff_remarks_overwritten"] == []
        assert rules["most_calls_in_a_minute"][REMARK] == 2
        assert rules["most_calls_in_flight"][REMARK] == 1


async def test_the_control_api_refuses_what_it_does_not_understand() -> None:
    """Wrong bodies get 400 and a reason; nothing changes."""
    async with rig() as r:
        for path, body in (
            ("scan", {"nonsense": 1}),
            ("config", {"latency_scal": 0}),
            ("config", {"remark_overflow": "explode"}),
            ("config", {"early_rate": "often"}),
            ("members", {"userid": "x", "salary": 1}),
            ("apps", {"aes_key": "short"}),
            ("apps", {"callback_url": "ftp://host/"}),
            ("faults", {"fault": "meteor"}),
            ("clock/advance", {}),
            ("events", []),
        ):
            assert "error" in await r.client.control("POST", path, body), path
        assert (r.simulator.config, r.simulator.corp.member("x")) == (SimulatorConfig.quiet(), None)


async def test_knobs_can_be_changed_while_running() -> None:
    """The control API shows and changes the configuration."""
    async with rig() as r:
        knobs = await r.client.control("POST", "config", {"early_seconds": [1, 2], "remark_overflow": "truncate"})
        assert (knobs["early_seconds"], knobs["remark_overflow"]) == ([1.0, 2.0], "truncate")
        assert await r.client.control("GET", "config") == knobs
        apps = await r.client.control("GET", "apps")
        assert apps["apps"][0]["callback_url"] == r.receiver.url


async def test_a_scan_waits_while_too_many_events_are_undelivered() -> None:
    """The backlog is bounded: with it full a scan waits until one is delivered or lost."""
    simulator = Simulator(
        SimulatorConfig.quiet(callback_backlog=1, callback_retries=0), callback_url="http://127.0.0.1:9/"
    )
    way = {"type": 1, "scene": 2, "user": ["lin.qiao"]}
    async with run_simulator(simulator) as server, aiohttp.ClientSession(server.url) as session:
        client = Client(session, simulator)
        await client.get_token()
        config_id = (await client.post("externalcontact/add_contact_way", **way))["config_id"]
        for _ in range(20):
            await simulator.scan(config_id=config_id)
            assert len(simulator.scenario.outbox) <= 1
        await simulator.settled()
    assert simulator.app.lost_events == 20


async def test_an_error_in_the_block_leaves_as_it_is() -> None:
    """run_simulator does not wrap what its block raises, and stops serving."""
    with pytest.raises(KeyError):
        async with run_simulator(Simulator()) as server:
            raise KeyError(server.url)
