"""
The lock on the disk: ``channels.lock.json`` beside the channels file, written whole and durably at every step.

Whoever applies holds the folder, so that two cannot apply at once; readers need nothing.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from shared.domain.channels.lock import LockedWays
from shared.domain.errors import ConfigurationError
from shared.domain.ids import CorpId

VERSION: Final = 1
_ADAPTER: Final = TypeAdapter(LockedWays)
_REBUILD: Final = "move it away and rebuild it with `qudao channels import`"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """The lock of the channels file at ``channels``, for one corp."""

    path: Path
    corp: CorpId

    def read(self) -> LockedWays:
        """
        Return the lock, an empty one when there is no file yet.

        Raises:
            ConfigurationError: It cannot be read, or is another corp's.
        """
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return LockedWays(corp_id=self.corp)
        except OSError as error:
            raise ConfigurationError([f"{self.path}: cannot be read ({error.strerror})"]) from error
        lock = self._decoded(raw)
        if lock.corp_id != self.corp:
            raise ConfigurationError(
                [f"{self.path}: is the lock of corp {lock.corp_id}, but QUDAO_CORP_ID is {self.corp}"]
            )
        return lock

    def _decoded(self, raw: bytes) -> LockedWays:
        try:
            document: dict[str, Any] = orjson.loads(raw)
            version = document.pop("version")
            if version != VERSION:
                raise ConfigurationError([f"{self.path}: was written by another version of Qudao ({version})"])
            # From JSON again: strict about types, yet a list may become a tuple.
            return _ADAPTER.validate_json(orjson.dumps(document), strict=True, extra="forbid")
        except (ValidationError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError([f"{self.path}: is not a lock of Qudao's, or is damaged; {_REBUILD}"]) from error

    def write(self, lock: LockedWays) -> None:
        """
        Replace the file with *lock*; after a crash there is the old one or the new one, whole.

        Raises:
            ConfigurationError: The folder or the disk does not allow it.
        """
        document = orjson.dumps({"version": VERSION, **_plain(lock)}, option=orjson.OPT_INDENT_2)
        target = self.path.resolve()  # a link stays a link
        beside = target.with_name(f".{target.name}.new")
        try:
            _write_durably(beside, document + b"\n")
            beside.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise ConfigurationError([f"{self.path}: cannot be written ({error.strerror})"]) from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """
        Hold the lock while the context is open: nobody else applies, and the file can be written.

        Raises:
            ConfigurationError: Somebody else holds it, or the file cannot be written.
        """
        with self._folder() as folder:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigurationError([f"{self.path}: another `qudao channels` is writing it just now"]) from error
            self._probe()
            yield

    @contextmanager
    def _folder(self) -> Iterator[int]:
        try:
            folder = os.open(self.path.resolve().parent, os.O_RDONLY)
        except OSError as error:
            raise ConfigurationError([f"{self.path}: its folder cannot be used ({error.strerror})"]) from error
        try:
            yield folder
        finally:
            os.close(folder)

    def _probe(self) -> None:
        """Write a file beside the lock, to learn before the first call whether that is possible."""
        target = self.path.resolve()
        probe = target.with_name(f".{target.name}.new")
        try:
            _write_durably(probe, b"")
            probe.unlink()
        except OSError as error:
            raise ConfigurationError([f"{self.path}: cannot be written ({error.strerror})"]) from error


def pruned_states(channels: Path, corp: CorpId) -> frozenset[str]:
    """Return the states of ways that were pruned, as the lock beside *channels* has them; none when it has none."""
    try:
        return frozenset(LockFile(path=lock_path(channels), corp=corp).read().pruned)
    except ConfigurationError:
        return frozenset()


def lock_path(channels: Path) -> Path:
    """Return where the lock of the channels file *channels* is: ``channels.lock.json`` beside ``channels.toml``."""
    return channels.with_suffix(".lock.json")


def _plain(lock: LockedWays) -> dict[str, Any]:
    return {name: getattr(lock, name) for name in lock.__slots__}  # orjson knows dataclasses, and is twice as fast


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
