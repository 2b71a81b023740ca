"""
The ways port: which contact way belongs to which channel, kept row by row.

What is kept is the value of ``shared.domain.channels.lock``; a step of an apply writes what it changes of it, and only
as long as nobody else has taken over.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from shared.domain.channels.lock import Intent, LockedWay, LockedWays
from shared.domain.errors import ConfigurationError
from shared.domain.ids import ContactWayId, CorpId

T = TypeVar("T")

CLAIM: Final = "ways"
"""Name of the claim that whoever writes must hold."""

TAKEN_OVER: Final = "another `qudao channels` has taken over; nothing more is written: look with `qudao channels plan`"

RowKey = tuple[str, str]
"""What a row is about (``channel``, ``retired``, ``intent`` or ``pruned``), and its config_id or state."""

_WAYS: Final = TypeAdapter(list[LockedWay])
_INTENTS: Final = TypeAdapter(list[Intent])


@dataclass(frozen=True, slots=True, kw_only=True)
class WayRow:
    """One part of the locked ways; ``document`` is JSON."""

    kind: str
    id: str
    document: str


class WayStore(Protocol):
    """The contact ways of one corp, the same for every process and machine."""

    async def read(self) -> LockedWays:
        """
        Return all that is kept.

        Raises:
            ConfigurationError: It is damaged.
            QueueUnavailable: The store cannot be reached.
        """
        ...

    async def write(self, owner: str, before: LockedWays, after: LockedWays) -> None:
        """
        Keep *after* in place of *before*; durable on return, all of it or nothing.

        Raises:
            ConfigurationError: *owner* does not hold the claim any longer.
            QueueUnavailable: It may not be kept.
        """
        ...

    async def others(self) -> dict[ContactWayId, str]:
        """Return the states of ways that others made, as far as they were read: each read costs a call."""
        ...

    async def keep_others(self, states: Mapping[ContactWayId, str]) -> None:
        """Keep *states* in place of those."""
        ...


def difference(before: LockedWays, after: LockedWays) -> tuple[Sequence[WayRow], Sequence[RowKey]]:
    """Return the rows to write and those to remove, so that what holds *before* holds *after*."""
    old, new = _parts(before), _parts(after)
    written = [
        WayRow(kind=kind, id=id_, document=orjson.dumps(part).decode())
        for (kind, id_), part in new.items()
        if (known := old.get((kind, id_))) is not part and known != part
    ]
    return written, [key for key in old if key not in new]


def _parts(lock: LockedWays) -> dict[RowKey, LockedWay | Intent | str]:
    parts: dict[RowKey, LockedWay | Intent | str] = {}
    parts.update({("channel", way.config_id): way for way in lock.channels.values()})
    parts.update({("retired", way.config_id): way for way in lock.retired})
    parts.update({("intent", state): intent for state, intent in lock.intents.items()})
    parts.update({("pruned", state): state for state in lock.pruned})
    return parts


def locked_ways(corp: CorpId, rows: Iterable[WayRow]) -> LockedWays:
    """
    Return what *rows*, in the order in which they were written, hold.

    Raises:
        ConfigurationError: One is damaged.
    """
    documents: dict[str, list[str]] = {"channel": [], "retired": [], "intent": [], "pruned": []}
    try:
        for row in rows:
            documents[row.kind].append(row.id if row.kind == "pruned" else row.document)
        used, retired = (_all(_WAYS, documents[kind]) for kind in ("channel", "retired"))
        intents = _all(_INTENTS, documents["intent"])
    except (ValidationError, KeyError) as error:
        raise ConfigurationError(
            ["the contact ways in the state are damaged; bring back a backup, or rebuild them with `channels import`"]
        ) from error
    return LockedWays(
        corp_id=corp,
        channels={way.key: way for way in used},
        retired=tuple(retired),
        intents={intent.state: intent for intent in intents},
        pruned=tuple(documents["pruned"]),
    )


def _all(adapter: TypeAdapter[list[T]], documents: list[str]) -> list[T]:
    return adapter.validate_json(f"[{','.join(documents)}]", strict=True, extra="forbid")
