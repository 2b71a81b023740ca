"""Room on the disk that is given up when it is full, so that what was accepted can be worked off meanwhile."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw
import structlog

log = structlog.get_logger()

RESERVE_BYTES: Final = 32 << 20
"""Twice what the write-ahead log grows to; journals and quota of some hours find room in it, too."""

_NOTHING_LEFT: Final = 1 << 20
"""Free bytes below which an error of the disk means that it is full: SQLite says so only where it writes itself."""


class Reserve:
    """A file of RESERVE_BYTES beside the database. Used by one thread."""

    def __init__(self, database: Path) -> None:
        self._path = database.with_name(f"{database.name}-reserve")
        self._database = database
        self.given_up = False
        """Whether the disk was full when last looked at: nothing may be written that is not needed to make room."""

    def keep(self) -> None:
        """Make sure of the reserve where there is room for it, and as much again."""
        if not self._is_there() and self._free() >= 2 * RESERVE_BYTES:
            self._allocate()

    def give_up(self) -> None:
        """Make what room there is."""
        if not self.given_up:
            log.error("disk.full", file=str(self._database), remedy="free some space: new events are refused meanwhile")
        self.given_up = True
        with suppress(FileNotFoundError):
            self._path.unlink()

    def look(self) -> None:
        """Find out whether there is room again, if there was none."""
        if self.given_up and self._free() >= 2 * RESERVE_BYTES:
            self._allocate()
            self.given_up = False
            log.warning("disk.has_room", file=str(self._database))

    def lacks_room(self, error: BaseException) -> bool:
        """Tell whether *error* came of a full disk."""
        if isinstance(error, apsw.FullError):
            return True
        return isinstance(error, apsw.IOError | apsw.CantOpenError | OSError) and self._free() < _NOTHING_LEFT

    def _is_there(self) -> bool:
        try:
            return self._path.stat().st_size >= RESERVE_BYTES
        except OSError:
            return False

    def _allocate(self) -> None:
        with suppress(OSError):  # then there is none: nothing needs it but a full disk
            descriptor = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)

    def _free(self) -> int:
        try:
            found = os.statvfs(self._database.parent)
        except OSError:
            return RESERVE_BYTES  # nobody knows: then it is no full disk
        return found.f_bavail * found.f_frsize
