"""`qudao reconcile`, and the same inside a worker, against a simulator that drops callbacks."""

import asyncio
import os

import orjson

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.verdict import broken_rules
from tests.e2e.processes import qudao, receives, run_to_end, settings, until
from tests.e2e.test_embedded import marked

CUSTOMERS = int(os.environ.get("QUDAO_TEST_CUSTOMERS", "300"))
NAMES = {"qd_expo26": "展会26", "qd_shop": "南京路店"}


def losing(rate: float) -> Simulator:
    simulator = Simulator(SimulatorConfig.quiet(drop_rate=rate, seed=11))
    for state in NAMES:
        simulator.add_contact_way(state, ["lin.qiao", "zhou.yi"])
    return simulator


async def scan(simulator: Simulator, customers: int) -> None:
    for number in range(customers):
        await simulator.scan(state=list(NAMES)[number % 2])


def unmarked(simulator: Simulator) -> int:
    return sum(relation.marked_at is None for relation in simulator.corp.relations())


def grow_old(simulator: Simulator, seconds: int = 3600) -> None:
    """Let the relations have been made earlier, as if time had passed."""
    for relation in simulator.corp.relations():
        relation.createtime -= seconds


async def test_every_lost_callback_is_found_and_made_up_for(tmp_path):
    """A fifth of the callbacks never come: a reconciliation counts them and marks every one of these customers."""
    simulator = losing(0.2)
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        async with qudao("run", folder=tmp_path, env=env) as process:
            await receives(process, simulator)
            await scan(simulator, CUSTOMERS)
            await simulator.settled()
            dropped = simulator.summary()["events_dropped"]
            assert CUSTOMERS * 0.1 < dropped < CUSTOMERS * 0.3
            await until(lambda: unmarked(simulator) == dropped, seconds=30 + CUSTOMERS / 20)
            grow_old(simulator)
            code, out, err = await run_to_end("reconcile", "--json", folder=tmp_path, env=env)
            document = orjson.loads(out)
            assert (code, document["lost_callbacks"], document["queued"]) == (0, dropped, dropped), err
            await until(lambda: unmarked(simulator) == 0, seconds=30 + CUSTOMERS / 20)
            code, out, _ = await run_to_end("reconcile", folder=tmp_path, env=env)
            assert code == 0
            assert "0 callbacks were lost" in out
    for relation in simulator.truth():
        assert relation["remark"].startswith(NAMES[relation["way_state"]])
    assert broken_rules(simulator.scenario)["remarks_written_twice"] == []


async def test_customers_whose_event_may_be_on_its_way_are_left_alone(tmp_path):
    """Relations younger than ten minutes are not touched unless asked for."""
    simulator = losing(1.0)
    await scan(simulator, 10)
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        _, out, _ = await run_to_end("reconcile", "--json", folder=tmp_path, env=env)
        assert (orjson.loads(out)["queued"], orjson.loads(out)["young"]) == (0, 10)
        for relation in simulator.corp.relations():
            relation.createtime -= 60
        _, out, _ = await run_to_end("reconcile", "--older-than", "30s", "--json", folder=tmp_path, env=env)
        assert orjson.loads(out)["lost_callbacks"] == 10


async def test_a_worker_reconciles_by_itself(tmp_path):
    """With QUDAO_RECONCILE_EVERY nobody has to do anything, and the log says what was found."""
    simulator = losing(1.0)
    await scan(simulator, 40)
    grow_old(simulator)
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path, QUDAO_RECONCILE_EVERY="1s")
        async with qudao("run", folder=tmp_path, env=env) as process:
            line = await process.logged("reconcile.done")
            assert (line["lost"], line["queued"]) == (40, 40)
            await until(lambda: marked(simulator) == 40)
            await process.logged("reconcile.done", relations=40, lost=0)
            assert await process.stop() == 0
    assert broken_rules(simulator.scenario)["remarks_written_twice"] == []


async def test_one_of_two_workers_reconciles_and_the_other_takes_over(tmp_path, amqp_url, prefix):
    """Over RabbitMQ one worker reconciles and the other leaves it to that; when it is killed, the other goes on."""
    simulator = losing(1.0)
    await scan(simulator, 30)
    grow_old(simulator)
    async with run_simulator(simulator) as server:
        env = settings(
            simulator,
            server.url,
            tmp_path,
            QUDAO_QUEUE_URL=amqp_url,
            QUDAO_QUEUE_PREFIX=prefix,
            QUDAO_RECONCILE_EVERY="1s",
            QUDAO_LOG_LEVEL="debug",
        )
        async with (
            qudao("worker", folder=tmp_path, env=env) as one,
            qudao("worker", folder=tmp_path, env=env) as other,
        ):
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(one.logged("lane.opened", lane="bulk"))
                group.create_task(other.logged("lane.opened", lane="bulk"))
            await until(lambda: marked(simulator) == 30)
            done = {worker: any(line["event"] == "reconcile.done" for line in worker.lines) for worker in (one, other)}
            assert sum(done.values()) == 1, "one of the two, and not both"
            holder, heir = (one, other) if done[one] else (other, one)
            await heir.logged("reconcile.left_to_another")
            holder.kill()
            await heir.logged("reconcile.done")
            assert await heir.stop() == 0
