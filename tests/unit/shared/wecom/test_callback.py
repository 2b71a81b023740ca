"""From query and body to an event: every event of the page, both forms, and everything that is not WeCom's."""

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from shared.wecom.callback import (
    CallbackQuery,
    answer_url_check,
    parse_envelope,
    parse_event,
    parse_query,
    read_callback,
)
from shared.wecom.crypto import CallbackKeys, Keyring
from shared.wecom.fields import MAX_BODY
from tests.callback_vectors import OFFICIAL_POST, OWN, OWN_CHECK, OWN_FULL_PAD, OWN_POST, Vector

CORP = CorpId("ww9f8e7d6c5b4a3210")
STAFF = StaffUserId("lin.qiao")
CUSTOMER = ExternalUserId("wmK3vTBwAAh2Yq0ZsPd7uXn4rCf6LmEg")
TIME = 1767229384
WHO = {"corp": CORP, "staff": STAFF, "customer": CUSTOMER, "created_at": TIME}
NOBODY = WHO | {"staff": "", "customer": ""}
PAIR = {"UserID": STAFF, "ExternalUserID": CUSTOMER}


def fields(event: str, change: str, **more: str) -> dict[str, str]:
    """Return the fields of an event as the page lists them."""
    head = {"ToUserName": CORP, "FromUserName": "sys", "CreateTime": str(TIME), "MsgType": "event"}
    return head | {"Event": event, "ChangeType": change} | more


def contact(change: str, **more: str) -> dict[str, str]:
    """Return the fields of an event about a member and a customer."""
    return fields("change_external_contact", change, **PAIR, **more)


def as_xml(given: dict[str, str]) -> bytes:
    """Write *given* as WeCom does."""
    lines = (f"  <{name}><![CDATA[{value}]]></{name}>\n" for name, value in given.items())
    return f"<xml>\n{''.join(lines)}</xml>".encode()


def as_plain_xml(given: dict[str, str]) -> bytes:
    """Write *given* without CDATA."""
    return ("<xml>" + "".join(f"<{name}>{value}</{name}>" for name, value in given.items()) + "</xml>").encode()


def as_json(given: dict[str, str]) -> bytes:
    """Write *given* as JSON, with the number a number."""
    return orjson.dumps({name: int(value) if name == "CreateTime" else value for name, value in given.items()})


def as_small_json(given: dict[str, str]) -> bytes:
    """Write *given* as JSON with small names, as the page's envelope has them."""
    return orjson.dumps({name.lower(): value for name, value in given.items()})


