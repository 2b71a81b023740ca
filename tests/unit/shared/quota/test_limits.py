"""What a corp may use."""

import pytest

from shared.domain.errors import ConfigurationError
from shared.domain.events import Lane
from shared.quota.port import Limits


def test_the_last_part_belongs_to_fast() -> None:
    """Other lanes leave a tenth of the minute and a twentieth of the hour; bulk a quarter of the hour to live."""
    limits = Limits(per_minute=600, per_hour=9000)
    assert (limits.minute_for(Lane.FAST), limits.hour_for(Lane.FAST)) == (600, 9000)
    assert (limits.minute_for(Lane.LIVE), limits.hour_for(Lane.LIVE)) == (540, 8550)
    assert (limits.minute_for(Lane.BULK), limits.hour_for(Lane.BULK)) == (540, 6300)


def test_a_small_limit_stops_no_lane_for_ever() -> None:
    """With one call a minute there is nothing to reserve."""
    assert Limits(per_minute=1, per_hour=1).minute_for(Lane.BULK) == 1


@pytest.mark.parametrize("name", ["per_minute", "per_hour", "in_flight", "minute", "hour"])
@pytest.mark.parametrize("value", [0, -1])
def test_nothing_or_less_is_refused(name: str, value: int) -> None:
    """A limit of 0 is a mistake, and is named."""
    with pytest.raises(ConfigurationError, match=f"quota: {name} must be above 0"):
        Limits(**{name: value})


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_reserve_leaves_something(share: float) -> None:
    """A reserve of everything would stop all other lanes."""
    with pytest.raises(ConfigurationError, match="minute_reserve"):
        Limits(minute_reserve=share)
