"""The files that a deployment is described in."""

from datetime import tzinfo
from pathlib import Path

from shared.domain.channels.file import load_channels
from shared.domain.channels.model import Channels
from shared.domain.errors import ConfigurationError


def read_channels(path: Path, zone: tzinfo) -> Channels:
    """
    Return the channels in the file *path*; their dates and times are in *zone*.

    Raises:
        ConfigurationError: It is missing, unreadable or wrong; lists every problem with its line.
    """
    try:
        return load_channels(path.read_text(encoding="utf-8"), source=str(path), zone=zone)
    except FileNotFoundError as error:
        raise ConfigurationError(
            [f"{path}: there is no such file; describe your channels in it, or set QUDAO_CHANNELS"]
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: cannot be read as UTF-8 text ({type(error).__name__})"]) from error
