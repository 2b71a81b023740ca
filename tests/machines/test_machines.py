"""State machines against what they must keep; ``python -m tests.machines`` takes a million steps."""

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.machines.queue import QueueMachine
from tests.machines.quota import QuotaMachine

MACHINES: tuple[type[RuleBasedStateMachine], ...] = (QueueMachine, QuotaMachine)

SOME = settings(stateful_step_count=50, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
"""Examples of fifty steps; the search for lines that explain a failure takes minutes."""


@pytest.mark.parametrize("machine", MACHINES)
def test_a_machine_keeps_what_it_must(machine: type[RuleBasedStateMachine]) -> None:
    """Whatever happens in whichever order."""
    run_state_machine_as_test(machine, settings=settings(SOME, max_examples=60))
