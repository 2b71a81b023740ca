"""
The two callback handlers: the URL check, and the event.

An event's way: body, :func:`read_callback`, the queue's ``publish``, 200. No WeCom API call, no business
rule. Each callback leaves one count, and one log line; refused ones, which anybody can send, share theirs. No part of a
query or a body is in either.
"""

import asyncio
from time import perf_counter
from typing import Final

import structlog
from aiohttp import hdrs, web
from structlog.typing import FilteringBoundLogger

from ingress.deadlines import Deadlines
from ingress.duplicates import Once
from ingress.metrics import IngressMetrics
from ingress.refusals import Refusals
from ingress.spool.queue import Intake
from shared.clock import Clock
from shared.domain.errors import CallbackRejected, QueueUnavailable
from shared.domain.events import Event, UnknownEvent, Unreadable, Work, lanes_of
from shared.faults import passing
from shared.queue.message import Message, message_for
from shared.summaries import Summaries
from shared.web.connections import connection_of
from shared.wecom.callback import answer_url_check, read_callback
from shared.wecom.crypto import Keyring
from shared.wecom.fields import MAX_BODY
from shared.wecom.warnings import warning_in

READ_TIMEOUT: Final = 5.0
"""Seconds for a body to arrive; WeCom itself gives up after five."""


