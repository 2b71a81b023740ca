"""
Callbacks that WeCom never sends, to see a receiver refuse them.

Each kind is wrong in exactly one way and right in all others.
"""

from base64 import b64decode, b64encode
from enum import StrEnum

from Crypto.Cipher import AES

from shared.wecom.crypto import CallbackKeys
from simulator.callbacks import keys_of, signed_query
from simulator.corp import App
from simulator.events import element, message
from simulator.scenario import Scenario

_OVERSIZE = 10 * 2**20
_BOMB = (
    '<!DOCTYPE xml [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


class Forgery(StrEnum):
    """Ways for a callback to be wrong."""

    BAD_SIGNATURE = "bad_signature"
    NO_SIGNATURE = "no_signature"
    WRONG_RECEIVER = "wrong_receiver"
    TRUNCATED = "truncated"
    WRONG_LENGTH = "wrong_length"
    PAD_ZERO = "pad_zero"
    PAD_33 = "pad_33"
    NOT_BASE64 = "not_base64"
    NO_ENCRYPT = "no_encrypt"
    NOT_XML = "not_xml"
    XML_BOMB = "xml_bomb"
    INNER_XML_BOMB = "inner_xml_bomb"
    OVERSIZED = "oversized"


def forge(scenario: Scenario, app: App, kind: Forgery) -> tuple[str, bytes]:
    """Return the query string and the body of a forged add event."""
    keys = keys_of(app, scenario.corp.corp_id)
    fields = {
        "Event": "change_external_contact",
        "ChangeType": "add_external_contact",
        "UserID": "forged",
        "ExternalUserID": "wmForged",
    }
    plain = message(keys.receive_id, int(scenario.clock.time()), fields)
    encrypted = _ciphertext(kind, keys, app, plain)
    signed = encrypted + "x" if kind is Forgery.BAD_SIGNATURE else encrypted
    query = "" if kind is Forgery.NO_SIGNATURE else signed_query(scenario, keys, signed)
    return query, _body(kind, encrypted)


def _ciphertext(kind: Forgery, keys: CallbackKeys, app: App, plain: bytes) -> str:
    match kind:
        case Forgery.WRONG_RECEIVER:
            stranger = CallbackKeys(token=keys.token, aes_key=keys.aes_key, receive_id="ww0000000000000000")
            return stranger.encrypt(plain, random=bytes(16))
        case Forgery.WRONG_LENGTH:
            return _by_hand(keys, app, plain, length=len(plain) + 10_000)
        case Forgery.PAD_ZERO:
            return _by_hand(keys, app, plain, pad=0)
        case Forgery.PAD_33:
            return _by_hand(keys, app, plain, pad=33)
        case Forgery.INNER_XML_BOMB:
            return keys.encrypt(_BOMB.encode() + plain.replace(b"forged", b"&i;"), random=bytes(16))
        case Forgery.TRUNCATED:
            return keys.encrypt(plain, random=bytes(16))[:-40]
        case Forgery.NOT_BASE64:
            return "*" + keys.encrypt(plain, random=bytes(16))[1:]
        case _:
            return keys.encrypt(plain, random=bytes(16))


def _by_hand(keys: CallbackKeys, app: App, plain: bytes, *, length: int | None = None, pad: int | None = None) -> str:
    """Encrypt with a length field or a pad that is not the right one."""
    key = b64decode(app.aes_key + "=")
    size = len(plain) if length is None else length
    blocks = bytes(16) + size.to_bytes(4, "big") + plain + keys.receive_id.encode()
    missing = 32 - len(blocks) % 32
    value = missing if pad is None else pad
    count = missing if missing >= value else missing + 32
    blocks += bytes((value,)) * count
    return b64encode(AES.new(key, AES.MODE_CBC, key[:16]).encrypt(blocks)).decode()


def _body(kind: Forgery, encrypted: str) -> bytes:
    envelope = f"<xml>{element('Encrypt', encrypted)}</xml>"
    match kind:
        case Forgery.NO_ENCRYPT:
            return f"<xml>{element('Cipher', encrypted)}</xml>".encode()
        case Forgery.NOT_XML:
            return encrypted.encode()
        case Forgery.XML_BOMB:
            return f"{_BOMB}<xml><ToUserName>&i;</ToUserName>{element('Encrypt', encrypted)}</xml>".encode()
        case Forgery.OVERSIZED:
            return envelope.encode() + b" " * _OVERSIZE
        case _:
            return envelope.encode()
