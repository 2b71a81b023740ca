"""The channels file while workers run: good changes are taken over within two seconds, bad ones refused and said."""

import asyncio
import os
import signal

import orjson
import pytest

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.e2e.processes import qudao, run_to_end, settings, until
from tests.rigs.marks import CHANNELS, STATES, marking

NEW = f"""{CHANNELS}
[channels.new]
name = "新渠道"
"""


def put(folder, text: str) -> None:
    """Replace the channels file by rename, as a careful program does."""
    beside = folder / "channels.new"
    beside.write_text(text, encoding="utf-8")
    beside.replace(folder / "channels.toml")


async def marked(rig, state: str, seconds: float = 5.0):
    """Let a customer scan a code with *state*, and return the relation once it is marked."""
    scan = await rig.simulator.scan(state=state, customer={"name": "Nana"})
    relation = rig.simulator.relation(scan.userid, scan.external_userid)
    await until(lambda: relation.remark, seconds=seconds)
    return relation


async def test_a_new_channel_s_first_customer_is_marked_within_seconds(tmp_path):
    """No restart: the file is replaced, and whoever scans the new code right after it is marked."""
    async with marking(tmp_path) as rig:
        rig.simulator.add_contact_way("qd_new", ["lin.qiao"])
        put(tmp_path, NEW)
        assert (await marked(rig, "qd_new")).remark == "新渠道-Nana"
        loaded = await rig.process.logged("channels.loaded")
        assert (loaded["channels"], len(loaded["hash"])) == (len(STATES) + 1, 12)


async def test_a_customer_who_came_before_the_file_waits_for_it(tmp_path):
    """The code was scanned before the file reached this machine: nobody is passed over, and nothing is called."""
    async with marking(tmp_path) as rig:
        rig.simulator.add_contact_way("qd_new", ["lin.qiao"])
        scan = await rig.simulator.scan(state="qd_new", customer={"name": "Nana"})
        retried = await rig.process.logged("delivery.retried", customer=scan.external_userid)
        assert (retried["reason"], retried["counted"]) == ("the state is in no channel of the channels file", True)
        assert rig.calls("get") == 0
        put(tmp_path, NEW)
        relation = rig.simulator.relation(scan.userid, scan.external_userid)
        await until(lambda: relation.remark == "新渠道-Nana", seconds=20)


BROKEN = {
    "half written": (CHANNELS[: len(CHANNELS) // 2] + "\n[channels.x", "not valid TOML"),
    "empty": ("", "describes no channel"),
    "a typo": (CHANNELS.replace("remark", "remrak", 1), "did you mean"),
    "huge": ("# " + "x" * 6 * 2**20, "is larger than 5 MiB"),
    "a thousand errors": ("[defaults]\n" + "".join(f'k{n} = "x"\n' for n in range(1000)), "unknown key"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_file_is_refused_whole_and_the_last_good_one_goes_on(tmp_path, name):
    """What is wrong is said; customers are marked as before; mended, it is taken over."""
    text, problem = BROKEN[name]
    async with marking(tmp_path) as rig:
        put(tmp_path, text)
        refused = await rig.process.logged("channels.refused")
        assert problem in refused["problems"][0]
        assert len(refused["problems"]) <= 20
        assert (await marked(rig, "qd_unset")).remark == "微博-Nana"
        put(tmp_path, NEW)
        await rig.process.logged("channels.loaded", channels=len(STATES) + 1)


async def test_a_file_that_is_gone_or_no_text_is_refused(tmp_path):
    """Deleted, a folder, and Chinese in GBK: each is said, and the process goes on."""
    async with marking(tmp_path) as rig:
        file = tmp_path / "channels.toml"
        file.unlink()
        assert "no such file" in (await rig.process.logged("channels.refused"))["problems"][0]
        file.mkdir()
        await until(lambda: b"Is a directory" in rig.process.output)
        file.rmdir()
        file.write_bytes(CHANNELS.encode("gbk"))
        await until(lambda: b"not GBK" in rig.process.output)
        assert (await marked(rig, "qd_unset")).remark == "微博-Nana"


async def test_a_link_that_is_switched_is_followed(tmp_path):
    """As Kubernetes mounts it: the file is a link into a folder that is a link, which is switched."""
    async with marking(tmp_path) as rig:
        rig.simulator.add_contact_way("qd_new", ["lin.qiao"])
        for version, text in (("v1", CHANNELS), ("v2", NEW)):
            (tmp_path / version).mkdir()
            (tmp_path / version / "channels.toml").write_text(text, encoding="utf-8")
        (tmp_path / "..data").symlink_to("v1")
        (tmp_path / "link").symlink_to("..data/channels.toml")
        (tmp_path / "link").replace(tmp_path / "channels.toml")
        await asyncio.sleep(1.5)
        (tmp_path / "..next").symlink_to("v2")
        (tmp_path / "..next").replace(tmp_path / "..data")
        assert (await marked(rig, "qd_new")).remark == "新渠道-Nana"


async def test_sighup_has_the_file_looked_at(tmp_path):
    """It used to end the process; now it reads the file, changed or not."""
    async with marking(tmp_path) as rig:
        file = tmp_path / "channels.toml"
        before = file.stat()
        file.write_text(CHANNELS.replace("微博", "微信", 1), encoding="utf-8")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        rig.process.process.send_signal(signal.SIGHUP)
        await rig.process.logged("channels.loaded")
        assert (await marked(rig, "qd_unset")).remark == "微信-Nana"


async def test_a_file_without_channels_is_refused_at_start(tmp_path):
    """It would pass over every customer."""
    simulator = Simulator(SimulatorConfig.quiet())
    async with run_simulator(simulator) as server:
        env = settings(simulator, server.url, tmp_path)
        put(tmp_path, "")
        async with qudao("run", folder=tmp_path, env=env) as process:
            assert await process.process.wait() == 2
            await until(lambda: b"describes no channel" in process.output, seconds=5)


@pytest.mark.parametrize("broker", [False, True])
async def test_a_command_says_which_workers_have_the_file_that_it_read(tmp_path, broker, amqp_url, prefix):
    """Each worker tells which file it goes by: whoever edits it sees whether that reached them."""
    env = {"QUDAO_QUEUE_URL": amqp_url, "QUDAO_QUEUE_PREFIX": prefix} if broker else {}
    async with marking(tmp_path, env) as rig:
        _, out, _ = await run_to_end("backfill", "--dry-run", "--json", folder=tmp_path, env=rig.env)
        (worker,) = orjson.loads(out)["workers"]
        assert worker["same"]
        (tmp_path / "other.toml").write_text(NEW, encoding="utf-8")
        other = {**rig.env, "QUDAO_CHANNELS": "other.toml"}
        _, out, _ = await run_to_end("backfill", "--dry-run", folder=tmp_path, env=other)
        assert "0 of 1 running workers have this channels file" in out
        assert f"others: {worker['name']} ({worker['channels_file']})" in " ".join(out.split())
        await rig.process.stop()
        _, out, _ = await run_to_end("backfill", "--dry-run", folder=tmp_path, env=rig.env)
        assert "no worker is running" in out
