"""Times as people write them."""

from datetime import datetime

import pytest

from cli.times import age, instant
from shared.domain.errors import ConfigurationError

NOW = 1_700_000_000.0


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200), (" 3d ", 259200)])
def test_ages(text, seconds):
    """An age is a number and a unit; as a point in time it lies so far back."""
    assert age(text, "--older-than") == seconds
    assert instant(text, "--since", now=NOW) == NOW - seconds


def test_dates():
    """A date is local time unless it names a zone."""
    assert instant("2026-11-22T08:00+08:00", "--since", now=NOW) == 1795305600
    local = datetime(2026, 11, 22, 8, 0).astimezone().timestamp()
    assert instant("2026-11-22T08:00", "--since", now=NOW) == local
    assert instant("2026-11-22", "--since", now=NOW) == local - 8 * 3600


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2 h", "1w", "yesterday", "2026-13-01"])
def test_anything_else_is_refused(text):
    """The message names the option and shows how to write it."""
    for read in (lambda: age(text, "--since"), lambda: instant(text, "--since", now=NOW)):
        with pytest.raises(ConfigurationError, match="--since: write 90s"):
            read()
