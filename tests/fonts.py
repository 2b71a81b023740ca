"""
Bring a font with Chinese characters for the tests that draw.

Sought on this machine; else Debian's small package, when we are root. If none can be had, the tests fail and say what
to install.
"""

from pathlib import Path

from cli.fonts import cjk_font_file
from shared.domain.errors import ConfigurationError
from tests import debian


def provide() -> Path:
    """Return the font's file, having installed Debian's package where there is none."""
    try:
        return cjk_font_file()
    except ConfigurationError:
        if not debian.can_install():
            raise
    debian.install("fonts-wqy-microhei")
    return cjk_font_file()


if __name__ == "__main__":
    provide()
