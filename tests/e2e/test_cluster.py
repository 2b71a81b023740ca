"""`qudao ingress` and two `qudao worker` processes over a real RabbitMQ."""

import os

from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.verdict import broken_rules
from tests.e2e.processes import qudao, receives, settings, until
from tests.e2e.test_embedded import marked

CUSTOMERS = int(os.environ.get("QUDAO_TEST_CUSTOMERS", "400"))
STATES = {"qd_expo26": "展会26", "qd_shop": "南京路店"}


async def test_two_workers_mark_every_customer(tmp_path, amqp_url, prefix):
    """Ingress and two workers over RabbitMQ mark every customer right, none twice, duplicates or not."""
    config = SimulatorConfig.quiet(default_latency=0.005, latency_scale=1.0, duplicate_rate=0.1, early_rate=0.02)
    simulator = Simulator(config)
    for state in STATES:
        simulator.add_contact_way(state, ["lin.qiao", "zhou.yi"])
    async with run_simulator(simulator) as server:
        env = settings(
            simulator,
            server.url,
            tmp_path,
            QUDAO_QUEUE_URL=amqp_url,
            QUDAO_QUEUE_PREFIX=prefix,
            QUDAO_QUOTA_IN_FLIGHT="2",
        )
        async with (
            qudao("ingress", folder=tmp_path, env=env) as ingress,
            qudao("worker", folder=tmp_path, env=env) as one,
            qudao("worker", folder=tmp_path, env=env) as other,
        ):
            await receives(ingress, simulator)
            for worker in (one, other):
                await worker.logged("lane.opened", lane="live")
            for number in range(CUSTOMERS):
                await simulator.scan(state=list(STATES)[number % 2])
            await until(lambda: marked(simulator) == CUSTOMERS, seconds=60 + CUSTOMERS / 20)
            await simulator.settled()
            codes = [await process.stop() for process in (ingress, one, other)]
    assert codes == [0, 0, 0]
    rules = broken_rules(simulator.scenario)
    assert rules["remarks_written_twice"] == []
    assert rules["welcomed_twice"] == []
    assert rules["lost_events"] == 0
    for relation in simulator.truth():
        assert relation["remark"].startswith(STATES[relation["way_state"]])
    shares = [sum(line["event"] == "delivery.done" for line in worker.lines) for worker in (one, other)]
    assert min(shares) > CUSTOMERS / 10, "both workers must have worked"
