"""What `qudao status` says of other corps' messages."""

from cli.status import _sharing
from shared.domain.ids import CorpId


def test_other_corps_are_named_with_how_many_and_the_remedy():
    """A line for each; that only some of many were looked at is said with the number."""
    others = {CorpId("ww2"): 3, CorpId("ww3"): 1}
    few = list(_sharing(others, 40))
    assert [line.split(",")[0] for line in few] == ["ww2", "ww3"]
    assert "has 3 messages parked here" in few[0]
    assert all("QUDAO_QUEUE_PREFIX" in line for line in few)
    assert "has 3 of the 1,000 messages looked at" in next(_sharing(others, 5000))


def test_nothing_is_said_of_a_queue_of_our_own_and_no_guess_made_while_another_looks():
    """No line without others; while somebody works on what is parked, that nobody looked."""
    assert list(_sharing({}, 40)) == []
    assert list(_sharing(None, 40)) == ["Whose messages are parked was not looked at: somebody is working on them."]
