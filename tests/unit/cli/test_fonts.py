"""Fonts with Chinese characters: found, proved, or asked for."""

import shutil
from pathlib import Path

import matplotlib as mpl
import pytest

from cli.fonts import cjk_font, cjk_font_file, find_cjk_font
from shared.domain.errors import ConfigurationError

LATIN = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def test_draws_chinese(chinese_font: Path) -> None:
    """The font that is found gives each character a shape of its own, at the size that was asked for."""
    font = cjk_font(40)
    assert font.size == 40
    assert cjk_font_file() == chinese_font
    assert len({bytes(font.getmask(character)) for character in "展会门店"}) == 4


def test_refuses_a_font_without_chinese(tmp_path: Path) -> None:
    """A font that lacks Chinese is no answer, even under a promising name, nor is a file that is no font."""
    shutil.copy(LATIN, tmp_path / "NotoSansCJKsc-Regular.ttf")
    (tmp_path / "simhei.ttf").write_bytes(b"not a font")
    with pytest.raises(ConfigurationError, match="no font with Chinese characters"):
        find_cjk_font([tmp_path])


@pytest.mark.parametrize(
    ("platform", "remedy"),
    [("linux", "apt install fonts-wqy-microhei"), ("darwin", "brew install"), ("win32", "Supplemental Fonts")],
)
def test_names_the_remedy(platform: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a font, the message names what to install on this system; a missing folder is no other failure."""
    monkeypatch.setattr("sys.platform", platform)
    with pytest.raises(ConfigurationError, match=remedy):
        find_cjk_font([tmp_path / "missing"])


def test_prefers_the_readable_face(chinese_font: Path, tmp_path: Path) -> None:
    """Of several fonts with Chinese the well-known sans comes first, wherever it lies below the folders."""
    below = tmp_path / "opentype" / "noto"
    below.mkdir(parents=True)
    shutil.copy(chinese_font, tmp_path / f"aaa-unknown{chinese_font.suffix}")
    shutil.copy(chinese_font, below / f"NotoSansCJKsc-Regular{chinese_font.suffix.upper()}")
    assert find_cjk_font([tmp_path]).name.startswith("NotoSansCJKsc-Regular")
