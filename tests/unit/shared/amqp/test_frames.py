"""Frames of a publish, read by somebody else's code."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import unmarshal
from pamqp.header import ContentHeader

from shared.amqp.frames import publish_frames

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SHORT = TEXT.filter(lambda text: 0 < len(text.encode()) <= 128)
INTEGERS = st.integers(-(2**63), 2**63 - 1)


def frames_of(raw: bytes) -> Iterator[tuple[int, Any]]:
    """Yield channel and frame of each that *raw* has."""
    while raw:
        used, channel, frame = unmarshal(raw)
        yield channel, frame
        raw = raw[used:]


def made(body: bytes = b"", **given: Any) -> bytes:
    usual: dict[str, Any] = {
        "channel": 3,
        "size": 100,
        "exchange": "jobs",
        "routing_key": "live",
        "message_id": "m1",
        "headers": {},
        "expiration": None,
        "persistent": True,
    }
    return publish_frames(body, **(usual | given))


@given(
    body=st.binary(max_size=500),
    channel=st.integers(1, 65535),
    size=st.integers(1, 200),
    routing_key=TEXT.filter(lambda text: len(text.encode()) <= 255),
    headers=st.dictionaries(SHORT, TEXT | INTEGERS, max_size=8),
    expiration=st.none() | st.floats(0, 1e6),
    persistent=st.booleans(),
)
def test_pamqp_reads_what_was_meant(
    body: bytes,
    channel: int,
    size: int,
    routing_key: str,
    headers: dict[str, str | int],
    expiration: float | None,
    persistent: bool,
) -> None:
    """Every part of a message arrives, in as many body frames as it takes."""
    raw = made(
        body,
        channel=channel,
        size=size,
        routing_key=routing_key,
        headers=headers,
        expiration=expiration,
        persistent=persistent,
    )
    channels, [method, header, *parts] = zip(*frames_of(raw), strict=True)
    assert set(channels) == {channel}
    assert isinstance(method, Basic.Publish)
    assert (method.exchange, method.routing_key, method.mandatory) == ("jobs", routing_key, True)
    assert isinstance(header, ContentHeader)
    properties = header.properties
    assert header.body_size == len(body)
    assert (properties.headers or {}) == headers
    assert properties.message_id == "m1"
    assert properties.delivery_mode == (2 if persistent else 1)
    assert properties.expiration == (None if expiration is None else str(round(expiration * 1000)))
    assert all(isinstance(part, ContentBody) and 0 < len(part.value) <= size for part in parts)
    assert b"".join(part.value for part in parts) == body


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"routing_key": "键" * 86}, ValueError),
        ({"headers": {"键" * 86: ""}}, ValueError),
        ({"headers": {"a": None}}, TypeError),
        ({"headers": {"a": 1.5}}, TypeError),
        ({"headers": {"a": 2**63}}, struct.error),
        ({"headers": {"a": "\ud800"}}, ValueError),
    ],
)
def test_what_cannot_be_encoded_is_refused(wrong: dict[str, Any], error: type[Exception]) -> None:
    """Nothing of it is sent."""
    with pytest.raises(error):
        made(**wrong)


def test_a_frame_begins_where_the_last_one_ended() -> None:
    """The broker closes the connection of whoever counts wrongly."""
    assert made(b"x" * 250)[-1:] == b"\xce"
    assert len(made(b"x" * 250)) - len(made(b"")) == 250 + 3 * 8
