"""Which process am I, and is that other one still there?"""

import os
import secrets
import socket
from pathlib import Path
from typing import Protocol

from shared.state.sqlite.ledger import LEASE, Process


class Neighbours(Protocol):
    """The processes that may share a file."""

    @property
    def lease(self) -> float:
        """Seconds of silence after which a process loses its places."""
        ...

    def me(self) -> Process:
        """Return this process under a new name."""
        ...

    def boot(self) -> str:
        """Return what names the machine's current run; empty where nobody knows."""
        ...

    def alive(self, place: str, pid: int, born: str, seen: float, now: float) -> bool:
        """Tell whether another process is still there."""
        ...


class Machine:
    """The processes of this machine; one that is silent for *lease* seconds loses its places."""

    def __init__(self, lease: float = LEASE) -> None:
        self.lease = lease

    def me(self) -> Process:
        """Return this process under a new name."""
        return this_process()

    def boot(self) -> str:
        """Return what names the machine's current run."""
        return boot_id()

    def alive(self, place: str, pid: int, born: str, seen: float, now: float) -> bool:
        """Look it up, where it can be looked up; one that is silent for long has no use of its places."""
        if not place or seen <= now - self.lease:
            return False
        return place != _place() or _born(pid) == born


def this_process() -> Process:
    """Return this process under a name of its own; every call returns another name."""
    pid = os.getpid()
    return Process(worker=f"{pid}-{secrets.token_hex(4)}", place=_place(), pid=pid, born=_born(pid) or "")


def boot_id() -> str:
    """Return what names the machine's current run; empty where the system does not tell."""
    return _read(Path("/proc/sys/kernel/random/boot_id")) or ""


def _place() -> str:
    try:
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {namespace}"


def _born(pid: int) -> str | None:
    """Return when *pid* began, empty where the system does not tell, None when there is no such process."""
    stat = _read(Path(f"/proc/{pid}/stat"))
    if stat is not None:
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
