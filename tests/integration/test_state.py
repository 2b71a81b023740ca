"""Where the state is: in one place for all processes of a deployment, or some of them do not start."""

import asyncio
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.e2e.processes import qudao, receives, run_to_end, settings, until
from tests.rigs.marks import marking


@pytest.fixture
async def wecom():
    simulator = Simulator(SimulatorConfig.quiet())
    simulator.add_contact_way("qd_expo26", ["lin.qiao"])
    async with run_simulator(simulator) as server:
        yield simulator, server.url


async def test_customers_are_marked_with_the_state_in_postgresql(tmp_path, amqp_url, postgres_url, prefix):
    """Messages in RabbitMQ, the quota in PostgreSQL: a customer is marked, and `status` shows the calls."""
    env = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix, "QUDAO_STATE_URL": postgres_url}
    async with marking(tmp_path, env) as rig:
        relation = await rig.scan("qd_unset", name="Nana")
        assert relation.remark == "微博-Nana"
        _, out, _ = await run_to_end("status", "--json", folder=tmp_path, env=rig.env)
        assert '"endpoint": "externalcontact/remark"' in out
        assert not (tmp_path / "var" / "state.db").exists()


async def test_a_second_store_on_one_broker_is_refused(tmp_path, wecom, amqp_url, postgres_url, prefix):
    """A worker of another folder would count the quota a second time: it does not start, and says what to set."""
    simulator, url = wecom
    queue = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix}
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    env = settings(simulator, url, tmp_path / "one", **queue)
    async with qudao("run", folder=tmp_path / "one", env=env) as process:
        await receives(process, simulator)
        for more in ({}, {"QUDAO_STATE_URL": postgres_url}):
            env = settings(simulator, url, tmp_path / "other", **queue, **more)
            code, _, err = await run_to_end("worker", folder=tmp_path / "other", env=env)
            assert code == 2
            assert "QUDAO_STATE_URL" in err
            assert "keep the state elsewhere" in err


@pytest.mark.parametrize(
    ("url", "why", "code"),
    [
        ("postgresql://qudao:wrong@{where}", "the password is refused", 2),
        ("postgresql://nobody:x@{where}", "the password is refused", 2),
        ("{known}x", "there is no such database", 2),
        ("mysql://x/y", "must be postgresql://", 2),
        ("postgresql://host", "must be postgresql://", 2),
    ],
)
async def test_a_store_that_cannot_be_used_is_told_without_its_password(tmp_path, wecom, postgres_url, url, why, code):
    """In one line, by the setting's name."""
    simulator, api = wecom
    given = url.format(where=postgres_url.partition("@")[2], known=postgres_url)
    env = settings(simulator, api, tmp_path, QUDAO_STATE_URL=given)
    ended, _, err = await run_to_end("worker", folder=tmp_path, env=env)
    assert ended == code
    assert why in err
    assert "wrong" not in err
    assert postgres_url.partition("@")[0].rpartition(":")[2] not in err


async def test_a_command_does_not_wait_for_a_store_that_is_away(tmp_path, wecom):
    """It says so at once."""
    simulator, api = wecom
    env = settings(simulator, api, tmp_path, QUDAO_STATE_URL="postgresql://qudao:x@127.0.0.1:1/qudao")
    code, _, err = await run_to_end("status", folder=tmp_path, env=env)
    assert (code, "cannot be reached" in err) == (1, True)


