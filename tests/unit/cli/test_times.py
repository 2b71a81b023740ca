"""Times as people write them."""

from zoneinfo import ZoneInfo

import pytest

from cli.output import moment
from cli.times import age, instant
from shared.domain.errors import ConfigurationError
from shared.domain.templates import CHINA

NOW = 1_700_000_000.0


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7200), (" 3d ", 259200)])
def test_ages(text, seconds):
    """An age is a number and a unit; as a point in time it lies so far back."""
    assert age(text, "--older-than") == seconds
    assert instant(text, "--since", now=NOW, zone=CHINA) == NOW - seconds


def test_dates():
    """A date is in the zone of the settings, whatever the machine's clock says, unless it names one."""
    assert instant("2026-11-22T08:00+08:00", "--since", now=NOW, zone=CHINA) == 1795305600
    assert instant("2026-11-22T08:00", "--since", now=NOW, zone=CHINA) == 1795305600
    assert instant("2026-11-22", "--since", now=NOW, zone=CHINA) == 1795305600 - 8 * 3600
    assert instant("2026-11-22", "--since", now=NOW, zone=ZoneInfo("Europe/Berlin")) == 1795305600 - 3600


def test_moments_carry_their_offset():
    """Nobody has to guess whose time it is."""
    assert moment(1795305600, CHINA) == "2026-11-22 08:00:00+08:00"


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2 h", "1w", "yesterday", "2026-13-01"])
def test_anything_else_is_refused(text):
    """The message names the option and shows how to write it."""
    for read in (lambda: age(text, "--since"), lambda: instant(text, "--since", now=NOW, zone=CHINA)):
        with pytest.raises(ConfigurationError, match="--since: write 90s"):
            read()


@pytest.mark.parametrize(("seconds", "shown"), [(0, "1970"), (-1, "1970"), (10**18, "9999"), (1.5, "1970")])
def test_a_time_that_no_calendar_has_is_shown_as_the_nearest(seconds, shown):
    """WeCom's createtime goes into tables and files: a wild one ends no command."""
    assert moment(seconds, CHINA).startswith(shown)
