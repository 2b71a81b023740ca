"""
What is fuzzed: each target is given bytes and raises nothing but what its reader names.

A target that raises anything else, or takes longer than ``HANG_SECONDS``, is broken.
"""

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import process_time
from typing import Any, Final

import orjson

from shared.domain.channels.file import load_channels
from shared.domain.errors import CallbackRejected, ConfigurationError, PoisonMessage
from shared.domain.events import CustomerAdded
from shared.domain.ids import CorpId, ExternalUserId, StaffUserId
from shared.queue.message import decode, encode
from shared.wecom import types
from shared.wecom.callback import answer_url_check, parse_event, read_callback
from shared.wecom.crypto import Keyring
from shared.wecom.fields import MAX_BODY
from tests.callback_vectors import OWN
from tests.rigs.ingress import added, check, envelope, query

HANG_SECONDS: Final = 0.1
"""Longest that one input may take, in seconds of CPU."""

KEYRING: Final = Keyring(tokens=(OWN.token,), aes_keys=(OWN.aes_key,), receive_id=OWN.receive_id)


class Broken(Exception):
    """An input took too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A reader of bytes, what it may raise, and inputs from which others are made."""

    read: Callable[[bytes], object]
    raises: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]

    def __call__(self, data: bytes) -> None:
        """Read *data*; raises what is not allowed."""
        started = process_time()
        with suppress(*self.raises):
            self.read(data)
        took = process_time() - started
        if took > HANG_SECONDS:
            raise Broken(f"{took:.2f} s for {len(data)} bytes")


def _callback(data: bytes) -> object:
    """Read a query and, after a line break, a body."""
    head, _, body = data.partition(b"\n")
    return read_callback(KEYRING, head.decode("latin-1"), body)


def _query(path: str) -> str:
    return path.partition("?")[2]


def _url_check(data: bytes) -> object:
    return answer_url_check(KEYRING, data.decode("latin-1"))


def _ciphertext(data: bytes) -> object:
    """Read a callback whose signature is right, whatever it signs."""
    encrypted = base64.b64encode(data).decode()
    return read_callback(KEYRING, _query(query(OWN, encrypted)), envelope(encrypted))


def _event(data: bytes) -> object:
    """Read what WeCom signed: nothing is allowed to go wrong."""
    return parse_event(data[:MAX_BODY], corp=CorpId(OWN.receive_id))


_READERS: Final[tuple[Callable[[Any], object], ...]] = (
    lambda answer: types.read_customer(ExternalUserId("wm1"), [answer, answer]),
    types.read_relation_page,
    lambda answer: types.read_relation_page(answer, "lin"),
    types.read_new_contact_way,
    types.read_media_id,
    types.read_contact_way,
    types.read_contact_way_ids,
    types.read_tag_groups,
    types.read_tag_group,
    types.read_cursor,
)


def _answer(data: bytes) -> object:
    """Let every reader of answers read one JSON object."""
    answer = orjson.loads(data)
    if isinstance(answer, dict):
        for read in _READERS:
            with suppress(types.UnreadableAnswer):
                read(answer)
    return answer


def _channels(data: bytes) -> object:
    return load_channels(data.decode("utf-8", "replace"))


_PERSON: Final = b"""
<xml><ToUserName><![CDATA[ww1]]></ToUserName><CreateTime>1767229384</CreateTime><MsgType><![CDATA[event]]></MsgType>
<Event><![CDATA[change_external_contact]]></Event><ChangeType><![CDATA[add_external_contact]]></ChangeType>
<UserID><![CDATA[lin]]></UserID><ExternalUserID><![CDATA[wm1]]></ExternalUserID><State><![CDATA[qd_x]]></State>
<WelcomeCode><![CDATA[code]]></WelcomeCode></xml>
"""
_CUSTOMER: Final = orjson.dumps(
    {
        "errcode": 0,
        "external_contact": {"external_userid": "wm1", "name": "n", "type": 1},
        "follow_user": [{"userid": "lin", "remark": "r", "createtime": 1, "state": "s", "tags": [{"tag_id": "t"}]}],
        "external_contact_list": [
            {"external_contact": {"external_userid": "wm1"}, "follow_info": {"userid": "lin", "tag_id": ["t"]}}
        ],
        "tag_group": [{"group_id": "g", "group_name": "n", "tag": [{"id": "t", "name": "n"}]}],
        "contact_way": {"config_id": "c", "type": 1, "scene": 2, "state": "s", "user": ["lin"]},
        "next_cursor": "",
        "media_id": "m",
        "config_id": "c",
    }
)
_FILE: Final = """
[defaults]
staff = ["lin.qiao"]
remark = "{channel}-{name}"

[channels.expo]
name = "展会"
states = ["ads_*"]
tags = ["来源/展会"]
welcome = "你好 {name}"
attachments = [{ msgtype = "link", title = "t", url = "https://example.com" }]
""".encode()
_MESSAGE: Final = encode(
    CustomerAdded(
        corp=CorpId("ww1"),
        staff=StaffUserId("lin"),
        customer=ExternalUserId("wm1"),
        created_at=1767229384,
        state="qd_x",
        welcome_code="code",
    )
)

TARGETS: Final[Mapping[str, Target]] = {
    "callback": Target(
        read=_callback, raises=(CallbackRejected,), seeds=(_query(added().path).encode() + b"\n" + added().body,)
    ),
    "url-check": Target(read=_url_check, raises=(CallbackRejected,), seeds=(_query(check(OWN, "abcd").path).encode(),)),
    "ciphertext": Target(read=_ciphertext, raises=(CallbackRejected,), seeds=(bytes(64),)),
    "event": Target(read=_event, raises=(), seeds=(_PERSON, b'{"Event":"change_external_contact"}')),
    "answer": Target(read=_answer, raises=(orjson.JSONDecodeError,), seeds=(_CUSTOMER,)),
    "message": Target(read=decode, raises=(PoisonMessage,), seeds=(_MESSAGE,)),
    "channels": Target(read=_channels, raises=(ConfigurationError,), seeds=(_FILE,)),
}
