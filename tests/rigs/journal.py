"""Entries of a journal, for tests that care for some of their fields only."""

from typing import Any

from shared.domain.ids import EventId, ExternalUserId, StaffUserId
from shared.state.journal import JournalEntry

NANA = ExternalUserId("wmNana")
LIN = StaffUserId("Lin.Qiao")


def entry(number: int, **given: Any) -> JournalEntry:
    """Return an entry that says that Nana was marked, unless *given* says otherwise; later by *number* seconds."""
    fields = {
        "event_id": EventId(f"e{number}"),
        "at": 1000.0 + number,
        "task": "mark",
        "result": "marked",
        "staff": LIN,
        "customer": NANA,
        "channel": "expo",
        "state": "qd_expo",
    }
    return JournalEntry(**{**fields, **given})