EVENTS: list[tuple[dict[str, str], Event]] = [
    (
        contact("add_external_contact", State="qd_expo26", WelcomeCode="q5Rk"),
        CustomerAdded(**WHO, state="qd_expo26", welcome_code="q5Rk"),
    ),
    (contact("add_external_contact", State="渠道-展会🎉"), CustomerAdded(**WHO, state="渠道-展会🎉")),
    (contact("add_external_contact", State=""), CustomerAdded(**WHO)),
    (contact("add_external_contact"), CustomerAdded(**WHO)),
    (
        contact("add_half_external_contact", State="s", WelcomeCode="w"),
        CustomerHalfAdded(**WHO, state="s", welcome_code="w"),
    ),
    (contact("edit_external_contact", State="s"), CustomerEdited(**WHO, state="s")),
    (contact("edit_external_contact"), CustomerEdited(**WHO)),
    (
        contact("del_external_contact", Source="DELETE_BY_TRANSFER"),
        CustomerLost(**WHO, by=LostBy.TRANSFER),
    ),
    (contact("del_external_contact"), CustomerLost(**WHO, by=LostBy.MEMBER)),
    (contact("del_follow_user"), CustomerLost(**WHO, by=LostBy.CUSTOMER)),
    (contact("transfer_fail", FailReason="customer_refused"), TransferFailed(**WHO, reason="customer_refused")),
    (contact("msg_audit_approved", WelcomeCode="w"), ChatArchiveApproved(**WHO, welcome_code="w")),
    (
        fields(
            "change_external_chat",
            "update",
            ChatId="wr1",
            UpdateDetail="add_member",
            JoinScene="3",
            QuitScene="0",
            MemChangeCnt="2",
        ),
        GroupChatChanged(
            corp=CORP,
            chat_id="wr1",
            change="update",
            created_at=TIME,
            detail="add_member",
            join_scene="3",
            quit_scene="0",
            member_change_count="2",
        ),
    ),
    (
        fields("change_external_chat", "create", ChatId="wr1"),
        GroupChatChanged(corp=CORP, chat_id="wr1", change="create", created_at=TIME),
    ),
    (
        fields("change_external_chat", "dismiss", ChatId="wr1"),
        GroupChatChanged(corp=CORP, chat_id="wr1", change="dismiss", created_at=TIME),
    ),
    *(
        (
            fields("change_external_tag", change, Id="et1", TagType="tag_group"),
            TagChanged(corp=CORP, tag_id="et1", change=change, created_at=TIME, tag_type="tag_group"),
        )
        for change in ("create", "update", "delete")
    ),
    (
        fields("change_external_tag", "shuffle", StrategyId="7"),
        TagChanged(corp=CORP, tag_id="", change="shuffle", created_at=TIME, strategy_id="7"),
    ),
    (
        fields("change_external_tag", "shuffle", Id="et1"),
        TagChanged(corp=CORP, tag_id="et1", change="shuffle", created_at=TIME),
    ),
    *(
        (
            fields("customer_acquisition", change, LinkId="cawc1", State="s"),
            AcquisitionChanged(**NOBODY, change=change, link_id="cawc1", state="s"),
        )
        for change in ("link_unavailable", "delete_link", "open_profile", "friend_request")
    ),
    *(
        (
            fields("customer_acquisition", change),
            AcquisitionChanged(**NOBODY, change=change),
        )
        for change in ("balance_low", "balance_exhausted", "balance_increased", "quota_expire")
    ),
    (
        fields("customer_acquisition", "customer_start_chat", **PAIR),
        AcquisitionChanged(**WHO, change="customer_start_chat"),
    ),
    (
        contact("renamed_in_2031"),
        UnknownEvent(corp=CORP, event="change_external_contact", change="renamed_in_2031", created_at=TIME),
    ),
    (
        fields("change_external_chat", "archived"),
        UnknownEvent(corp=CORP, event="change_external_chat", change="archived", created_at=TIME),
    ),
    (
        fields("change_external_tag", "merged"),
        UnknownEvent(corp=CORP, event="change_external_tag", change="merged", created_at=TIME),
    ),
    (
        fields("change_contact", "create_user", UserID="x"),
        UnknownEvent(corp=CORP, event="change_contact", change="create_user", created_at=TIME),
    ),
    ({"MsgType": "text", "Content": "hello"}, UnknownEvent(corp=CORP, event="text", change="", created_at=0)),
    (
        {"Event": "e" * 99, "ChangeType": "c" * 99},
        UnknownEvent(corp=CORP, event="e" * 64, change="c" * 64, created_at=0),
    ),
    ({"Event": "e", "CreateTime": "9" * 13}, UnknownEvent(corp=CORP, event="e", change="", created_at=0)),
]


@pytest.mark.parametrize(
    ("given", "event"), EVENTS, ids=lambda case: case.get("ChangeType", "") if isinstance(case, dict) else ""
)
@pytest.mark.parametrize("write", [as_xml, as_plain_xml, as_small_json])
def test_events(given: dict[str, str], event: Event, write):
    """Every event of the page, and unknown ones, are read alike from XML and JSON."""
    assert parse_event(write(given), corp=CORP) == event


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
ENCRYPT = b"<xml><Encrypt>x</Encrypt></xml>"
GIVEN = contact("add_external_contact", State="qd_expo26")


def test_number_in_json():
    """A number in JSON is read like one in XML."""
    given = contact("add_external_contact")
    assert parse_event(as_json(given), corp=CORP) == CustomerAdded(**WHO)


@pytest.mark.parametrize("name", ["UserID", "ExternalUserID", "CreateTime"])
@pytest.mark.parametrize("value", [None, ""])
def test_missing_fields(name: str, value: str | None):
    """An event about a customer that does not say who or when is unreadable, and the reason names the field."""
    given = contact("add_external_contact")
    del given[name]
    if value is not None:
        given[name] = value
    assert parse_event(as_xml(given), corp=CORP) == Unreadable(corp=CORP, reason=f"event lacks {name}")


