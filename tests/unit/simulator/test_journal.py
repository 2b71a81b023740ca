"""The journal keeps, finds and measures."""

from simulator.journal import Journal, Kind


def journal_of(*spans: tuple[float, float]) -> Journal:
    journal = Journal(limit=1000)
    for started, finished in spans:
        journal.append(Kind.CALL, started, finished, "get")
    return journal


def test_the_fullest_window_is_found_wherever_it_lies() -> None:
    """Three calls within a minute, although no minute by the clock holds three."""
    journal = journal_of((50, 50), (70, 70), (109, 109), (300, 300))
    assert journal.most_in_window(60) == {"get": 3}


def test_a_window_does_not_hold_its_own_end() -> None:
    """Calls exactly a minute apart are in two windows, as the limiter counts."""
    assert journal_of((0, 0), (60, 60)).most_in_window(60) == {"get": 1}


def test_calls_that_touch_are_not_in_flight_together() -> None:
    """One that begins when another ends does not overlap it."""
    assert journal_of((0, 1), (1, 2), (1.5, 3)).most_in_flight() == {"get": 2}


def test_entries_are_found_by_their_fields_and_in_pages() -> None:
    """Filters are combined; paging goes on after the last number."""
    journal = Journal(limit=100)
    for number in range(10):
        journal.append(Kind.CALL, number, number, "get" if number % 2 else "list", code=number % 3)
    page = journal.find(endpoint="get", limit=2)
    rest = journal.find(endpoint="get", after=page[-1].seq)
    assert [entry.seq for entry in page + rest] == [2, 4, 6, 8, 10]
    assert [entry.seq for entry in journal.find(endpoint="get", code=0)] == [4, 10]


def test_a_full_journal_forgets_its_older_half_and_goes_on_counting() -> None:
    """Numbers stay; counters by code are of everything; paging starts at what is left."""
    journal = Journal(limit=10)
    for number in range(25):
        journal.append(Kind.CALL, number, number, "get")
    assert journal.forgotten + len(journal) == 25
    assert len(journal) <= 10
    assert journal.find()[0].seq == journal.forgotten + 1
    assert [entry.seq for entry in journal.find(after=24)] == [25]
    assert journal.codes["get"][0] == 25


def test_an_entry_for_json_leaves_out_what_is_empty() -> None:
    """Only the code is always there."""
    entry = Journal(limit=10).append(Kind.SCAN, 1.0, 2.0, "added")
    shown = {"seq": 1, "kind": "scan", "started": 1.0, "finished": 2.0, "endpoint": "added", "code": 0}
    assert entry.as_dict() == shown
