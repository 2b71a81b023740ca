"""Lines that strangers can cause come in sums."""

import pytest

from shared.summaries import Summaries


@pytest.fixture
def said() -> list[int]:
    """How often it was, by each line."""
    return []


def test_the_first_at_once_and_the_rest_in_sums(said: list[int]) -> None:
    """However many there are, two lines, whose numbers add up."""
    summaries = Summaries(every=3600)
    for _ in range(1000):
        summaries.note("x", said.append)
    summaries.flush()
    assert said == [1]
    summaries.flush(all_of_it=True)
    assert said == [1, 999]
    summaries.flush(all_of_it=True)
    assert said == [1, 999]


def test_each_kind_has_lines_of_its_own(said: list[int]) -> None:
    """One reason does not hide another."""
    summaries = Summaries(every=3600)
    for kind in ("x", "y", "x", "y"):
        summaries.note(kind, said.append)
    assert said == [1, 1]


def test_what_was_kept_back_is_said_in_time(said: list[int]) -> None:
    """Without another one of its kind it is a flush that says it."""
    summaries = Summaries(every=0.0)
    for _ in range(3):
        summaries.note("x", said.append)
    assert said == [1, 1, 1]