@pytest.mark.parametrize(
    ("given", "name"),
    [(fields("change_external_chat", "create"), "ChatId"), (fields("change_external_tag", "create"), "Id")],
)
def test_missing_ids(given: dict[str, str], name: str):
    """An event about a group or a tag has to name it."""
    assert parse_event(as_xml(given), corp=CORP) == Unreadable(corp=CORP, reason=f"event lacks {name}")


@pytest.mark.parametrize("time", ["soon", "-1", "1.5", "١٢٣", "9" * 13, "1 1", "²"])
def test_times(time: str):
    """A CreateTime that is not a plain number of seconds makes an event unreadable."""
    given = contact("add_external_contact") | {"CreateTime": time}
    assert parse_event(as_xml(given), corp=CORP) == Unreadable(corp=CORP, reason="CreateTime is not a time")


def test_unknown_elements_are_passed_over():
    """New elements, nested ones and repeated ones too, do not disturb; nested names are not taken for ours."""
    nested = "<Items><Item>1</Item><Item>2</Item><State>other</State></Items><New>1</New><New>2</New>"
    given = as_xml(contact("add_external_contact", State="ours")).replace(b"</xml>", nested.encode() + b"</xml>")
    assert parse_event(given, corp=CORP) == CustomerAdded(**WHO, state="ours")
    document = orjson.loads(as_json(contact("add_external_contact", State="ours")))
    given = orjson.dumps(document | {"Items": [{"State": "other"}], "New": None})
    assert parse_event(given, corp=CORP) == CustomerAdded(**WHO, state="ours")


def test_order_does_not_matter():
    """The order of elements is not promised."""
    given = dict(reversed(contact("add_external_contact", State="s").items()))
    assert parse_event(as_xml(given), corp=CORP) == CustomerAdded(**WHO, state="s")


def test_xml_declaration_and_byte_order_mark():
    """An XML declaration of UTF-8 and a UTF-8 byte order mark are harmless."""
    body = b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>\n' + as_xml(contact("del_follow_user"))
    assert parse_event(body, corp=CORP) == CustomerLost(**WHO, by=LostBy.CUSTOMER)
    body = b'<?xml version="1.0"?>' + as_xml(contact("del_follow_user"))
    assert parse_event(body, corp=CORP) == CustomerLost(**WHO, by=LostBy.CUSTOMER)


@pytest.mark.parametrize(
    "body",
    [
        as_xml(GIVEN).replace(b"<![CDATA[", b"\n  <![CDATA[").replace(b"]]></", b"]]>\n  </"),
        b'<?xml version="1.0" encoding="utf8"?>' + as_xml(GIVEN),
        b"\xef\xbb\xbf" + as_json(GIVEN),
        as_json(GIVEN | {"Nothing": None}),
        as_xml(GIVEN | {"Nickname": "a\x1db"}),
        as_xml(GIVEN).replace(b"qd_expo26", b" qd_expo26\n"),
        as_xml(GIVEN).replace(b"</xml>", b"<Broken></xml>"),
        as_xml(GIVEN).replace(b"</xml>", b""),
        as_xml(GIVEN).replace(b"</xml>", b"<Nickname>&#x1d;</Nickname></xml>"),
        BOMB + as_xml(GIVEN),
    ],
    ids=["blanks", "utf8", "bom", "null", "control", "state", "broken", "cut", "reference", "doctype"],
)
def test_an_event_is_read_however_it_is_dressed(body: bytes):
    """Blanks round CDATA, marks, nulls, control characters, elements left open: the customer is heard of."""
    assert parse_event(body, corp=CORP) == CustomerAdded(**WHO, state="qd_expo26")


def test_a_state_cut_inside_a_character_loses_nobody():
    """WeCom cuts a link's state at 64 bytes; the half character becomes a sign for one."""
    body = as_xml(contact("add_external_contact", State="qd_渠道")).replace("道".encode(), "道".encode()[:2])
    assert parse_event(body, corp=CORP) == CustomerAdded(**WHO, state="qd_渠\ufffd")


def test_predefined_and_character_references():
    """References that need no declaration are text."""
    given = contact("add_external_contact") | {"State": "a&amp;b&#28192;"}
    assert parse_event(as_plain_xml(given), corp=CORP) == CustomerAdded(**WHO, state="a&b渠")


