"""The clock that commands go by, and times as people write them: ages such as ``2h``, and dates."""

import re
from datetime import datetime, timedelta, tzinfo
from typing import Final

from shared.clock import Clock, SystemClock
from shared.domain.errors import ConfigurationError

CLOCK: Clock = SystemClock()

_AGE: Final = re.compile(r"(\d{1,9})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def age(text: str, option: str) -> float:
    """
    Return the age *text*, given to *option*, in seconds.

    Raises:
        ConfigurationError: It is not one.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ConfigurationError([f"{option}: write 90s, 10m, 2h or 3d"])
    return timedelta(**{_UNITS[match[2]]: int(match[1])}).total_seconds()


def instant(text: str, option: str, *, now: float, zone: tzinfo) -> float:
    """
    Return *text*, given to *option*, as Unix seconds: an age, or a date in *zone* unless it names one.

    Raises:
        ConfigurationError: It is neither.
    """
    if _AGE.fullmatch(text.strip()):
        return now - age(text, option)
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError) as error:
        raise ConfigurationError([f"{option}: write 90s, 2h or 3d, or a date such as 2026-11-22T08:00"]) from error
