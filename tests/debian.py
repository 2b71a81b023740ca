"""Install Debian packages that the tests need: a busy package manager is waited for, and what it says is told."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY_SECONDS = 600.0
"""How long another package manager is waited for: a machine that just started may be upgrading itself."""

LOOK_EVERY = 2.0

_LOCKED = "Could not get lock"


class AptFailedError(RuntimeError):
    """apt-get did not do what it was asked for; the text is what it said."""


def can_install() -> bool:
    """Tell whether this is a Debian on which we may install packages."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> None:
    """
    Install *packages* without letting them start a system service.

    Raises:
        AptFailedError: It cannot be done; carries what apt-get said.
    """
    with _no_services():
        apt_get("update")
        apt_get("install", "--yes", "--no-install-recommends", *packages)


def apt_get(*arguments: str, busy_seconds: float = BUSY_SECONDS, look_every: float = LOOK_EVERY) -> str:
    """
    Return what ``apt-get`` printed, having waited for another package manager that is at work.

    apt's own ``DPkg::Lock::Timeout`` covers two of its four locks, so this looks again for the other two.

    Raises:
        AptFailedError: It failed, or the other one was still at work after *busy_seconds*.
    """
    command = ["apt-get", "-o", f"DPkg::Lock::Timeout={busy_seconds:.0f}", "-o", "Acquire::Retries=3", *arguments]
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    deadline = time.monotonic() + busy_seconds
    while True:
        done = subprocess.run(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
        if _LOCKED not in done.stdout or time.monotonic() > deadline:
            raise AptFailedError(f"apt-get failed:\n{done.stdout.strip()[-1500:]}")
        sys.stderr.write(f"waiting for another package manager: {done.stdout.strip().splitlines()[-1]}\n")
        time.sleep(look_every)


@contextmanager
def _no_services() -> Iterator[None]:
    """Forbid package scripts to start services, the way Debian provides: a policy-rc.d that says 101."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