DECLARATION = "XML has a declaration or an instruction"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body is not XML"),
        (b"   ", "body is not XML"),
        (b"encrypt", "body is not XML"),
        (b"<xml>", "body is not XML"),
        (ENCRYPT + ENCRYPT, "body is not XML"),
        (ENCRYPT[:-1], "body is not XML"),
        (b"<xml><Encrypt>&b;</Encrypt></xml>", "body is not XML"),
        (b"<xml><Encrypt>\0</Encrypt></xml>", "body is not UTF-8"),
        (b"<xml/>", "envelope lacks Encrypt"),
        (b"<xml><Encrypt/></xml>", "envelope lacks Encrypt"),
        (b"<Encrypt>x</Encrypt>", "envelope lacks Encrypt"),
        (b"<xml Encrypt='x'/>", "envelope lacks Encrypt"),
        (b"<xml><a><Encrypt>x</Encrypt></a></xml>", "envelope lacks Encrypt"),
        (b"<xml><encrypt>x</encrypt></xml>", "envelope lacks Encrypt"),
        (b"<xml><Encrypt>x</Encrypt><Encrypt>y</Encrypt></xml>", "body repeats a field"),
        (b"<!DOCTYPE xml>" + ENCRYPT, DECLARATION),
        (b'<!DOCTYPE xml SYSTEM "http://127.0.0.1/x.dtd">' + ENCRYPT, DECLARATION),
        (BOMB + b"<xml><Encrypt>&b;</Encrypt></xml>", DECLARATION),
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml><Encrypt>&a;</Encrypt></xml>', DECLARATION),
        (b'<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>' + ENCRYPT, DECLARATION),
        (b"<?php x?>" + ENCRYPT, DECLARATION),
        (b"<xml><?x y?><Encrypt>x</Encrypt></xml>", DECLARATION),
        (b'<?xml version="1.0" encoding="GBK"?>' + ENCRYPT, "body is not UTF-8"),
        (b'<?xml version="1.0" encoding="utf-16"?>' + ENCRYPT, "body is not UTF-8"),
        (b"\xff\xfe" + ENCRYPT.decode().encode("utf-16-le"), "body is not UTF-8"),
        (b"\xfe\xff" + ENCRYPT.decode().encode("utf-16-be"), "body is not UTF-8"),
        (ENCRYPT.decode().encode("utf-16-le"), "body is not UTF-8"),
        (ENCRYPT.decode().encode("utf-16-be"), "body is not UTF-8"),
        (b"<xml><Encrypt>\xff</Encrypt></xml>", "body is not UTF-8"),
        (b"<a>" * 17 + b"</a>" * 17, "XML has too many elements"),
        (b"<a>" * 20_000, "XML has too many elements"),
        (b"<xml>" + b"<a/>" * 1000 + b"</xml>", "XML has too many elements"),
        (b"<xml>" + b" " * MAX_BODY + b"</xml>", "body is too large"),
        (b"{", "body is not JSON"),
        (b"{}", "envelope lacks Encrypt"),
        (b'{"encrypt": ""}', "envelope lacks Encrypt"),
        (b'{"encrypt": null}', "envelope lacks Encrypt"),
        (b'{"encrypt": true}', "a field is neither text nor a number"),
        (b'{"encrypt": ["x"]}', "a field is neither text nor a number"),
        (b'{"encrypt": "x", "Encrypt": "y"}', "body repeats a field"),
        (b'{"encrypt": "\xff"}', "body is not JSON"),
        (b'{"encrypt": "\\ud800"}', "body is not JSON"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "body is not JSON"),
        (b'["encrypt"]', "body is not XML"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value[:40]),
)  # fmt: skip
def test_no_envelope(body: bytes, reason: str):
    """What is no envelope is refused with 400 before anything is believed, dangerous XML above all."""
    assert rejected(parse_envelope, body) == (400, reason)


@pytest.mark.parametrize(
    "body",
    [
        ENCRYPT,
        b"\n <xml>\n<AgentID/><Encrypt><![CDATA[x]]></Encrypt><ToUserName>a</ToUserName></xml>\n",
        b'{"tousername":"a","encrypt":"x","agentid":"1000027"}',
        b' {"ToUserName":"a","Encrypt":"x"}',
    ],
)
def test_envelopes(body: bytes):
    """Envelopes in both forms, with fields in any order."""
    assert parse_envelope(body) == "x"


