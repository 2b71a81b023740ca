"""`qudao channels apply` as a process that is killed again and again, against a simulator that loses answers."""

import asyncio
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from simulator import Fault, Simulator, SimulatorConfig, run_simulator

QUDAO = Path(sys.executable).with_name("qudao")
ADD = "externalcontact/add_contact_way"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a campaign ended with."""

    interrupted: int
    runs: int
    add_calls: int
    lost_answers: int
    ways: Counter[str]
    ids: dict[str, str]
    lock: dict[str, Any]


def channels_file(count: int) -> str:
    """Return a file with *count* channels."""
    tables = [f'[channels.c{number}]\nname = "渠道{number}"\n' for number in range(count)]
    return 'defaults.staff = ["lin.qiao", "zhou.yi"]\n' + "".join(tables)


async def campaign(folder: Path, *, channels: int, interruptions: int, seed: int) -> Report:
    """Apply *channels* new channels, killing the process at *interruptions* random points; then let it finish."""
    chance = random.Random(seed)
    simulator = Simulator(SimulatorConfig.quiet(seed=seed, default_latency=0.005, latency_scale=0.05))
    for fault, rate in ((Fault.TIMEOUT_AFTER, 0.08), (Fault.RESET_AFTER, 0.08), (Fault.RESET, 0.04)):
        simulator.fail(fault, ADD, rate=rate, seconds=1.0)
    simulator.fail(Fault.RESET, "externalcontact/list_contact_way", rate=0.05)
    simulator.fail(Fault.TIMEOUT_BEFORE, "externalcontact/get_contact_way", rate=0.02, seconds=1.0)
    (folder / "channels.toml").write_text(channels_file(channels), encoding="utf-8")
    interrupted = runs = 0
    async with run_simulator(simulator) as server:
        env = {**simulator.settings(server.url), "QUDAO_API_TIMEOUT": "0.3", "PATH": "/usr/bin:/bin"}
        while interrupted < interruptions and len(simulator.corp.ways) < channels:
            runs += 1
            left = channels - len({way.fields["state"] for way in simulator.corp.ways.values()})
            calls = chance.randint(1, max(1, 2 * left // (interruptions - interrupted + 1)))
            interrupted += await _run_and_interrupt(folder, env, simulator, calls, chance)
        code, output = await _run(folder, env)
        runs += 1
        assert code == 0, output
        _, exported = await _run(folder, env, "export")
    return Report(
        interrupted=interrupted,
        runs=runs,
        add_calls=sum(simulator.journal.codes[ADD].values()),
        lost_answers=sum(rule.hits for rule in simulator.faults.rules if rule.fault.value.endswith("after")),
        ways=Counter(way.fields["state"] for way in simulator.corp.ways.values()),
        ids={way.fields["state"]: way.config_id for way in simulator.corp.ways.values()},
        lock=orjson.loads(exported),
    )


async def _start(folder: Path, env: dict[str, str], *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        QUDAO,
        "channels",
        *(words or ("apply", "--yes")),
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def _run(folder: Path, env: dict[str, str], *words: str) -> tuple[int, str]:
    process = await _start(folder, env, *words)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def _run_and_interrupt(
    folder: Path, env: dict[str, str], simulator: Simulator, calls: int, chance: random.Random
) -> bool:
    """Run until so many more calls made a way, then kill or interrupt at a random moment; tell whether it still ran."""
    process = await _start(folder, env)
    enough = sum(simulator.journal.codes[ADD].values()) + calls
    while process.returncode is None and sum(simulator.journal.codes[ADD].values()) < enough:
        await asyncio.sleep(0.003)
    await asyncio.sleep(chance.uniform(0, 0.05))
    running = process.returncode is None
    if running:
        process.send_signal(chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT)))
    await process.communicate()
    return running
