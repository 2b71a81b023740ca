"""Writes the QR files: fetches WeCom's images, draws what was asked for, and puts each file down whole."""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import aiohttp

from shared.domain.errors import ConfigurationError
from shared.wecom.pictures import PictureUnavailable, fetch_picture, open_pictures

_AT_ONCE: Final = 4
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(cm|mm)")
_SMALLEST: Final = 1.0
_LARGEST: Final = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A file to write, or a place in the sheet; ``url`` is empty while there is no QR code."""

    channel: str
    name: str
    staff: str
    url: str
    path: Path


class Format(StrEnum):
    """What is written."""

    PNG = "png"
    """A picture for each channel, with its name."""
    SVG = "svg"
    """The code of each channel, sharp at any size."""
    HTML = "html"
    """One page with all codes, to be printed."""


def centimetres_in(text: str) -> float:
    """
    Return the length that *text* names: ``8cm`` or ``80mm``.

    Raises:
        ConfigurationError: It names none, or none that a code can have.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None:
        raise ConfigurationError([f"--size {text}: write centimetres or millimetres, such as 8cm or 80mm"])
    length = float(found[1]) / (10 if found[2] == "mm" else 1)
    if not _SMALLEST <= length <= _LARGEST:
        raise ConfigurationError([f"--size {text}: a code is {_SMALLEST:g}cm to {_LARGEST:g}cm wide"])
    return length


async def write_cards(
    cards: Iterable[Card],
    *,
    format_: Format,
    centimetres: float | None,
    api_url: str,
    proxy: str,
    advance: Callable[[], None],
) -> dict[str, str]:
    """
    Write *cards* and return those that could not be had, each with the reason.

    As PNG without *centimetres* WeCom's picture is taken as it is; otherwise codes are drawn anew, so wide.

    Raises:
        ConfigurationError: The folder cannot be written, or there is no font for a name.
    """
    from cli.channels.drawing import Drawing  # noqa: PLC0415 - imaging is slow to import, and seldom asked for

    pending = deque(cards)
    for folder in {card.path.parent for card in pending}:
        _prepare(folder)
    failures: dict[str, str] = {}
    drawing = Drawing(format_, centimetres, pending)

    async def work(session: aiohttp.ClientSession) -> None:
        while pending:
            card = pending.popleft()
            try:
                content = drawing.draw(card, await fetch_picture(session, card.url, api_url=api_url))
                if content:
                    _put(card.path, content)
            except PictureUnavailable as error:
                failures[card.channel] = f"its QR code cannot be had: {error}"
            advance()

    async with open_pictures(api_url=api_url, proxy=proxy) as session, asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(pending))):
            group.create_task(work(session))
    if page := drawing.page():
        _put(*page)
    return failures


def _prepare(folder: Path) -> None:
    """Make *folder* when missing, and learn before the first download whether it can be written."""
    probe = folder / ".qudao"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError([f"{folder}: cannot be written ({error.strerror})"]) from error


def _put(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.new")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be written ({error.strerror})"]) from error
