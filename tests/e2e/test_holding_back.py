"""What several workers over RabbitMQ do when WeCom says stop: the brake, the breaker, and what `qudao status` says."""

from contextlib import AsyncExitStack

import orjson
import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.e2e.processes import qudao, receives, run_to_end, settings, until

GET = "externalcontact/get"


def marked(simulator: Simulator) -> int:
    return sum(relation.marked_at is not None for relation in simulator.corp.relations())


@pytest.fixture
def quick() -> dict[str, str]:
    """Settings with windows a thirtieth of WeCom's."""
    return {"QUDAO_QUOTA_MINUTE_SECONDS": "2", "QUDAO_QUOTA_HOUR_SECONDS": "60", "QUDAO_QUOTA_IN_FLIGHT": "5"}


async def deployment(stack: AsyncExitStack, simulator: Simulator, url: str, tmp_path, **more: str) -> dict[str, str]:
    """Start an ingress and two workers against *simulator*; return their environment."""
    env = settings(simulator, url, tmp_path, **more)
    ingress = await stack.enter_async_context(qudao("ingress", folder=tmp_path, env=env))
    workers = [await stack.enter_async_context(qudao("worker", folder=tmp_path, env=env)) for _ in range(2)]
    await receives(ingress, simulator)
    for worker in workers:
        await worker.logged("lane.opened", lane="live")
    return env


async def test_the_brake(tmp_path, amqp_url, prefix, quick):
    """After 45009 no worker calls that API until the block is over; then all customers are marked."""
    simulator = Simulator(SimulatorConfig.quiet(minute_window=2.0, hour_window=60.0, corp_per_minute=30))
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    async with run_simulator(simulator) as server, AsyncExitStack() as stack:
        broker = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix}
        await deployment(stack, simulator, server.url, tmp_path, **broker, **quick)
        for _ in range(70):
            await simulator.scan(state="qd_shop")
        await until(lambda: marked(simulator) == 70, seconds=100)
    refused = [call for call in simulator.journal.calls(GET) if call.code == 45009]
    assert refused, "the limit was never reached: nothing is proven"
    bursts = [refused[0]]
    for call in refused[1:]:
        if call.started - bursts[-1].started > 1.0:
            bursts.append(call)
    # Calls already under way when the news comes out may be refused too; nobody starts another one.
    assert len(refused) <= 5 * len(bursts)


async def test_the_breaker(tmp_path, amqp_url, prefix, quick):
    """When WeCom refuses our address the work stays queued and status says what to do; it heals by itself."""
    simulator = Simulator(SimulatorConfig.quiet(trusted_ip_delay=0.0))
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    simulator.trust(["192.0.2.1"])
    async with run_simulator(simulator) as server, AsyncExitStack() as stack:
        broker = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix}
        env = await deployment(stack, simulator, server.url, tmp_path, **broker, **quick)
        for _ in range(20):
            await simulator.scan(state="qd_shop")
        await until(lambda: any(call.code == 60020 for call in simulator.journal.calls(GET)))
        code, out, err = await run_to_end("status", "--json", folder=tmp_path, env=env)
        assert code == 0, err
        status = orjson.loads(out)
        assert len(status["workers"]) == 2, "the command itself is none"
        tiers = [place for place in status["queue"] if place["messages"] and place["name"].startswith("retry.")]
        assert [place for place in tiers if place["oldest_seconds"] is None] == []
        (hold,) = (held for held in status["held_back"] if held["endpoint"] == GET)
        assert (hold["kind"], hold["errcode"]) == ("breaker", 60020)
        assert "trusted" in hold["reason"].lower() or "可信" in hold["reason"]
        assert marked(simulator) == 0
        before = len(list(simulator.journal.calls(GET)))
        simulator.trust(None)
        await until(lambda: marked(simulator) == 20, seconds=100)
    assert before <= 10, "a closed door is knocked at once a minute, not by every message"
    assert not [relation for relation in simulator.corp.relations() if len(relation.remarks) > 1]


async def test_a_wrong_secret(tmp_path, amqp_url, prefix):
    """A worker that gets no token leaves the work queued and says why; another with the right secret does it."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    async with run_simulator(simulator) as server, AsyncExitStack() as stack:
        broker = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix}
        env = settings(simulator, server.url, tmp_path, **broker)
        ingress = await stack.enter_async_context(qudao("ingress", folder=tmp_path, env=env))
        await receives(ingress, simulator)
        wrong = {**env, "QUDAO_CORP_SECRET": "an-old-secret"}
        async with qudao("worker", folder=tmp_path, env=wrong) as worker:
            await worker.logged("lane.opened", lane="live")
            for _ in range(20):
                await simulator.scan(state="qd_shop")
            held = await worker.logged("api.held_back")
            assert held["endpoint"] == "gettoken"
            code, out, err = await run_to_end("status", "--json", folder=tmp_path, env=env)
            assert code == 0, err
            assert [hold["errcode"] for hold in orjson.loads(out)["held_back"]] == [40001]
        assert list(simulator.journal.calls(GET)) == []
        await stack.enter_async_context(qudao("worker", folder=tmp_path, env=env))
        await until(lambda: marked(simulator) == 20, seconds=100)
    assert not [relation for relation in simulator.corp.relations() if len(relation.remarks) > 1]
