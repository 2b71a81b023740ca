"""Contact ways (「联系我」, doc 92228): the QR codes that customers scan."""

from typing import Any

from simulator.calls import ApiError, Call, Result, invalid
from simulator.corp import ContactWay, Member
from simulator.qr_images import image_url, new_image
from simulator.scenario import Scenario

_TEXT_LIMIT = 30
_DAY = 86_400
_FORTNIGHT = 14 * _DAY
_LISTED_SINCE = 1_625_846_400  # 2021-07-10 in China
_LIST_WINDOW = 90 * _DAY
_LIST_LIMIT = 1000
_STYLES = {1: 3, 2: 2}
_CHANGEABLE = (
    "remark",
    "skip_verify",
    "style",
    "state",
    "user",
    "party",
    "expires_in",
    "chat_expires_in",
    "unionid",
    "conclusions",
    "mark_source",
)


def add(call: Call) -> Result:
    """Make a contact way. A repeat makes a second one."""
    kind = _choice(call, "type", 41037, 41039)
    scene = _choice(call, "scene", 41038, 41040)
    is_temp = call.boolean("is_temp", default=False)
    if is_temp and kind != 1:
        raise invalid("is_temp", "only for type 1")
    fields: dict[str, Any] = {"type": kind, "scene": scene, "is_temp": is_temp, "skip_verify": True}
    fields |= {"remark": "", "state": "", "user": [], "party": []}
    if is_temp:
        fields |= {"expires_in": 7 * _DAY, "chat_expires_in": _DAY}
    fields |= _changes(call, fields)
    _check_members(call, fields)
    _check_room(call, is_temp=is_temp)
    call.admit()
    way = ContactWay(
        config_id=call.scenario.ids.config_id(),
        agent_id=call.app.agent_id,
        created_at=int(call.now),
        fields=fields,
        image=new_image(call.scenario) if scene == 2 else "",
        is_exclusive=call.boolean("is_exclusive", default=False),
    )
    call.corp.ways[way.config_id] = way
    return {"config_id": way.config_id, **_qr_code(call.scenario, way)}


def _qr_code(scenario: Scenario, way: ContactWay) -> Result:
    """Return the field that only a QR code's way has."""
    return {"qr_code": image_url(scenario, way.image)} if way.image else {}


def _choice(call: Call, name: str, missing: int, bad: int) -> int:
    value = call.number(name)
    if value is None:
        raise ApiError(missing)
    if type(value) is not int or value not in (1, 2):
        raise ApiError(bad)
    return value