@given(st.binary(max_size=300))
def test_random_bodies(body: bytes):
    """Random bytes are an envelope or rejected, and likewise an event."""
    for read in (parse_envelope, lambda given: parse_event(given, corp=CORP)):
        try:
            read(body)
        except CallbackRejected as rejection:
            assert rejection.status == 400  # noqa: PT017 - either outcome is right


TAGS = st.sampled_from(
    [
        "<xml>",
        "</xml>",
        "<Encrypt>",
        "</Encrypt>",
        "<![CDATA[",
        "]]>",
        "&amp;",
        "&a;",
        "<!DOCTYPE a>",
        "<?a?>",
        "x",
        "{",
        '"',
    ]
)


@given(st.lists(TAGS, max_size=20).map("".join))
def test_random_markup(text: str):
    """Random markup is an envelope or rejected, and never one with a declaration."""
    try:
        parse_envelope(text.encode())
    except CallbackRejected as rejection:
        assert rejection.status == 400  # noqa: PT017 - either outcome is right
    else:
        assert not re.sub(r"<!\[CDATA\[.*?\]\]>", "", text).count("<!DOCTYPE")


class TestQuery:
    """The query, decoded exactly once."""

    GOOD = "msg_signature=s&timestamp=1&nonce=2"

    def test_plus_survives(self):
        """``+`` stays ``+``, written as such or percent-encoded."""
        for plus in ("+", "%2B", "%2b"):
            query = parse_query(f"{self.GOOD}&echostr=a{plus}b%2Fc%3D%3D")
            assert query == CallbackQuery(signature="s", timestamp="1", nonce="2", echostr="a+b/c==")

    def test_decoded_once(self):
        """What is encoded twice is decoded once."""
        assert parse_query(f"{self.GOOD}&echostr=%252B").echostr == "%2B"

    def test_other_parameters(self):
        """Unknown parameters are ignored."""
        assert parse_query(f"{self.GOOD}&x=1&y") == parse_query(self.GOOD)

    @pytest.mark.parametrize("again", ["nonce=3", "nonce=2", "%6Eonce=3", "nonce", "x=1&x=1", "&"])
    def test_duplicates(self, again: str):
        """A name given twice is refused, also when it is spelled in another way."""
        assert rejected(parse_query, f"{self.GOOD}&{again}&") == (400, "query repeats a parameter")

    @pytest.mark.parametrize("name", ["msg_signature", "timestamp", "nonce"])
    def test_missing(self, name: str):
        """A missing parameter is refused."""
        query = "&".join(part for part in self.GOOD.split("&") if not part.startswith(name))
        assert rejected(parse_query, query) == (400, "query lacks a parameter")

    @pytest.mark.parametrize("value", ["%FF", "%C3", "%ED%A0%80"])
    def test_not_text(self, value: str):
        """Bytes that are no UTF-8 are refused."""
        assert rejected(parse_query, f"{self.GOOD}&x={value}") == (400, "query is not UTF-8")

    @given(st.text(max_size=100))
    def test_random(self, query: str):
        """Random queries lack something."""
        assert rejected(parse_query, query)[0] == 400


RING = Keyring(tokens=(OWN.token,), aes_keys=(OWN.aes_key,), receive_id=OWN.receive_id)


def query_of(vector: Vector, **more: str) -> str:
    """Return the raw query of a POST with *vector*."""
    given = {"msg_signature": vector.signature, "timestamp": vector.timestamp, "nonce": vector.nonce}
    return "&".join(f"{name}={value}" for name, value in (given | more).items())


