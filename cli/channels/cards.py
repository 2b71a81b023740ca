"""Draws the file that is handed out for a channel: WeCom's QR code, untouched, with the channel's name under it."""

from io import BytesIO
from itertools import pairwise
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from cli.fonts import cjk_font
from shared.wecom.pictures import PictureUnavailable

LEAST_WIDTH: Final = 400
"""Pixels; a smaller code is enlarged by a whole factor, so that its edges stay sharp."""

MOST_SIDE: Final = 4096
"""Pixels; no side may be twice the other, either: a code is a square, and a strip would be enlarged without end."""

_SIZE: Final = 0.075
_SMALLEST: Final = 0.04
_LINES: Final = 2
_INK: Final = "black"
_PAPER: Final = "white"


def draw_card(picture: bytes, name: str, dots_per_inch: float = 0.0) -> bytes:
    """
    Return a PNG of the QR code in *picture* with *name* centred under it.

    *dots_per_inch* are written into it, so that it is printed at its size.

    Raises:
        PictureUnavailable: *picture* is damaged, or of no sensible size.
        ConfigurationError: There is no font for *name*.
    """
    code = _enlarged(opened(picture))
    width, height = code.size
    font, lines = _fitted(name, width - width // 10)
    ascent, descent = font.getmetrics()
    step, margin = round((ascent + descent) * 1.15), round(width * _SIZE / 2)
    card = Image.new("RGB", (width, height + step * len(lines) + 2 * margin), _PAPER)
    card.paste(code, (0, 0))
    draw = ImageDraw.Draw(card)
    for number, line in enumerate(lines):
        draw.text((width / 2, height + margin + step * number), line, fill=_INK, font=font, anchor="ma")
    png = BytesIO()
    given = {"dpi": (dots_per_inch, dots_per_inch)} if dots_per_inch else {}
    card.save(png, "PNG", optimize=True, **given)
    return png.getvalue()


def opened(picture: bytes) -> Image.Image:
    """
    Return *picture*, on white where it is transparent.

    Raises:
        PictureUnavailable: It is damaged, or of no sensible size.
    """
    try:
        with Image.open(BytesIO(picture), formats=("PNG", "JPEG")) as image:
            if max(image.size) > min(MOST_SIDE, 2 * min(image.size)):
                raise PictureUnavailable(f"an image of {image.width} x {image.height} pixels")
            layer = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError) as error:
        raise PictureUnavailable("a damaged image") from error
    code = Image.new("RGB", layer.size, _PAPER)  # a transparent ground would come out black
    code.paste(layer, mask=layer)
    return code


def _enlarged(code: Image.Image) -> Image.Image:
    factor = -(-LEAST_WIDTH // code.width)
    return code.resize((code.width * factor, code.height * factor), Image.Resampling.NEAREST)


def _fitted(name: str, width: int) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """Return the largest font, and the lines, in which *name* fits into *width*; in the smallest it gets more lines."""
    size = round(width * _SIZE)
    while True:
        font = _font(name, size)
        lines = _wrapped(name, font, width)
        if len(lines) <= _LINES or size <= width * _SMALLEST:
            return font, _balanced(name, font, width, lines)
        size -= 1


def _balanced(name: str, font: ImageFont.FreeTypeFont, width: int, lines: list[str]) -> list[str]:
    """Return as many lines, as equal as they can be: no last character alone."""
    for narrower in range(width, width // 2, -4):
        found = _wrapped(name, font, narrower)
        if len(found) > len(lines):
            break
        lines = found
    return lines


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font that has the characters of *name*; for plain ASCII the one that is always there."""
    if name.isascii():
        font = ImageFont.load_default(size)
        if isinstance(font, ImageFont.FreeTypeFont):
            return font
    return cjk_font(size)


def _wrapped(name: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return *name* in lines of at most *width*, broken at a blank where there is one, else anywhere, as Chinese is."""
    lines, rest = [], name
    while rest:
        end = next((end for end in range(len(rest), 1, -1) if font.getlength(rest[:end]) <= width), 1)
        if end < len(rest):
            blanks = [at for at, (_, after) in enumerate(pairwise(rest[: end + 1]), start=1) if after == " "]
            end = blanks[-1] if blanks else end
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines
