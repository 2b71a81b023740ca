"""Whether another process is still there."""

import os
import subprocess
import sys

from shared.state.sqlite.ledger import LEASE
from shared.state.sqlite.processes import Machine


def test_this_process_is_there() -> None:
    """Each name is new, and all are this process."""
    machine = Machine()
    me, again = machine.me(), machine.me()
    assert me.worker != again.worker
    assert me.pid == os.getpid()
    assert machine.alive(me.place, me.pid, me.born, seen=100.0, now=100.0)


def test_a_pid_that_was_given_out_again_is_another_process() -> None:
    """It was born at another time."""
    machine = Machine()
    me = machine.me()
    assert not machine.alive(me.place, me.pid, me.born + "0", seen=100.0, now=100.0)


def test_a_process_that_ended_is_gone_at_once() -> None:
    """Also while nobody has asked for its exit status yet."""
    machine = Machine()
    me = machine.me()
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not machine.alive(me.place, child.pid, me.born, seen=100.0, now=100.0)
    child.wait()
    assert not machine.alive(me.place, child.pid, me.born, seen=100.0, now=100.0)
    child.stdout.close()


def test_silence_tells_of_a_process_elsewhere() -> None:
    """In another container its pid means nothing to us."""
    machine = Machine()
    assert machine.alive("elsewhere", 1, "", seen=100.0, now=100.0 + LEASE - 1)
    assert not machine.alive("elsewhere", 1, "", seen=100.0, now=100.0 + LEASE)


def test_a_process_from_before_the_machine_restarted_is_gone() -> None:
    """It has no place any more."""
    assert not Machine().alive("", os.getpid(), "", seen=100.0, now=100.0)
