"""
The journal: every API call, every callback attempt, every scan and client edit, to assert against.

Entries are small, since a load test writes some hundred thousand of them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NO_ERRCODE = -2
"""The code of a call that got no errcode: HTTP status, reset, silence, HTML."""


class Kind(StrEnum):
    """What an entry records."""

    CALL = "call"
    CALLBACK = "callback"
    SCAN = "scan"
    CLIENT = "client"


@dataclass(slots=True, kw_only=True)
class Entry:
    """
    One thing that happened. Scenario times in Unix seconds.

    Attributes:
        endpoint: Path below ``/cgi-bin/``; ChangeType of a callback; outcome of a scan; kind of a client edit.
        code: errcode of a call (``NO_ERRCODE`` for none), HTTP status of a callback's answer (0 for none).
        note: Injected fault of a call, outcome of a callback attempt, state of a scan.
    """

    seq: int
    kind: Kind
    started: float
    finished: float
    endpoint: str
    code: int = 0
    hint: str = ""
    agent_id: int = 0
    userid: str = ""
    external_userid: str = ""
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the entry for JSON, without what is empty."""
        pairs = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in pairs if value not in ("", 0) or name == "code"}


class Journal:
    """An append-only list of entries that forgets its older half when it grows past *limit*."""

    def __init__(self, limit: int) -> None:
        self.forgotten = 0
        self.codes: dict[str, Counter[int]] = defaultdict(Counter)
        self._limit = limit
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, kind: Kind, started: float, finished: float, endpoint: str, **rest: Any) -> Entry:  # noqa: ANN401 - the other fields of Entry
        """Record one entry and return it."""
        seq = self.forgotten + len(self._entries) + 1
        entry = Entry(seq=seq, kind=kind, started=started, finished=finished, endpoint=endpoint, **rest)
        self._entries.append(entry)
        if kind is Kind.CALL:
            self.codes[endpoint][entry.code] += 1
        if len(self._entries) > self._limit:
            drop = len(self._entries) // 2
            del self._entries[:drop]
            self.forgotten += drop
        return entry

    def find(self, *, after: int = 0, limit: int | None = None, **equal: Any) -> list[Entry]:  # noqa: ANN401 - any field's value
        """Return entries with a higher number than *after* whose fields equal *equal*, oldest first."""
        found: list[Entry] = []
        wanted = list(equal.items())
        for index in range(max(after - self.forgotten, 0), len(self._entries)):
            entry = self._entries[index]
            if all(getattr(entry, name) == value for name, value in wanted):
                found.append(entry)
                if limit is not None and len(found) >= limit:
                    break
        return found

    def calls(self, endpoint: str | None = None) -> Iterator[Entry]:
        """Return the API calls, of *endpoint* alone if given."""
        return (e for e in self._entries if e.kind is Kind.CALL and endpoint in (None, e.endpoint))

    def most_in_window(self, seconds: float) -> dict[str, int]:
        """Return, per endpoint, the most calls that began within any *seconds*, refused ones included."""
        starts: dict[str, list[float]] = defaultdict(list)
        for call in self.calls():
            starts[call.endpoint].append(call.started)
        return {endpoint: _most_within(sorted(times), seconds) for endpoint, times in starts.items()}

    def most_in_flight(self) -> dict[str, int]:
        """Return, per endpoint, the most calls under way at once."""
        edges: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for call in self.calls():
            edges[call.endpoint] += ((call.started, 1), (call.finished, -1))
        return {endpoint: _highest(sorted(steps)) for endpoint, steps in edges.items()}


def _most_within(times: list[float], seconds: float) -> int:
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def _highest(steps: Iterable[tuple[float, int]]) -> int:
    level = highest = 0
    for _, step in steps:
        level += step
        highest = max(highest, level)
    return highest
