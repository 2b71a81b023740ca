"""`qudao backfill` as a process against the simulator, scaled down from tests/benchmarks/backfill.py."""

import asyncio
import csv
from random import Random

import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.config import EmptyBatch
from tests.e2e.processes import run_to_end, settings, until
from tests.rigs.backfill import LISTS, PERSONS_REMARK, READS, old_corp, rig

RELATIONS = 2000


async def test_few_calls_and_little_memory(tmp_path):
    """A hundred relations a call, ten calls beside them, nothing written by the command itself, flat memory."""
    corp = old_corp(RELATIONS, staff=50, differ=0.1)
    async with rig(corp, tmp_path) as old:
        run = await old.run("backfill")
    assert (run.code, run.document["relations"], run.document["queued"]) == (0, RELATIONS, len(corp.wanted))
    assert corp.read_calls() <= RELATIONS / 100 + 10
    assert corp.written() == corp.written("externalcontact/mark_tag") == 0
    assert sum(corp.simulator.journal.codes["externalcontact/add_corp_tag"].values()) == 0
    assert 20 < run.megabytes < 150


async def test_killed_and_restarted_it_comes_to_the_same(tmp_path):
    """Killed at random points and run again while a worker works: all are right in the end, nobody is written twice."""
    corp = old_corp(1500, staff=10, differ=0.05, default_latency=0.005, latency_scale=1.0)
    random = Random(3)
    async with rig(corp, tmp_path) as old, old.working():
        kills = [await old.run_and_kill("backfill", after=random.randrange(1, 14)) for _ in range(2)]
        assert (await old.run("backfill")).code == 0
        await until(lambda: corp.left() == 0)
    assert all(kills), "a run ended before it was killed"
    assert corp.wrongs() == []
    assert corp.written() == len(corp.wanted)


async def test_a_second_backfill_finds_nothing_to_do(tmp_path):
    """Once marked, a relation is not queued again; people's remarks and other systems' customers never are."""
    corp = old_corp(200, staff=2, differ=0.5)
    async with rig(corp, tmp_path) as old:
        async with old.working():
            first = await old.run("backfill", "--wait")
            assert (first.code, corp.left()) == (0, 0)
        again = await old.run("backfill")
    assert (again.document["queued"], again.document["found"]["unmarked"]) == (0, 0)
    assert corp.wrongs() == []


