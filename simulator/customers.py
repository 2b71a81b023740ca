"""Reading members and customers (docs 92571, 92113, 92114, 92994)."""

from dataclasses import dataclass, replace

from simulator.calls import ApiError, Call, Result, invalid
from simulator.config import EmptyBatch, UnsetRemark
from simulator.corp import KNOWN_TO_APIS, Customer, Follow, Member, RelationStatus
from simulator.scenario import Scenario

_BATCH_MEMBERS = 100
_BATCH_LIMIT = 100
_MOST_CURSORS = 10_000


_ATTRIBUTES = [
    {"type": 0, "name": "职位", "text": {"value": "经理"}},
    {"type": 1, "name": "官网", "web": {"url": "https://example.com/", "title": "首页"}},
    {"type": 2, "name": "商城", "miniprogram": {"appid": "wx0000000000000000", "pagepath": "/index", "title": "商城"}},
]
"""What a WeCom user shows to others: one attribute of each kind."""

_CHANNELS_WAY = 10
"""add_way of a customer who came through WeChat Channels (视频号)."""


def get_follow_user_list(call: Call) -> Result:
    """List the members who have the customer-contact function and are in the app's visible range."""
    return {"follow_user": [m.userid for m in call.corp.members() if _follows(call, m)]}


def _follows(call: Call, member: Member) -> bool:
    return member.contact_function and not member.departed and call.app.sees(member.userid)


def list_customers(call: Call) -> Result:
    """List a member's customers; 84061 for a member without any, as the live service does."""
    member = call.member(call.text("userid", 41009 if call.documented else 60111), unknown=40003)
    if not member.contact_function:
        raise ApiError(84061)
    found = [rel.customer.external_userid for rel in member.relations.values() if _readable(call, rel)]
    if not found:
        raise ApiError(84061)
    return {"external_userid": found}


def _readable(call: Call, relation: Follow) -> bool:
    """Tell whether the APIs show *relation* now: not too early, and for a while after the member deleted it."""
    now = call.now
    if now < relation.readable_at:
        return False
    if relation.status is RelationStatus.DELETED:
        return now < relation.ended_at + call.scenario.config.deletion_delay
    return relation.status in KNOWN_TO_APIS


def get(call: Call) -> Result:
    """Return a customer and the members who follow them, 500 on a page."""
    customer = call.corp.customers.get(call.text("external_userid", 41035))
    if customer is None:
        raise ApiError(40096)
    visible = [rel for rel in customer.relations.values() if call.app.sees(rel.member.userid)]
    if not visible:
        raise ApiError(40096 if customer.relations else 84061)
    shown = [relation for relation in visible if _readable(call, relation)]
    if not shown:
        early = any(call.now < rel.readable_at for rel in visible)
        raise ApiError(call.scenario.config.early_errcode if early else 84061)
    page = call.scenario.config.follow_user_page
    start = _offset(call.query.get("cursor", ""))
    following = str(start + page) if len(shown) > start + page else ""
    return {
        "external_contact": _contact(customer),
        "follow_user": [_follow_user(call, relation) for relation in shown[start : start + page]],
        "next_cursor": following,
    }


def _offset(cursor: str) -> int:
    if not cursor:
        return 0
    if not cursor.isdecimal() or not cursor.isascii() or len(cursor) > 9:
        raise ApiError(50100)
    return int(cursor)


def _contact(customer: Customer) -> Result:
    contact: Result = {
        "external_userid": customer.external_userid,
        "name": customer.name,
        "avatar": f"http://wx.qlogo.cn/mmhead/{customer.external_userid}/0",
        "type": customer.type,
        "gender": customer.gender,
    }
    if customer.unionid:
        contact["unionid"] = customer.unionid
    if customer.type == 2:
        contact["corp_name"] = customer.corp_name
        contact["corp_full_name"] = customer.corp_name
        contact["position"] = ""
        contact["external_profile"] = {"external_corp_name": customer.corp_name, "external_attr": _ATTRIBUTES}
    return contact


def shown_remark(scenario: Scenario, relation: Follow) -> str:
    """Return the remark as the APIs show it: one that nobody wrote comes back as the nickname."""
    if relation.remark is not None:
        return relation.remark
    nickname = scenario.config.unset_remark is UnsetRemark.NICKNAME
    return relation.customer.name if nickname else ""


