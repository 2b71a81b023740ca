"""
The two callback handlers: the URL check, and the event.

An event's way: body, :func:`read_callback`, :meth:`Publisher.publish`, 200. No WeCom API call, no business
rule. Each callback leaves one log line and one count, and no part of a query or a body in either.
"""

import asyncio
from time import perf_counter
from typing import Final

import structlog
from aiohttp import hdrs, web

from ingress.metrics import IngressMetrics
from ingress.publishing import Publisher
from shared.clock import Clock
from shared.domain.errors import CallbackRejected, QueueUnavailable
from shared.domain.events import Event, Work, lanes_of
from shared.queue.message import message_for
from shared.wecom.callback import answer_url_check, read_callback
from shared.wecom.crypto import Keyring
from shared.wecom.fields import MAX_BODY

READ_TIMEOUT: Final = 5.0
"""Seconds for a body to arrive; WeCom itself gives up after five."""

log = structlog.get_logger()


class Callbacks:
    """
    Answers callbacks.

    Attributes:
        heard: Connections on which a callback arrived; see :mod:`ingress.connections`.
    """

    def __init__(
        self,
        *,
        keyring: Keyring,
        publisher: Publisher,
        clock: Clock,
        metrics: IngressMetrics,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._keyring = keyring
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._read_timeout = read_timeout
        self.heard: set[web.RequestHandler] = set()

    async def check_url(self, request: web.Request) -> web.Response:
        """Answer a URL check with the bare plaintext (doc 90930)."""
        started = perf_counter()
        self.heard.add(request.protocol)
        try:
            plaintext = answer_url_check(self._keyring, request.rel_url.raw_query_string)
        except CallbackRejected as rejection:
            return self._reject(request, rejection, started)
        self._metrics.accepted.labels("UrlCheck").inc()
        log.info("callback.accepted", kind="UrlCheck", seconds=self._observe(started))
        return web.Response(body=plaintext, content_type="text/plain")

    async def receive(self, request: web.Request) -> web.Response:
        """Answer an event: 200 once durable, or when nobody handles it; 503 when not durable in time."""
        started = perf_counter()
        self.heard.add(request.protocol)
        try:
            body = await self._read(request)
            event = read_callback(self._keyring, request.rel_url.raw_query_string, body)
        except CallbackRejected as rejection:
            return self._reject(request, rejection, started)
        if not isinstance(event, Work):
            return self._ignore(event, started)
        message = message_for(event, now=self._clock.time())
        try:
            await self._publisher.publish(message, lanes_of(event))
        except QueueUnavailable as failure:
            self._metrics.failed.inc()
            log.error(  # noqa: TRY400 - the reason says it; a traceback per callback would bury it
                "callback.failed",
                reason=str(failure),
                event_id=message.event_id,
                kind=type(event).__name__,
                seconds=self._observe(started),
            )
            return web.Response(status=503)
        self._metrics.accepted.labels(type(event).__name__).inc()
        log.info(
            "callback.accepted",
            event_id=message.event_id,
            kind=type(event).__name__,
            corp=event.corp,
            staff=event.staff,
            customer=event.customer,
            state=event.state,
            created_at=event.created_at,
            seconds=self._observe(started),
        )
        return web.Response()

    async def _read(self, request: web.Request) -> bytes:
        """Return the body, whatever its content type says."""
        if request.headers.get(hdrs.CONTENT_ENCODING):
            raise CallbackRejected(400, "body is compressed")
        if request.content_length is not None and request.content_length > MAX_BODY:
            raise CallbackRejected(413, "body is too large")
        try:
            async with asyncio.timeout(self._read_timeout):
                return await request.read()
        except TimeoutError as error:
            raise CallbackRejected(408, "body is too slow") from error
        except web.HTTPRequestEntityTooLarge as error:
            raise CallbackRejected(413, "body is too large") from error
        except (web.RequestPayloadError, ConnectionError) as error:
            raise CallbackRejected(400, "body is cut off") from error

    def _ignore(self, event: Event, started: float) -> web.Response:
        kind = type(event).__name__
        self._metrics.ignored.labels(kind).inc()
        names = {name: getattr(event, name) for name in ("event", "change") if hasattr(event, name)}
        log.info("callback.ignored", kind=kind, **names, corp=event.corp, seconds=self._observe(started))
        return web.Response()

    def _reject(self, request: web.Request, rejection: CallbackRejected, started: float) -> web.Response:
        """Answer with the status alone: an explanation would help only those who should not have one."""
        self._metrics.rejected.labels(rejection.status, rejection.reason).inc()
        log.warning(
            "callback.rejected",
            status=rejection.status,
            reason=rejection.reason,
            remote=request.remote,
            seconds=self._observe(started),
        )
        response = web.Response(status=rejection.status)
        if not request.content.is_eof():
            response.force_close()
        return response

    def _observe(self, started: float) -> float:
        seconds = perf_counter() - started
        self._metrics.seconds.observe(seconds)
        return round(seconds, 6)
