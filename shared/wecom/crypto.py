"""
Signing and encryption of callbacks (doc 90968): pure, so that published vectors pin it.

What a callback's fields are called and what the message says is left to ``shared.wecom.callback``.
"""

from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass, field
from hashlib import sha1
from hmac import compare_digest
from itertools import product
from typing import Any, Final

from Crypto.Cipher import AES
from Crypto.Util.strxor import strxor

from shared.domain.errors import CallbackRejected

_PAD_TO: Final = 32  # not AES's 16: libraries that unpad to the block size refuse every other message
_RANDOM: Final = 16
_HEADER: Final = _RANDOM + 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackKeys:
    """
    One app's callback secrets: signs and verifies, encrypts and decrypts.

    Attributes:
        token: The console's Token.
        aes_key: The console's EncodingAESKey: 43 base64 characters, the last of which may carry spare bits.
        receive_id: The corp id for an app of the corp's own; whatever is decrypted must name it.

    Raises:
        ValueError: ``aes_key`` is not 43 base64 characters.
    """

    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    receive_id: str
    _key: bytes = field(init=False, repr=False, compare=False)
    _receiver: bytes = field(init=False, repr=False, compare=False)
    _blocks: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.aes_key) != 43 or "=" in self.aes_key:
            raise ValueError("an EncodingAESKey has 43 characters, none of them =")
        try:
            key = a2b_base64(self.aes_key + "=", strict_mode=True)
        except ValueError as error:
            raise ValueError("an EncodingAESKey consists of base64 characters") from error
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_receiver", self.receive_id.encode())
        object.__setattr__(self, "_blocks", AES.new(key, AES.MODE_ECB))

    def sign(self, timestamp: str, nonce: str, encrypted: str) -> str:
        """Return the ``msg_signature`` of *encrypted*; of ``echostr`` in a URL check."""
        text = "".join(sorted((self.token, timestamp, nonce, encrypted)))
        return sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()

    def verify(self, signature: str, timestamp: str, nonce: str, encrypted: str) -> bool:
        """Tell whether *signature* is right, in a time that does not depend on how much of it is."""
        expected = self.sign(timestamp, nonce, encrypted)
        return compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass"))

    def decrypt(self, encrypted: str) -> bytes:
        """
        Return the message in *encrypted*; verify its signature first.

        Only the last pad byte is read, as WeCom's own libraries do: a wrong pad moves the end of the receive
        id, which must match to the byte.

        Raises:
            CallbackRejected: 403, whatever was wrong: base64, padding, length field or receive id.
        """
        try:
            blocks = a2b_base64(encrypted, strict_mode=True)
        except ValueError as error:
            raise CallbackRejected(403, "ciphertext is not base64") from error
        if len(blocks) % AES.block_size or len(blocks) < _PAD_TO:
            raise CallbackRejected(403, "ciphertext is truncated")
        # CBC by hand: one cipher object for all messages takes half the time of a new CBC object for each.
        plain: bytes = strxor(self._blocks.decrypt(blocks), self._key[:16] + blocks[:-16])
        pad = plain[-1]
        if not 1 <= pad <= _PAD_TO:
            raise CallbackRejected(403, "wrong padding")
        end = _HEADER + int.from_bytes(plain[_RANDOM:_HEADER], "big")
        if end > len(plain) - pad:
            raise CallbackRejected(403, "wrong length field")
        if not compare_digest(plain[end : len(plain) - pad], self._receiver):
            raise CallbackRejected(403, "wrong receiver")
        return plain[_HEADER:end]

    def encrypt(self, message: bytes, *, random: bytes) -> str:
        """Return *message* as WeCom sends it, behind 16 bytes of *random*."""
        if len(random) != _RANDOM:
            raise ValueError("random must be 16 bytes")
        plain = random + len(message).to_bytes(4, "big") + message + self._receiver
        pad = _PAD_TO - len(plain) % _PAD_TO
        blocks = AES.new(self._key, AES.MODE_CBC, self._key[:16]).encrypt(plain + bytes((pad,)) * pad)
        return b2a_base64(blocks, newline=False).decode()


class Keyring:
    """Opens callbacks with the present keys, or with the previous ones while a key is being changed."""

    def __init__(self, *, tokens: tuple[str, ...], aes_keys: tuple[str, ...], receive_id: str) -> None:
        """Take the present token and key first, then previous ones; one may be changed without the other."""
        self.receive_id = receive_id
        self._keys = tuple(
            CallbackKeys(token=token, aes_key=aes_key, receive_id=receive_id)
            for token, aes_key in product(tokens, aes_keys)
        )

    def open(self, signature: str, timestamp: str, nonce: str, encrypted: str) -> bytes:
        """
        Return the message in *encrypted* if its signature and receiver are right under any of the keys.

        Raises:
            CallbackRejected: 403. A failure after the signature answers like a wrong signature: the sender
                learns nothing about padding, lengths or receivers. ``reason`` tells them apart in the log.
        """
        rejected = CallbackRejected(403, "wrong signature")
        for keys in self._keys:
            if keys.verify(signature, timestamp, nonce, encrypted):
                try:
                    return keys.decrypt(encrypted)
                except CallbackRejected as failure:
                    rejected = failure
        raise rejected
