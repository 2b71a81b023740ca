"""``python -m tests.machines --steps 1000000``: as many steps of the state machines, of which the tests take some."""

import argparse
import sys
import time

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machines.test_machines import MACHINES, SOME


def main() -> int:
    """Run each machine for its share of the steps; a failure is shown with the steps that lead to it."""
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    steps = parser.parse_args().steps
    for machine in MACHINES:
        begun = time.monotonic()
        examples = max(1, steps // len(MACHINES) // SOME.stateful_step_count)
        run_state_machine_as_test(machine, settings=settings(SOME, max_examples=examples))
        print(f"{machine.__name__}: {steps // len(MACHINES)} steps, {time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