async def test_a_worker_waits_for_a_store_that_is_away(tmp_path, wecom, postgres_server, amqp_url, prefix):
    """It starts without one, says so, is not ready, ends when told to, and begins when the store is there."""
    more = {"QUDAO_STATE_URL": postgres_server.url, "QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix}
    simulator, api = wecom
    env = settings(simulator, api, tmp_path, **more)
    async with aiohttp.ClientSession() as session:
        await asyncio.to_thread(postgres_server.stop)
        started = False
        try:
            async with qudao("worker", folder=tmp_path, env=env) as worker:
                await worker.logged("state.unavailable")
                assert await worker.stop() == 0
            async with qudao("worker", folder=tmp_path, env=env) as worker:
                admin = await worker.logged("admin.listening")
                await worker.logged("state.unavailable")
                ready, alive = (f"http://127.0.0.1:{admin['port']}/{name}" for name in ("readyz", "healthz"))
                async with session.get(ready) as not_yet, session.get(alive) as healthy:
                    assert (not_yet.status, healthy.status) == (503, 200)
                await asyncio.sleep(2.5)
                await asyncio.to_thread(postgres_server.start)
                started = True
                await worker.logged("lane.opened", lane="live")
                async with session.get(ready) as answer:
                    assert answer.status == 200
                assert sum(line["event"] == "state.unavailable" for line in worker.lines) <= 2
        finally:
            if not started:
                await asyncio.to_thread(postgres_server.start)


def _damaged(path: Path) -> None:
    """Make a file that begins like a database and goes on like none."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE a (b)")
        connection.executemany("INSERT INTO a VALUES (?)", [("x" * 900,)] * 100)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


def _newer(path: Path) -> None:
    """Make a file that a Qudao of another year has written."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE tables_version (name TEXT PRIMARY KEY, version INTEGER)")
        connection.execute("INSERT INTO tables_version VALUES ('quota', 99)")


@pytest.mark.parametrize(
    ("spoil", "code", "why"),
    [
        (
            lambda path: path.write_text("not a database, but long enough to be looked at" * 9),
            1,
            "not a SQLite database",
        ),
        (_damaged, 1, "damaged"),
        (_newer, 2, "written by a newer Qudao"),
        (lambda path: path.mkdir(), 1, "cannot be opened or made there"),
        (lambda path: path.symlink_to("nowhere/state.db"), 1, "No such file"),
    ],
)
async def test_a_file_that_cannot_be_used_is_told(tmp_path, wecom, spoil, code, why):
    """By its name and with the reason, whichever command meets it; what is no database of ours is left as it was."""
    simulator, url = wecom
    spoil(tmp_path / "state.db")
    before = (tmp_path / "state.db").read_bytes() if (tmp_path / "state.db").is_file() and code == 1 else None
    env = settings(simulator, url, tmp_path, QUDAO_STATE_URL="sqlite:///state.db")
    for words in (
        ("run",),
        ("status",),
        ("channels", "list"),
        ("state", "copy", "sqlite:///state.db", "sqlite:///new.db"),
    ):
        ended, _, err = await run_to_end(*words, folder=tmp_path, env=env)
        assert (ended, why in err, "state.db" in err, "Traceback" in err) == (code, True, True, False), (words, err)
    assert before is None or (tmp_path / "state.db").read_bytes() == before


async def test_a_newer_qudao_s_database_is_refused(tmp_path, wecom, postgres_server):
    """Its tables may mean something else; what to do is said."""
    import asyncpg

    simulator, api = wecom
    env = settings(simulator, api, tmp_path, QUDAO_STATE_URL=postgres_server.url)
    assert (await run_to_end("status", folder=tmp_path, env=env))[0] == 0
    connection = await asyncpg.connect(postgres_server.url)
    await connection.execute("UPDATE qudao_schema SET step = 99")
    await connection.close()
    code, _, err = await run_to_end("worker", folder=tmp_path, env=env)
    assert (code, "a newer Qudao has used this database" in err) == (2, True)


async def test_a_database_that_restarts_parks_nobody(tmp_path, postgres_server):
    """Customers who come while it is away wait, and are marked within seconds of its return."""
    async with marking(tmp_path, {"QUDAO_STATE_URL": postgres_server.url}) as rig:
        await rig.scan("qd_unset", name="before")
        await asyncio.to_thread(postgres_server.stop)
        scan = await rig.simulator.scan(state="qd_unset", customer={"name": "Nana"})
        relation = rig.simulator.relation(scan.userid, scan.external_userid)
        await asyncio.sleep(3.0)
        assert relation.remark is None
        await asyncio.to_thread(postgres_server.start)
        await until(lambda: relation.remark, seconds=25)
        assert not any(line["event"] == "delivery.parked" for line in rig.process.lines)
