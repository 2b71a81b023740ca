"""``python -m tests.simulation --seeds 10000``: run seeds, print a summary and every seed that failed."""

import argparse
import logging
import sys
import time
from contextlib import nullcontext

import structlog

from tests.simulation.patches import WITHOUT
from tests.simulation.schedule import Outcome, run_seed


def main() -> int:
    """Return 0 when every seed went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many, counting from --first")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--without", choices=WITHOUT, help="take one mending out, to see that it is missed")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    first, count = (options.seed, 1) if options.seed is not None else (options.first, options.seeds)
    started, calls, seconds, failed = time.monotonic(), 0, 0.0, 0
    for seed in range(first, first + count):
        outcome = run_seed(seed, WITHOUT.get(options.without, nullcontext))
        calls, seconds = calls + outcome.calls, seconds + outcome.seconds
        failed += bool(outcome.problems)
        _show(outcome)
        if (seed - first + 1) % 500 == 0:
            print(f"{seed - first + 1} of {count} seeds, {failed} failed", file=sys.stderr, flush=True)
    print(
        f"{count} seeds, {failed} failed; {calls} calls in {seconds / 3600:.0f} h of virtual time,"
        f" {time.monotonic() - started:.0f} s"
    )
    return 1 if failed else 0


def _show(outcome: Outcome) -> None:
    for problem in outcome.problems:
        print(f"seed {outcome.seed}: {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
