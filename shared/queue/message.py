"""
The message a queue carries: its wire form, version 1, and the notes about past attempts that travel beside it.

The body holds personal data and is never logged or put in a header; the notes hold none.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import orjson

from shared.domain.errors import PoisonMessage
from shared.domain.events import (
    ChatArchiveApproved,
    CustomerAdded,
    CustomerEdited,
    CustomerHalfAdded,
    CustomerLost,
    LostBy,
    MarkWritten,
    RelationFound,
    Replaces,
    Work,
    event_id,
)
from shared.domain.ids import EventId

VERSION: Final = 1

_KINDS: Final[dict[str, type[Work]]] = {
    "customer_added": CustomerAdded,
    "customer_half_added": CustomerHalfAdded,
    "customer_edited": CustomerEdited,
    "customer_lost": CustomerLost,
    "chat_archive_approved": ChatArchiveApproved,
    "relation_found": RelationFound,
    "mark_written": MarkWritten,
}
_NUMBERS: Final = {"created_at", "written_at"}
_CHOICES: Final[dict[str, type[StrEnum]]] = {"replaces": Replaces, "by": LostBy}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """
    What the last attempt failed with.

    Attributes:
        reason: A constant or an error's meaning, free of personal data.
        waits_for: What the work waits for by the hour; "" when only for a better moment. Attempts are counted anew when
            that changes: a customer who waited half a day for a person is not given up at the next busy answer.
    """

    reason: str
    endpoint: str = ""
    errcode: int | None = None
    hint: str = ""
    waits_for: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """
    One piece of work on the queue.

    Attributes:
        event_id: The same for all copies of one event.
        body: The encoded work; see :func:`encode` and :func:`decode`.
        first_seen: Unix seconds when it was accepted.
        attempts: Attempts that were made and counted.
        failure: What the last one failed with.
    """

    event_id: EventId
    body: bytes
    first_seen: float
    attempts: int = 0
    failure: Failure | None = None

    def after(self, failure: Failure, *, counted: bool) -> "Message":
        """Return the message as it goes on after a failed attempt."""
        if not counted:
            waits_for = self.failure.waits_for if self.failure else failure.waits_for
            return replace(self, failure=replace(failure, waits_for=waits_for))
        return replace(self, attempts=self.attempts_at(failure) + 1, failure=failure)

    def attempts_at(self, failure: Failure) -> int:
        """Return how many attempts failed before for what *failure* waits for."""
        return self.attempts if self.failure is None or self.failure.waits_for == failure.waits_for else 0


def message_for(work: Work, *, now: float) -> Message:
    """Return a fresh message for *work*, accepted at *now* (Unix seconds)."""
    return Message(event_id=event_id(work), body=encode(work), first_seen=now)


def encode(work: Work) -> bytes:
    """Return the wire form of *work*: JSON with its version and kind."""
    # by hand, since asdict copies each field deeply: a tenth of what accepting an event costs
    fields = {name: getattr(work, name) for name in work.__slots__}
    return orjson.dumps({"v": VERSION, "kind": _NAMES[type(work)], **fields})


def decode(body: bytes) -> Work:
    """
    Return the work in *body*.

    Unknown fields are ignored, so that an older worker reads a newer ingress.

    Raises:
        PoisonMessage: It is not JSON, of an unknown version or kind, or a field is missing or of the wrong type.
    """
    try:
        fields: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise PoisonMessage("body is not JSON") from error
    if not isinstance(fields, dict):
        raise PoisonMessage("body is not a JSON object")
    if fields.get("v") != VERSION:
        raise PoisonMessage(f"message version is not {VERSION}")
    name = fields.get("kind")
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise PoisonMessage("unknown kind of work")
    known = {name: fields[name] for name in kind.__slots__ if name in fields}
    for name, value in known.items():
        if not isinstance(value, int if name in _NUMBERS else str) or isinstance(value, bool):
            raise PoisonMessage(f"field {name} has the wrong type")
    for name in known.keys() & _CHOICES.keys():
        try:
            known[name] = _CHOICES[name](known[name])
        except ValueError as error:
            raise PoisonMessage(f"field {name} has an unknown value") from error
    try:
        return kind(**known)
    except TypeError as error:
        raise PoisonMessage("a required field is missing") from error
