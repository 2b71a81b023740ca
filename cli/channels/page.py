"""The sheet of all codes: one HTML page that a browser prints on A4, with nothing from elsewhere."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

_STYLE: Final = """
@page { size: A4; margin: 12mm }
body { font: 11pt/1.4 "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif; margin: 0; color: #000 }
main { display: flex; flex-wrap: wrap; gap: 6mm }
figure { margin: 0; break-inside: avoid; text-align: center; border: 0.2mm dashed #bbb; padding: 3mm }
figcaption { overflow-wrap: anywhere }
b { display: block; font-size: 13pt }
small { display: block; color: #555 }
@media print { figure { border-color: #ddd } }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedCode:
    """One code of the sheet: its SVG, and what stands under it."""

    channel: str
    name: str
    staff: str
    svg: bytes


def draw_page(entries: Iterable[PrintedCode], centimetres: float) -> bytes:
    """Return the page with *entries*, each code *centimetres* wide."""
    figures = "".join(_figure(entry, centimetres) for entry in entries)
    return (
        '<!doctype html>\n<html lang="zh"><head><meta charset="utf-8"><title>渠道活码 · QR codes</title>'
        f"<style>{_STYLE}</style></head>\n<body><main>\n{figures}</main></body></html>\n"
    ).encode()


def _figure(entry: PrintedCode, centimetres: float) -> str:
    svg = entry.svg.decode().partition("?>")[2].strip()
    caption = f"<b>{escape(entry.name)}</b><small>{escape(entry.channel)}</small><small>{escape(entry.staff)}</small>"
    return f'<figure style="width: {centimetres:g}cm">{svg}<figcaption>{caption}</figcaption></figure>\n'
