"""
How much more do several processes of one ingress accept, when the cores are there?

    python -m tests.benchmarks.processes [--processes 1,2,4] [--share 0.2] [--rounds 5]

Each process is held to a share of a core by a control group of its own (Linux, as root): so one machine has "cores" to
spare for the broker and the load beside them. In turn, round by round.
"""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from tests.benchmarks.accept import CONNECTIONS, WARM, ingress
from tests.benchmarks.load import rendered, send_all
from tests.benchmarks.rig import broker_from, confined, cpu_of, medians, print_result
from tests.rigs.ingress import added


async def measure(url: str, processes: int, share: float, events: int) -> dict[str, float]:
    """Run an ingress of so many *processes* once."""
    warm, requests = (
        [rendered(added(number)) for number in span] for span in (range(WARM), range(WARM, WARM + events))
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as groups:
        async with ingress(url, Path(folder), processes=processes) as receiver:
            await send_all(receiver.port, warm, CONNECTIONS)
            children = Path(f"/proc/{receiver.pid}/task/{receiver.pid}/children").read_text(encoding="utf-8").split()
            for pid in children or [str(receiver.pid)]:
                groups.enter_context(confined(int(pid), share))
            used = cpu_of(receiver.pid)
            outcome = await send_all(receiver.port, requests, CONNECTIONS)
            used = cpu_of(receiver.pid) - used
            assert outcome.statuses == {200: events}, f"answered {outcome.statuses}"
            assert await receiver.stored() == WARM + events
            groups.close()
    return {
        "per_second": round(events / outcome.seconds),
        "cpu_us": round(used / events * 1e6),
        "cores": round(used / outcome.seconds, 2),
    }


async def compare(url: str, counts: list[int], share: float, rounds: int) -> dict[str, Any]:
    """Run all in turn, and say how each stands against the first."""
    found: dict[str, list[dict[str, float]]] = {str(count): [] for count in counts}
    for number in range(rounds):
        for count in counts:
            found[str(count)].append(await measure(url, count, share, 3000 * count))
            print(f"processes, round {number + 1}: {count}: {found[str(count)][-1]}", file=sys.stderr, flush=True)
    middle = medians(found)
    first = middle[str(counts[0])]["per_second"]
    return {name: row | {"rate_ratio": round(row["per_second"] / first, 2)} for name, row in middle.items()}


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2,4")
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    counts = [int(each) for each in given.processes.split(",")]
    with broker_from(None) as url:
        print_result(uvloop.run(compare(url, counts, given.share, given.rounds)))


if __name__ == "__main__":
    main()
