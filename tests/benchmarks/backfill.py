"""
Backfill at size: `python -m tests.benchmarks.backfill --relations 100000 --differ 0.1`.

One undisturbed dry run and one real run are measured; then the same corp, made anew, is backfilled with the command
killed again and again while a worker works. Prints one JSON document; exits 1 when something is wrong.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import orjson

from tests.rigs.backfill import OldCorp, Rig, old_corp, rig


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Backfill once, undisturbed."""
    corp = old_corp(arguments.relations, staff=arguments.staff, differ=arguments.differ)
    with tempfile.TemporaryDirectory(prefix="qudao-backfill-") as folder:
        async with rig(corp, Path(folder)) as old:
            dry, dry_seconds = await timed(old, "backfill", "--dry-run", "--csv", "changes.csv")
            dry_reads = corp.read_calls()
            done, seconds = await timed(old, "backfill")
            reads = corp.read_calls() - dry_reads
            before = corp.written()
            drain_seconds = await drain(old)
            after, _ = await timed(old, "backfill", "--dry-run")
    return {
        "relations": done.document["relations"],
        "read_calls": reads,
        "seconds": seconds,
        "relations_per_second": round(arguments.relations / seconds),
        "megabytes": round(done.megabytes),
        "dry_run": {"read_calls": dry_reads, "seconds": dry_seconds, "megabytes": round(dry.megabytes)},
        "queued": done.document["queued"],
        "differ": len(corp.wanted),
        "remarks_written_before_the_worker_ran": before,
        "remarks_written": corp.written(),
        "drain_seconds": drain_seconds,
        "left": corp.left(),
        "would_change_afterwards": after.document["found"]["unmarked"] + after.document["found"]["incomplete"],
        "wrongs": corp.wrongs(),
    }


async def kill(arguments: argparse.Namespace) -> dict[str, Any]:
    """Backfill, killed at random points, while a worker works."""
    corp = old_corp(arguments.relations, staff=arguments.staff, differ=arguments.differ)
    random = Random(arguments.seed)
    pages = arguments.relations // 100
    with tempfile.TemporaryDirectory(prefix="qudao-backfill-") as folder:
        async with rig(corp, Path(folder)) as old, old.working():
            kills = 0
            for _ in range(arguments.kills):
                kills += await old.run_and_kill("backfill", after=random.randrange(pages))
            done = await old.run("backfill")
            seconds = await empty(corp)
    return {
        "kills": kills,
        "queued_by_the_last_run": done.document["queued"],
        "drain_seconds": seconds,
        "differ": len(corp.wanted),
        "remarks_written": corp.written(),
        "left": corp.left(),
        "wrongs": corp.wrongs(),
    }


async def timed(old: Rig, *command: str) -> tuple[Any, float]:
    started = time.monotonic()
    run = await old.run(*command)
    assert run.code == 0, run.errors
    return run, round(time.monotonic() - started, 2)


async def drain(old: Rig) -> float:
    async with old.working():
        return await empty(old.corp)


async def empty(corp: OldCorp) -> float:
    """Wait until every customer is right, or nothing has been written for ten seconds."""
    started = moved = time.monotonic()
    written = -1
    while corp.left():
        if corp.written() != written:
            written, moved = corp.written(), time.monotonic()
        elif time.monotonic() - moved > 10:
            break
        await asyncio.sleep(0.5)
    return round(time.monotonic() - started, 2)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relations", type=int, default=100_000)
    parser.add_argument("--staff", type=int, default=50)
    parser.add_argument("--differ", type=float, default=0.1)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    result = {"undisturbed": await measure(arguments), "killed": await kill(arguments)}
    sys.stdout.write(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")
    wrong = any(part["left"] or part["wrongs"] or part["remarks_written"] != part["differ"] for part in result.values())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
