"""
QR codes drawn anew for print, as SVG or as PNG at a size in centimetres.

WeCom's pictures are some 400 pixels wide, which prints well on a business card and not on a poster. A code is nothing
but a text: what WeCom's picture says is read, drawn again, and read back before anybody gets it.
"""

from dataclasses import dataclass
from io import BytesIO
from typing import Final

import segno
import zxingcpp
from PIL import Image

from cli.channels.cards import opened
from shared.wecom.pictures import PictureUnavailable

CENTIMETRES: Final = 5.0
"""Side of a code, its quiet zone included, unless said otherwise."""

_DOTS_PER_INCH: Final = 600
_MOST_PIXELS: Final = 4000
_INCH: Final = 2.54
_QUIET: Final = 4
"""Modules of white around a code (ISO/IEC 18004)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A PNG, and the dots per inch at which it has the size that was asked for."""

    picture: bytes
    dots_per_inch: float


def read_code(picture: bytes) -> segno.QRCode:
    """
    Return the code in WeCom's *picture*, whatever logo stands in its middle.

    Raises:
        PictureUnavailable: There is no code that can be read, or what is drawn reads otherwise.
    """
    found = _read(opened(picture))
    if found is None:
        raise PictureUnavailable("no code can be read in it; without --size and --format its picture is taken as it is")
    code = segno.make(found, error="m", micro=False)
    if _read(Image.open(BytesIO(_png(code, 4)))) != found:
        raise PictureUnavailable("the code reads otherwise once it is drawn anew")
    return code


def draw_svg(code: segno.QRCode, title: str, centimetres: float) -> bytes:
    """Return *code* as an SVG that is *centimetres* wide and stays sharp at any other size."""
    svg = BytesIO()
    width, _ = code.symbol_size(border=_QUIET)
    code.save(svg, kind="svg", border=_QUIET, scale=centimetres / width, unit="cm", light="white", title=title)
    return svg.getvalue()


def draw_png(code: segno.QRCode, centimetres: float) -> Drawn:
    """Return *code* as a PNG for *centimetres*, its modules whole pixels, at 600 dots per inch or as near as can be."""
    modules, _ = code.symbol_size(border=_QUIET)
    pixels = min(centimetres / _INCH * _DOTS_PER_INCH, _MOST_PIXELS)
    scale = max(1, round(pixels / modules))
    return Drawn(picture=_png(code, scale), dots_per_inch=scale * modules / (centimetres / _INCH))


def _png(code: segno.QRCode, scale: int) -> bytes:
    png = BytesIO()
    code.save(png, kind="png", scale=scale, border=_QUIET)
    return png.getvalue()


def _read(image: Image.Image) -> str | None:
    """Return what the one QR code in *image* says, None when there is not just one."""
    texts = {found.text for found in zxingcpp.read_barcodes(image) if found.format == zxingcpp.BarcodeFormat.QRCode}
    return texts.pop() if len(texts) == 1 else None
