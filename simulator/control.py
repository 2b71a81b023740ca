"""The control API, ``/_simulator/…``: the same things as in Python, as JSON, for other processes and languages."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import orjson
from aiohttp import web

from simulator.callbacks import CallbackSender
from simulator.clients import NotPossible
from simulator.corp import App
from simulator.faults import Fault
from simulator.forgeries import Forgery, forge
from simulator.journal import Kind
from simulator.play import Simulator
from simulator.verdict import broken_rules, truth

_Handler = Callable[[web.Request, dict[str, Any]], Awaitable[Any]]
_FILTERS = ("kind", "endpoint", "userid", "external_userid", "hint", "note")


class Control:
    """Directs one corp of a simulator over HTTP; see :func:`add_routes`."""

    def __init__(self, simulator: Simulator, sender: CallbackSender) -> None:
        self._simulator = simulator
        self._sender = sender
        self.handlers: dict[tuple[str, str], _Handler] = {
            ("GET", "corps"): self._corps,
            ("POST", "scan"): self._scan,
            ("POST", "populate"): self._populate,
            ("POST", "relations"): self._act,
            ("POST", "members"): self._put_member,
            ("POST", "apps"): self._put_app,
            ("GET", "apps"): self._apps,
            ("POST", "apps/verify"): self._verify_url,
            ("POST", "clock/advance"): self._advance,
            ("POST", "tokens/revoke"): self._revoke,
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "events"): self._emit,
            ("POST", "forgeries"): self._forge,
            ("POST", "config"): self._configure,
            ("GET", "config"): self._config,
            ("GET", "journal"): self._journal,
            ("GET", "summary"): self._summary,
            ("GET", "verify"): self._truth,
            ("GET", "rules"): self._rules,
        }

    async def _corps(self, _: web.Request, __: dict[str, Any]) -> object:
        corps = [simulator.corp for simulator in self._simulator.corps]
        return {"corps": [{"corp_id": corp.corp_id, "corp_name": corp.name} for corp in corps]}

    async def _scan(self, _: web.Request, body: dict[str, Any]) -> object:
        count = int(body.pop("count", 1))
        scans = [asdict(await self._simulator.scan(**body)) for _ in range(count)]
        return {"scans": scans}

    async def _populate(self, _: web.Request, body: dict[str, Any]) -> object:
        return {"relations": len(self._simulator.populate(**body))}

    async def _act(self, _: web.Request, body: dict[str, Any]) -> object:
        relation = self._simulator.act(body.pop("action"), body.pop("userid"), body.pop("external_userid"), **body)
        return truth(self._simulator.scenario, relation)

    async def _put_member(self, _: web.Request, body: dict[str, Any]) -> object:
        member = self._simulator.put_member(**body)
        return {f.name: _plain(getattr(member, f.name)) for f in fields(member) if f.name != "relations"}

    async def _put_app(self, _: web.Request, body: dict[str, Any]) -> object:
        """Change an app, or add one: new secrets and keys must then be given."""
        simulator = self._simulator
        if "trusted_ips" in body:
            target = simulator.corp.apps[body.get("agent_id", simulator.app.agent_id)]
            simulator.trust(body.pop("trusted_ips"), target)
        if body.get("visible") is not None:
            body["visible"] = frozenset(userid.casefold() for userid in body["visible"])
        existing = simulator.corp.apps.get(body.get("agent_id", simulator.app.agent_id))
        if existing is None:
            return _shown(simulator.put_app(App(**body)))
        simulator.change_app(existing, **body)
        return _shown(existing)

    async def _apps(self, _: web.Request, __: dict[str, Any]) -> object:
        corp = self._simulator.corp
        return {"corp_id": corp.corp_id, "corp_name": corp.name, "apps": [_shown(a) for a in corp.apps.values()]}

    async def _verify_url(self, _: web.Request, body: dict[str, Any]) -> object:
        app = self._simulator.corp.apps[body.get("agent_id", self._simulator.app.agent_id)]
        return asdict(await self._sender.verify_url(app))

    async def _forge(self, _: web.Request, body: dict[str, Any]) -> object:
        app = self._simulator.corp.apps[body.get("agent_id", self._simulator.app.agent_id)]
        query, raw = forge(self._simulator.scenario, app, Forgery(body["kind"]))
        return {"status": await self._sender.post_raw(app, query, raw)}

    async def _advance(self, _: web.Request, body: dict[str, Any]) -> object:
        return {"now": self._simulator.clock.advance(float(body["seconds"]))}

    async def _revoke(self, _: web.Request, body: dict[str, Any]) -> object:
        return {"revoked": self._simulator.revoke_tokens(body.get("errcode", 40014))}

    async def _add_faults(self, _: web.Request, body: dict[str, Any]) -> object:
        rule = self._simulator.fail(Fault(body.pop("fault")), **body)
        return asdict(rule)

    async def _clear_faults(self, _: web.Request, __: dict[str, Any]) -> object:
        self._simulator.faults.clear()
        return {}

    async def _emit(self, _: web.Request, body: dict[str, Any]) -> object:
        self._simulator.emit(body.pop("event"), body.pop("change", ""), **body)
        return {}

    async def _configure(self, _: web.Request, body: dict[str, Any]) -> object:
        self._simulator.configure(**body)
        return self._simulator.knobs()

    async def _config(self, _: web.Request, __: dict[str, Any]) -> object:
        return self._simulator.knobs()

    async def _journal(self, request: web.Request, _: dict[str, Any]) -> object:
        query = request.query
        equal: dict[str, Any] = {name: query[name] for name in _FILTERS if name in query}
        if "kind" in equal:
            equal["kind"] = Kind(equal["kind"])
        if "code" in query:
            equal["code"] = int(query["code"])
        limit = int(query.get("limit", "1000"))
        found = self._simulator.journal.find(after=int(query.get("after", "0")), limit=limit, **equal)
        following = found[-1].seq if len(found) == limit else None
        return {"entries": [entry.as_dict() for entry in found], "next_after": following}

    async def _summary(self, _: web.Request, __: dict[str, Any]) -> object:
        return self._simulator.summary()

    async def _truth(self, request: web.Request, _: dict[str, Any]) -> object:
        simulator = self._simulator
        start, limit = int(request.query.get("after", "0")), int(request.query.get("limit", "10000"))
        relations = list(simulator.corp.relations())
        page = [truth(simulator.scenario, relation) for relation in relations[start : start + limit]]
        following = start + limit if start + limit < len(relations) else None
        return {"relations": page, "total": len(relations), "next_after": following}

    async def _rules(self, _: web.Request, __: dict[str, Any]) -> object:
        return broken_rules(self._simulator.scenario)


def add_routes(app: web.Application, controls: Mapping[str, Control]) -> None:
    """Serve the control API under *app*: for the corp whose ``corp_id`` is in the query, else for the first."""
    first = next(iter(controls))

    def chosen(route: tuple[str, str]) -> _Handler:
        async def handle(request: web.Request, body: dict[str, Any]) -> object:
            corp_id = request.query.get("corp_id", first)
            if corp_id not in controls:
                raise ValueError(f"there is no corp {corp_id}")
            return await controls[corp_id].handlers[route](request, body)

        return handle

    for method, path in controls[first].handlers:
        app.router.add_route(method, f"/_simulator/{path}", _json(chosen((method, path))))


def _shown(app: App) -> dict[str, Any]:
    return {f.name: _plain(getattr(app, f.name)) for f in fields(app)}


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, frozenset) else value


def _object(raw: bytes) -> dict[str, Any]:
    body = orjson.loads(raw) if raw else {}
    if not isinstance(body, dict):
        raise TypeError("the body must be a JSON object")
    return body


def _json(handler: _Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return *handler* with JSON in and out; a wrong request gets 400 and what was wrong with it."""

    async def answer(request: web.Request) -> web.Response:
        try:
            result = await handler(request, _object(await request.read()))
        except (KeyError, TypeError, ValueError, AttributeError, NotPossible) as error:
            message = {"error": f"{type(error).__name__}: {error}"}
            return web.Response(body=orjson.dumps(message), status=400, content_type="application/json")
        return web.Response(body=orjson.dumps(result), content_type="application/json")

    return answer
