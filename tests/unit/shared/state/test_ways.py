"""Which rows a change of the locked ways writes and removes."""

from dataclasses import replace

import pytest

from shared.domain.channels.lock import LockedWay, LockedWays
from shared.domain.channels.model import ChannelKey
from shared.domain.channels.ways import WayFields
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId
from shared.state.ways import WayRow, difference, locked_ways

CORP = CorpId("ww1")
EMPTY = LockedWays(corp_id=CORP)


def way(config_id: str) -> LockedWay:
    return LockedWay(key=ChannelKey("a"), state="s", config_id=ContactWayId(config_id), fields=WayFields())


def test_only_what_changed_is_written():
    """One way of many costs one row; what is equal costs none, be it the same object or not."""
    before = EMPTY.assigned(way("c1"))
    before = replace(before, retired=(way("c2"), way("c3")))
    written, removed = difference(before, before.changed(replace(way("c3"), sure=False)))
    assert ([(row.kind, row.id) for row in written], removed) == ([("retired", "c3")], [])
    assert difference(before, replace(before, retired=(way("c2"), way("c3")))) == ([], [])


def test_a_way_that_is_retired_moves():
    """Its row in use goes, and one among the retired comes."""
    before = EMPTY.assigned(way("c1"))
    written, removed = difference(before, before.assigned(way("c2")))
    assert sorted((row.kind, row.id) for row in written) == [("channel", "c2"), ("retired", "c1")]
    assert removed == [("channel", "c1")]


@pytest.mark.parametrize(
    "row",
    [
        WayRow(kind="channel", id="c1", document="{"),
        WayRow(kind="channel", id="c1", document='{"key": "a"}'),
        WayRow(kind="intent", id="s", document="[]"),
        WayRow(kind="later", id="s", document="{}"),
    ],
)
def test_a_damaged_row_is_refused_with_the_remedy(row):
    """What is no way says how to bring them back."""
    with pytest.raises(ConfigurationError, match="channels import"):
        locked_ways(CORP, [row])
