"""
Strike deployments with faults, again and again, and judge what WeCom saw: is anybody lost, or marked wrong or twice?

    make faults CYCLES=100 [SEED=1] [FAULT=kill_worker]

A cycle is one strike; a round is a deployment that is struck a few times by one kind of fault. Each round has a seed of
its own, with which it can be run again. Exits with 1 when anything was wrong.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random

import orjson

from tests.faults.kind import Kind
from tests.faults.round import Report, Servers, run_round
from tests.faults.strikes.kinds import KINDS
from tests.faults.table import figures, table
from tests.postgres import programs
from tests.postgres.servers import running_server
from tests.rabbitmq.brokers import DELETE_QUEUES, provide, running_broker


def rounds(cycles: int, seed: int, faults: list[str]) -> Iterator[tuple[Kind, int, int]]:
    """Yield kind, seed and strikes of each round until there were *cycles* strikes, of *faults* alone if given."""
    while cycles > 0:
        kind = KINDS[Random(seed).choice(faults or sorted(name for name, kind in KINDS.items() if kind.drawn))]
        strikes = min(kind.at_once, cycles)
        yield kind, seed, strikes
        cycles -= strikes
        seed += 1


def say(report: Report) -> None:
    """Print how a round went, with the command that runs a failed one again."""
    problems = report.problems()
    slowest = max((max(times, default=0.0) for times in report.recoveries.values()), default=0.0)
    print(
        f"{'FAILED' if problems else 'ok'} {report.fault} seed {report.seed} {report.layout}: "
        f"{len(report.strikes)} strikes, {report.verdict.accepted} customers, recovered within {slowest:.1f} s, "
        f"took {report.seconds:.0f} s",
        flush=True,
    )
    for problem in problems:
        print(f"    {problem}")
    if problems:
        print(f"    struck: {'; '.join(report.strikes)}")
        print(f"    again:  make faults CYCLES={len(report.strikes)} SEED={report.seed} FAULT={report.fault}")
        print(f"    logs:   {report.folder}", flush=True)


def main() -> int:
    """Run the campaign; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", default="", help=f"one or several of {', '.join(sorted(KINDS))}")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    given = parser.parse_args()
    faults = given.fault.replace(",", " ").split()
    if unknown := set(faults) - KINDS.keys():
        parser.error(f"no such fault: {', '.join(unknown)}")
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background the first is not heard of itself
        signal.signal(number, signal.default_int_handler)
    provide()
    programs.provide()
    reports: list[Report] = []
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        broker = stack.enter_context(running_broker())
        store = stack.enter_context(running_server())
        for kind, seed, strikes in rounds(given.cycles, given.seed, faults):
            report = asyncio.run(run_round(kind, seed, strikes, Servers(broker=broker, store=store)))
            broker.evaluate(DELETE_QUEUES)
            reports.append(report)
            say(report)
            if given.json:
                given.json.write_bytes(orjson.dumps(figures(reports), option=orjson.OPT_INDENT_2))
    print(table(reports))
    return int(any(report.problems() for report in reports))


if __name__ == "__main__":
    sys.exit(main())
