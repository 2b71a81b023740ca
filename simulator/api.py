"""
The API over HTTP: from a request to an answer, in WeCom's order of checks.

Token from the query, then address, app, body, parameters, objects, and the limits last (or first). Every error is HTTP
200 with JSON. What an API does is not decided here.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import orjson
from aiohttp import BodyPartReader, web

from simulator.calls import ApiError, Call, FilePart, Result
from simulator.config import MalformedJson, RateCheck
from simulator.connections import hang, reset, slow
from simulator.corp import App
from simulator.endpoints import OLD_PATHS, Endpoint, endpoints
from simulator.errmsgs import ERRMSGS, errmsg
from simulator.faults import Fault, FaultRule
from simulator.journal import NO_ERRCODE, Kind
from simulator.scenario import Scenario
from simulator.tokens import Tokens

_PREFIX = "/cgi-bin/"
_UPLOAD_LIMIT = 32 * 2**20
_JSON = "application/json; charset=UTF-8"
_WARNING = "ok. Warning: wrong json format. "
_ERROR_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_FOREIGN_JSON = b'{"code":0,"status":"ok","data":{}}'
_NOT_EXECUTED = frozenset({Fault.ERRCODE, Fault.STATUS, Fault.TIMEOUT_BEFORE, Fault.RESET, Fault.HTML, Fault.FOREIGN})


class Admission:
    """The limits of one call: asked once, before any effect."""

    __slots__ = ("_address", "_done", "_endpoint", "_level", "_scenario", "conflict", "debug")

    def __init__(self, scenario: Scenario, endpoint: str, address: str, level: int) -> None:
        self._scenario = scenario
        self._endpoint = endpoint
        self._address = address
        self._level = level
        self._done = False
        self.conflict = 0
        self.debug = False

    def __call__(self) -> None:
        """Count the call, or raise ApiError 45009, 45033, 45035 or 41096."""
        if self._done:
            return
        self._done = True
        scenario = self._scenario
        now, config = scenario.clock.time(), scenario.config
        if self.debug and not scenario.limits.admits_debug(self._endpoint, now, config):
            raise ApiError(45009)
        if not scenario.limits.admits(self._endpoint, self._address, now, config):
            raise ApiError(45009)
        if self._level > config.in_flight and self._endpoint.startswith("externalcontact/"):
            raise ApiError(45033)
        if self.conflict:
            raise ApiError(self.conflict)


@dataclass(slots=True, kw_only=True)
class Arrival:
    """A request as it came in; ``body`` is None when it is no JSON, ``endpoint`` None for gettoken."""

    request: web.Request
    name: str
    address: str
    body: object
    endpoint: Endpoint | None
    rule: FaultRule | None
    started: float


class CgiBin:
    """Serves ``/cgi-bin/`` to the clients of one corp; see :func:`add_routes`."""

    def __init__(self, scenario: Scenario, tokens: Tokens) -> None:
        self._scenario = scenario
        self._tokens = tokens
        self._endpoints = endpoints()

    def is_for(self, request: web.Request) -> bool:
        """Tell whether *request* is to this corp: asks for a token of it, or has one that it issued."""
        if request.path == f"{_PREFIX}gettoken":
            return request.query.get("corpid") == self._scenario.corp.corp_id
        return self._tokens.knows(request.query.get("access_token", ""))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Serve one call: wait its time, execute, journal, and answer or fail to."""
        scenario = self._scenario
        if scenario.config.https_redirect:
            return web.Response(status=301, headers={"Location": f"https://{request.host}{request.path_qs}"})
        path = request.path[len(_PREFIX) :]
        old = OLD_PATHS.get(path)
        name = old.now if old else sys.intern(path)  # the journal keeps it, a million times
        endpoint = self._endpoints.get(name)
        uploads = endpoint is not None and endpoint.uploads
        body = await _form(request) if uploads else _parse(await request.read()) if request.body_exists else {}
        arrival = Arrival(
            request=request,
            name=name,
            address=self._address(request),
            body=body,
            endpoint=endpoint,
            rule=scenario.faults.strike(name, _member_of(request.query, body)),
            started=scenario.clock.time(),
        )
        result, failure = await self._attend(arrival)
        hint = scenario.ids.hint(arrival.started)
        self._record(arrival, failure, hint)
        payload = self._payload(arrival, result, failure, hint)
        if old:
            payload = {old.renamed.get(field, field): value for field, value in payload.items()}
        return await self._deliver(arrival, payload)

    def _address(self, request: web.Request) -> str:
        if self._scenario.config.trust_forwarded_for and "X-Forwarded-For" in request.headers:
            return request.headers["X-Forwarded-For"]
        return request.remote or ""

    async def _attend(self, arrival: Arrival) -> tuple[Result, ApiError | None]:
        """Execute the call after its latency, in flight all the while."""
        scenario, config, rule = self._scenario, self._scenario.config, arrival.rule
        level = scenario.limits.enter(arrival.name)
        admission = Admission(scenario, arrival.name, arrival.address, level)
        subject = self._occupy(arrival, admission)
        try:
            seconds = config.latency.get(arrival.name, config.default_latency) * config.latency_scale
            if seconds > 0:
                await asyncio.sleep(seconds)
            if rule is not None and rule.fault in _NOT_EXECUTED:
                return {}, ApiError(rule.code if rule.fault is Fault.ERRCODE else NO_ERRCODE)
            if rule is not None and rule.fault is Fault.NO_EFFECT:
                return {}, None
            return self._execute(arrival, admission), None
        except ApiError as failure:
            return {}, failure
        finally:
            scenario.limits.leave(arrival.name)
            if subject is not None:
                scenario.limits.free(subject)

    def _occupy(self, arrival: Arrival, admission: Admission) -> tuple[str, ...] | None:
        """Take what the call is about; when another call has it, this one is told so later."""
        endpoint, body = arrival.endpoint, arrival.body
        if endpoint is None or endpoint.subject is None or not isinstance(body, dict):
            return None
        subject = endpoint.subject(body)
        if self._scenario.limits.occupy(subject):
            return subject
        welcome = subject[0] == "welcome"
        admission.conflict = 41096 if welcome else self._scenario.config.conflict_errcode
        return None

    def _execute(self, arrival: Arrival, admission: Admission) -> Result:
        """Do the checks in WeCom's order, then what the API does."""
        query, config, endpoint = arrival.request.query, self._scenario.config, arrival.endpoint
        if endpoint is None:
            return self._tokens.get(query, arrival.address)
        app = self._tokens.check(query.get("access_token"))
        admission.debug = query.get("debug") == "1"
        if config.rate_check is RateCheck.FIRST:
            admission()
        self._check_app(app, arrival.address, endpoint)
        fields = _fields(arrival, endpoint, refuse=config.malformed_json is MalformedJson.REFUSE)
        call = Call(scenario=self._scenario, app=app, query=query, body=fields, admit=admission)
        result = endpoint.serve(call)
        admission()
        return {**result, "errmsg": _WARNING} if call.warned else result

    def _check_app(self, app: App, address: str, endpoint: Endpoint) -> None:
        if not app.trusts(address, self._scenario.clock.time()):
            raise ApiError(60020)
        if not app.enabled:
            raise ApiError(50003)
        if app.refusal:
            raise ApiError(app.refusal)
        if endpoint.customer_contact and not app.allowed:
            raise ApiError(48002)

    def _record(self, arrival: Arrival, failure: ApiError | None, hint: str) -> None:
        body = arrival.body
        fields = body if isinstance(body, dict) and body else arrival.request.query
        self._scenario.journal.append(
            Kind.CALL,
            arrival.started,
            self._scenario.clock.time(),
            arrival.name,
            code=failure.errcode if failure else 0,
            hint=hint,
            userid=str(fields.get("userid", "")),
            external_userid=str(fields.get("external_userid", "")),
            note=arrival.rule.fault.value if arrival.rule else "",
        )

    def _payload(self, arrival: Arrival, result: Result, failure: ApiError | None, hint: str) -> dict[str, Any]:
        if failure is None:
            text = "ok" if arrival.body is not None else _WARNING
            payload = {"errcode": 0, "errmsg": text, **result}
        else:
            text = errmsg(failure.errcode, hint, arrival.address, failure.detail)
            if failure.bare:
                text = ERRMSGS[failure.errcode]
            empty = arrival.endpoint.empty if arrival.endpoint else {}
            payload = {"errcode": failure.errcode, "errmsg": text, **empty}
        if self._scenario.config.unknown_fields:
            payload["a_field_nobody_knows"] = {"since": "tomorrow", "list": [1]}
        return payload

    async def _deliver(self, arrival: Arrival, payload: dict[str, Any]) -> web.StreamResponse:
        request, rule = arrival.request, arrival.rule
        body = orjson.dumps(payload)
        now = self._scenario.clock.time() + (rule.seconds if rule and rule.fault is Fault.DATE else 0.0)
        headers = {
            "Content-Type": _JSON,
            "Date": formatdate(now, usegmt=True),
            "error-code": str(payload["errcode"]),
            "error-msg": payload["errmsg"].strip(),
        }
        if rule is None:
            return web.Response(body=body, headers=headers)
        match rule.fault:
            case Fault.STATUS:
                return web.Response(status=rule.code)
            case Fault.HTML:
                return web.Response(body=_ERROR_PAGE, content_type="text/html")
            case Fault.FOREIGN:
                return web.Response(body=_FOREIGN_JSON, content_type="application/json")
            case Fault.TIMEOUT_BEFORE | Fault.TIMEOUT_AFTER:
                return await hang(request, rule.seconds, self._scenario.world.stopping)
            case Fault.SLOW_BODY:
                return await slow(request, body, headers, rule.seconds)
            case Fault.RESET | Fault.RESET_AFTER:
                return reset(request)
            case Fault.ERRCODE | Fault.NO_EFFECT | Fault.DATE:
                return web.Response(body=body, headers=headers)