class TestUrlCheck:
    """The URL check as a whole."""

    @pytest.mark.parametrize("vector", [OWN_CHECK, OWN_FULL_PAD], ids=lambda vector: vector.name)
    def test_vectors(self, vector: Vector):
        """The published checks are answered with the bare message."""
        assert answer_url_check(RING, query_of(vector, echostr=vector.encrypted)) == vector.message

    def test_without_echostr(self):
        """A check without ``echostr`` is malformed."""
        assert rejected(answer_url_check, RING, query_of(OWN_CHECK)) == (400, "echostr is missing")

    @pytest.mark.parametrize("vector", [OWN_POST], ids=lambda vector: vector.name)
    def test_is_no_decryption_service(self, vector: Vector):
        """A captured event sent back as a check is not decrypted for the sender."""
        query = query_of(vector, echostr=vector.encrypted)
        assert rejected(answer_url_check, RING, query) == (403, "an event sent as a URL check")

    def test_json_event_is_not_decrypted(self):
        """Nor is one in JSON."""
        encrypted = OWN.encrypt(b' {"Event":"x"}', random=bytes(16))
        query = f"msg_signature={OWN.sign('1', '2', encrypted)}&timestamp=1&nonce=2&echostr={encrypted}"
        assert rejected(answer_url_check, RING, query)[0] == 403

    @pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\x1d", b"x"])
    def test_an_event_with_something_before_it_is_not_decrypted(self, before: bytes):
        """Whatever is read as an event is no answer to a URL check."""
        encrypted = OWN.encrypt(before + b"<xml><Event>x</Event></xml>", random=bytes(16))
        query = f"msg_signature={OWN.sign('1', '2', encrypted)}&timestamp=1&nonce=2&echostr={encrypted}"
        assert rejected(answer_url_check, RING, query)[0] == 403


class TestReadCallback:
    """An event's callback as a whole."""

    def test_own_vector(self):
        """The published message of an unknown kind is read."""
        body = f"<xml><Encrypt>{OWN_POST.encrypted}</Encrypt></xml>".encode()
        assert read_callback(RING, query_of(OWN_POST), body) == UnknownEvent(
            corp=CORP, event="t", change="", created_at=0
        )

    def test_official_vector(self):
        """The official sample, a text to the app, is read as an unknown event."""
        keys = OFFICIAL_POST.keys
        ring = Keyring(tokens=(keys.token,), aes_keys=(keys.aes_key,), receive_id=keys.receive_id)
        body = f"<xml><Encrypt>{OFFICIAL_POST.encrypted}</Encrypt></xml>".encode()
        assert read_callback(ring, query_of(OFFICIAL_POST), body) == UnknownEvent(
            corp=CorpId(keys.receive_id), event="text", change="", created_at=1409659813
        )

    def test_envelope_is_not_believed(self):
        """Only ``Encrypt`` of the envelope counts: the corp is the verified receiver."""
        body = f"<xml><ToUserName>evil</ToUserName><Encrypt>{OWN_POST.encrypted}</Encrypt></xml>".encode()
        assert read_callback(RING, query_of(OWN_POST), body).corp == CORP

    @pytest.mark.parametrize("message", [b"8150029374461", b"<xml", b"", b"{}x", b"\xff"])
    def test_malformed_message(self, message: bytes):
        """A message under our own keys that is neither XML nor JSON is WeCom's, and unreadable: no repeat is better."""
        encrypted = OWN.encrypt(message, random=bytes(16))
        query = f"msg_signature={OWN.sign('1', '2', encrypted)}&timestamp=1&nonce=2"
        body = f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode()
        assert isinstance(read_callback(RING, query, body), Unreadable)

    def test_one_answer_between_signature_and_receiver(self):
        """A wrong signature, broken base64, a wrong pad, length or receiver have one status."""
        other = CallbackKeys(token=OWN.token, aes_key=OWN.aes_key, receive_id="wwother")
        wrong = [
            "x",
            OWN_POST.encrypted[:-4],
            "A" * 43 + "=",
            OWN_CHECK.encrypted[:64],
            other.encrypt(b"<xml/>", random=bytes(16)),
        ]
        statuses = set()
        for encrypted in wrong:
            body = f"<xml><Encrypt>{encrypted}</Encrypt></xml>".encode()
            for signature in ("0" * 40, OWN.sign("1", "2", encrypted)):
                query = f"msg_signature={signature}&timestamp=1&nonce=2"
                statuses.add(rejected(read_callback, RING, query, body)[0])
        assert statuses == {403}


def rejected(read, *given, **more) -> tuple[int, str]:
    """Return status and reason of the rejection that *read* raises."""
    with pytest.raises(CallbackRejected) as caught:
        read(*given, **more)
    return caught.value.status, caught.value.reason
