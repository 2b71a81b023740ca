"""
What WeCom's callbacks say (doc 90930, 92130, 97299): from query and body to an event.

Pure: HTTP is left to the ingress, the ciphertext to ``shared.wecom.crypto``.

What a sender may learn. Before the signature only three things are looked at: the names in the query,
whether the body is an envelope, and the envelope's ``Encrypt``. The sender wrote them and can see for
himself what is wrong: 400. From the signature to the receiver check every failure is one and the same 403:
if base64, padding, length field and receiver did not answer like a wrong signature, the answers would
decrypt a captured message byte by byte. The signature comes first and covers all of the ciphertext, so only
somebody who has the token gets as far as that. Behind the receiver check the message is one made with the
AES key: WeCom's. What cannot be read of it is told as such, for no repeat would be any better.

An event signs like a URL check, so whoever captured one could send it back as ``echostr`` to have it
decrypted: an answer that looks like an event is refused, 403 too.
"""

from dataclasses import dataclass
from typing import Final, TypedDict
from urllib.parse import unquote

from shared.domain.errors import CallbackRejected
from shared.domain.events import (
    AcquisitionChanged,
    ChatArchiveApproved,
    CustomerAdded,
    CustomerEdited,
    CustomerHalfAdded,
    CustomerLost,
    Event,
    GroupChatChanged,
    LostBy,
    TagChanged,
    TransferFailed,
    UnknownEvent,
    Unreadable,
)
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.wecom.crypto import Keyring
from shared.wecom.fields import read_fields, read_message

_MAX_NAME: Final = 64
_TRANSFER: Final = "DELETE_BY_TRANSFER"