async def test_a_dry_run_shows_and_lists_what_would_change(tmp_path):
    """A dry run queues and creates nothing, and its CSV file has a line for each change."""
    corp = old_corp(500, staff=4, differ=0.2)
    group = corp.simulator.corp.tag_groups.pop("etGroup")
    for relation in corp.simulator.corp.relations():
        relation.tags.clear()
    async with rig(corp, tmp_path) as old:
        run = await old.run("backfill", "--dry-run", "--csv", "changes.csv")
        status = await old.run("status")
    found = run.document["found"]
    with (tmp_path / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["unmarked"] + found["incomplete"] > len(corp.wanted)
    by_key = {(row["staff"], row["customer"]): row for row in rows}
    for key, remark in corp.wanted.items():
        assert by_key[key]["new remark"].removeprefix("'") == remark
    assert {row["new tags"] for row in rows if row["state"] == "qd_expo26"} == {"来源/展会"}
    assert PERSONS_REMARK not in {row["new remark"] for row in rows}
    assert corp.simulator.corp.tag_groups == {}
    assert group.name == "来源"
    assert {place["name"]: place["messages"] for place in status.document["queue"]}["bulk"] == 0


async def test_options_narrow_it_down(tmp_path):
    """Only the members, channels and ages asked for are looked at, and strangers are grouped with a hint."""
    simulator = Simulator(SimulatorConfig.quiet())
    for state, userid, age in (
        ("qd_expo26", "lin.qiao", 60.0),
        ("qd_expo26", "lin.qiao", 86400.0 * 40),
        ("qd_shop", "lin.qiao", 60.0),
        ("qd_expo26", "zhou.yi", 60.0),
        ("qd_exp026", "lin.qiao", 60.0),
        ("", "lin.qiao", 60.0),
    ):
        simulator.populate(10, state=state, userid=userid, age=age)
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        run = ("backfill", "--dry-run", "--staff", "LIN.QIAO", "--channel", "expo26", "--since", "30d")
        code, out, _ = await run_to_end(*run, folder=tmp_path, env=env)
    assert code == 0
    assert "10 would be queued" in out
    assert "20 were added before" in out
    assert "'qd_exp026': 10; did you mean 'qd_expo26'?" in out
    assert "10 have no state" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--staff", "lin.qia", "--staff", "nobody"], ["lin.qia", "did you mean 'lin.qiao'?", "nobody"]),
        (["--channel", "expo"], ["[channels.expo]", "did you mean 'expo26'?"]),
        (["--since", "soon"], ["--since: write"]),
        (["--csv", "no/such/folder.csv"], ["no/such/folder.csv: No such file or directory"]),
        (["--wait", "--dry-run"], ["--wait"]),
    ],
)
async def test_wrong_options_are_refused_before_anything_is_queued(tmp_path, arguments, words):
    """Unknown members and channels, unreadable times and unwritable files: exit code 2, each named."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.populate(10, state="qd_shop")
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        code, out, err = await run_to_end("backfill", *arguments, folder=tmp_path, env=env)
    assert (code, out) == (2, "")
    for word in words:
        assert word in err.replace("\n", " ")
    assert sum(simulator.journal.codes[LISTS].values()) == 0


async def test_trouble_on_the_way_changes_nothing(tmp_path):
    """Busy answers, lost connections, short pages, an expired cursor, a revoked token: all relations all the same."""
    corp = old_corp(600, staff=3, differ=0.3, short_page_rate=0.3, empty_batch=EmptyBatch.ERROR)
    simulator = corp.simulator
    simulator.fail("errcode", LISTS, code=-1, count=1)
    async with rig(corp, tmp_path) as old, asyncio.TaskGroup() as group:
        running = group.create_task(old.run("backfill"))
        codes = simulator.journal.codes[LISTS]
        for trouble in (
            lambda: simulator.fail("reset", LISTS, count=1),
            lambda: simulator.fail("errcode", LISTS, code=50100, count=1),
            simulator.revoke_tokens,
        ):
            before = codes[0]
            await until(lambda before=before: codes[0] > before)
            trouble()
    assert running.result().code == 0
    assert running.result().document["relations"] == 600
    assert running.result().document["queued"] == len(corp.wanted)
    assert codes[-1] == 1


async def test_a_failure_for_good_says_how_far_it_came(tmp_path):
    """When the app loses its permission half way the command fails with exit code 1, says how far it came, and why."""
    corp = old_corp(3000, staff=3, differ=0.3, default_latency=0.01, latency_scale=1.0)
    async with rig(corp, tmp_path) as old, asyncio.TaskGroup() as group:
        running = group.create_task(old.run("backfill"))
        await until(lambda: corp.simulator.journal.codes[LISTS][0] >= 5)
        corp.simulator.change_app(corp.simulator.app, allowed=False)
    run = running.result()
    assert (run.code, run.document) == (1, {})
    assert "stopped after" in run.errors
    assert "48002" in run.errors
    assert corp.simulator.app.secret not in run.errors


@pytest.mark.parametrize(("change", "code"), [({"secret": "another"}, "40001"), ({"allowed": False}, "48002")])
async def test_a_wrong_secret_or_a_missing_permission_is_told_at_once(tmp_path, change, code):
    """Nothing is read or queued, and the message says what to do."""
    corp = old_corp(100, staff=3, differ=0.3)
    async with rig(corp, tmp_path) as old:
        corp.simulator.change_app(corp.simulator.app, **change)
        run = await old.run("backfill")
        assert run.code == 1
        assert code in run.errors
        assert corp.read_calls() == corp.simulator.journal.codes[READS[0]][int(code)]


async def test_a_member_who_cannot_be_read_fails_the_run_but_no_other(tmp_path):
    """Members without a licence are named and the exit code is 1; everybody else's customers are queued."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.populate(40, state="qd_shop")
    simulator.put_member("wang.fang", licensed=False)
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        code, out, err = await run_to_end("backfill", folder=tmp_path, env=env)
    assert code == 1
    assert "30 queued" in out
    assert "wang.fang: " in err


async def test_over_a_broker_it_is_the_same(tmp_path, amqp_url, prefix):
    """Over RabbitMQ what would change is queued, confirmed, and marked by a worker."""
    corp = old_corp(100, staff=2, differ=0.4)
    async with rig(corp, tmp_path, QUDAO_QUEUE_URL=amqp_url, QUDAO_QUEUE_PREFIX=prefix) as old:
        run = await old.run("backfill")
        assert (run.code, run.document["queued"]) == (0, len(corp.wanted))
        async with old.working():
            await until(lambda: corp.left() == 0)
    assert corp.wrongs() == []