def _changes(call: Call, way: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the call, each checked against the rules for a way of this type and scene."""
    changes: dict[str, Any] = {}
    for name in _CHANGEABLE:
        if call.body.get(name) is not None and not _means_nothing(call, way, name):
            changes[name] = _field(call, way, name)
    return changes


def _means_nothing(call: Call, way: dict[str, Any], name: str) -> bool:
    """Tell whether a field is one that many clients send without need, and that the live service passes over."""
    if call.documented:
        return False
    if name == "style":
        return way["scene"] != 1 and call.number(name) in (0, 1)
    return name in ("expires_in", "chat_expires_in") and not way["is_temp"] and call.number(name) == 0


def _field(call: Call, way: dict[str, Any], name: str) -> object:
    match name:
        case "remark" | "state":
            return _short_text(call, name)
        case "skip_verify" | "mark_source":
            return call.boolean(name, default=True)
        case "style":
            return _style(call, way)
        case "user":
            return call.texts(name)
        case "party":
            return call.integers(name)
        case "expires_in" | "chat_expires_in":
            return _lifetime(call, name)
        case "unionid":
            return call.optional_text(name)
        case _:
            return _conclusions(call)


def _short_text(call: Call, name: str) -> str:
    text = call.optional_text(name) or ""
    if len(text) > _TEXT_LIMIT:
        raise invalid(name, f"exceed max length {_TEXT_LIMIT}")
    return text


def _style(call: Call, way: dict[str, Any]) -> int:
    style = call.integer("style")
    if way["scene"] != 1:
        raise ApiError(41040)
    if not 1 <= style <= _STYLES[way["type"]]:
        raise ApiError(41042)
    return style


def _lifetime(call: Call, name: str) -> int:
    seconds = call.integer(name)
    if not 0 < seconds <= _FORTNIGHT:
        raise invalid(name, f"exceed max value {_FORTNIGHT}")
    return seconds


def _conclusions(call: Call) -> dict[str, Any]:
    conclusions = call.body["conclusions"]
    if not isinstance(conclusions, dict):
        raise invalid("conclusions", "should be object")
    text = conclusions.get("text")
    content = text.get("content") if isinstance(text, dict) else None
    if isinstance(content, str) and len(content.encode()) > 4000:
        raise invalid("conclusions.text.content", "exceed max length 4000")
    for kind, name in (("image", "media_id"), ("miniprogram", "pic_media_id")):
        part = conclusions.get(kind)
        if isinstance(part, dict) and part.get(name):
            call.check_media(part[name])
    return conclusions


def _check_members(call: Call, way: dict[str, Any]) -> None:
    """Refuse members who cannot be added by customers: unknown, gone, out of range, not activated, not verified."""
    users, parties = way["user"], way["party"]
    if way["type"] == 1 and (len(users) != 1 or parties):
        raise ApiError(40031 if users or parties else 40063)
    if not users and not parties:
        raise ApiError(40063)
    if len(users) > call.scenario.config.way_member_limit:
        raise ApiError(41041)
    members = {call.member(userid).userid: call.member(userid) for userid in users}
    for party in parties:
        found = {m.userid: m for m in call.corp.members() if party in m.departments and not m.departed}
        if not found:
            raise ApiError(60123)
        members |= found
    if len(members) > call.scenario.config.way_member_limit:
        raise ApiError(41041)
    for userid in users:
        _check_able(members[call.member(userid).userid])


def _check_able(member: Member) -> None:
    if not member.activated:
        raise ApiError(41054)
    if not member.verified:
        raise ApiError(40098)
    if not member.contact_function:
        raise ApiError(84074)


def _check_room(call: Call, *, is_temp: bool) -> None:
    config, ways = call.scenario.config, call.corp.ways
    if not is_temp:
        full = len(ways) >= config.contact_way_limit and sum(not w.is_temp for w in ways.values())
        if full >= config.contact_way_limit:
            raise ApiError(41045)
        return
    today = int(call.now) // _DAY
    if sum(w.is_temp and w.created_at // _DAY == today for w in ways.values()) >= config.temp_way_limit:
        raise ApiError(41045)


def _way(call: Call) -> ContactWay:
    way = call.corp.ways.get(call.text("config_id", 41043))
    if way is None:
        raise ApiError(41044)
    return way


def get(call: Call) -> Result:
    """Return a contact way; whether it is exclusive is told by no page."""
    way = _way(call)
    return {"contact_way": {"config_id": way.config_id, **_shown(way.fields), **_qr_code(call.scenario, way)}}


def _shown(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a way as they are read: the picture of the closing words comes back as an address."""
    conclusions = fields.get("conclusions")
    if not isinstance(conclusions, dict) or "image" not in conclusions:
        return fields
    return fields | {"conclusions": conclusions | {"image": {"pic_url": "https://wework.qpic.cn/simulated"}}}


def list_ways(call: Call) -> Result:
    """List the ids of the ways made in a span of time, temporary ones and very old ones excluded."""
    now = int(call.now)
    start = max(call.integer("start_time", 0) or now - _LIST_WINDOW, _LISTED_SINCE)
    end = call.integer("end_time", 0) or now
    limit = min(max(call.integer("limit", 100), 1), _LIST_LIMIT)
    cursor = call.optional_text("cursor") or ""
    listed = [w for w in call.corp.ways.values() if start <= w.created_at <= end and not w.is_temp]
    listed.sort(key=lambda way: way.config_id)
    page = [way for way in listed if way.config_id > cursor][:limit]
    more = bool(page) and page[-1] is not listed[-1]
    return {
        "contact_way": [{"config_id": way.config_id} for way in page],
        "next_cursor": page[-1].config_id if more else "",
    }


def update(call: Call) -> Result:
    """Change a way: lists are overwritten, type, scene and QR code stay. Scans see the change after a while."""
    way = _way(call)
    if way.is_temp and way.created_at + way.fields["expires_in"] < call.now:
        raise ApiError(41044)
    changed = way.fields | _changes(call, way.fields)
    if "user" in call.body or "party" in call.body:
        _check_members(call, changed)
    call.admit()
    way.before, way.fields = way.scanned_at(call.now), changed
    way.applies_at = call.now + call.scenario.config.way_update_delay
    return {}


def delete(call: Call) -> Result:
    """Delete a way; its printed QR code is dead from now on."""
    way = _way(call)
    call.admit()
    del call.corp.ways[way.config_id]
    return {}


def close_temp_chat(call: Call) -> Result:
    """End a temporary session that is still open."""
    relation = call.relation(call.text("userid", 41009), call.text("external_userid", 41035))
    way = call.corp.ways.get(relation.way)
    if way is None or not way.is_temp or relation.createtime + way.fields["chat_expires_in"] < call.now:
        raise ApiError(40035, "no temporary session. invalid parameter")
    call.admit()
    way.fields["chat_expires_in"] = 0
    return {}
