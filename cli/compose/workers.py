"""Which of the running workers go by the channels file that a command has read: what it says is theirs to do."""

from collections.abc import Sequence
from typing import Any, Final

from cli.compose.deployment import open_state
from cli.times import CLOCK
from shared.domain.channels.model import Channels
from shared.quota.port import WorkerSeen
from shared.settings import Settings
from shared.state.port import SharedState

_ALIVE_SECONDS: Final = 20.0
"""Age of the last sign of life up to which a process is taken to be running."""


async def running_workers(settings: Settings) -> list[WorkerSeen]:
    """
    Return the workers that are running; commands, which go by no file, are not among them.

    Raises:
        QueueUnavailable: It cannot be told.
    """
    async with open_state(settings) as state:
        return [process for process in await running_processes(state) if process.file]


async def running_processes(state: SharedState) -> list[WorkerSeen]:
    """Return all who use *state*, or did until just now."""
    now = await time_at(state)
    return [each for each in (await state.counters.snapshot()).workers if now - each.seen < _ALIVE_SECONDS]


async def time_at(state: SharedState) -> float:
    """Return Unix seconds by the clock that what is in *state* was stamped with."""
    return CLOCK.time() if state.tell_time is None else await state.tell_time()


def file_line(workers: Sequence[WorkerSeen], channels: Channels) -> str:
    """Say how many of *workers* have the file that *channels* were read from, and what the others have."""
    if not workers:
        return "no worker is running; each reads the channels file when it starts"
    others = [f"{worker.name} ({worker.file})" for worker in workers if worker.file != channels.hash]
    having = f"{len(workers) - len(others)} of {len(workers)} running workers have this channels file ({channels.hash})"
    return f"{having}; others: {', '.join(others)}" if others else having


def file_document(workers: Sequence[WorkerSeen], channels: Channels) -> dict[str, Any]:
    """Return the same as plain data."""
    return {
        "channels_file": channels.hash,
        "workers": [
            {"name": worker.name, "channels_file": worker.file, "same": worker.file == channels.hash}
            for worker in workers
        ],
    }
