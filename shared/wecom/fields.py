"""
The fields of a callback's envelope and message, XML or JSON.

The envelope is parsed before anybody has proved to be WeCom, and so with suspicion. The message inside is WeCom's own
word, and is read as well as it can be: it may quote a nickname that was cut inside a character, or what a person typed.
Both are flat; deeper elements are only passed over.
"""

import re
from pyexpat import ExpatError, ParserCreate
from typing import Any, Final, NoReturn

import orjson

from shared.domain.errors import CallbackRejected

MAX_BODY: Final = 64 * 1024
"""Bytes of the largest callback accepted; real ones have about one thousand."""

_UTF8_MARK: Final = b"\xef\xbb\xbf"
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ELEMENT: Final = re.compile(
    r"<(?P<name>[A-Za-z]+)>\s*(?:<!\[CDATA\[(?P<cdata>.*?)\]\]>|(?P<plain>[^<]*))\s*</(?P=name)>", re.DOTALL
)

_MAX_DEPTH: Final = 16
_MAX_ELEMENTS: Final = 1000


def read_fields(body: bytes, wanted: frozenset[str]) -> dict[str, str]:
    """
    Return those of the *wanted* top-level fields that *body* has, stripped of blanks; JSON when it starts with ``{``.

    Raises:
        CallbackRejected: 400 too large, not UTF-8, neither well-formed XML nor JSON, XML with declarations or
            instructions, or a wanted field that is given twice: another reader might take the other one.
    """
    if len(body) > MAX_BODY:
        raise CallbackRejected(400, "body is too large")
    body = body.removeprefix(_UTF8_MARK)
    return _json_fields(body, wanted) if body.lstrip()[:1] == b"{" else _xml_fields(body, wanted)


def read_message(body: bytes, wanted: frozenset[str]) -> dict[str, str]:
    """
    Return those of the *wanted* fields that can be made out in *body*, which WeCom has signed.

    What is broken is mended or passed over: characters cut in two are replaced, control characters left out, and of a
    document that no parser takes the elements that stand whole are read: nothing else would tell of the customer.
    """
    text = _CONTROLS.sub("", body.decode("utf-8", "replace"))
    try:
        return read_fields(text.encode(), wanted)
    except CallbackRejected:
        return _salvaged(text, wanted)


def _salvaged(text: str, wanted: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _ELEMENT.finditer(text):
        if match["name"] in wanted:
            found.setdefault(match["name"], (match["cdata"] or match["plain"] or "").strip())
    return found


def _json_fields(body: bytes, wanted: frozenset[str]) -> dict[str, str]:
    """Ignore the case of names: the one page that shows JSON writes them small (doc 90968)."""
    try:
        document: dict[str, Any] = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CallbackRejected(400, "body is not JSON") from error
    names = {name.lower(): name for name in wanted}
    found: dict[str, str] = {}
    for key, value in document.items():
        name = names.get(key.lower())
        if name is None:
            continue
        if name in found:
            raise CallbackRejected(400, "body repeats a field")
        if value is None:
            continue
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise CallbackRejected(400, "a field is neither text nor a number")
        found[name] = str(value).strip()
    return found


def _xml_fields(body: bytes, wanted: frozenset[str]) -> dict[str, str]:
    """Refuse what makes XML dangerous: declarations of types and entities, instructions, depth and number."""
    found: dict[str, str] = {}
    text: list[str] = []
    depth = elements = 0

    def start(_name: str, _attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth += 1
        elements += 1
        if depth > _MAX_DEPTH or elements > _MAX_ELEMENTS:
            raise CallbackRejected(400, "XML has too many elements")
        text.clear()

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        if depth == 1 and name in wanted:
            if name in found:
                raise CallbackRejected(400, "body repeats a field")
            found[name] = "".join(text).strip()
        text.clear()

    parser = ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.XmlDeclHandler = _refuse_encoding
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ProcessingInstructionHandler = _refuse
    if b"\0" in body:  # expat takes it for UTF-16, whatever encoding it is given
        raise CallbackRejected(400, "body is not UTF-8")
    try:
        body.decode()  # nor does expat mind the encoding when there is a UTF-16 byte order mark
        parser.Parse(body, True)
    except UnicodeDecodeError as error:
        raise CallbackRejected(400, "body is not UTF-8") from error
    except ExpatError as error:
        raise CallbackRejected(400, "body is not XML") from error
    return found


def _refuse(*_declaration: object) -> NoReturn:
    raise CallbackRejected(400, "XML has a declaration or an instruction")


def _refuse_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
        raise CallbackRejected(400, "body is not UTF-8")
