"""Welcome messages: one per code, within 20 seconds (doc 92137)."""

from typing import Any

from simulator.calls import ApiError, Call, Result, invalid
from simulator.corp import WelcomeCode

_TEXT_LIMIT = 4000
_ATTACHMENT_LIMIT = 9
_REQUIRED = {
    "image": (),
    "link": ("title", "url"),
    "miniprogram": ("title", "pic_media_id", "appid", "page"),
    "video": ("media_id",),
    "file": ("media_id",),
}
_MEDIA_ID_LIMIT = 128
_BYTES = {"title": 128, "desc": 512}


def send_welcome_msg(call: Call) -> Result:
    """
    Send a welcome.

    41050 for a code that is spent or too old, 41051 where another app or a chat came first, 41053 for a customer who
    has not agreed to the chat archive.
    """
    code = call.text("welcome_code", 41049)
    _check_content(call)
    given = call.corp.welcome_codes.get(code)
    if given is None or call.now >= given.expires_at:
        raise ApiError(41050)
    call.admit()  # first: a call with the same code that has just ended was under way when this one came
    _check_unspent(call, given)
    if call.scenario.config.chat_archive and not given.relation.agreed:
        raise ApiError(41053)
    given.sent_by = call.app.agent_id
    given.relation.welcomes.append(call.now)
    given.relation.welcomed_with = {name: call.body[name] for name in ("text", "attachments") if name in call.body}
    return {}


def _check_unspent(call: Call, given: WelcomeCode) -> None:
    if given.sent_by is not None:
        raise ApiError(41050 if given.sent_by == call.app.agent_id else 41051)
    if given.relation.chatting or given.relation.welcomes:
        raise ApiError(41051)


def _check_content(call: Call) -> None:
    text = call.body.get("text") or {}
    content = text.get("content") if isinstance(text, dict) else None
    attachments = call.body.get("attachments") or []
    if content is not None and not isinstance(content, str):
        raise invalid("text.content", "should be string")
    if content and len(content.encode()) > _TEXT_LIMIT:
        raise invalid("text.content", f"exceed max length {_TEXT_LIMIT}")
    if not isinstance(attachments, list):
        raise invalid("attachments", "should be array")
    if not content and not attachments:
        raise ApiError(40063)
    if len(attachments) > _ATTACHMENT_LIMIT:
        raise ApiError(41064)
    for attachment in attachments:
        _check_attachment(call, attachment)


def _check_attachment(call: Call, attachment: Any) -> None:  # noqa: ANN401 - JSON
    kind = attachment.get("msgtype") if isinstance(attachment, dict) else None
    if kind not in _REQUIRED or not isinstance(attachment.get(kind), dict):
        raise ApiError(41065)
    content = attachment[kind]
    if kind == "image" and not (content.get("media_id") or content.get("pic_url")):
        raise ApiError(40063)
    for name in _REQUIRED[kind]:
        if not content.get(name):
            raise ApiError(40063)
    title = 64 if kind == "miniprogram" else _BYTES["title"]
    for name, limit in (("title", title), ("desc", _BYTES["desc"])):
        if len(str(content.get(name, "")).encode()) > limit:
            raise invalid(f"attachments.{kind}.{name}", f"exceed max length {limit}")
    for name in ("media_id", "pic_media_id"):
        if len(str(content.get(name, "")).encode()) > _MEDIA_ID_LIMIT:
            raise invalid(f"attachments.{kind}.{name}", f"exceed max length {_MEDIA_ID_LIMIT}")
        if content.get(name):
            call.check_media(content[name])
