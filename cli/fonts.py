"""A font with Chinese characters, wherever this machine keeps one. Without one, names would come out as empty boxes."""

import os
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from PIL import ImageFont

from shared.domain.errors import ConfigurationError

# Told apart by Chinese fonts alone: Japanese and Korean ones lack the simplified forms among them.
_PROBE: Final = "渠道门店总览们计"
_MISSING: Final = "\U0010fffd"
_SUFFIXES: Final = (".ttf", ".ttc", ".otf")
# Parts of file names, the most readable face first; a bold or a serif face is taken before none.
_PREFERRED: Final = (
    *("notosanscjksc-regular", "notosanssc-regular", "notosanssc[", "notosanscjk-regular", "sourcehansanssc-regular"),
    *("sourcehansans", "pingfang", "msyh.", "hiragino sans gb", "wqy-microhei", "wqy-zenhei", "simhei", "deng."),
    *("stheiti", "notosanscjk", "notosanssc", "droidsansfallback", "arial unicode", "arialuni", "simsun", "songti"),
)
_REMEDIES: Final = {
    "darwin": "install one, for example `brew install --cask font-noto-sans-cjk-sc`",
    "win32": "add 'Chinese (Simplified) Supplemental Fonts' in Settings, Apps, Optional features",
}
_LINUX_REMEDY: Final = (
    "install one, for example Debian, Ubuntu: `apt install fonts-wqy-microhei`; "
    "Fedora: `dnf install google-noto-sans-cjk-fonts`; Alpine: `apk add font-wqy-zenhei`"
)


def cjk_font(size: int) -> ImageFont.FreeTypeFont:
    """
    Return a font with Chinese characters, *size* pixels high.

    Raises:
        ConfigurationError: None is installed; names the remedy.
    """
    path = cjk_font_file()
    return ImageFont.truetype(path, size, index=_simplified_face(path))


@cache
def cjk_font_file() -> Path:
    """
    Return the file of an installed font that has Chinese characters.

    Raises:
        ConfigurationError: None is installed; names the remedy.
    """
    return find_cjk_font(_font_folders())


def find_cjk_font(folders: Iterable[Path]) -> Path:
    """
    Return the most readable font with Chinese characters in *folders* and below.

    Raises:
        ConfigurationError: There is none; names the remedy.
    """
    for path in sorted(_font_files(folders), key=_preference):
        if _has_chinese(path):
            return path
    remedy = _REMEDIES.get(sys.platform, _LINUX_REMEDY)
    raise ConfigurationError([f"no font with Chinese characters was found; {remedy}"])


def _font_folders() -> list[Path]:
    """Return where this system keeps fonts; some of them may not exist."""
    home = Path.home()
    match sys.platform:
        case "darwin":
            system = [Path("/System/Library/Fonts"), Path("/Library/Fonts")]
            # Fonts that macOS fetches by itself, PingFang among them.
            return [
                *system,
                home / "Library/Fonts",
                *Path("/System/Library/AssetsV2").glob("com_apple_MobileAsset_Font*"),
            ]
        case "win32":
            windows, local = os.environ.get("WINDIR", r"C:\Windows"), os.environ.get("LOCALAPPDATA")
            return [Path(windows, "Fonts"), *([Path(local, "Microsoft", "Windows", "Fonts")] if local else [])]
        case _:
            shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
            own = os.environ.get("XDG_DATA_HOME") or home / ".local/share"
            return [*(Path(folder, "fonts") for folder in shared.split(":")), Path(own, "fonts"), home / ".fonts"]


def _font_files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for parent, _, names in os.walk(folder):
            yield from (Path(parent, name) for name in names if name.lower().endswith(_SUFFIXES))


def _preference(path: Path) -> tuple[int, str]:
    name = path.name.lower()
    rank = next((rank for rank, part in enumerate(_PREFERRED) if part in name), len(_PREFERRED))
    return rank, str(path)


def _has_chinese(path: Path) -> bool:
    """Tell whether each probe has a glyph of its own: missing ones all look alike, and so do those of a last resort."""
    try:
        font = ImageFont.truetype(path, 24)
        shapes = {bytes(font.getmask(character)) for character in (*_PROBE, _MISSING)}
    except (OSError, ValueError):  # not a font after all, or one that cannot be drawn
        return False
    return len(shapes) == len(_PROBE) + 1


def _simplified_face(path: Path) -> int:
    """Return which face of a collection draws Chinese the mainland way; Noto's collection begins with the Japanese."""
    index = 0
    while path.suffix.lower() == ".ttc":
        try:
            family, _ = ImageFont.truetype(path, 24, index=index).getname()
        except OSError:
            break
        if family and family.endswith(" SC"):
            return index
        index += 1
    return 0
