"""
WeCom's errcodes (doc 90313): what each means, what a person can do, and which error it becomes.

The one place that looks at a code. Meanings and remedies are our own words, for whoever is on call; WeCom's
errmsg may change and may quote the call, so nothing of it is kept but the trace id and, for 60020, the
refused address.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from typing import Final

from shared.domain.errors import (
    AttachmentRefused,
    ConfigurationNeeded,
    Congested,
    ContentRefused,
    CursorExpired,
    NameTaken,
    PermanentError,
    RateLimited,
    StaffBlocked,
    TagUnknown,
    TokenRefused,
    TooEarly,
    TransientError,
    UnknownCode,
    WeComError,
    WelcomeRefused,
)
from shared.wecom.endpoints import errcode_is_due

GETTOKEN: Final = "gettoken"

NOT_WECOMS: Final = "not WeCom's answer, but of something in between. Check QUDAO_API_URL, proxies and firewalls"


class ErrorClass(StrEnum):
    """What a code asks for."""

    OK = "ok"
    RETRY = "retry"
    RATE = "rate"
    CONGESTED = "congested"
    TOKEN = "token"  # noqa: S105 - a class of errors, no secret
    RESTART = "restart"
    CONFIG = "config"
    STAFF = "staff"
    PERM = "perm"
    AGE = "age"
    BUG = "bug"
    CONTENT = "content"
    ATTACHMENT = "attachment"
    TAKEN = "taken"
    TAG = "tag"
    WELCOME = "welcome"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reading:
    """How one errcode is read. ``remedy`` is empty when there is nothing a person should do."""

    kind: ErrorClass
    meaning: str
    remedy: str = ""


_OK = ErrorClass.OK
_RETRY = ErrorClass.RETRY
_TOKEN = ErrorClass.TOKEN
_CONFIG = ErrorClass.CONFIG
_STAFF = ErrorClass.STAFF
_PERM = ErrorClass.PERM
_AGE = ErrorClass.AGE
_BUG = ErrorClass.BUG
_WELCOME = ErrorClass.WELCOME
_ATTACHMENT = ErrorClass.ATTACHMENT

_REPORT = "Report it to Qudao's developers with the hint."
_ATTACH = "Mend the channel's attachments in channels.toml: name local files, which are uploaded and renewed."
_RANGE = "Add the member to the app's visible range (应用可见范围)."
_ALLOW = "Add the app under 客户联系 → 可调用接口的应用, and use its own secret."

MEDIA_GONE: Final = 40007
"""A media id is refused: it is older than three days, or never was one."""

ERRCODES: Final[dict[int, Reading]] = {
    0: Reading(_OK, "ok"),
    -1: Reading(_RETRY, "WeCom is busy"),
    6000: Reading(_RETRY, "several writers changed the same data at once"),
    # Credentials, token, app
    40001: Reading(
        _TOKEN,
        "the secret was reset, belongs to another corp, or the app is stopped",
        "Copy the app's secret into QUDAO_CORP_SECRET and check that the app is enabled.",
    ),
    40013: Reading(_CONFIG, "unknown corp id", "Set QUDAO_CORP_ID to the id shown under 我的企业 → 企业信息."),
    40014: Reading(_TOKEN, "the access token was refused: expired, revoked or of another kind"),
    40056: Reading(_CONFIG, "unknown agentid", "Check the app's AgentId."),
    40057: Reading(_CONFIG, "the callback URL failed its check", "Check that the callback URL reaches the ingress."),
    40091: Reading(_CONFIG, "the secret belongs to another corp", "Check QUDAO_CORP_ID against QUDAO_CORP_SECRET."),
    41001: Reading(_BUG, "the call carried no access token", _REPORT),
    41002: Reading(_CONFIG, "the call carried no corp id", "Set QUDAO_CORP_ID."),
    41004: Reading(_CONFIG, "the call carried no secret", "Set QUDAO_CORP_SECRET."),
    42001: Reading(_TOKEN, "the access token expired"),
    42009: Reading(_CONFIG, "a third-party suite's token expired", "Use the secret of a self-built app."),
    45031: Reading(
        _CONFIG, "the secret is no longer considered safe", "Reset the app's secret, then QUDAO_CORP_SECRET."
    ),
    48001: Reading(_CONFIG, "the app is not authorised for this API", _ALLOW),
    48002: Reading(_CONFIG, "the app may not call this API", _ALLOW),
    48004: Reading(_CONFIG, "the app's authorisation is invalid", "Authorise the app again in the admin console."),
    48005: Reading(_CONFIG, "WeCom has retired this API", "Look for a newer Qudao."),
    48006: Reading(
        _CONFIG,
        "the app's permission was withdrawn after long disuse",
        "An administrator must grant it again in the admin console.",
    ),
    50003: Reading(_CONFIG, "the app is disabled", "Enable the app in the admin console."),
    60020: Reading(
        _CONFIG,
        "this machine's address is not trusted",
        "Add it to the app's 企业可信IP; that takes about a minute to work.",
    ),
    60031: Reading(_CONFIG, "the app is barred from calling APIs", "Ask WeCom's support why."),
    301002: Reading(_CONFIG, "the token's app may not act for this agent", "Use the secret of the app itself."),
    # Limits
    45009: Reading(
        ErrorClass.RATE,
        "a call frequency limit was overrun",
        "Lower QUDAO_QUOTA_PER_MINUTE or QUDAO_QUOTA_PER_HOUR if other systems share the corp's quota.",
    ),
    45029: Reading(_BUG, "the answer would be too large", _REPORT),
    45033: Reading(ErrorClass.CONGESTED, "too many calls at once"),
    45035: Reading(ErrorClass.CONGESTED, "two calls changed the same relation at once"),
    81026: Reading(_RETRY, "this feature is under maintenance"),
    40099: Reading(
        _CONFIG,
        "the limit of external contacts is reached",
        "Raise it in the admin console or remove old contacts.",
    ),
    40126: Reading(_CONFIG, "the corp's limit of tags is reached", "Delete tags that nobody uses."),
    41045: Reading(
        _CONFIG,
        "the corp's limit of contact ways is reached",
        "Delete contact ways that are no longer in use.",
    ),
    41095: Reading(_CONFIG, "the limit of acquisition links is reached", "Delete links that are no longer in use."),
    # One member
    40003: Reading(_PERM, "no such member: never was, or has left", "Take the member out of the channels."),
    40031: Reading(_PERM, "a userid in the list is invalid", "Check the channel's staff."),
    40098: Reading(
        _STAFF, "the member has not verified their name", "The member must verify their real name in WeCom."
    ),
    40205: Reading(_STAFF, "the member has not logged in for a year", "The member must log in to WeCom."),
    41054: Reading(_STAFF, "the member has not activated their account", "The member must log in to WeCom once."),
    50002: Reading(_PERM, "the member is outside the permitted range", _RANGE),
    60011: Reading(_STAFF, "the app may not act for this member, department or tag", _RANGE),
    60021: Reading(_STAFF, "the member is outside the app's visible range", _RANGE),
    60030: Reading(_STAFF, "the member is outside the app's visible range", _RANGE),
    60111: Reading(
        _PERM, "the member has left, was deleted, or is not visible", "Take the member out of the channels."
    ),
    84074: Reading(
        _STAFF,
        "the member does not have the customer-contact function",
        "Add the member under 客户联系 → 权限配置 → 使用范围.",
    ),
    84083: Reading(_PERM, "not a service member"),
    # One customer, one relation
    40096: Reading(_AGE, "WeCom does not know this customer here: of another corp or app, or of members not visible"),
    41048: Reading(_PERM, "there is no customer to send to"),
    41056: Reading(_PERM, "the wrong kind of external contact id"),
    41057: Reading(_CONFIG, "no WeChat developer account is bound", "Bind one in the admin console to use unionids."),
    84061: Reading(_AGE, "there is no such relation: the member removed the customer, or has not accepted yet"),
    84084: Reading(_AGE, "the member does not follow this customer, or is not visible"),
    # Requests
    40033: Reading(_BUG, "the request held escaped characters", _REPORT),
    40035: Reading(_BUG, "a parameter is invalid", _REPORT),
    40058: Reading(_BUG, "a parameter is invalid, too long or missing", _REPORT),
    40063: Reading(_BUG, "a parameter is empty", _REPORT),
    40066: Reading(_PERM, "a department in the list is invalid"),
    40206: Reading(_BUG, "the request is too large", _REPORT),
    41009: Reading(_BUG, "the userid is missing", _REPORT),
    41035: Reading(_BUG, "the external userid is missing", _REPORT),
    50100: Reading(ErrorClass.RESTART, "the listing's cursor is no longer valid"),
    60003: Reading(_PERM, "no such department"),
    60123: Reading(_PERM, "no such department"),
    81013: Reading(_PERM, "none of the members, departments or tags exists or is permitted", _RANGE),
    82001: Reading(_BUG, "members, departments and tags are all empty", _REPORT),
    # Content
    40201: Reading(ErrorClass.CONTENT, "the text was refused as spam", "Change the text."),
    40204: Reading(ErrorClass.CONTENT, "WeChat refused the text as spam", "Change the text."),
    # Media: ids of media/upload live three days (doc 10112, 90455)
    40004: Reading(_ATTACHMENT, "the kind of media is invalid", _ATTACH),
    40005: Reading(_ATTACHMENT, "the kind of file is invalid", _ATTACH),
    40006: Reading(_ATTACHMENT, "the file's size is invalid", _ATTACH),
    MEDIA_GONE: Reading(_ATTACHMENT, "the media id is invalid, or older than three days", _ATTACH),
    40008: Reading(_ATTACHMENT, "the kind of message is invalid", _ATTACH),
    40009: Reading(_ATTACHMENT, "the picture's size is invalid", _ATTACH),
    41005: Reading(_ATTACHMENT, "the upload held no file, or a name that WeCom cannot read", _ATTACH),
    44001: Reading(_ATTACHMENT, "the file is empty", _ATTACH),
    45001: Reading(_ATTACHMENT, "the file is too large", _ATTACH),
    # Tags
    40068: Reading(ErrorClass.TAG, "no such tag, or it belongs to another app", "Check the channel's tags."),
    40071: Reading(ErrorClass.TAKEN, "a tag of this name exists already"),
    81011: Reading(_PERM, "no permission on this contacts tag"),
    # Contact ways
    41037: Reading(_BUG, "the contact way's type is missing", _REPORT),
    41038: Reading(_BUG, "the contact way's scene is missing", _REPORT),
    41039: Reading(_BUG, "the contact way's type is invalid", _REPORT),
    41040: Reading(_BUG, "the contact way's scene is invalid", _REPORT),
    41041: Reading(_PERM, "a contact way may have 100 members at most", "Shorten the channel's staff."),
    41042: Reading(_BUG, "the contact way's style is invalid", _REPORT),
    41043: Reading(_BUG, "the config_id is missing", _REPORT),
    41044: Reading(_PERM, "no such contact way: it was deleted, or another app made it"),
    # Welcome messages
    41049: Reading(_BUG, "the welcome code is missing", _REPORT),
    41050: Reading(_WELCOME, "the welcome code is spent or older than 20 seconds"),
    41051: Reading(_WELCOME, "the welcome was sent already, or the two are chatting"),
    41053: Reading(_WELCOME, "the customer has not agreed to the chat archive"),
    41064: Reading(_ATTACHMENT, "too many attachments", _ATTACH),
    41065: Reading(_ATTACHMENT, "an attachment's type is wrong", _ATTACH),
    41096: Reading(_RETRY, "another app is sending with this welcome code: again within its 20 seconds"),
    # Features Qudao does not use, listed so that nobody mistakes them
    40097: Reading(_PERM, "the member has not left the corp"),
    40100: Reading(_RETRY, "the customer is being handed to another member"),
    41063: Reading(_RETRY, "a mass message is being sent"),
    41091: Reading(_PERM, "a group join way may have 5 groups at most"),
    50001: Reading(_PERM, "the OAuth domain is not trusted"),
    60136: Reading(_PERM, "no such record"),
    90500: Reading(_PERM, "the group's owner is not permitted"),
    90501: Reading(_PERM, "not a customer group"),
    90502: Reading(_PERM, "the group's owner is not permitted"),
    701008: Reading(_CONFIG, "no member has an interoperability licence", "Assign 互通账号 licences."),
}
"""Every code of the table; a code that is not here is ``UNKNOWN``."""

_AT_ENDPOINT: Final[dict[tuple[str, int], Reading]] = {
    # A member without customers answers like this; so may one who left, so it proves no deletion.
    ("externalcontact/list", 84061): Reading(_OK, "the member has no customers"),
    ("externalcontact/batch/get_by_user", 84061): Reading(_OK, "the members have no customers"),
    # The members of this one listing: those of the next may well have licences.
    ("externalcontact/batch/get_by_user", 701008): Reading(
        _STAFF, "none of these members has an interoperability licence", "Assign 互通账号 licences."
    ),
    ("externalcontact/remark", 40058): Reading(
        _BUG, "a field is invalid: most often a remark of more than 20 characters", _REPORT
    ),
    # No id was sent, and the same call works later (seen in the field).
    ("externalcontact/add_corp_tag", 40068): Reading(_RETRY, "WeCom did not know a tag id though none was sent"),
    ("externalcontact/send_welcome_msg", 40058): Reading(
        _ATTACHMENT, "a field is invalid: most often one of an attachment that is too long", _ATTACH
    ),
    ("externalcontact/add_contact_way", 40058): Reading(
        _BUG, "a field is invalid: most often a state or remark of more than 30 characters", _REPORT
    ),
    (GETTOKEN, 45009): Reading(
        ErrorClass.RATE,
        "WeCom refuses this machine's address for an hour, as it does after many wrong secrets",
        "Check QUDAO_CORP_SECRET here and in whatever else runs on this address.",
    ),
}

_UNKNOWN: Final = Reading(
    ErrorClass.UNKNOWN, "a code Qudao does not know", "Look it up at open.work.weixin.qq.com/devtool/query."
)

NO_SUCH_MEMBER: Final = frozenset({40003, 60111})
"""Codes for a userid that nobody has, or nobody that the app may see."""

_OF_MEMBERS: Final = frozenset({40003, 40031, 40098, 40205, 41054, 50002, 60011, 60021, 60030, 60111, 84074})

NO_CONTACT_FUNCTION: Final = ERRCODES[84074]
"""How a member reads who is missing among those with the customer-contact function."""

_EXCEPTIONS: Final[dict[ErrorClass, type[WeComError]]] = {
    ErrorClass.RETRY: TransientError,
    ErrorClass.CONGESTED: Congested,
    ErrorClass.TOKEN: TokenRefused,
    ErrorClass.RESTART: CursorExpired,
    ErrorClass.CONFIG: ConfigurationNeeded,
    ErrorClass.STAFF: StaffBlocked,
    ErrorClass.PERM: PermanentError,
    ErrorClass.AGE: TooEarly,
    ErrorClass.BUG: PermanentError,
    ErrorClass.CONTENT: ContentRefused,
    ErrorClass.ATTACHMENT: AttachmentRefused,
    ErrorClass.TAKEN: NameTaken,
    ErrorClass.TAG: TagUnknown,
    ErrorClass.WELCOME: WelcomeRefused,
    ErrorClass.UNKNOWN: UnknownCode,
}

_TRANSIENT_AT_GETTOKEN: Final = frozenset({_OK, _RETRY, ErrorClass.RATE, ErrorClass.CONGESTED})

MINUTE_BLOCK: Final = 60.0
HOUR_BLOCK: Final = 3600.0
_HINT: Final = re.compile(r"hint:\s*\[([0-9A-Za-z_]{1,80})\]")
_FROM_IP: Final = re.compile(r"from ip:\s*([0-9A-Fa-f:.]{2,45})")


def reading_of(endpoint: str, errcode: int) -> Reading:
    """Return how *errcode* is read when *endpoint* answers it."""
    reading = _AT_ENDPOINT.get((endpoint, errcode)) or ERRCODES.get(errcode, _UNKNOWN)
    if endpoint == GETTOKEN and reading.kind not in _TRANSIENT_AT_GETTOKEN:
        # Whatever else refuses a token, calling on gets the address banned: a person must look (doc 91039).
        return Reading(_CONFIG, reading.meaning, reading.remedy)
    return reading


def concerns_a_member(error: WeComError) -> bool:
    """Tell whether *error* is about a member that was named in the call; of several it does not say which."""
    return error.errcode in _OF_MEMBERS


def means_nothing_there(answer: Mapping[str, object]) -> bool:
    """Tell whether a success says by its errcode, rather than by an empty list, that there is nothing."""
    return answer.get("errcode", 0) != 0


def failure_in(endpoint: str, answer: Mapping[str, object], *, token_is_new: bool = False) -> WeComError | None:
    """Return the error that *answer* tells of, or None when it is a success; see :func:`error_for`."""
    if "errcode" not in answer and errcode_is_due(endpoint, answer):
        return TransientError(endpoint, meaning=f"no errcode: {NOT_WECOMS}")
    errcode, errmsg = answer.get("errcode", 0), answer.get("errmsg", "")
    if type(errcode) is not int:
        return TransientError(endpoint, meaning="unreadable answer")
    errmsg = errmsg if isinstance(errmsg, str) else ""
    if errcode == 0 and "wrong json format" in errmsg:
        # The one errmsg that is looked at: WeCom did half of what was asked and says so nowhere else.
        return PermanentError(endpoint, errcode=0, meaning=f"WeCom could not read all of the request. {_REPORT}")
    if reading_of(endpoint, errcode).kind is _OK:
        return None
    return error_for(endpoint, errcode, errmsg, token_is_new=token_is_new)


def error_for(endpoint: str, errcode: int, errmsg: str = "", *, token_is_new: bool = False) -> WeComError:
    """
    Return the error that *errcode*, which is no success, means at *endpoint*.

    Of *errmsg* only the trace id and a refused address survive. A 40001 outside gettoken reads as a stale
    token once: *token_is_new* says the token had just been fetched, and so a person must act.
    """
    reading = reading_of(endpoint, errcode)
    kind = reading.kind
    if kind is _TOKEN and errcode == 40001 and token_is_new:
        kind = _CONFIG
    found = _HINT.search(errmsg)
    hint = found[1] if found else ""
    meaning = f"{_meaning(reading, errcode, errmsg)}. {reading.remedy}".rstrip(". ")
    if kind is ErrorClass.RATE:
        block = HOUR_BLOCK if endpoint == GETTOKEN else MINUTE_BLOCK
        return RateLimited(endpoint, errcode=errcode, hint=hint, meaning=meaning, retry_after=block)
    return _EXCEPTIONS[kind](endpoint, errcode=errcode, hint=hint, meaning=meaning)


def _meaning(reading: Reading, errcode: int, errmsg: str) -> str:
    """Name the address WeCom saw when it refused one: behind NAT nothing else tells which to add."""
    refused = _FROM_IP.search(errmsg) if errcode == 60020 else None
    if refused is None:
        return reading.meaning
    try:
        return f"{reading.meaning} ({ip_address(refused[1].rstrip('.'))})"
    except ValueError:
        return reading.meaning
