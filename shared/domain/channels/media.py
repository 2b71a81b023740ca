"""Files that are sent along with a welcome: what WeCom takes as temporary media (``media/upload``, doc 90253)."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MediaType(StrEnum):
    """The ``type`` of an upload, as far as welcomes have use for it."""

    IMAGE = "image"
    VIDEO = "video"
    FILE = "file"


HEAD_BYTES: Final = 12
"""How much of a file's beginning tells its kind."""

_SMALLEST: Final = 6
_MEBIBYTES: Final = {MediaType.IMAGE: 10, MediaType.VIDEO: 10, MediaType.FILE: 20}
_FORMAT: Final = {MediaType.IMAGE: "a JPG or PNG picture", MediaType.VIDEO: "an MP4 video"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """
    A file on this machine that an attachment is made from.

    Attributes:
        path: Where it is.
        type: What it is uploaded as.
        size: In bytes.
        stamp: What tells this state of the file from another.
    """

    path: str
    type: MediaType
    size: int = 0
    stamp: tuple[int, ...] = ()


FindFile = Callable[[str, MediaType], LocalFile]
"""Returns the file that a channel names, or raises a ValueError that says why it cannot be sent."""


def find_no_file(name: str, type_: MediaType) -> LocalFile:
    """Take every file for there and right: for channels that were read from no folder."""
    return LocalFile(path=name, type=type_)


def most_bytes(type_: MediaType) -> int:
    """Return the size of the largest file that WeCom takes as *type_*."""
    return _MEBIBYTES[type_] * 2**20


def refusal(type_: MediaType, name: str, head: bytes, size: int) -> str:
    """Say why WeCom would not take a file of this *name*, beginning and *size* in bytes as *type_*; "" if it would."""
    if size < _SMALLEST:
        return f"has {size} bytes; WeCom takes files of {_SMALLEST} and more"
    if size > most_bytes(type_):
        return f"has {size / 2**20:.1f} MiB; WeCom takes {_MEBIBYTES[type_]} at most"
    if not _is_of(type_, head):
        return f"is not {_FORMAT[type_]} by its content"
    if any(not character.isprintable() or character in '"\\' for character in name):
        return "has quotes or invisible characters in its name, which the customer would be shown"
    return ""


def _is_of(type_: MediaType, head: bytes) -> bool:
    match type_:
        case MediaType.IMAGE:
            return head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))
        case MediaType.VIDEO:
            return head[4:8] == b"ftyp"
        case MediaType.FILE:
            return True
