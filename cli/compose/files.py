"""The channels file and the files it names: read at start, and read again whenever one changes."""

import asyncio
import os
from datetime import tzinfo
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from shared.domain.channels.file import load_channels
from shared.domain.channels.media import HEAD_BYTES, LocalFile, MediaType, refusal
from shared.domain.channels.model import Channels
from shared.domain.errors import ConfigurationError
from shared.tasks import wait_at_most

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
"""
Pause between looks at the file. A look is one `stat`: it sees a file that is written in place, replaced by rename or
reached through links that change, on any file system, which no notification of the kernel's does.
"""

MOST_BYTES: Final = 5 * 2**20
_PROBLEMS_SHOWN: Final = 20

Stamp = tuple[int, ...] | None
"""What tells one state of a file from another; None while there is none."""


def read_channels(path: Path, zone: tzinfo) -> Channels:
    """
    Return the channels in the file *path*; their dates and times are in *zone*.

    Raises:
        ConfigurationError: It is missing, unreadable or wrong; lists every problem with its line.
    """
    return _parsed(path, _bytes_of(path), zone, LocalFiles(path.parent))


class LocalFiles:
    """The files beside the channels file that attachments name, each looked at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[tuple[str, MediaType], LocalFile] = {}
        self.stamps: dict[Path, Stamp] = {}
        """Of those that were asked for, there or not."""

    def find(self, name: str, type_: MediaType) -> LocalFile:
        """
        Return the file called *name*, a path that is absolute or begins at the channels file's folder.

        Raises:
            ValueError: It is not there, or WeCom would not take it as *type_*.
        """
        if (name, type_) not in self._found:
            self._found[name, type_] = self._look(name, type_)
        return self._found[name, type_]

    def _look(self, name: str, type_: MediaType) -> LocalFile:
        path = self._folder / name
        self.stamps[path] = _stamp(path)
        try:
            with path.open("rb") as file:
                head, stat = file.read(HEAD_BYTES), os.fstat(file.fileno())
        except FileNotFoundError:
            raise ValueError(f"{path}: there is no such file") from None
        except (OSError, ValueError) as error:  # a ValueError is a path with a zero in it
            raise ValueError(f"{path}: cannot be read ({getattr(error, 'strerror', error)})") from None
        if said := refusal(type_, path.name, head, stat.st_size):
            raise ValueError(f"{path}: {said}")
        return LocalFile(path=str(path), type=type_, size=stat.st_size, stamp=_stamp_of(stat))


def _bytes_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigurationError(
            [f"{path}: there is no such file; describe your channels in it, or set QUDAO_CHANNELS"]
        ) from error
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be read ({error.strerror})"]) from error
    if len(raw) > MOST_BYTES:
        raise ConfigurationError([f"{path}: is larger than {MOST_BYTES // 2**20} MiB; is it the right file?"])
    return raw


def _parsed(path: Path, raw: bytes, zone: tzinfo, files: LocalFiles) -> Channels:
    try:
        return load_channels(raw.decode(), source=str(path), zone=zone, find=files.find)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([f"{path}:{line}: is not UTF-8 text; save it as UTF-8 (not GBK)"]) from error


class LiveChannels:
    """The channels as the file has them now, or had them when it was last right."""

    def __init__(self, path: Path, zone: tzinfo, registry: CollectorRegistry) -> None:
        """
        Read the file.

        Raises:
            ConfigurationError: It is missing, unreadable or wrong, or describes no channel.
        """
        self._path = path
        self._zone = zone
        self._changed = asyncio.Event()
        self._count = Gauge("qudao_channels", "Channels in use.", registry=registry)
        self._refused = Gauge(
            "qudao_channels_file_refused",
            "1 while the channels file is wrong and its last good state in use.",
            registry=registry,
        )
        self._info = Gauge(
            "qudao_channels_file_info", "1, by a hash of the channels file in use.", ["hash"], registry=registry
        )
        self._read_at: dict[Path, Stamp] = {}
        """How the file, and those that it names, were when they were read last, to be used or refused."""
        self.current = self._read()

    def look_now(self) -> None:
        """Look at the file at once, changed or not."""
        self._changed.set()

    async def watch(self) -> None:
        """
        Take over every good change, for ever; say loudly what is wrong with a bad one.

        A file that an attachment is made from may be large and take its time to come: it is taken over once it rests.
        """
        before = self._read_at
        while True:
            await wait_at_most(self._changed, LOOK_SECONDS)
            now = {path: _stamp(path) for path in self._read_at}
            changed = now[self._path] != self._read_at[self._path]
            if changed or self._changed.is_set() or (now != self._read_at and now == before):
                self._changed.clear()
                self._reload()
            before = now

    def _reload(self) -> None:
        before = self.current
        try:
            self.current = self._read()
        except ConfigurationError as error:
            self._refused.set(1)
            shown, more = error.problems[:_PROBLEMS_SHOWN], len(error.problems) - _PROBLEMS_SHOWN
            log.error("channels.refused", problems=shown, more=max(0, more))  # noqa: TRY400 - the file's fault, not ours
            return
        if self.current != before:
            log.info("channels.loaded", channels=len(self.current.all), hash=self.current.hash)

    def _read(self) -> Channels:
        files = LocalFiles(self._path.parent)
        self._read_at = {self._path: _stamp(self._path)}
        raw = _bytes_of(self._path)
        try:
            channels = _parsed(self._path, raw, self._zone, files)
        finally:
            self._read_at |= files.stamps
        if not channels.all:
            raise ConfigurationError([f"{self._path}: describes no channel; every customer would be passed over"])
        self._info.clear()
        self._info.labels(channels.hash).set(1)
        self._count.set(len(channels.all))
        self._refused.set(0)
        return channels


def _stamp(path: Path) -> Stamp:
    try:
        return _stamp_of(os.stat(path))  # noqa: PTH116 - follows links, and is patched by no test
    except (OSError, ValueError):
        return None


def _stamp_of(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_ino, stat.st_dev, stat.st_mtime_ns, stat.st_size
