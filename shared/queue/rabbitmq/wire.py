"""
A message and its notes as AMQP carries them: the body untouched, the notes in headers of our own.

RabbitMQ's own notes (``x-death``) end here: they are read and never sent on. What others published may lack our
headers or hold nonsense in them; it still becomes a message.
"""

from collections.abc import Mapping
from hashlib import sha256
from math import isfinite
from typing import Any, Final

from aiormq.abc import DeliveredMessage

from shared.domain.events import Lane
from shared.domain.ids import EventId
from shared.queue.message import Failure, Message
from shared.queue.port import Parked

LANE: Final = "qudao-lane"
PARKED_AT: Final = "qudao-parked-at"


def headers_of(message: Message) -> dict[str, str | int]:
    """Return the headers *message* travels with; none holds personal data."""
    headers: dict[str, str | int] = {
        "qudao-event": message.event_id,
        "qudao-first-seen": repr(message.first_seen),  # pamqp would send a single-precision number
        "qudao-attempts": message.attempts,
    }
    return headers if message.failure is None else {**headers, **_failure_headers("qudao", message.failure)}


def parked_headers(message: Message, failure: Failure, lane: Lane, now: float) -> dict[str, str | int]:
    """Return the headers of *message* parked at *now* with *failure* as the reason."""
    return {**headers_of(message), **_failure_headers("qudao-parked", failure), LANE: lane, PARKED_AT: repr(now)}


def headers_in(delivered: DeliveredMessage) -> Mapping[str, Any]:
    """Return what headers the message has."""
    return delivered.header.properties.headers or {}


def message_of(delivered: DeliveredMessage, *, now: float) -> Message:
    """Return the message in *delivered*; *now* is when it was first seen, unless it says so itself."""
    headers = headers_in(delivered)
    attempts = headers.get("qudao-attempts")
    return Message(
        event_id=EventId(_text(headers, "qudao-event") or sha256(delivered.body).hexdigest()[:32]),
        body=delivered.body,
        first_seen=_number(headers, "qudao-first-seen", now),
        attempts=attempts if isinstance(attempts, int) and attempts > 0 else 0,
        failure=_failure("qudao", headers),
    )


def parked_of(delivered: DeliveredMessage, *, now: float) -> Parked:
    """Return the parked message in *delivered*. Its id is the one the publisher gave this copy of it."""
    headers = headers_in(delivered)
    message = message_of(delivered, now=now)
    return Parked(
        id=delivered.header.properties.message_id or message.event_id,
        message=message,
        lane=lane_in(headers) or Lane.BULK,
        failure=_failure("qudao-parked", headers) or Failure(reason="parked by somebody else"),
        parked_at=_number(headers, PARKED_AT, now),
    )


def lane_in(headers: Mapping[str, Any]) -> Lane | None:
    """Return the lane the headers name."""
    return next((lane for lane in Lane if lane == headers.get(LANE)), None)


def died_in(headers: Mapping[str, Any]) -> str:
    """Return the queue that dead-lettered the message last, as the broker noted it."""
    deaths = headers.get("x-death")
    last = deaths[0] if isinstance(deaths, list) and deaths else None
    return str(last.get("queue", "")) if isinstance(last, dict) else ""


def deliveries_before(headers: Mapping[str, Any]) -> int:
    """Return how often a quorum queue delivered the message before without a settlement."""
    count = headers.get("x-delivery-count")
    return count if isinstance(count, int) else 0


def _failure_headers(prefix: str, failure: Failure) -> dict[str, str | int]:
    headers: dict[str, str | int] = {
        f"{prefix}-reason": failure.reason,
        f"{prefix}-endpoint": failure.endpoint,
        f"{prefix}-hint": failure.hint,
        f"{prefix}-waits-for": failure.waits_for,
    }
    return headers if failure.errcode is None else {**headers, f"{prefix}-errcode": failure.errcode}


def _failure(prefix: str, headers: Mapping[str, Any]) -> Failure | None:
    if f"{prefix}-reason" not in headers:
        return None
    errcode = headers.get(f"{prefix}-errcode")
    return Failure(
        reason=_text(headers, f"{prefix}-reason"),
        endpoint=_text(headers, f"{prefix}-endpoint"),
        errcode=errcode if isinstance(errcode, int) else None,
        hint=_text(headers, f"{prefix}-hint"),
        waits_for=_text(headers, f"{prefix}-waits-for"),
    )


def _text(headers: Mapping[str, Any], name: str) -> str:
    value = headers.get(name)
    return value if isinstance(value, str) else ""


def _number(headers: Mapping[str, Any], name: str, default: float) -> float:
    try:
        value = float(headers.get(name, default))
    except (TypeError, ValueError):
        return default
    return value if isfinite(value) else default
