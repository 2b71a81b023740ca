"""
What does one customer cost a worker, in CPU, by the operating system's accounting? Of one version, or of two in turn.

    python -m tests.benchmarks.work --events 2000 [--rounds 3] [--embedded] [--before PATH/TO/ANOTHER/bin/qudao]

Each round: customers scan, their events wait, then one worker marks them all with two calls each, logs as shipped, the
quota lifted, WeCom answering at once. The state is in PostgreSQL, or with --embedded all in one file.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from simulator import Simulator, SimulatorConfig, run_simulator
from tests.benchmarks.rig import broker_from, own_prefix, print_result
from tests.e2e import processes
from tests.e2e.processes import Process, qudao, receives, settings
from tests.postgres.servers import running_server

TICKS = os.sysconf("SC_CLK_TCK")
CHANNELS = '[channels.shop]\nname = "南京路店"\nstaff = ["lin.qiao"]\nremark = "{channel}-{name}"\n'


def cpu_seconds(process: Process) -> float:
    """Return the CPU time that *process* has used."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


async def marked(simulator: Simulator, count: int) -> None:
    """Return once *count* customers are marked."""
    while sum(relation.marked_at is not None for relation in simulator.corp.relations()) < count:
        await asyncio.sleep(0.05)


async def measure(executable: Path, given: argparse.Namespace, more: dict[str, str]) -> dict[str, float]:
    """Run one round with the *executable*."""
    simulator = Simulator(SimulatorConfig.quiet(corp_per_minute=10**9, corp_per_hour=10**9, in_flight=10**6))
    simulator.add_contact_way("qd_shop", ["lin.qiao"])
    processes.QUDAO = executable
    command = ("run",) if given.embedded else ("ingress", "worker")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with run_simulator(simulator) as server:
            env = settings(simulator, server.url, folder, **more)
            env |= {
                "QUDAO_QUOTA_PER_MINUTE": str(10**8),
                "QUDAO_QUOTA_PER_HOUR": str(10**8),
                "QUDAO_QUOTA_IN_FLIGHT": "8",
            }
            (folder / "channels.toml").write_text(CHANNELS, encoding="utf-8")
            async with qudao(command[0], folder=folder, env=env) as first:
                await receives(first, simulator)
                if given.embedded:
                    return await _costs(first, simulator, given.events, scan=True)
                await _scan(simulator, given.events)
                async with qudao(command[1], folder=folder, env=env) as worker:
                    await worker.logged("lane.opened", lane="live")
                    return await _costs(worker, simulator, given.events)


async def _scan(simulator: Simulator, events: int) -> None:
    for _ in range(events):
        await simulator.scan(state="qd_shop")


async def _costs(process: Process, simulator: Simulator, events: int, *, scan: bool = False) -> dict[str, float]:
    begun, used = time.monotonic(), cpu_seconds(process)
    if scan:
        await _scan(simulator, events)
    await marked(simulator, events)
    took, used = time.monotonic() - begun, cpu_seconds(process) - used
    return {"cpu_us_per_event": round(used / events * 1e6), "events_per_second": round(events / took, 1)}


async def rounds(given: argparse.Namespace, url: str, state: str) -> dict[str, Any]:
    """Measure the versions in turn; return the median of each."""
    versions = {"this": processes.QUDAO} | ({"before": given.before.absolute()} if given.before else {})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in versions}
    for number in range(given.rounds):
        for name, executable in versions.items():
            more = (
                {}
                if given.embedded
                else {"QUDAO_QUEUE_URL": url, "QUDAO_QUEUE_PREFIX": f"{own_prefix()}.{number}.{name}"}
            )
            if not given.embedded and name == "this":
                more["QUDAO_STATE_URL"] = state
            found[name].append(await measure(executable, given, more))
            print(name, found[name][-1], flush=True)
    return {
        name: {key: statistics.median(each[key] for each in costs) for key in costs[0]} for name, costs in found.items()
    }


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--embedded", action="store_true")
    parser.add_argument("--before", type=Path, help="the executable of another version")
    given = parser.parse_args()
    with ExitStack() as stack:
        url = "" if given.embedded else stack.enter_context(broker_from(None))
        state = "" if given.embedded else stack.enter_context(running_server()).url
        print_result(asyncio.run(rounds(given, url, state)))


if __name__ == "__main__":
    main()
