"""
The spool: where events wait, durable on the ingress's own disk, while the broker cannot take them.

The broker always comes first; it fails within two seconds when it has just vanished and at once from then on. What is
spooled is published by itself when the broker is back, while new events already pass by. Whatever is wrong with the
spool's file or disk costs only what would have needed it: an ingress with a broker goes on without, and opens it as
soon as that is possible.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

import apsw
import structlog

from ingress.spool.drain import drain
from ingress.spool.file import SpoolFile, open_spool_file
from ingress.spool.log import SpoolLog
from shared.clock import Clock
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import Lane
from shared.faults import passing
from shared.queue.message import Message
from shared.queue.port import EventQueue
from shared.tasks import beside

log = structlog.get_logger()

MOST_FILES: Final = 32
"""Files of one folder: more than there are ingresses on a machine."""

AGAIN_SECONDS: Final = 1.0
"""Between tries to open a file."""

ADOPT_SECONDS: Final = 5.0
"""Between looks for files whose process is gone."""

START_SECONDS: Final = 2.0
"""Longest that the start waits for a file."""

_DAMAGED: Final = (apsw.NotADBError, apsw.CorruptError)


class Intake(Protocol):
    """Where the ingress puts events: a queue, or a queue with its spool."""

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """Put *message* into each of *lanes*; raises QueueUnavailable when it is not durable."""
        ...

    async def check(self) -> None:
        """Return when events can be made durable; raises QueueUnavailable when not."""
        ...


class SpooledQueue:
    """Publishes to *queue*, or to a file that this process has for itself while that cannot take it."""

    def __init__(self, queue: EventQueue, path: Path, clock: Clock, told: SpoolLog) -> None:
        """Take the file at *path*, or the next one beside it that nobody has: ``spool.2.db`` and so on."""
        self._queue = queue
        self._path = path
        self._clock = clock
        self._told = told
        self._file: SpoolFile | None = None
        self._problem = "it is not open yet"
        self._tried = asyncio.Event()
        self._set_aside: set[Path] = set()

    async def publish(self, message: Message, lanes: Sequence[Lane]) -> None:
        """
        Put *message* into each of *lanes*; it is durable on return, in the broker or in the spool.

        Raises:
            QueueUnavailable: Neither could take it.
        """
        try:
            await self._queue.publish(message, lanes)
        except QueueUnavailable as error:
            try:
                await self._own().insert((message, lanes))
            except QueueUnavailable as refused:
                raise QueueUnavailable(f"{error}; {refused}") from error
            passing("spool.inserted")
            self._told.took(str(error))

    async def check(self) -> None:
        """Return when events can be made durable, in the broker or in the spool."""
        try:
            await self._queue.check()
        except QueueUnavailable as error:
            try:
                await self._own().check()
            except QueueUnavailable as refused:
                raise QueueUnavailable(f"{error}; {refused}") from error

    async def tried(self) -> None:
        """Return once a file is open, or cannot be opened now."""
        await self._tried.wait()

    async def run(self) -> None:
        """Have a file and publish what is in it, and in files whose process is gone, for ever."""
        async with beside(self._adopt()):
            while True:
                try:
                    await self._serve()
                except QueueUnavailable as error:
                    self._problem = str(error)
                    self._tried.set()
                    self._told.unusable(self._problem)
                await asyncio.sleep(AGAIN_SECONDS)

    def _own(self) -> SpoolFile:
        if self._file is None:
            raise QueueUnavailable(f"the spool cannot be used: {self._problem}")
        return self._file

    async def _serve(self) -> None:
        """Have the first file that is free and sound, and drain it until it cannot be used any more."""
        for path in spool_paths(self._path):
            await self._use(path, self._have)
        raise QueueUnavailable(f"{self._path.parent}: every file of the spool is in use or damaged")

    async def _have(self, file: SpoolFile) -> None:
        self._file = file
        self._tried.set()
        self._told.opened(file.path)
        try:
            await drain(file, self._queue, self._clock, self._told)
        finally:
            self._file = None

    async def _adopt(self) -> None:
        """Publish what is in files whose process is gone, for ever."""

        async def empty(file: SpoolFile) -> None:
            await drain(file, self._queue, self._clock, self._told, until_empty=True)

        while True:
            await asyncio.sleep(ADOPT_SECONDS)
            for path in spool_paths(self._path):
                if path.exists():
                    with suppress(QueueUnavailable):  # whoever needs a file is told
                        await self._use(path, empty)

    async def _use(self, path: Path, work: Callable[[SpoolFile], Awaitable[None]]) -> None:
        """
        Do *work* with the file at *path* unless another process has it. A damaged one is set aside, for people.

        Raises:
            QueueUnavailable: It cannot be used for now.
        """
        if path in self._set_aside or (self._file is not None and self._file.path == path):
            return
        try:
            async with open_spool_file(path) as file:
                if file is not None:
                    await work(file)
        except (QueueUnavailable, ConfigurationError) as error:
            if isinstance(error, QueueUnavailable) and not isinstance(error.__cause__, _DAMAGED):
                raise
            self._set_aside.add(path)
            self._told.set_aside(path, str(error))


def spool_paths(path: Path) -> Iterator[Path]:
    """Yield where the files of a spool at *path* may be: each ingress of a folder has one."""
    yield path
    for number in range(2, MOST_FILES + 1):
        yield path.with_name(f"{path.stem}.{number}{path.suffix}")


@asynccontextmanager
async def spooled(queue: EventQueue, path: Path, clock: Clock, told: SpoolLog) -> AsyncIterator[SpooledQueue]:
    """Yield *queue* with a spool at *path*, which is drained while the context is open."""
    spool = SpooledQueue(queue, path, clock, told)
    async with beside(spool.run()):
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await spool.tried()
        yield spool