def add_routes(app: web.Application, corps: Sequence[CgiBin]) -> None:
    """Serve every API under *app*, whatever the method. What is for none of *corps* is refused by the first."""

    async def answer(request: web.Request) -> web.StreamResponse:
        corp = next((corp for corp in corps if corp.is_for(request)), corps[0])
        return await corp.answer(request)

    for name in ("gettoken", *endpoints(), *OLD_PATHS):
        app.router.add_route("*", f"{_PREFIX}{name}", answer)


def _member_of(query: Mapping[str, str], body: object) -> str:
    """Return the one member that a call is for; empty when it is for none, or for several."""
    userid = body.get("userid") if isinstance(body, dict) else None
    return userid if isinstance(userid, str) else query.get("userid", "")


def _parse(raw: bytes) -> object:
    """Return the JSON in *raw*, ``{}`` when there is nothing, None when it is no JSON."""
    if not raw:
        return {}
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


async def _form(request: web.Request) -> object:
    """Return the files of a form by their fields, None when the body is none."""
    if request.content_type != "multipart/form-data":
        return None
    files: dict[str, FilePart] = {}
    async for part in await request.clone(client_max_size=_UPLOAD_LIMIT).multipart():
        if isinstance(part, BodyPartReader) and part.name and part.filename:
            disposition = part.headers.get("Content-Disposition", "")
            files[part.name] = FilePart(
                name=part.filename, content=bytes(await part.read()), encoded_name="filename*" in disposition
            )
    return files


def _fields(arrival: Arrival, endpoint: Endpoint, *, refuse: bool) -> dict[str, Any]:
    """Return the fields of the body; those of one that is no JSON are ignored, or all of it refused."""
    if not endpoint.posts:
        return {}
    body = arrival.body
    if arrival.request.method != "POST" or (body is None and refuse):
        raise ApiError(40058)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise ApiError(40058)
    return body
