"""A file that one process at a time has for itself."""

import fcntl
import os
from pathlib import Path

from shared.domain.errors import QueueUnavailable


def hold(path: Path) -> int | None:
    """
    Hold *path* until the returned descriptor is closed or this process dies; None when another process holds it.

    Raises:
        QueueUnavailable: It cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise QueueUnavailable(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
