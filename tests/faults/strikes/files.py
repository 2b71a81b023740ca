"""Files that are deleted or locked, a disk that is full, descriptors that are used up."""

import asyncio
import resource
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.faults.deployment import Deployment, Layout
from tests.faults.kind import Kind
from tests.rigs.disks import fill, small_disk

SIZE = "160m"
"""Of the disk: room for what is kept in reserve, and as much again."""


async def disk_full(deployment: Deployment, random: Random) -> str:
    """Fill the disk that everything is on, for seconds."""
    seconds = random.choice((2.0, 6.0, 15.0))
    ballast = await asyncio.to_thread(fill, deployment.folder)
    try:
        await asyncio.sleep(seconds)
    finally:
        ballast.unlink()
    return f"for {seconds} s"


async def file_deleted(deployment: Deployment, random: Random) -> str:
    """Delete a database that one process uses, or what belongs to it."""
    file = _database(deployment)
    chosen = random.choice(([""], ["-wal"], ["-shm"], ["-wal", "-shm"], ["", "-wal", "-shm"]))
    for suffix in chosen:
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    await asyncio.sleep(random.uniform(1.0, 3.0))
    return ", ".join(file.name + suffix for suffix in chosen)


async def file_locked(deployment: Deployment, random: Random) -> str:
    """Keep a database locked, as a backup does, for seconds."""
    file = random.choice(sorted(deployment.folder.glob("var/*.db")))
    seconds = random.choice((1.0, 5.0, 12.0))
    await asyncio.to_thread(_lock_and_wait, file, seconds)
    return f"{file.name} for {seconds} s"


async def descriptors_used_up(deployment: Deployment, random: Random) -> str:
    """Let a process open no more files and connections, for seconds."""
    service, seconds = deployment.one(random), random.choice((2.0, 6.0))
    before = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path(f"/proc/{service.pid}/fd").iterdir())
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (used + 1, before[1]))
    try:
        await asyncio.sleep(seconds)
    finally:
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, before)
    return f"{service.name} for {seconds} s"


def _database(deployment: Deployment) -> Path:
    """Return the file of a process that has it for itself."""
    return deployment.folder / "var" / ("queue.db" if deployment.layout is Layout.FILE else "spool.db")


def _lock_and_wait(file: Path, seconds: float) -> None:
    connection = sqlite3.connect(file, isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


@contextmanager
def on_small_disk(folder: Path) -> Iterator[Path]:
    """Yield a place to work in on a disk that can be filled; the logs in *folder* are on another."""
    del folder
    with small_disk(SIZE) as disk:
        yield disk


KINDS = (
    Kind(disk_full, tuple(Layout), at_once=4, place=on_small_disk),
    Kind(file_deleted, tuple(Layout), at_once=8),
    Kind(file_locked, tuple(Layout), at_once=6),
    Kind(descriptors_used_up, tuple(Layout), at_once=6),
)
