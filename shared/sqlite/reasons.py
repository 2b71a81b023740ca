"""What keeps a SQLite file from being used, in words."""

from pathlib import Path
from typing import Final

import apsw

from shared.domain.errors import QueueUnavailable

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (apsw.FullError, "the disk is full"),
    (apsw.BusyError, "another process keeps it locked"),
    (apsw.LockedError, "another process keeps it locked"),
    (apsw.ReadOnlyError, "it is read-only"),
    (apsw.CantOpenError, "it cannot be opened or made there"),
    (apsw.NotADBError, "it is not a SQLite database"),
    (apsw.CorruptError, "it is damaged"),
    (apsw.IOError, "the disk reports an error"),
    (apsw.Error, "SQLite refuses"),
    (OSError, "the system refuses"),
)


def unavailable(path: Path, error: Exception) -> Exception:
    """Return what to raise for *error*: itself, unless it comes from SQLite or from the system."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            detail = error.strerror if isinstance(error, OSError) else reason
            raised = QueueUnavailable(f"{path}: {detail}")
            raised.__cause__ = error
            return raised
    return error
