"""`qudao run`: one process over one SQLite file, killed and started again."""

import aiohttp
import orjson
import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.e2e.processes import qudao, receives, run_to_end, settings, until


def marked(simulator: Simulator) -> int:
    return sum(relation.marked_at is not None for relation in simulator.corp.relations())


def remarks(simulator: Simulator) -> list[int]:
    """How many times each relation's remark was written."""
    return [len(relation.remarks) for relation in simulator.corp.relations()]


async def test_every_answered_callback_survives_a_kill(tmp_path):
    """200 callbacks are answered, the process is killed with -9 and started again: all 200 are marked, none twice."""
    simulator = Simulator(SimulatorConfig.quiet(default_latency=0.05, latency_scale=1.0, callback_retries=0))
    simulator.add_contact_way("qd_expo26", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        async with qudao("run", folder=tmp_path, env=env) as process:
            await receives(process, simulator)
            for _ in range(200):
                await simulator.scan(state="qd_expo26")
            await simulator.settled()
            process.kill()
            await process.process.wait()
        before = marked(simulator)
        assert simulator.summary()["callbacks"] == {"delivered": 200}
        assert before < 200, "the kill came too late to prove anything"
        async with qudao("run", folder=tmp_path, env=env):
            await until(lambda: marked(simulator) == 200)
    assert max(remarks(simulator)) == 1


async def test_a_stop_finishes_what_is_in_hand(tmp_path):
    """SIGTERM ends the process with exit code 0 after the work in hand is settled; the rest waits in the file."""
    simulator = Simulator(SimulatorConfig.quiet(default_latency=0.05, latency_scale=1.0))
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        async with qudao("run", folder=tmp_path, env=env) as process:
            await receives(process, simulator)
            for _ in range(100):
                await simulator.scan(state="qd_shop")
            await simulator.settled()
            assert await process.stop() == 0
        done = [line for line in process.lines if line["event"] == "delivery.done" and line["lane"] == "live"]
        assert len(done) == marked(simulator) < 100
        async with qudao("run", folder=tmp_path, env=env):
            await until(lambda: marked(simulator) == 100)
    assert max(remarks(simulator)) == 1


async def test_operators_see_health_and_counts(tmp_path):
    """The operators' listener tells health, readiness and what was counted."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        async with qudao("run", folder=tmp_path, env=env) as process, aiohttp.ClientSession() as session:
            await receives(process, simulator)
            line = await process.logged("admin.listening")
            admin = f"http://{line['host']}:{line['port']}"
            await simulator.scan(state="qd_shop")
            await until(lambda: marked(simulator) == 1)
            await process.logged("delivery.done")
            for path, text in (
                ("healthz", "ok"),
                ("readyz", "ready"),
                ("metrics", 'qudao_marks_total{channel="shop"} 1'),
            ):
                async with session.get(f"{admin}/{path}") as response:
                    assert response.status == 200
                    assert text in await response.text()


async def test_no_secret_and_no_name_in_the_log(tmp_path):
    """Neither secrets nor names, remarks or WelcomeCodes appear in anything the process writes."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way("qd_expo26", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path, QUDAO_LOG_LEVEL="debug")
        async with qudao("run", folder=tmp_path, env=env) as process:
            await receives(process, simulator)
            simulator.fail("reset", "externalcontact/get", count=1)
            for _ in range(5):
                await simulator.scan(state="qd_expo26", customer={"name": "PlantedName"})
            await until(lambda: marked(simulator) == 4)
            assert await process.stop() == 0
    tokens = [token.encode() for token in simulator.tokens._tokens]
    planted = [
        b"PlantedName",
        simulator.app.secret.encode(),
        simulator.app.token.encode(),
        simulator.app.aes_key.encode(),
    ]
    assert tokens
    assert not [secret for secret in (*planted, *tokens) if secret in process.output]
    assert b"access_token" not in process.output


async def test_demo(tmp_path):
    """`qudao demo --json` exits 0 and says that every customer is right."""
    code, out, err = await run_to_end("demo", "--customers", "60", "--rate", "60", "--json", folder=tmp_path, env={})
    document = orjson.loads(out)
    assert (code, document["right"]) == (0, True), err
    assert sum(channel["customers"] for channel in document["channels"]) == 60


async def test_missing_settings_are_listed_at_once(tmp_path):
    """Without settings, every missing one is named with its fix, and the exit code is 2."""
    code, _, err = await run_to_end("run", folder=tmp_path, env={"QUDAO_QUOTA_PER_MINUTE": "0"})
    assert code == 2
    for name in ("CORP_ID", "CORP_SECRET", "CALLBACK_TOKEN", "CALLBACK_AES_KEY", "QUOTA_PER_MINUTE"):
        assert f"QUDAO_{name}" in err


@pytest.mark.parametrize("text", ['[channels.a]\nname = "甲"\nstaff = ["x"]\nremark = "{chanel}"\n'])
async def test_a_wrong_channels_file_is_refused(tmp_path, text):
    """A wrong channels file is refused at start, naming line and field; exit code 2."""
    simulator = Simulator(SimulatorConfig.quiet())
    env = settings(simulator, "http://127.0.0.1:1", tmp_path)
    (tmp_path / "channels.toml").write_text(text, encoding="utf-8")
    code, _, err = await run_to_end("run", folder=tmp_path, env=env)
    assert code == 2
    assert "channels.toml:4: channels.a.remark" in err
    assert "channel" in err


async def test_parked_is_listed_replayed_and_dropped(tmp_path):
    """A parked customer is listed with the reason and the remedy, replayed, and then marked."""
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        async with qudao("run", folder=tmp_path, env=env) as process:
            await receives(process, simulator)
            simulator.fail("errcode", "externalcontact/remark", code=40058, count=1)
            await simulator.scan(state="qd_shop")
            await process.logged("delivery.parked")
            code, out, _ = await run_to_end("parked", "list", "--json", folder=tmp_path, env=env)
            (parked,) = orjson.loads(out)
            assert (code, parked["errcode"], parked["state"], parked["attempts"]) == (0, 40058, "qd_shop", 1)
            code, out, _ = await run_to_end("parked", "replay", "--channel", "shop", folder=tmp_path, env=env)
            assert (code, out) == (0, "1 replayed\n")
            await until(lambda: marked(simulator) == 1)
            code, out, err = await run_to_end("parked", "drop", parked["id"], folder=tmp_path, env=env)
            assert code == 1
            assert parked["id"] in err
            assert (await run_to_end("parked", "replay", folder=tmp_path, env=env))[0] == 2
            code, out, _ = await run_to_end("status", "--json", folder=tmp_path, env=env)
            assert code == 0
            assert {place["name"]: place["messages"] for place in orjson.loads(out)["queue"]}["parked"] == 0
            assert len(orjson.loads(out)["workers"]) == 1, "the command itself is none"


async def test_two_services_on_one_machine(tmp_path):
    """Without a setting each service finds a port for its operators; one that was set and is taken is refused."""
    simulator = Simulator(SimulatorConfig.quiet())
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        del env["QUDAO_ADMIN_LISTEN"]
        async with (
            qudao("ingress", folder=tmp_path, env=env) as ingress,
            qudao("worker", folder=tmp_path, env=env) as worker,
        ):
            ports = {(await process.logged("admin.listening"))["port"] for process in (ingress, worker)}
            assert len(ports) == 2
            taken = {**env, "QUDAO_ADMIN_LISTEN": f"127.0.0.1:{ports.pop()}"}
            code, _, err = await run_to_end("worker", folder=tmp_path, env=taken)
            assert code == 2
            assert "cannot listen" in err
