"""The ingress while its broker is dead: callbacks are still answered, and nothing is lost."""

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.e2e.processes import qudao, receives, settings, until


async def test_a_dead_broker_costs_nothing(tmp_path, broker, prefix):
    """Callbacks are answered 200 while the broker is dead, and their customers marked once it is back."""
    simulator = Simulator(SimulatorConfig.quiet(callback_retries=0))
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path, QUDAO_QUEUE_URL=broker.url, QUDAO_QUEUE_PREFIX=prefix)
        async with (
            qudao("ingress", folder=tmp_path, env=env) as ingress,
            qudao("worker", folder=tmp_path, env=env) as worker,
        ):
            await receives(ingress, simulator)
            await worker.logged("lane.opened", lane="live")
            broker.kill()
            for _ in range(30):
                await simulator.scan(state="qd_shop")
            await simulator.settled()
            assert simulator.summary()["callbacks"] == {"delivered": 30}
            await ingress.logged("spool.took")
            broker.start()
            await until(lambda: all(relation.marked_at for relation in simulator.corp.relations()), seconds=100)
    assert max(len(relation.remarks) for relation in simulator.corp.relations()) == 1