class Callbacks:
    """Answers callbacks. A connection is trusted for one that is WeCom's, and for nothing else."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        queue: Intake,
        clock: Clock,
        metrics: IngressMetrics,
        deadlines: Deadlines,
        summaries: Summaries,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._keyring = keyring
        self._once = Once(queue)
        self._clock = clock
        self._metrics = metrics
        self._deadlines = deadlines
        self._read_timeout = read_timeout
        self._log: FilteringBoundLogger = structlog.get_logger().bind()  # bound once, not once a line
        self._refusals = Refusals(metrics, self._log)
        self._summaries = summaries

    async def check_url(self, request: web.Request) -> web.Response:
        """Answer a URL check with the bare plaintext (doc 90930)."""
        started = perf_counter()
        try:
            plaintext = answer_url_check(self._keyring, request.rel_url.raw_query_string)
        except CallbackRejected as rejection:
            return self._reject(request, rejection, started)
        connection_of(request).trust()
        self._refusals.accepted()
        self._metrics.accepted.labels("UrlCheck").inc()
        self._log.info("callback.accepted", kind="UrlCheck", seconds=self._observe(started))
        return web.Response(body=plaintext, content_type="text/plain")

    async def receive(self, request: web.Request) -> web.Response:
        """Answer an event: 200 once durable, or when nobody handles it; 503 when not durable in time."""
        started = perf_counter()
        try:
            body = await self._read(request)
            event = read_callback(self._keyring, request.rel_url.raw_query_string, body)
        except CallbackRejected as rejection:
            return self._reject(request, rejection, started)
        connection_of(request).trust()
        self._refusals.accepted()
        if isinstance(event, Work):
            return await self._accept(request, event, started)
        return self._ignore(event, started)

    def lost(self, request: web.Request) -> web.Response:
        """Answer 404 to a path that is not ours; somebody may have mistyped it in the console."""
        self._refusals.lost(request.method)
        return web.Response(status=404)

    async def _read(self, request: web.Request) -> bytes:
        """Return the body, whatever its content type says."""
        if request.headers.get(hdrs.CONTENT_ENCODING):
            raise CallbackRejected(400, "body is compressed")
        if request.content_length is not None and request.content_length > MAX_BODY:
            raise CallbackRejected(413, "body is too large")
        try:
            if request.content.is_eof():  # arrived with the headers, as most do: neither a timer nor a wait is needed
                body = request.content.read_nowait()
            else:
                async with asyncio.timeout(self._read_timeout):
                    body = await request.read()
        except TimeoutError as error:
            raise CallbackRejected(408, "body is too slow") from error
        except web.HTTPRequestEntityTooLarge as error:
            raise CallbackRejected(413, "body is too large") from error
        except (web.RequestPayloadError, ConnectionError, RuntimeError) as error:  # the last: lost before this
            raise CallbackRejected(400, "body is cut off") from error
        if len(body) > MAX_BODY:
            raise CallbackRejected(413, "body is too large")
        return body

    async def _accept(self, request: web.Request, event: Work, started: float) -> web.Response:
        """
        Publish *event* and answer.

        The publish runs to its end, whatever happens to the caller: aiohttp does not cancel handlers of lost
        connections, and a late answer is sent by :class:`Deadlines`.
        """
        message = message_for(event, now=self._clock.time())
        if self._deadlines.full:
            return self._fail(event, message, "too many publishes on their way", started)
        pending = self._deadlines.start(request, lambda: self._fail(event, message, "not durable in time", started))
        reason, first = "", True
        try:
            first = await self._once.publish(message, lanes_of(event))
            passing("ingress.published")
        except QueueUnavailable as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a bug of ours: as if the queue were away
            self._log.exception("publish.crashed", event_id=message.event_id)
            reason = f"unexpected {type(error).__name__}"
        answered = await self._deadlines.end(pending)
        if answered is not None:
            self._metrics.late.labels("failed" if reason else "durable").inc()
            self._log.warning("publish.ended_late", event_id=message.event_id, reason=reason, durable=not reason)
            return answered
        if reason:
            return self._fail(event, message, reason, started)
        kind = type(event).__name__
        self._metrics.accepted.labels(kind).inc()
        if not first:
            self._metrics.duplicates.inc()
        self._log.info(
            "callback.accepted",
            event_id=message.event_id,
            duplicate=not first,
            kind=kind,
            corp=event.corp,
            staff=event.staff,
            customer=event.customer,
            state=event.state,
            created_at=event.created_at,
            seconds=self._observe(started),
        )
        return web.Response()

    def _ignore(self, event: Event, started: float) -> web.Response:
        """Answer 200 to an event of a kind nobody handles: WeCom need not send it again."""
        kind = type(event).__name__
        self._metrics.ignored.labels(kind).inc()
        bound = self._log.bind(kind=kind, corp=event.corp, seconds=self._observe(started))
        warning = warning_in(event)
        match event:
            case Unreadable():
                bound.warning("callback.unreadable", reason=event.reason)
            case _ if warning is not None:
                self._metrics.warnings.labels(warning.name).inc()
                say = bound.warning if warning.remedy else bound.info
                say("app.warned", name=warning.name, meaning=warning.meaning, remedy=warning.remedy)
            case _:
                name = event.event if isinstance(event, UnknownEvent) else ""
                bound.info("callback.ignored", name=name, change=getattr(event, "change", ""))
        return web.Response()

    def _reject(self, request: web.Request, rejection: CallbackRejected, started: float) -> web.Response:
        """Answer with the status alone: an explanation would help only those who should not have one."""
        status, reason = rejection.status, rejection.reason
        self._metrics.rejected.labels(status, reason).inc()
        self._refusals.refused(rejection)
        # values alone: the line may be said later, and the exception's traceback holds what was read
        said = {"status": status, "reason": reason, "remote": request.remote, "seconds": self._observe(started)}
        self._summaries.note(
            (status, reason),
            lambda times: self._log.warning("callback.rejected", times=times, **said),
        )
        return web.Response(status=status)

    def _fail(self, event: Work, message: Message, reason: str, started: float) -> web.Response:
        """Answer 503: the event is not known to be durable, and WeCom has to send it again."""
        kind = type(event).__name__
        self._metrics.failed.labels(kind).inc()
        self._log.error(
            "callback.failed",
            reason=reason,
            event_id=message.event_id,
            kind=kind,
            seconds=self._observe(started),
        )
        response = web.Response(status=503)
        response.force_close()  # the connection may be busy with a late publish for long
        return response

    def _observe(self, started: float) -> float:
        seconds = perf_counter() - started
        self._metrics.seconds.observe(seconds)
        return round(seconds, 6)
