"""What becomes of WeCom's pictures: a file for each, or one page for all."""

from collections.abc import Iterable
from pathlib import Path

from cli.channels.cards import draw_card
from cli.channels.codes import CENTIMETRES, draw_png, draw_svg, read_code
from cli.channels.page import PrintedCode, draw_page
from cli.channels.qr import Card, Format


class Drawing:
    """Draws *cards* in one format, each *centimetres* wide; None leaves it to the format."""

    def __init__(self, format_: Format, centimetres: float | None, cards: Iterable[Card]) -> None:
        self._format = format_
        self._centimetres = centimetres
        self._cards = tuple(cards)
        self._entries: dict[str, PrintedCode] = {}

    def draw(self, card: Card, picture: bytes) -> bytes | None:
        """
        Return the file of *card*; None when it goes onto the page.

        Raises:
            PictureUnavailable: *picture* is damaged, or its code cannot be read and drawn anew.
            ConfigurationError: There is no font for the name.
        """
        centimetres = self._centimetres or CENTIMETRES
        match self._format:
            case Format.PNG if self._centimetres is None:
                return draw_card(picture, card.name)
            case Format.PNG:
                drawn = draw_png(read_code(picture), centimetres)
                return draw_card(drawn.picture, card.name, drawn.dots_per_inch)
            case Format.SVG:
                return draw_svg(read_code(picture), card.name, centimetres)
            case Format.HTML:
                svg = draw_svg(read_code(picture), card.name, centimetres)
                self._entries[card.channel] = PrintedCode(
                    channel=card.channel, name=card.name, staff=card.staff, svg=svg
                )
                return None

    def page(self) -> tuple[Path, bytes] | None:
        """Return the page and where it goes; None when there is none, or nothing to put onto it."""
        entries = [self._entries[card.channel] for card in self._cards if card.channel in self._entries]
        if not entries:
            return None
        return self._cards[0].path, draw_page(entries, self._centimetres or CENTIMETRES)
