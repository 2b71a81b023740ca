"""
Publishes in batches: what is asked for in one turn of the event loop leaves in one write.

For each message aiormq's ``basic_publish`` takes a lock, a timer, a wait for the writer and places in four sets of
futures, which is most of what a publish costs. What does without it rests on inner parts of aiormq, used nowhere else:
of a channel ``delivery_tag``, ``confirmations``, ``message_id_delivery_tag``, ``write_queue``, ``number`` and
``max_content_size``. It resolves the future that ``confirmations`` has for a tag when the message came back, was
confirmed or was refused.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from uuid import uuid4

from aiormq import Channel
from aiormq.abc import ChannelFrame

from shared.amqp.frames import publish_frames


class Batches:
    """
    Publishes on a channel with confirms on which nobody else publishes, many at a time.

    What was handed over is sent, also when its caller is cancelled, so that confirms stay in step.
    """

    def __init__(self, channel: Channel, *, seconds: float, in_flight: int, on_silence: Callable[[], None]) -> None:
        """
        Args:
            seconds: Longest wait for a confirm; then *on_silence* is called, which should call :meth:`fail`.
            in_flight: Messages that may wait for their confirm; others wait for their turn.
        """
        self._channel = channel
        self._seconds = seconds
        self._in_flight = in_flight
        self._on_silence = on_silence
        self._name = uuid4().hex
        self._numbers = count(1)
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(in_flight)
        self._frames: list[bytes] = []
        self._handed_over = asyncio.Event()
        self._unconfirmed: deque[tuple[float, str, asyncio.Future[object]]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None

    async def publish(
        self,
        body: bytes,
        *,
        exchange: str,
        routing_key: str,
        headers: Mapping[str, str | int],
        expiration: float | None = None,
        persistent: bool = True,
    ) -> None:
        """
        Publish with the flag ``mandatory`` and a message id that no other has; return when the broker confirmed it.

        Raises:
            ValueError: The message cannot be encoded. Nothing was sent.
            PublishError: It came back: no queue takes it.
            DeliveryError: A queue refused it.
            BaseException: What :meth:`fail` was called with.
        """
        message_id = f"{self._name}.{next(self._numbers)}"  # by which a message that comes back is known
        frames = publish_frames(
            body,
            channel=self._channel.number,
            size=self._channel.max_content_size,
            exchange=exchange,
            routing_key=routing_key,
            message_id=message_id,
            headers=headers,
            expiration=expiration,
            persistent=persistent,
        )
        await self._slots.acquire()
        if self._failure is not None:
            self._slots.release()
            raise self._failure
        confirmed = self._expect_confirm(message_id)
        self._frames.append(frames)
        self._handed_over.set()
        await asyncio.shield(confirmed)

    async def send(self) -> None:
        """Send what is handed over, for ever. While the link takes nothing more it is kept here."""
        while True:
            await self._handed_over.wait()
            self._handed_over.clear()
            payload = b"".join(self._frames)
            self._frames.clear()
            await self._channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))

    def fail(self, error: BaseException) -> None:
        """Let all who wait, and who come later, fail with *error*."""
        self._failure = self._failure or error
        if self._alarm is not None:
            self._alarm.cancel()
        for *_, confirmed in list(self._unconfirmed):
            if not confirmed.done():
                confirmed.set_exception(error)

    async def ended(self) -> None:
        """Return when nobody waits any more."""
        for _ in range(self._in_flight):
            await self._slots.acquire()
        for _ in range(self._in_flight):
            self._slots.release()

    def _expect_confirm(self, message_id: str) -> asyncio.Future[object]:
        channel, confirmed = self._channel, self._loop.create_future()
        confirmed.add_done_callback(self._end)
        channel.delivery_tag += 1
        channel.confirmations[channel.delivery_tag] = confirmed
        channel.message_id_delivery_tag[message_id] = channel.delivery_tag
        self._unconfirmed.append((self._loop.time() + self._seconds, message_id, confirmed))
        if self._alarm is None:
            self._watch()
        return confirmed

    def _end(self, _: asyncio.Future[object]) -> None:
        self._slots.release()
        while self._unconfirmed and self._unconfirmed[0][2].done():
            del self._channel.message_id_delivery_tag[self._unconfirmed.popleft()[1]]

    def _watch(self) -> None:
        """Look again when the confirm is due that has been waited for the longest. One timer serves all."""
        due = self._unconfirmed[0][0] if self._unconfirmed else None
        self._alarm = None if due is None else self._loop.call_at(due, self._watch)
        if due is not None and due <= self._loop.time():
            self._on_silence()
