"""The decrypted messages of callbacks, in WeCom's words (doc 92130)."""

from collections.abc import Mapping

import orjson

CONTACT_EVENT = "change_external_contact"


def message(corp_id: str, created_at: int, fields: Mapping[str, str], *, as_json: bool = False) -> bytes:
    """
    Return the message that is encrypted into a callback.

    Args:
        corp_id: Goes into ToUserName.
        created_at: CreateTime.
        fields: Event, ChangeType and what follows them, in order. Absent elements are simply not there.
        as_json: The JSON form instead of XML.
    """
    head: dict[str, str | int] = {
        "ToUserName": corp_id,
        "FromUserName": "sys",
        "CreateTime": created_at,
        "MsgType": "event",
    }
    if as_json:
        return orjson.dumps({**head, **fields})
    elements = "".join(element(name, value) for name, value in {**head, **fields}.items())
    return f"<xml>{elements}</xml>".encode()


def element(name: str, value: str | int) -> str:
    """Return one XML element; text goes into CDATA, split where it contains the end of one."""
    if isinstance(value, int):
        return f"<{name}>{value}</{name}>"
    return f"<{name}><![CDATA[{value.replace(']]>', ']]]]><![CDATA[>')}]]></{name}>"
