"""Opaque ids in the shapes WeCom gives them."""

import string
from collections.abc import Iterator
from itertools import count
from random import Random

_MIXED = string.ascii_letters + string.digits
_TOKEN = _MIXED + "-_"
_HEX = "0123456789abcdef"


class Identifiers:
    """Makes ids from one seeded source, so that a scenario can be repeated."""

    def __init__(self, random: Random, calls: Iterator[int] | None = None) -> None:
        """*calls* numbers the calls of everybody among whom a trace id is to be found."""
        self._random = random
        self._calls = calls or count(1)

    def _text(self, alphabet: str, length: int) -> str:
        return "".join(self._random.choices(alphabet, k=length))

    def corp_id(self) -> str:
        """Return a corp's id."""
        return "ww" + self._text(_HEX, 16)

    def secret(self) -> str:
        """Return an app's secret."""
        return self._text(_TOKEN, 43)

    def callback_token(self) -> str:
        """Return what an app's callbacks are signed with."""
        return self._text(_MIXED, 16)

    def aes_key(self) -> str:
        """Return an EncodingAESKey."""
        return self._text(_MIXED, 43)

    def external_userid(self) -> str:
        """Return a customer's id: ``wm`` or ``wo`` and 30 characters of mixed case."""
        return self._random.choice(("wm", "wm", "wm", "wo")) + self._text(_MIXED, 30)

    def config_id(self) -> str:
        """Return the id of a contact way."""
        return self._text(_HEX, 32)

    def welcome_code(self) -> str:
        """Return a WelcomeCode."""
        return self._text(_TOKEN, 43)

    def access_token(self, length: int) -> str:
        """Return a token of *length* characters."""
        return self._text(_TOKEN, length)

    def tag_id(self) -> str:
        """Return the id of a tag or a tag group."""
        return "et" + self._text(_MIXED, 30)

    def cursor(self) -> str:
        """Return a paging cursor."""
        return self._text(_TOKEN, 32)

    def media_id(self) -> str:
        """Return the id of an uploaded file."""
        return "3" + self._text(_TOKEN, 43)

    def unionid(self) -> str:
        """Return a WeChat unionid."""
        return "oT9" + self._text(_TOKEN, 25)

    def nonce(self) -> str:
        """Return a callback's nonce."""
        return str(self._random.randrange(10**8, 10**10))

    def random_bytes(self, length: int) -> bytes:
        """Return *length* random bytes."""
        return self._random.randbytes(length)

    def hint(self, now: float) -> str:
        """Return a trace id that no other call has: the Unix time and a running number."""
        return f"{int(now)}{next(self._calls):015d}"
