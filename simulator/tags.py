"""Corp tags, owned by the app that made them, and marking relations with them (docs 92117, 92118)."""

from collections.abc import Iterable
from typing import Any

from simulator.calls import ApiError, Call, Result, invalid
from simulator.corp import Tag, TagGroup

_NAME_LIMIT = 30
_ORDER_LIMIT = 2**32
_RELATION_LIMIT = 3000


def get_corp_tag_list(call: Call) -> Result:
    """List tag groups: all, some groups, or the groups of some tags; deleted ones only when asked by id."""
    tag_ids, group_ids = set(call.texts("tag_id")), set(call.texts("group_id"))
    groups: list[Result] = []
    for group in call.corp.tag_groups.values():
        if group_ids:
            if group.id in group_ids:
                groups.append(_shown(group, group.tags.values()))
        elif tag_ids:
            if asked := [tag for tag in group.tags.values() if tag.id in tag_ids]:
                groups.append(_shown(group, asked))
        elif not group.deleted:
            groups.append(_without_deleted(_shown(group, (tag for tag in group.tags.values() if not tag.deleted))))
    return {"tag_group": groups}


def _shown(group: TagGroup, tags: Iterable[Tag]) -> Result:
    return {
        "group_id": group.id,
        "group_name": group.name,
        "create_time": group.created_at,
        "order": group.order,
        "deleted": group.deleted,
        "tag": [
            {
                "id": tag.id,
                "name": tag.name,
                "create_time": tag.created_at,
                "order": tag.order,
                "deleted": tag.deleted,
            }
            for tag in tags
        ],
    }


def add_corp_tag(call: Call) -> Result:
    """
    Add tags to a group, which is made when its name is new.

    A name that the group has makes the whole call fail (40071); as documented it would be passed over.
    """
    wanted = _wanted_tags(call)
    order = _order(call.body)
    group = _target_group(call)
    if group is not None and group.agent_id != call.app.agent_id:
        raise ApiError(40068)
    if (
        group is not None
        and not call.documented
        and any(t.name in wanted and not t.deleted for t in group.tags.values())
    ):
        raise ApiError(40071)
    count = sum(not t.deleted for g in call.corp.tag_groups.values() for t in g.tags.values())
    if count + len(wanted) > call.scenario.config.tag_limit:
        raise ApiError(40126)
    call.admit()
    if group is None:
        group = _new_group(call, order)
    made = [_add_tag(call, group, name, tag_order) for name, tag_order in wanted.items()]
    return {"tag_group": _without_deleted(_shown(group, made))}


def _without_deleted(group: Result) -> Result:
    """Return *group* without what only a question by id answers."""
    tags = [{name: value for name, value in tag.items() if name != "deleted"} for tag in group["tag"]]
    return {name: value for name, value in group.items() if name != "deleted"} | {"tag": tags}


def _wanted_tags(call: Call) -> dict[str, int]:
    tags = call.body.get("tag")
    if not isinstance(tags, list) or not tags or not all(isinstance(tag, dict) for tag in tags):
        raise ApiError(40063)
    return {_name(tag.get("name"), empty=40063 if call.documented else 41018): _order(tag) for tag in tags}


def _name(name: object, *, empty: int = 40063) -> str:
    if not isinstance(name, str) or not name:
        raise ApiError(empty)
    if len(name) > _NAME_LIMIT:
        raise invalid("name", f"exceed max length {_NAME_LIMIT}")
    return name


def _order(fields: dict[str, Any]) -> int:
    order = fields.get("order", 0)
    if type(order) is not int or not 0 <= order < _ORDER_LIMIT:
        raise invalid("order", "out of range")
    return order


def _target_group(call: Call) -> TagGroup | None:
    """Return the group that the call names, None for a new one."""
    groups = call.corp.tag_groups
    if group_id := call.optional_text("group_id"):
        group = groups.get(group_id)
        if group is None or group.deleted:
            raise ApiError(40068)
        return group
    name = _name(call.body.get("group_name"))
    return next((group for group in groups.values() if group.name == name and not group.deleted), None)


def _new_group(call: Call, order: int) -> TagGroup:
    group = TagGroup(
        id=call.scenario.ids.tag_id(),
        name=_name(call.body.get("group_name")),
        order=order,
        created_at=int(call.now),
        agent_id=call.app.agent_id,
    )
    call.corp.tag_groups[group.id] = group
    return group


def _add_tag(call: Call, group: TagGroup, name: str, order: int) -> Tag:
    for tag in group.tags.values():
        if tag.name == name and not tag.deleted:
            return tag
    tag = Tag(id=call.scenario.ids.tag_id(), name=name, order=order, created_at=int(call.now))
    group.tags[tag.id] = tag
    return tag


def _missing_id(call: Call) -> int:
    return 40063 if call.documented else 41017


def edit_corp_tag(call: Call) -> Result:
    """Rename or reorder a tag or a group that this app made; 40071 for a name that is taken."""
    target, siblings = _own(call, call.text("id", _missing_id(call)))
    name = call.optional_text("name")
    order = _order(call.body) if "order" in call.body else target.order
    if name and any(other is not target and other.name == _name(name) for other in siblings):
        raise ApiError(40071)
    call.admit()
    target.name = _name(name) if name else target.name
    target.order = order
    return {}


def _own(call: Call, tag_or_group: str) -> tuple[Tag | TagGroup, list[Tag] | list[TagGroup]]:
    """Return a tag or group of this app and those whose names it must not take; 40068 for anything else."""
    groups = call.corp.tag_groups
    group = groups.get(tag_or_group)
    if group is not None and not group.deleted and group.agent_id == call.app.agent_id:
        return group, [other for other in groups.values() if not other.deleted]
    found = call.corp.tag(tag_or_group)
    if found is None or found[0].agent_id != call.app.agent_id:
        raise ApiError(40068)
    return found[1], [other for other in found[0].tags.values() if not other.deleted]


def del_corp_tag(call: Call) -> Result:
    """Delete tags and groups that this app made; a group without tags goes with its last one."""
    ids = [*call.texts("tag_id"), *call.texts("group_id")]
    if not ids:
        raise ApiError(_missing_id(call))
    targets = [_own(call, tag_or_group)[0] for tag_or_group in ids]
    call.admit()
    for target in targets:
        target.deleted = True
        for tag in target.tags.values() if isinstance(target, TagGroup) else ():
            tag.deleted = True
    for group in call.corp.tag_groups.values():
        group.deleted = group.deleted or all(tag.deleted for tag in group.tags.values())
    return {}


def mark_tag(call: Call) -> Result:
    """Add and remove tags of one relation."""
    userid = call.text("userid", 41009)
    external_userid = call.text("external_userid", 41035)
    add, remove = call.texts("add_tag"), call.texts("remove_tag")
    if not add and not remove and not call.warned:
        raise ApiError(_missing_id(call))
    relation = call.relation(userid, external_userid)
    if any(call.corp.tag(tag_id) is None for tag_id in add):
        raise ApiError(40068)
    if len(relation.tags | set(add)) > _RELATION_LIMIT:
        raise invalid("add_tag", f"exceed max length {_RELATION_LIMIT}")
    call.admit()
    relation.tags = (relation.tags | set(add)) - set(remove)
    if relation.tagged_at is None:
        relation.tagged_at = call.now
    if call.scenario.config.api_events:
        call.scenario.contact_event("edit_external_contact", relation)
    return {}