_ENVELOPE: Final = frozenset({"Encrypt"})
_MESSAGE: Final = frozenset(
    {"MsgType", "Event", "ChangeType", "CreateTime", "UserID", "ExternalUserID", "State", "WelcomeCode"}
    | {"Source", "FailReason", "ChatId", "UpdateDetail", "JoinScene", "QuitScene", "MemChangeCnt"}
    | {"Id", "TagType", "StrategyId", "LinkId"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackQuery:
    """A callback's query, decoded once. ``echostr`` is None but in a URL check."""

    signature: str
    timestamp: str
    nonce: str
    echostr: str | None


def answer_url_check(keyring: Keyring, query: str) -> bytes:
    """
    Return the plaintext that answers a URL check with the raw *query*, to be sent bare.

    Raises:
        CallbackRejected: 400 a parameter is missing, repeated or not text; 403 not WeCom's, or not for us.
    """
    check = parse_query(query)
    if check.echostr is None:
        raise CallbackRejected(400, "echostr is missing")
    message = keyring.open(check.signature, check.timestamp, check.nonce, check.echostr)
    if b"<" in message or b"{" in message:
        raise CallbackRejected(403, "an event sent as a URL check")
    return message


def read_callback(keyring: Keyring, query: str, body: bytes) -> Event:
    """
    Return the event in a callback with the raw *query* and *body*.

    Raises:
        CallbackRejected: 400 malformed query or envelope, 403 not WeCom's or not for us; see above.
    """
    given = parse_query(query)
    encrypted = parse_envelope(body)
    message = keyring.open(given.signature, given.timestamp, given.nonce, encrypted)
    return parse_event(message, corp=CorpId(keyring.receive_id))


def parse_query(query: str) -> CallbackQuery:
    """
    Return the parameters in the raw *query*.

    ``+`` stays ``+``: it is one of base64's letters, and no parameter holds a space.

    Raises:
        CallbackRejected: 400 a parameter is missing, given twice, or not percent-encoded UTF-8.
    """
    given: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        try:
            name, value = unquote(name, errors="strict"), unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise CallbackRejected(400, "query is not UTF-8") from error
        if name in given:
            raise CallbackRejected(400, "query repeats a parameter")
        given[name] = value
    try:
        return CallbackQuery(
            signature=given["msg_signature"],
            timestamp=given["timestamp"],
            nonce=given["nonce"],
            echostr=given.get("echostr"),
        )
    except KeyError as error:
        raise CallbackRejected(400, "query lacks a parameter") from error


def parse_envelope(body: bytes) -> str:
    """
    Return ``Encrypt`` of the envelope *body*, XML or JSON; nothing else in it is to be trusted.

    Raises:
        CallbackRejected: 400 *body* is not an envelope.
    """
    encrypted = read_fields(body, _ENVELOPE).get("Encrypt")
    if not encrypted:
        raise CallbackRejected(400, "envelope lacks Encrypt")
    return encrypted


class _Relation(TypedDict):
    """What every event about a member and a customer says."""

    corp: CorpId
    staff: StaffUserId
    customer: ExternalUserId
    created_at: int


def parse_event(message: bytes, *, corp: CorpId) -> Event:
    """
    Return the event in a decrypted *message*, XML or JSON, received for *corp*; Unreadable when it tells of none.
    """
    try:
        return _event(read_message(message, _MESSAGE), corp)
    except _Lacking as lacking:
        return Unreadable(corp=corp, reason=str(lacking))


class _Lacking(Exception):
    """An event of a known kind lacks what makes it one."""


def _event(fields: dict[str, str], corp: CorpId) -> Event:
    if not fields.get("Event") and not fields.get("MsgType"):
        raise _Lacking("message is neither XML nor JSON, or names no event")
    match fields.get("Event", ""), fields.get("ChangeType", ""):
        case "change_external_contact", change:
            return _contact_event(fields, change, corp)
        case "change_external_chat", ("create" | "update" | "dismiss") as change:
            return GroupChatChanged(
                corp=corp,
                chat_id=_required(fields, "ChatId"),
                change=change,
                created_at=_created_at(fields),
                detail=fields.get("UpdateDetail", ""),
                join_scene=fields.get("JoinScene", ""),
                quit_scene=fields.get("QuitScene", ""),
                member_change_count=fields.get("MemChangeCnt", ""),
            )
        case "change_external_tag", ("create" | "update" | "delete" | "shuffle") as change:
            return TagChanged(
                corp=corp,
                tag_id=fields.get("Id", "") if change == "shuffle" else _required(fields, "Id"),
                change=change,
                created_at=_created_at(fields),
                tag_type=fields.get("TagType", ""),
                strategy_id=fields.get("StrategyId", ""),
            )
        case "customer_acquisition", change:
            return AcquisitionChanged(
                corp=corp,
                change=change,
                created_at=_created_at(fields),
                link_id=fields.get("LinkId", ""),
                state=fields.get("State", ""),
                staff=StaffUserId(fields.get("UserID", "")),
                customer=ExternalUserId(fields.get("ExternalUserID", "")),
            )
    return _unknown_event(fields, corp)


def _contact_event(fields: dict[str, str], change: str, corp: CorpId) -> Event:
    state, welcome_code = fields.get("State", ""), fields.get("WelcomeCode", "")
    match change:
        case "add_external_contact":
            return CustomerAdded(**_relation(fields, corp), state=state, welcome_code=welcome_code)
        case "add_half_external_contact":
            return CustomerHalfAdded(**_relation(fields, corp), state=state, welcome_code=welcome_code)
        case "edit_external_contact":
            return CustomerEdited(**_relation(fields, corp), state=state)
        case "del_external_contact":
            by = LostBy.TRANSFER if fields.get("Source") == _TRANSFER else LostBy.MEMBER
            return CustomerLost(**_relation(fields, corp), by=by)
        case "del_follow_user":
            return CustomerLost(**_relation(fields, corp), by=LostBy.CUSTOMER)
        case "transfer_fail":
            return TransferFailed(**_relation(fields, corp), reason=fields.get("FailReason", ""))
        case "msg_audit_approved":
            return ChatArchiveApproved(**_relation(fields, corp), welcome_code=welcome_code)
    return _unknown_event(fields, corp)


def _relation(fields: dict[str, str], corp: CorpId) -> _Relation:
    return {
        "corp": corp,
        "staff": StaffUserId(_required(fields, "UserID")),
        "customer": ExternalUserId(_required(fields, "ExternalUserID")),
        "created_at": _created_at(fields),
    }


def _unknown_event(fields: dict[str, str], corp: CorpId) -> UnknownEvent:
    """Ask for nothing: a message to the app has no Event, and what comes later is not known."""
    created_at = fields.get("CreateTime", "")
    return UnknownEvent(
        corp=corp,
        event=fields.get("Event", fields.get("MsgType", ""))[:_MAX_NAME],
        change=fields.get("ChangeType", "")[:_MAX_NAME],
        created_at=int(created_at) if _is_time(created_at) else 0,
    )


def _required(fields: dict[str, str], name: str) -> str:
    value = fields.get(name)
    if not value:
        raise _Lacking(f"event lacks {name}")
    return value


def _created_at(fields: dict[str, str]) -> int:
    value = _required(fields, "CreateTime")
    if not _is_time(value):
        raise _Lacking("CreateTime is not a time")
    return int(value)


def _is_time(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 12
