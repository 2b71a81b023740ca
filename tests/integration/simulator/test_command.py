"""``qudao simulate`` as a process."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from cli.simulate import fault_rule
from simulator import Fault, Simulator
from tests.rigs.simulator import receiver

RUN = """
import typer
from cli.simulate import simulate
from shared.logs import configure_logging
configure_logging("info", "json")
typer.run(simulate)
"""


@asynccontextmanager
async def simulating(*options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command until the block ends."""
    command = [sys.executable, "-c", RUN, "--listen", "127.0.0.1:0", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def first_line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    return await process.stdout.readline()


def stopped_line(stderr: bytes) -> dict[str, Any]:
    lines = [orjson.loads(line) for line in stderr.splitlines()]
    return next(line for line in lines if line["event"] == "simulator.stopped")


async def test_customers_scan_until_a_signal_stops_it_cleanly() -> None:
    """It prints where it is, lets customers scan, delivers, and ends with 0 and its counters on stderr."""
    async with receiver(Simulator().app, Simulator().corp.corp_id) as receiving:
        url = receiving.url
        options = ("--json", "--callback-url", url, "--channel", "qd_a", "--channels", "1", "--scan-rate", "200")
        async with simulating(*options) as process:
            document = orjson.loads(await first_line(process))
            while len(receiving.events) < 20:
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            stdout, stderr = await process.communicate()
    assert (process.returncode, stdout) == (0, b"")
    assert document["settings"]["QUDAO_API_URL"] == document["url"]
    assert document["contact_ways"].keys() == {"qd_a", "demo1"}
    assert {event["State"] for event in receiving.events} == {"qd_a", "demo1"}
    assert stopped_line(stderr)["customers"] >= 20


async def test_settings_can_be_pasted_and_knobs_come_from_a_file(tmp_path: Path) -> None:
    """Without --json lines of an .env file; a TOML file sets knobs, options win over it."""
    knobs = tmp_path / "knobs.toml"
    knobs.write_text('token_lifetime = 60\nremark_overflow = "truncate"\nseed = 1\n')
    options = ("--config", str(knobs), "--seed", "5", "--existing", "7", "--fault", "errcode:6000@gettoken=1")
    async with simulating(*options, "--secret", "s3") as process:
        url = (await first_line(process)).split()[4].rstrip(b";").decode()
        lines = [await first_line(process) for _ in range(5)]
        assert b"QUDAO_CORP_SECRET=s3\n" in lines
        async with aiohttp.ClientSession(url) as session:
            config = await (await session.get("/_simulator/config")).json()
            assert (config["token_lifetime"], config["remark_overflow"], config["seed"]) == (60, "truncate", 5)
            summary = await (await session.get("/_simulator/summary")).json()
            assert summary["customers"] == 7
            assert (await (await session.get("/cgi-bin/gettoken")).json())["errcode"] == 6000


async def test_two_corps_are_introduced_and_scanned_and_called_back_apart() -> None:
    """Settings for each corp, two receivers, and customers in both; without --json a block of lines for each."""
    async with AsyncExitStack() as stack:
        first = Simulator()
        corps = [first, first.add_corp()]
        receivers = [await stack.enter_async_context(receiver(s.app, s.corp.corp_id)) for s in corps]
        urls = [option for receiving in receivers for option in ("--callback-url", receiving.url)]
        options = ("--corps", "2", "--channel", "qd_a", "--existing", "3", "--scan-rate", "200")
        async with simulating("--json", *urls, *options) as process:
            document = orjson.loads(await first_line(process))
            while not all(len(receiving.events) >= 5 for receiving in receivers):
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            _, stderr = await process.communicate()
        (other,) = document["more_corps"]
        assert [document["settings"], other["settings"]] == [s.settings(document["url"]) for s in corps]
        assert [set(each["contact_ways"]) for each in (document, other)] == [{"qd_a"}] * 2
        for simulator, receiving in zip(corps, receivers, strict=True):
            assert {event["ToUserName"] for event in receiving.events} == {simulator.corp.corp_id}
        stopped = [line for line in map(orjson.loads, stderr.splitlines()) if line["event"] == "simulator.stopped"]
        assert [line["corp_id"] for line in stopped] == [simulator.corp.corp_id for simulator in corps]
        assert all(line["customers"] >= 8 for line in stopped)
        async with simulating("--corps", "2") as process:
            lines = [(await first_line(process)).decode() for _ in range(12)]
        assert [line.startswith("QUDAO_") for line in lines] == [False, *[True] * 5, False, *[True] * 5]
        assert corps[1].corp.corp_id in lines[6]


async def test_a_duration_ends_it() -> None:
    """After its duration it stops by itself with 0."""
    async with simulating("--duration", "0.05") as process:
        _, stderr = await process.communicate()
        assert (process.returncode, stopped_line(stderr)["customers"]) == (0, 0)


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--listen", "nowhere", "HOST:PORT"),
        ("--aes-key", "short", "EncodingAESKey"),
        ("--callback-url", "ftp://x/", "callback URL"),
        ("--corps", "0", "--corps"),
        ("--fault", "meteor=1", "KIND[:CODE][@ENDPOINT]=RATE"),
        ("--config", "no/such.toml", "cannot read"),
    ],
)
async def test_a_wrong_option_is_named_and_ends_with_2(option: str, value: str, problem: str) -> None:
    """Exit code 2, one line on stderr, nothing on stdout."""
    async with simulating(option, value) as process:
        stdout, stderr = await process.communicate()
        assert (process.returncode, stdout, problem in stderr.decode()) == (2, b"", True)
        assert b"Traceback" not in stderr


async def test_an_address_in_use_ends_with_2() -> None:
    """A port that is taken is a matter of configuration."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server, simulating("--listen", f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as process:
        _, stderr = await process.communicate()
        assert (process.returncode, b"cannot listen" in stderr) == (2, True)


def test_a_fault_is_read_from_one_word() -> None:
    """Kind, code, endpoint and rate; code and endpoint may be left out."""
    rule = fault_rule("errcode:81026@externalcontact/get=0.25")
    assert (rule.fault, rule.code, rule.endpoint, rule.rate) == (Fault.ERRCODE, 81026, "externalcontact/get", 0.25)
    assert (fault_rule("status=1").code, fault_rule("status=1").endpoint) == (502, "*")
    for text in ("errcode", "errcode=2", "errcode:x=1", "=1", "errcode=nan"):
        with pytest.raises(ValueError, match="--fault"):
            fault_rule(text)
