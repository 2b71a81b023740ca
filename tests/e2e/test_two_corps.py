"""Two corps in one simulator and a deployment for each: apart as they should be, and on one queue by mistake."""

from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import orjson
import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.verdict import broken_rules
from tests.e2e.processes import Process, qudao, receives, run_to_end, settings, until

CUSTOMERS = 20


@pytest.fixture
def corps() -> list[Simulator]:
    """Two corps, whose members and channels have the same names."""
    first = Simulator(SimulatorConfig.quiet())
    both = [first, first.add_corp()]
    for corp in both:
        corp.add_contact_way("qd_shop", ["lin.qiao", "zhou.yi"])
    return both


def folder_of(corp: Simulator, root: Path) -> Path:
    folder = root / corp.corp.corp_id
    folder.mkdir(exist_ok=True)
    return folder


def marked(corp: Simulator) -> int:
    return sum(relation.marked_at is not None for relation in corp.corp.relations())


async def start(
    stack: AsyncExitStack, corp: Simulator, folder: Path, env: dict[str, str], *commands: str
) -> list[Process]:
    """Run *commands* for *corp*, the first of which receives its callbacks."""
    processes = [await stack.enter_async_context(qudao(command, folder=folder, env=env)) for command in commands]
    await receives(processes[0], corp)
    await processes[-1].logged("lane.opened", lane="live")
    return processes


async def metrics(process: Process) -> str:
    line = await process.logged("admin.listening")
    url = f"http://{line['host']}:{line['port']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.text()


async def test_two_corps_on_one_broker_with_prefixes_of_their_own(tmp_path, amqp_url, prefix, corps):
    """The same person scans codes of both: every customer is marked, each by their corp's own deployment."""
    async with run_simulator(corps[0]) as server, AsyncExitStack() as stack:
        workers = []
        for number, corp in enumerate(corps):
            broker = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": f"{prefix}.{number}"}
            folder = folder_of(corp, tmp_path)
            env = settings(corp, server.url, folder, **broker)
            workers.append((await start(stack, corp, folder, env, "ingress", "worker"))[-1])
        for _ in range(CUSTOMERS):
            scan = await corps[0].scan(state="qd_shop")
            await corps[1].scan(state="qd_shop", customer=scan.external_userid)
        await until(lambda: [marked(corp) for corp in corps] == [CUSTOMERS] * 2)
        for worker in workers:
            assert await worker.stop() == 0
            assert not [line for line in worker.lines if line["event"] in ("queue.shared", "delivery.parked")]
    assert not set(corps[0].corp.customers) & set(corps[1].corp.customers)
    for corp in corps:
        assert broken_rules(corp.scenario)["remarks_written_twice"] == []
        assert {code for calls in corp.journal.codes.values() for code in calls} <= {0, 84061}


async def test_two_corps_on_one_queue_are_told_so_at_once_and_at_the_next_start(tmp_path, amqp_url, prefix, corps):
    """
    Whoever gets another corp's customer parks them with the remedy, at no call.

    The worker says so once, counts all, says it again when it is started next, before any delivery, and so does status.
    """
    broker = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix}
    ours, theirs = (corp.corp.corp_id for corp in corps)
    async with run_simulator(corps[0]) as server, AsyncExitStack() as stack:
        envs = [settings(corp, server.url, folder_of(corp, tmp_path), **broker) for corp in corps]
        (ingress,) = [
            await stack.enter_async_context(qudao("ingress", folder=folder_of(corps[1], tmp_path), env=envs[1]))
        ]
        await receives(ingress, corps[1])
        folder = folder_of(corps[0], tmp_path)
        async with qudao("worker", folder=folder, env=envs[0]) as worker:
            for _ in range(CUSTOMERS):
                await corps[1].scan(state="qd_shop")
            await until(lambda: sum(line["event"] == "delivery.parked" for line in worker.lines) == 2 * CUSTOMERS)
            warnings = [line for line in worker.lines if line["event"] == "queue.shared"]
            assert [line["corp"] for line in warnings] == [theirs]
            assert "QUDAO_QUEUE_PREFIX" in warnings[0]["remedy"]
            metric = 'qudao_deliveries_total{lane="live",reason="another corp\'s",result="parked"}'
            assert f"{metric} {CUSTOMERS}.0" in await metrics(worker)
            assert await worker.stop() == 0
        code, out, err = await run_to_end("status", "--json", folder=folder, env=envs[0])
        assert code == 0, err
        assert orjson.loads(out)["other_corps"] == [{"corp": theirs, "parked": 2 * CUSTOMERS}]
        async with qudao("worker", folder=folder, env=envs[0]) as worker:
            line = await worker.logged("queue.shared")
            assert (line["corp"], line["parked"]) == (theirs, 2 * CUSTOMERS)
        code, out, err = await run_to_end("status", folder=folder_of(corps[1], tmp_path), env=envs[1])
        assert (code, ours in out) == (0, False), err
    assert list(corps[1].journal.calls("externalcontact/get")) == []
    assert list(corps[0].journal.calls("externalcontact/get")) == []


async def test_a_database_file_of_another_corp_is_refused(tmp_path, corps):
    """A file that serves one corp is not touched by a process of another, which says whose it is."""
    ours, theirs = (corp.corp.corp_id for corp in corps)
    async with run_simulator(corps[0]) as server:
        env = settings(corps[0], server.url, tmp_path)
        async with qudao("run", folder=tmp_path, env=env) as run:
            await receives(run, corps[0])
            corps[0].fail("errcode", "externalcontact/get", code=40058, rate=1.0)
            await corps[0].scan(state="qd_shop")
            await run.logged("delivery.parked", lane="live")
            assert await run.stop() == 0
        for command in ("run", "status"):
            other = settings(corps[1], server.url, tmp_path)
            code, _, err = await run_to_end(command, folder=tmp_path, env=other)
            assert code == 2
            assert f"is the state of corp {ours}, but QUDAO_CORP_ID is {theirs}" in err
        code, out, err = await run_to_end("parked", "list", "--json", folder=tmp_path, env=env)
        assert (code, len(orjson.loads(out))) == (0, 1), err
