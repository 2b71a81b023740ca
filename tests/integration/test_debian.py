"""What the tests install is waited for and told about."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.debian import AptFailedError, apt_get

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt-get")

HOLD = """
import fcntl, sys, time
with open(sys.argv[1], "a") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _update_of(folder: Path) -> list[str]:
    """Return the arguments of an update that reads no source and writes below *folder* only."""
    (folder / "lists/partial").mkdir(parents=True)
    return [
        *("-o", f"Dir::State::lists={folder}/lists"),
        *("-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/dev/null"),
        *("-o", f"Dir::Cache={folder}/cache"),
        "update",
    ]


def _holder(lock: Path, seconds: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD, str(lock), str(seconds)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_busy_package_manager_is_waited_for(tmp_path: Path) -> None:
    """The lock on the package lists, which apt itself does not wait for, is waited for."""
    update = _update_of(tmp_path)
    began = time.monotonic()
    with _holder(tmp_path / "lists/lock", 1.0):
        apt_get(*update, look_every=0.1)
    assert time.monotonic() - began >= 1.0


def test_what_the_package_manager_says_is_shown_when_it_stays_busy(tmp_path: Path) -> None:
    """After the wait the error says who is at work."""
    update = _update_of(tmp_path)
    with _holder(tmp_path / "lists/lock", 60) as holder:
        with pytest.raises(AptFailedError, match="Could not get lock"):
            apt_get(*update, busy_seconds=0.5, look_every=0.1)
        holder.kill()


def test_what_the_package_manager_says_is_shown_when_it_fails() -> None:
    """A package that is not there, or rights that are not, appear in apt's own words."""
    with pytest.raises(AptFailedError, match="E: "):
        apt_get("install", "--yes", "qudao-no-such-package")
