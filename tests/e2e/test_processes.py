"""`qudao ingress --processes N`: one address, one page for operators, a spool each."""

import asyncio
import os
import signal
import sys
from contextlib import suppress

import aiohttp
import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.e2e.processes import children, qudao, ready, receives, run_to_end, settings, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not share connections out")


def running(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def metrics(address: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{address}/metrics") as answer:
        return await answer.text()


def accepted(page: str) -> dict[str, float]:
    """Return how many callbacks each process accepted."""
    found: dict[str, float] = {}
    for line in page.splitlines():
        if line.startswith("qudao_callbacks_accepted_total{"):
            process = line.split('process="')[1].split('"')[0]
            found[process] = found.get(process, 0) + float(line.rsplit(" ", 1)[1])
    return found


async def test_they_share_the_work_and_outlive_each_other(tmp_path, broker, prefix):
    """Both receive; one that is killed is replaced, without a callback refused for good; both end with the first."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path, QUDAO_QUEUE_URL=broker.url, QUDAO_QUEUE_PREFIX=prefix)
        async with (
            qudao("ingress", "--processes", "2", folder=tmp_path, env=env) as ingress,
            qudao("worker", folder=tmp_path, env=env),
        ):
            admin = await ingress.logged("admin.listening")
            address = f"http://{admin['host']}:{admin['port']}"
            await receives(ingress, simulator)
            await ready(address)
            for _ in range(60):
                await simulator.scan(state="qd_shop")
            await simulator.settled()
            counts = accepted(await metrics(address))
            assert counts.keys() == {"1", "2"}
            assert sum(counts.values()) == 60
            killed, other = children(ingress.process.pid)
            os.kill(killed, signal.SIGKILL)
            line = await ingress.logged("ingress.ended")
            assert line["code"] == -signal.SIGKILL
            await ready(address)
            assert len(children(ingress.process.pid)) == 2
            assert other in children(ingress.process.pid)
            for _ in range(20):
                await simulator.scan(state="qd_shop")
            await until(lambda: all(relation.marked_at for relation in simulator.corp.relations()))
            remaining = children(ingress.process.pid)
            assert await ingress.stop() == 0
            assert not any(running(each) for each in remaining)
    assert len(list(tmp_path.glob("**/*spool*.db"))) == 2
    assert {len(relation.remarks) for relation in simulator.corp.relations()} == {1}


async def test_none_stays_when_the_first_is_killed(tmp_path):
    """A kill -9 of the process that began them ends them, too: nobody would look after them."""
    simulator = Simulator(SimulatorConfig.quiet())
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        async with qudao("ingress", "--processes", "2", folder=tmp_path, env=env) as ingress:
            await ingress.logged("ingress.listening")
            begun = children(ingress.process.pid)
            ingress.kill()
            await until(lambda: not any(running(each) for each in begun))


async def test_what_keeps_all_of_them_from_beginning_is_said_once(tmp_path):
    """Settings that are wrong, and an address that is taken, end the command with 2 and one line."""
    with_taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = with_taken.sockets[0].getsockname()[1]
    simulator = Simulator(SimulatorConfig.quiet())
    async with with_taken, run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        code, _, said = await run_to_end(
            "ingress", "--processes", "3", folder=tmp_path, env={**env, "QUDAO_LISTEN": f"127.0.0.1:{port}"}
        )
        assert code == 2
        assert said.count("cannot listen on") == 1
        code, _, said = await run_to_end(
            "ingress", "--processes", "3", folder=tmp_path, env={**env, "QUDAO_CALLBACK_AES_KEY": "short"}
        )
        assert code == 2
        assert said.count("QUDAO_CALLBACK_AES_KEY") == 1


async def test_none_stays_that_is_just_beginning(tmp_path):
    """Told to stop while they begin, all of them end, and the command with 0."""
    simulator = Simulator(SimulatorConfig.quiet())
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        for pause in (0.0, 0.05, 0.4):
            async with qudao("ingress", "--processes", "3", folder=tmp_path, env=env) as ingress:
                await ingress.logged("admin.listening")
                await asyncio.sleep(pause)
                async with asyncio.timeout(20):
                    assert await ingress.stop() == 0