def _follow(call: Call, relation: Follow) -> Result:
    """Return the fields that get and batch/get_by_user share."""
    info: Result = {
        "userid": relation.member.userid,
        "remark": shown_remark(call.scenario, relation),
        "description": relation.description,
        "createtime": relation.createtime,
        "remark_mobiles": relation.remark_mobiles,
        "add_way": relation.add_way,
        "oper_userid": relation.oper_userid,
    }
    if relation.customer.type == 1:
        info["remark_corp_name"] = relation.remark_company
    if relation.add_way == _CHANNELS_WAY:
        info["wechat_channels"] = {"nickname": "视频号", "source": 1}
    if relation.state:
        info["state"] = relation.state
    return info


def _follow_user(call: Call, relation: Follow) -> Result:
    tags = []
    for tag_id in sorted(relation.tags):
        if found := call.corp.tag(tag_id):
            group, tag = found
            tags.append({"group_name": group.name, "tag_name": tag.name, "tag_id": tag.id, "type": 1})
    if call.scenario.config.personal_tags:
        tags.append({"group_name": "个人标签", "tag_name": "重要", "type": 2})
    return {**_follow(call, relation), "tags": tags}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """Where a pass over some members' relations goes on."""

    expires_at: float
    userids: tuple[str, ...]
    relations: list[Follow]
    start: int


class Batch:
    """batch/get_by_user: pages over the relations of several members, behind cursors that expire."""

    def __init__(self) -> None:
        self._pages: dict[str, _Page] = {}

    def get_by_user(self, call: Call) -> Result:
        """Return a page of relations, in no useful order."""
        config, random = call.scenario.config, call.scenario.random
        userids = _batch_members(call)
        limit = min(max(call.integer("limit", 50), 1), _BATCH_LIMIT)
        page = self._page(call, userids)
        if not page.relations and config.empty_batch is EmptyBatch.ERROR:
            raise ApiError(84061)
        if call.scenario.chance(config.short_page_rate):
            limit = random.randint(1, limit)
        end = page.start + limit
        shown = [rel for rel in page.relations[page.start : end] if _readable(call, rel)]
        unlicensed = [userid for userid in userids if not call.member(userid).licensed]
        return {
            "external_contact_list": [
                {"external_contact": _contact(rel.customer), "follow_info": _follow_info(call, rel)} for rel in shown
            ],
            "next_cursor": self._turn(call, page, end) if end < len(page.relations) else "",
            "fail_info": {"unlicensed_userid_list": unlicensed},
        }

    def _page(self, call: Call, userids: tuple[str, ...]) -> _Page:
        cursor = call.optional_text("cursor")
        if not cursor:
            return _Page(expires_at=0, userids=userids, relations=_shuffled_relations(call, userids), start=0)
        page = self._pages.get(cursor)
        if page is None or page.userids != userids or call.now >= page.expires_at:
            raise ApiError(50100)
        return page

    def _turn(self, call: Call, page: _Page, start: int) -> str:
        now = call.now
        if len(self._pages) > _MOST_CURSORS:
            self._pages = {cursor: kept for cursor, kept in self._pages.items() if kept.expires_at > now}
        cursor = call.scenario.ids.cursor()
        expires_at = now + call.scenario.config.cursor_lifetime
        self._pages[cursor] = replace(page, expires_at=expires_at, start=start)
        return cursor


def _batch_members(call: Call) -> tuple[str, ...]:
    userids = call.texts("userid_list")
    if not userids:
        raise ApiError(40063)
    if len(userids) > _BATCH_MEMBERS:
        raise invalid("userid_list", f"exceed max length {_BATCH_MEMBERS}")
    if any(len(userid.encode()) > 64 for userid in userids):
        raise invalid("userid_list", "exceed max length 64")
    return tuple(userids)


def _shuffled_relations(call: Call, userids: tuple[str, ...]) -> list[Follow]:
    """Return the members' relations in an order that says nothing, so that no client relies on one."""
    members = {call.member(userid).userid: call.member(userid) for userid in userids}
    if not any(member.licensed for member in members.values()):
        raise ApiError(701008)
    relations = [rel for m in members.values() if m.licensed for rel in m.relations.values() if _readable(call, rel)]
    call.scenario.random.shuffle(relations)
    return relations


def _follow_info(call: Call, relation: Follow) -> Result:
    return {**_follow(call, relation), "tag_id": sorted(tag for tag in relation.tags if call.corp.tag(tag))}
