"""
Bring a font with Chinese characters for the tests that draw.

Sought on this machine; else Debian's small package, when we are root. If none can be had, the tests fail and say what
to install.
"""

import os
import shutil
import subprocess
from pathlib import Path

from cli.fonts import cjk_font_file
from shared.domain.errors import ConfigurationError


def provide() -> Path:
    """Return the font's file, having installed Debian's package where there is none."""
    try:
        return cjk_font_file()
    except ConfigurationError:
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", "fonts-wqy-microhei"]
    subprocess.run(["apt-get", "update"], env=environ, capture_output=True, check=False)
    subprocess.run(install, env=environ, capture_output=True, check=False)
    return cjk_font_file()


if __name__ == "__main__":
    provide()
