"""
One HTTP exchange with WeCom, translated: a JSON object comes back, or a WeComError that carries no URL.

aiohttp puts full URLs, and so the access token and the secret, into its exceptions. None of them leaves this
module, not even as a cause: only the name of its type does.
"""

import asyncio
import io
import json
import mimetypes
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import orjson

from shared.clock import HeardClock
from shared.domain.errors import PermanentError, TransientError
from shared.wecom.errcodes import NOT_WECOMS

Answer = dict[str, object]
"""An answer as it came: whoever reads it checks each field."""

_PROXY_REFUSES: Final = "the proxy answered {status}. Check QUDAO_API_PROXY, its user and password"
_REDIRECTED: Final = "HTTP {status}: redirected, by something in between or to https. Check QUDAO_API_URL"
_STATUS: Final = {
    404: "HTTP 404: no such API here, or not WeCom. Check QUDAO_API_URL",
    407: _PROXY_REFUSES.format(status=407),
    **{status: _REDIRECTED.format(status=status) for status in range(300, 400)},
}
_UPLOAD_BYTES_A_SECOND: Final = 250_000
"""A slow line's; an upload may take that much longer than other calls."""

MOST_BYTES: Final = 16 * 2**20
"""Bytes of the largest answer that is read, unpacked. A page of WeCom's has some hundred kilobytes."""

_ENDPOINT: Final = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file as it is sent; its *name* is what customers are shown."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    A call, without its token: a GET with ``params``, or a POST when there is a ``body`` or a file to ``upload``.

    ``staff`` is the member it acts for, where there is just one: WeCom can block a single member. The contents, names
    and remarks and welcome codes, are never part of the repr.
    """

    endpoint: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    upload: Upload | None = None
    staff: str = ""

    def __post_init__(self) -> None:
        """Refuse anything that is no path below ``/cgi-bin/``, so that a token never goes elsewhere."""
        if not _ENDPOINT.fullmatch(self.endpoint):
            raise PermanentError("?", meaning="not the name of an API, such as externalcontact/get")

    def at(self, cursor: str) -> "Request":
        """Return the request for the page at *cursor*; for the first page *cursor* is empty and not sent."""
        if not cursor:
            return self
        if self.body is None:
            return replace(self, params={**self.params, "cursor": cursor})
        return replace(self, body={**self.body, "cursor": cursor})

    def __repr__(self) -> str:
        return f"Request({self.endpoint})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """What came back, and when on the steady clock its head did."""

    status: int
    date: str
    asked: float
    answered: float
    raw: bytes = field(repr=False)


class Transport:
    """
    Exchanges requests for answers with the WeCom at *base_url*, each within *timeout* seconds.

    What time it is at WeCom, by the answers, is told to *clock*.
    """

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, *, timeout: float = 10.0, clock: HeardClock | None = None
    ) -> None:
        self._session = session
        self._base = f"{base_url.rstrip('/')}/cgi-bin"
        self._timeout = timeout
        self._clock = clock

    async def exchange(self, request: Request, secrets: Mapping[str, str]) -> Answer:
        """
        Return WeCom's answer to *request*, whatever its errcode; *secrets* go into the query as well.

        Raises:
            TransientError: No answer of WeCom's came, which is JSON with status 200; whether it acted is unknown.
        """
        reply = await self._fetch(request, secrets)
        if reply.status != 200:
            said = _STATUS.get(reply.status, f"HTTP {reply.status}: {NOT_WECOMS}")
            raise TransientError(request.endpoint, meaning=said)
        answer = read_answer(request.endpoint, reply.raw)
        if self._clock is not None and "errcode" in answer and (told := _time_of(reply.date)) is not None:
            self._clock.heard(told, reply.asked, reply.answered)
        return answer

    async def _fetch(self, request: Request, secrets: Mapping[str, str]) -> _Reply:
        data = _payload(request)
        timeout = self._timeout + (len(request.upload.content) / _UPLOAD_BYTES_A_SECOND if request.upload else 0.0)
        asked = time.monotonic()
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.request(
                    "GET" if data is None else "POST",
                    f"{self._base}/{request.endpoint}",
                    params={**request.params, **secrets},
                    data=data,
                    headers={"Content-Type": "application/json"} if isinstance(data, bytes) else None,
                    allow_redirects=False,
                ) as response,
            ):
                answered = time.monotonic()
                return _Reply(
                    status=response.status,
                    date=response.headers.get("Date", ""),
                    asked=asked,
                    answered=answered,
                    raw=await _whole(response),
                )
        except _TooLarge:
            reason = f"an answer larger than {MOST_BYTES // 2**20} MB: {NOT_WECOMS}"
        except TimeoutError:
            reason = f"no answer within {round(timeout, 1):g} s"
        except aiohttp.ClientHttpProxyError as error:
            reason = _PROXY_REFUSES.format(status=error.status)
        except aiohttp.ClientProxyConnectionError:
            reason = "the proxy cannot be reached. Check QUDAO_API_PROXY"
        except (aiohttp.ClientError, OSError) as error:
            reason = f"no answer: {type(error).__name__}"
        # Raised out here, so that the error above is neither cause nor context: it quotes the URL.
        raise TransientError(request.endpoint, meaning=reason)


def _time_of(date: str) -> float | None:
    """Return the time that a Date header tells, in Unix seconds; None when it tells none."""
    try:
        found = parsedate_to_datetime(date)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class _TooLarge(Exception):
    """An answer is larger than any of WeCom's."""


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, unpacked; whatever its head says of its length, no more than is allowed is ever held."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            raise _TooLarge
    return bytes(body)


def _payload(request: Request) -> bytes | aiohttp.MultipartWriter | None:
    if request.upload is None:
        return None if request.body is None else orjson.dumps(request.body)
    form = aiohttp.MultipartWriter("form-data")
    kind, _ = mimetypes.guess_type(request.upload.name)
    part = aiohttp.BytesIOPayload(io.BytesIO(request.upload.content), content_type=kind or "application/octet-stream")
    # As it is, and not by RFC 5987: WeCom answers 41005 to a `filename*`, and shows an encoded name to the customer.
    part.set_content_disposition(
        "form-data",
        quote_fields=False,
        name="media",
        filename=request.upload.name,
        filelength=str(len(request.upload.content)),
    )
    form.append_payload(part)
    return form


def read_answer(endpoint: str, raw: bytes) -> Answer:
    """
    Return the JSON object in *raw*.

    Nicknames can bring control characters, broken UTF-8 and halves of emoji into an otherwise good answer.
    Those are read or replaced rather than refused, or such a customer could never be marked.

    Raises:
        TransientError: *raw* is no JSON object.
    """
    answer = _parse(raw)
    if not isinstance(answer, dict):
        raise TransientError(endpoint, meaning=f"unreadable answer: {NOT_WECOMS}")
    return answer


def _parse(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        lenient = json.loads(raw.decode("utf-8-sig", "replace"), strict=False)
        return json.loads(json.dumps(lenient, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
