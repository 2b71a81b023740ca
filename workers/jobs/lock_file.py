"""
The lock file: the contact ways of the state as a document, to be kept in version control and taken back from there.

The state is what counts; the file is as old as its last export.
"""

from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from shared.domain.channels.lock import LockedWays
from shared.domain.errors import ConfigurationError
from shared.domain.ids import CorpId

VERSION: Final = 1
_ADAPTER: Final = TypeAdapter(LockedWays)
_REBUILD: Final = "rebuild the contact ways with `qudao channels import`"


def write_lock(path: Path, lock: LockedWays) -> None:
    """
    Replace the file *path* with *lock*, whole or not at all.

    Raises:
        ConfigurationError: The folder or the disk does not allow it.
    """
    target = path.resolve()  # a link stays a link
    beside = target.with_name(f".{target.name}.new")
    try:
        beside.write_bytes(lock_document(lock))
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ConfigurationError([f"{path}: cannot be written ({error.strerror})"]) from error


def lock_document(lock: LockedWays) -> bytes:
    """Return *lock* as an indented JSON document."""
    plain = {name: getattr(lock, name) for name in lock.__slots__}  # orjson knows dataclasses, and is twice as fast
    return orjson.dumps({"version": VERSION, **plain}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def read_lock(path: Path, corp: CorpId) -> LockedWays:
    """
    Return the lock of *corp* in the file *path*.

    Raises:
        ConfigurationError: It cannot be read, or is another corp's.
    """
    try:
        lock = _decoded(path, path.read_bytes())
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read ({error.strerror})"]) from error
    if lock.corp_id != corp:
        raise ConfigurationError([f"{path}: is the lock of corp {lock.corp_id}, but QUDAO_CORP_ID is {corp}"])
    return lock


def _decoded(path: Path, raw: bytes) -> LockedWays:
    try:
        document: dict[str, Any] = orjson.loads(raw)
        version = document.pop("version")
        if version != VERSION:
            raise ConfigurationError([f"{path}: was written by another version of Qudao ({version})"])
        # From JSON again: strict about types, yet a list may become a tuple.
        return _ADAPTER.validate_json(orjson.dumps(document), strict=True, extra="forbid")
    except (ValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError([f"{path}: is not a lock of Qudao's, or is damaged; {_REBUILD}"]) from error
