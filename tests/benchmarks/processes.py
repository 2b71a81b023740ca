"""
How much more do several processes of one ingress accept, when the cores are there?

    python -m tests.benchmarks.processes [--processes 1,2,4] [--share 0.2] [--rounds 5]

Each process is held to a share of a core by a control group of its own (Linux, as root): so one machine has "cores" to
spare for the broker and the load beside them. In turn, round by round.
"""

import argparse
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from tests.benchmarks.accept import CONNECTIONS, WARM, ingress
from tests.benchmarks.load import rendered, send_all
from tests.benchmarks.rig import against_first, broker_from, confined, cpu_of, in_turn, print_result
from tests.e2e.processes import children
from tests.rigs.ingress import added


async def measure(url: str, processes: int, share: float, events: int) -> dict[str, float]:
    """Run an ingress of so many *processes* once."""
    warm, requests = (
        [rendered(added(number)) for number in span] for span in (range(WARM), range(WARM, WARM + events))
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as groups:
        async with ingress(url, Path(folder), processes=processes) as receiver:
            await send_all(receiver.port, warm, CONNECTIONS)
            for pid in children(receiver.pid) or [receiver.pid]:
                groups.enter_context(confined(pid, share))
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
    ways = {str(count): partial(measure, url, count, share, 3000 * count) for count in counts}
    return against_first(await in_turn("processes", rounds, ways), "per_second", "rate_ratio")


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
