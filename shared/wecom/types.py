"""
What WeCom's answers hold, typed, and how it is read from them.

Fields nobody asked for are ignored and optional ones may be missing. A field of the wrong type, or a missing
list that the answer is about, makes the whole answer unreadable: an empty list is never invented.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from shared.domain.channels.ways import Scene, Way, WayFields
from shared.domain.ids import ContactWayId, ExternalUserId, StaffUserId, TagId, same_staff
from shared.domain.relations import Relation

Fields = Mapping[str, object]
_T = TypeVar("_T")


class UnreadableAnswer(Exception):
    """A field of an answer is missing or of the wrong type; names the field, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerDetails:
    """
    A customer and every relation the app may see.

    Attributes:
        type: 1 a WeChat user, 2 a WeCom user.
        unionid: Empty unless the corp bound a WeChat developer account.
    """

    customer: ExternalUserId
    name: str
    corp_name: str = ""
    type: int = 0
    unionid: str = ""
    relations: tuple[Relation, ...] = ()

    def relation_with(self, staff: StaffUserId) -> Relation | None:
        """Return the relation with *staff*, whatever the case of the userid, or None."""
        return next((relation for relation in self.relations if same_staff(relation.staff, staff)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationPage:
    """
    One page of ``batch/get_by_user``.

    Attributes:
        unlicensed: Members whom WeCom left out.
        cursor: Where the next page begins; empty after the last.
        nobodys: Rows that did not say which member they are of.
    """

    relations: tuple[Relation, ...]
    unlicensed: tuple[StaffUserId, ...] = ()
    cursor: str = ""
    nobodys: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContactWay:
    """What ``add_contact_way`` gave. ``qr_code`` is an image's URL, of no promised lifetime: keep a copy."""

    config_id: ContactWayId
    qr_code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpTag:
    """A corp tag."""

    tag_id: TagId
    name: str
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpTagGroup:
    """A group of corp tags."""

    group_id: str
    name: str
    tags: tuple[CorpTag, ...] = ()
    deleted: bool = False


def read_customer(asked: ExternalUserId, pages: list[Fields]) -> CustomerDetails:
    """Read the pages of ``externalcontact/get``."""
    contact = _required(pages[0], "external_contact", dict)
    name, corp_name = _text(contact, "name"), _text(contact, "corp_name")
    customer = ExternalUserId(_text(contact, "external_userid") or asked)
    return CustomerDetails(
        customer=customer,
        name=name,
        corp_name=corp_name,
        type=_number(contact, "type"),
        unionid=_text(contact, "unionid"),
        relations=tuple(
            _relation(follow, customer, name, corp_name) for page in pages for follow in _objects(page, "follow_user")
        ),
    )


def read_relation_page(answer: Fields, only: str = "") -> RelationPage:
    """
    Read a page of ``externalcontact/batch/get_by_user``.

    A row may lack its member; when one was asked for, *only*, it is that one's. Else it is passed over and counted.
    """
    relations, nobodys = [], 0
    for item in _objects(answer, "external_contact_list"):
        contact, follow = _required(item, "external_contact", dict), _required(item, "follow_info", dict)
        if not _text(follow, "userid"):
            if not only:
                nobodys += 1
                continue
            follow = {**follow, "userid": only}
        customer = ExternalUserId(_id(contact, "external_userid"))
        relations.append(_relation(follow, customer, _text(contact, "name"), _text(contact, "corp_name")))
    failed = _optional(answer, "fail_info", dict, {})
    return RelationPage(
        relations=tuple(relations),
        unlicensed=tuple(StaffUserId(userid) for userid in _texts(failed, "unlicensed_userid_list")),
        cursor=read_cursor(answer),
        nobodys=nobodys,
    )


def read_new_contact_way(answer: Fields) -> NewContactWay:
    """Read the answer of ``externalcontact/add_contact_way``."""
    return NewContactWay(config_id=ContactWayId(_id(answer, "config_id")), qr_code=_text(answer, "qr_code"))


def read_media_id(answer: Fields) -> str:
    """Read the answer of ``media/upload``."""
    return _id(answer, "media_id")


def read_contact_way(answer: Fields) -> Way:
    """Read the answer of ``externalcontact/get_contact_way``; of a QR code's style, 0, nothing is said."""
    way = _required(answer, "contact_way", dict)
    scene = _number(way, "scene")
    return Way(
        config_id=ContactWayId(_id(way, "config_id")),
        state=_text(way, "state"),
        qr_code=_text(way, "qr_code"),
        fields=WayFields(
            memo=_text(way, "remark"),
            staff=tuple(StaffUserId(userid) for userid in _texts(way, "user")),
            party=tuple(_list(way, "party", int)),
            type=_number(way, "type"),
            scene=scene,
            style=(_number(way, "style") or 1) if scene == Scene.MINI_PROGRAM else None,
            skip_verify=_optional(way, "skip_verify", bool, True),
        ),
    )


def read_contact_way_ids(answer: Fields) -> tuple[ContactWayId, ...]:
    """Read a page of ``externalcontact/list_contact_way``."""
    return tuple(ContactWayId(_id(way, "config_id")) for way in _objects(answer, "contact_way"))


def read_tag_groups(answer: Fields) -> tuple[CorpTagGroup, ...]:
    """Read the answer of ``externalcontact/get_corp_tag_list``."""
    return tuple(_tag_group(group) for group in _objects(answer, "tag_group"))


def read_tag_group(answer: Fields) -> CorpTagGroup:
    """Read the answer of ``externalcontact/add_corp_tag``."""
    return _tag_group(_required(answer, "tag_group", dict))


def read_ids(answer: Fields, name: str) -> list[str]:
    """Read the list of texts that an answer is about; it must be there, even when empty."""
    _required(answer, name, list)
    return _texts(answer, name)


def read_cursor(answer: Fields) -> str:
    """Read the cursor of the next page; empty after the last."""
    return _text(answer, "next_cursor")


def _relation(follow: Fields, customer: ExternalUserId, name: str, corp_name: str) -> Relation:
    tags = [TagId(_text(tag, "tag_id")) for tag in _optional_objects(follow, "tags")]
    return Relation(
        staff=StaffUserId(_id(follow, "userid")),
        customer=customer,
        name=name,
        corp_name=corp_name,
        remark=_text(follow, "remark"),
        description=_text(follow, "description"),
        created_at=_number(follow, "createtime"),
        state=_text(follow, "state"),
        add_way=_number(follow, "add_way"),
        # `get` describes tags, private ones without an id; `get_by_user` lists the ids alone.
        tag_ids=frozenset(tag for tag in [*tags, *map(TagId, _texts(follow, "tag_id"))] if tag),
    )


def _tag_group(group: Fields) -> CorpTagGroup:
    return CorpTagGroup(
        group_id=_id(group, "group_id"),
        name=_text(group, "group_name"),
        tags=tuple(
            CorpTag(
                tag_id=TagId(_id(tag, "id")),
                name=_text(tag, "name"),
                deleted=_optional(tag, "deleted", bool, False),
            )
            for tag in _optional_objects(group, "tag")
        ),
        deleted=_optional(group, "deleted", bool, False),
    )


def _optional(fields: Fields, name: str, kind: type[_T], default: _T) -> _T:
    return default if fields.get(name) is None else _required(fields, name, kind)


def _required(fields: Fields, name: str, kind: type[_T]) -> _T:
    value = fields.get(name)
    # Python takes a bool for a number; an answer that does is not to be trusted.
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise UnreadableAnswer(name)


def _text(fields: Fields, name: str) -> str:
    return _optional(fields, name, str, "")


def _number(fields: Fields, name: str) -> int:
    value = fields.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)  # not seen, and cheap to take
    return _optional(fields, name, int, 0)


def _id(fields: Fields, name: str) -> str:
    if not (value := _text(fields, name)):
        raise UnreadableAnswer(name)
    return value


def _list(fields: Fields, name: str, kind: type[_T]) -> Iterator[_T]:
    for item in _optional(fields, name, list, []):
        if type(item) is not kind:
            raise UnreadableAnswer(name)
        yield item


def _texts(fields: Fields, name: str) -> list[str]:
    return list(_list(fields, name, str))


def _objects(fields: Fields, name: str) -> Iterator[dict[str, object]]:
    _required(fields, name, list)
    return _list(fields, name, dict)


def _optional_objects(fields: Fields, name: str) -> Iterator[dict[str, object]]:
    return _list(fields, name, dict)
