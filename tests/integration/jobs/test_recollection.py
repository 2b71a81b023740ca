"""`qudao report` from the journal and from WeCom, over a corp whose customers a real worker has marked."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from shared.clock import SystemClock
from shared.domain.events import CustomerAdded, CustomerLost, Lane, LostBy, Work, lanes_of
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.postgres import Postgres
from shared.queue.message import Failure, message_for
from shared.queue.sqlite.adapter import SqliteQueue
from shared.sqlite.database import Database
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.corp import Customer, Follow, RelationStatus
from tests.e2e.processes import qudao, receives, run_to_end, settings
from workers.policy import WAITING

DAY = 86_400
CHANNELS = """
[defaults]
staff = ["lin.qiao"]
remark = "{channel}-{name}"

[channels.expo26]
name = "展会26"
description = "{channel} {date}"

[channels.shop]
name = "南京路店"

[channels.ad]
name = "广告"
state = "summer-2026"
"""
MEMBERS = ("lin.qiao", "zhou.yi", "wang.fang", "chen.wei")
STATES = ("qd_expo26", "qd_expo26", "qd_shop", "summer-2026", "", "crm-1", "crm-2", "sumer-2026")
"""What customers came by: three channels, nothing, another system's, and a slip of the pen."""


@dataclass
class Corp:
    """A simulated corp, a queue that a worker empties, and a folder in which commands are run."""

    simulator: Simulator
    folder: Path
    env: dict[str, str]
    database: Database
    queue: SqliteQueue

    def relation(self, state: str, staff: str, age: float, customer: Customer | None = None) -> Follow:
        """Put a relation in place that began *age* seconds ago, of a new customer unless one is given."""
        corp = self.simulator.corp
        if customer is None:
            customer = Customer(external_userid=self.simulator.scenario.ids.external_userid(), name="Nana")
            corp.customers[customer.external_userid] = customer
        member = corp.member(staff)
        assert member is not None
        began = time.time() - age
        relation = Follow(
            member=member,
            customer=customer,
            status=RelationStatus.FULL,
            state=state,
            way_state=state,
            oper_userid=customer.external_userid,
            createtime=int(began),
            added_at=began,
        )
        corp.link(relation)
        return relation

    def added(self, relation: Follow, **given: Any) -> CustomerAdded:
        fields = {**self.ids(relation), "created_at": relation.createtime, "state": relation.state}
        return CustomerAdded(**{**fields, **given})

    def ids(self, relation: Follow) -> dict[str, Any]:
        return {
            "corp": CorpId(self.simulator.corp.corp_id),
            "staff": StaffUserId(relation.member.userid),
            "customer": ExternalUserId(relation.customer.external_userid),
        }

    async def happened(self, *work: Work) -> None:
        """Queue *work* as the ingress does."""
        for each in work:
            await self.queue.publish(message_for(each, now=time.time()), lanes_of(each))

    async def worked_off(self) -> None:
        """Wait until every event was delivered and nothing is left in a lane, or on its way to bulk for its age."""
        await self.simulator.settled()
        empty = 0
        while empty < 2:
            waiting = sum(depth.messages for depth in await self.queue.depths() if depth.name in PLACES)
            empty = empty + 1 if not waiting else 0

    async def run(self, *words: str, **env: str) -> tuple[Any, str]:
        code, out, err = await run_to_end(*words, "--json", folder=self.folder, env={**self.env, **env})
        assert code == 0, err
        return orjson.loads(out), err

    async def both(self, *options: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the journal says, which needs neither secret nor call, and what WeCom says."""
        remembered, said = await self.run("report", *options, QUDAO_CORP_SECRET="", QUDAO_API_URL="http://127.0.0.1:9")
        assert (remembered.pop("source"), said) == ("journal", "")
        read, _ = await self.run("report", *options, "--from-wecom")
        assert read.pop("source") == "wecom"
        return remembered, read

    @property
    def calls(self) -> int:
        return sum(sum(codes.values()) for codes in self.simulator.journal.codes.values())

    async def journal_began(self, days_ago: int) -> None:
        """Let the journal have been kept for so long."""
        since = time.time() - days_ago * DAY
        url = self.env.get("QUDAO_STATE_URL")
        if url is None:
            await self.database.write(lambda c: c.execute("UPDATE journal_kept SET since = ?", (since,)))
            return
        async with Postgres(url) as server:
            corp = self.simulator.corp.corp_id
            await server.execute("UPDATE qudao_journal_kept SET since = $2 WHERE corp = $1", corp, since)


@pytest.fixture(params=["sqlite", "postgres"])
async def corp(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> AsyncIterator[Corp]:
    more = {"QUDAO_STATE_URL": request.getfixturevalue("postgres_url")} if request.param == "postgres" else {}
    async with running(tmp_path, prefix, more) as made:
        yield made


@asynccontextmanager
async def running(folder: Path, corp_id: str, more: dict[str, str]) -> AsyncIterator[Corp]:
    simulator = Simulator(SimulatorConfig.quiet(), corp_id=corp_id)
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, folder, **more)
        (folder / "channels.toml").write_text(CHANNELS, encoding="utf-8")
        async with qudao("run", folder=folder, env=env) as process:
            await receives(process, simulator)
            async with (
                Database(folder / "var" / "queue.db") as database,
                SqliteQueue(database, SystemClock(), crowd=None) as queue,
            ):
                yield Corp(simulator, folder, env, database, queue)


async def populate(corp: Corp) -> None:
    """
    Let some hundred customers come over twelve days, and a worker do its work.

    Among them are some whom a person named first, who have two members, who were lost and came again, whose event and
    details disagree, whose callback never came, and who are parked.
    """
    random = Random(7)
    came = [
        corp.relation(random.choice(STATES), random.choice(MEMBERS), random.uniform(60, 12 * DAY)) for _ in range(260)
    ]
    twice = [
        corp.relation(random.choice(STATES), MEMBERS[3], random.uniform(60, 12 * DAY), each.customer)
        for each in came[:60]
        if each.member.userid != MEMBERS[3]
    ]
    for relation in came[60:75]:
        corp.simulator.act("write_remark", *relation.key, remark="老王")
    events = [corp.added(relation) for relation in (*came, *twice)]
    for number in range(80, 90):
        events[number] = corp.added(came[number], state="")
    for number in range(90, 95):
        events[number] = corp.added(came[number], state="wb:1:77")
    corp.simulator.fail("errcode", "externalcontact/remark", code=50002, count=3)
    await corp.happened(*events)
    await corp.worked_off()
    await come_again(corp, came[100:110])
    await give_up(corp, [corp.relation("qd_expo62", "lin.qiao", (1 + number) * DAY) for number in range(5)])
    for number in range(12):
        corp.relation("qd_shop", MEMBERS[number % 4], number * DAY + 100)
    await corp.run("backfill")
    await corp.worked_off()


async def come_again(corp: Corp, relations: list[Follow]) -> None:
    """Let members remove *relations*, and the customers come again a second before now, through a shop."""
    again = [corp.relation("qd_shop", each.member.userid, 1, each.customer) for each in relations]
    for before, after in zip(relations, again, strict=True):
        went = CustomerLost(**corp.ids(before), created_at=after.createtime - 1, by=LostBy.MEMBER)
        await corp.happened(went, corp.added(after))
    await corp.worked_off()


async def give_up(corp: Corp, relations: list[Follow]) -> None:
    """Let a worker see *relations*, whose channel is in no file, for the last time of a day."""
    for relation in relations:
        message = message_for(corp.added(relation), now=time.time())
        for _ in WAITING:
            message = message.after(Failure(reason="not in the file", waits_for="file"), counted=True)
        await corp.queue.publish(message, [Lane.LIVE])
    await corp.worked_off()


def without_lost(document: dict[str, Any]) -> dict[str, Any]:
    """Return *document* without what only the journal can tell."""
    for row in (document["total"], *document["rows"], *document["days"]):
        row.pop("lost")
    return document


PLACES = {*map(str, Lane), "retry.1"}

OPTIONS = (
    (),
    ("--by", "staff", "--by", "day", "--by", "channel"),
    ("--channel", "expo26", "--channel", "ad", "--by", "day"),
    ("--staff", "ZHOU.YI", "--staff", "chen.wei", "--by", "staff"),
)


@pytest.mark.timeout(240)
async def test_journal_and_wecom_say_the_same(corp: Corp) -> None:
    """However it is grouped the figures are the same; once some are lost, the journal still has them."""
    await populate(corp)
    _, said = await corp.run("report", "--since", "8d")
    assert said.startswith("qudao: asking WeCom: the journal begins at ")
    await corp.journal_began(days_ago=30)
    period = ("--since", "8d", "--until", time.strftime("%Y-%m-%d", time.gmtime(time.time() + 8 * 3600 - DAY)))
    for options in OPTIONS:
        for days in (("--since", "8d"), period):
            remembered, read = await corp.both(*days, *options)
            assert without_lost(remembered) == without_lost(read)
            assert remembered["total"]["relations"] > 20
            assert remembered["outside"] > 10
    everything, _ = await corp.both("--since", "13d")
    total = everything["total"]
    assert (total["relations"], total["lost"]) == (len(list(corp.simulator.corp.relations())), 0)
    assert min(total[name] for name in ("marked", "person_wrote", "customers")) > 4
    assert total["customers"] < total["relations"]
    assert total["marked"] + total["person_wrote"] < total["to_mark"]
    assert {"unknown_state", "foreign_state", "no_state"} < {row["kind"] for row in everything["rows"]}
    assert [slip["state"] for slip in everything["misspelt"]].count("sumer-2026") == 1
    await lose_some(corp, total)


async def lose_some(corp: Corp, before: dict[str, int]) -> None:
    """Let members and customers go apart, and see that the journal's figures stay while WeCom's fall."""
    relations = [each for each in corp.simulator.corp.relations() if each.state == "summer-2026"]
    for relation in relations[:6]:
        corp.simulator.act("staff_deletes", *relation.key)
    for relation in relations[6:10]:
        corp.simulator.act("customer_deletes", *relation.key)
    await corp.worked_off()
    remembered, read = await corp.both("--since", "13d")
    assert remembered["total"] == before | {"lost": 10}
    assert (read["total"]["relations"], read["total"]["lost"]) == (before["relations"] - 6, None)
    assert {row["channel"]: row["lost"] for row in remembered["rows"] if row["lost"]} == {"ad": 10}


@pytest.mark.timeout(120)
async def test_a_customer_is_lost_and_comes_again(corp: Corp) -> None:
    """Told in order with who removed whom; a repeat adds nothing, no API is asked, and who comes again is not lost."""
    corp.simulator.add_contact_way("qd_shop", ["lin.qiao"])
    scan = await corp.simulator.scan(state="qd_shop")
    await corp.worked_off()
    calls = corp.calls
    corp.simulator.clock.advance(5)
    corp.simulator.configure(duplicate_rate=1.0)
    relation = corp.simulator.act("staff_deletes", scan.userid, scan.external_userid)
    await corp.worked_off()
    assert corp.calls == calls
    await corp.journal_began(days_ago=3)
    lost, _ = await corp.run("report", "--since", "1d")
    assert {name: lost["total"][name] for name in ("customers", "relations", "marked", "lost")} == {
        "customers": 1,
        "relations": 1,
        "marked": 1,
        "lost": 1,
    }
    corp.simulator.clock.advance(5)
    await corp.simulator.scan(state="qd_shop", customer=scan.external_userid)
    await corp.worked_off()
    again, _ = await corp.run("report", "--since", "1d")
    assert (again["total"]["relations"], again["total"]["lost"]) == (1, 0)
    corp.simulator.clock.advance(5)
    corp.simulator.act("transfer", relation.member.userid, scan.external_userid, to="zhou.yi")
    await corp.worked_off()
    handed_on, _ = await corp.run("report", "--since", "1d", "--by", "staff")
    assert {row["staff"]: (row["customers"], row["relations"], row["lost"]) for row in handed_on["rows"]} == {
        "lin.qiao": (1, 1, 0),
        "zhou.yi": (0, 1, 0),
    }
    story, _ = await corp.run("journal", "show", scan.external_userid)
    told = [(each["task"], each["result"], each["staff"]) for each in story["entries"] if each["task"] != "welcome"]
    assert told == [
        ("mark", "marked", "lin.qiao"),
        ("lost", "lost", "lin.qiao"),
        ("mark", "marked", "lin.qiao"),
        ("lost", "transferred", "lin.qiao"),
        ("mark", "skipped", "zhou.yi"),
    ]
    assert [each["reason"] for each in story["entries"] if each["task"] == "lost"] == ["by_member", "by_transfer"]


@pytest.mark.timeout(120)
async def test_a_member_of_whom_nobody_has_heard(corp: Corp) -> None:
    """A mistyped userid is an error, not an empty report; a member of the channels file alone is none."""
    await corp.happened(corp.added(corp.relation("qd_shop", "zhou.yi", 60)))
    await corp.worked_off()
    await corp.journal_began(days_ago=3)
    code, _, err = await run_to_end("report", "--since", "1d", "--staff", "zhou.yu", folder=corp.folder, env=corp.env)
    assert (code, "--from-wecom asks WeCom; did you mean 'zhou.yi'?" in err) == (2, True)
    document, _ = await corp.run("report", "--since", "1d", "--staff", "lin.qiao")
    assert (document["source"], document["total"]["relations"]) == ("journal", 0)
