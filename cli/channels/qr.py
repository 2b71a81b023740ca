"""Writes the QR files: fetches WeCom's images, draws the names under them, and puts each file down whole."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from shared.domain.errors import ConfigurationError
from shared.wecom.pictures import PictureUnavailable, fetch_picture, open_pictures

_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A file to write; ``url`` is empty while there is no QR code."""

    channel: str
    name: str
    url: str
    path: Path


async def write_cards(
    cards: Iterable[Card], *, api_url: str, proxy: str, advance: Callable[[], None]
) -> dict[str, str]:
    """
    Write *cards* and return those that could not be had, each with the reason.

    Raises:
        ConfigurationError: The folder cannot be written, or there is no font for a name.
    """
    from cli.channels.cards import draw_card  # noqa: PLC0415 - imaging is slow to import, and seldom asked for

    pending = deque(cards)
    for folder in {card.path.parent for card in pending}:
        _prepare(folder)
    failures: dict[str, str] = {}

    async def work(session: aiohttp.ClientSession) -> None:
        while pending:
            card = pending.popleft()
            try:
                _put(card.path, draw_card(await fetch_picture(session, card.url, api_url=api_url), card.name))
            except PictureUnavailable as error:
                failures[card.channel] = f"its QR code cannot be had: {error}"
            advance()

    async with open_pictures(api_url=api_url, proxy=proxy) as session, asyncio.TaskGroup() as group:
        for _ in range(min(_AT_ONCE, len(pending))):
            group.create_task(work(session))
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
    beside = path.with_suffix(".png.new")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise ConfigurationError([f"{path}: cannot be written ({error.strerror})"]) from error
