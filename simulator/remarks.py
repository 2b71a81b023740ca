"""Writing remarks (doc 92115)."""

from typing import Any

import regex

from simulator.calls import ApiError, Call, Result, invalid
from simulator.config import EmptyText, LengthUnit, Overflow
from simulator.corp import Follow, RemarkWrite, Writer
from simulator.scenario import Scenario

_REMARK_LIMITS = {"remark": 20, "description": 150, "remark_company": 20}
_REMARK_FIELDS = (*_REMARK_LIMITS, "remark_mobiles", "remark_pic_mediaid")


def remark(call: Call) -> Result:
    """Write remark, description, company and mobiles of a relation; what is left out stays."""
    userid = call.text("userid", 41009)
    external_userid = call.text("external_userid", 41035)
    changes = _remark_changes(call)
    if all(call.body.get(name) in (None, "", []) for name in _REMARK_FIELDS):
        raise ApiError(40058, "remark fields are all empty. invalid Request Parameter")
    relation = call.relation(userid, external_userid)
    if call.body.get("remark_pic_mediaid"):
        call.check_media(call.body["remark_pic_mediaid"])
    call.admit()
    for name, value in changes.items():
        if name == "remark":
            _write_remark(call.scenario, relation, value)
        elif name != "remark_company" or relation.customer.type == 1:
            setattr(relation, name, value)
    if call.scenario.config.api_events:
        call.scenario.contact_event("edit_external_contact", relation)
    return {}


def _write_remark(scenario: Scenario, relation: Follow, text: str) -> None:
    now = scenario.clock.time()
    relation.remark = text or None
    relation.remarks.append(RemarkWrite(at=now, by=Writer.API, remark=text))
    if relation.marked_at is None:
        relation.marked_at = now


def _remark_changes(call: Call) -> dict[str, Any]:
    config = call.scenario.config
    changes: dict[str, Any] = {}
    for name, limit in _REMARK_LIMITS.items():
        value = call.optional_text(name)
        if value is None or (not value and config.empty_text is EmptyText.IGNORED):
            continue
        if length(value, config.length_unit) > limit:
            if config.remark_overflow is Overflow.REFUSE:
                raise invalid(name, f"exceed max length {limit}")
            value = cut(value, limit, config.length_unit)
        changes[name] = value
    mobiles = call.body.get("remark_mobiles")
    if mobiles is not None:
        mobiles = [] if mobiles == "" else call.texts("remark_mobiles")
        changes["remark_mobiles"] = [mobile for mobile in mobiles if mobile]
    return changes


def length(text: str, unit: LengthUnit) -> int:
    """Return the length of *text* in *unit*."""
    match unit:
        case LengthUnit.CODE_POINTS:
            return len(text)
        case LengthUnit.UTF16:
            return len(text.encode("utf-16-le", "surrogatepass")) // 2
        case LengthUnit.BYTES:
            return len(text.encode("utf-8", "surrogatepass"))
        case LengthUnit.GRAPHEMES:
            return len(regex.findall(r"\X", text))


def cut(text: str, limit: int, unit: LengthUnit) -> str:
    """Return the longest beginning of *text* that is no longer than *limit*."""
    while length(text, unit) > limit:
        text = text[:-1]
    return text
