"""The callback cryptography against published vectors and against every way to break it."""

from base64 import b64decode, b64encode
from contextlib import suppress

import pytest
from Crypto.Cipher import AES
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import CallbackRejected
from shared.wecom.crypto import CallbackKeys, Keyring
from tests.callback_vectors import OFFICIAL, OWN, OWN_CHECK, OWN_POST, VECTORS, Vector

RANDOM = b"0123456789abcdef"
RECEIVER = OWN.receive_id.encode()


def raw_key(keys: CallbackKeys) -> bytes:
    """Decode the key as the page says, with the platform's lenient decoder."""
    return b64decode(keys.aes_key + "=")


def sealed(plain: bytes) -> str:
    """Encrypt *plain*, already padded, with the own key: the way to make what nobody should send."""
    key = raw_key(OWN)
    return b64encode(AES.new(key, AES.MODE_CBC, key[:16]).encrypt(plain)).decode()


def unsealed(vector: Vector) -> bytes:
    """Decrypt *vector* without taking anything off."""
    key = raw_key(vector.keys)
    return AES.new(key, AES.MODE_CBC, key[:16]).decrypt(b64decode(vector.encrypted))


def framed(message: bytes, *, length: int | None = None, receiver: bytes = RECEIVER) -> bytes:
    """Return the plaintext of *message* without its padding."""
    size = len(message) if length is None else length
    return RANDOM + size.to_bytes(4, "big") + message + receiver


def rejection(encrypted: str, keys: CallbackKeys = OWN) -> CallbackRejected:
    """Return how *encrypted* is rejected."""
    with pytest.raises(CallbackRejected) as caught:
        keys.decrypt(encrypted)
    return caught.value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
class TestVectors:
    """Each published vector, field by field."""

    def test_sign(self, vector: Vector):
        """We sign a vector as published."""
        assert vector.keys.sign(vector.timestamp, vector.nonce, vector.encrypted) == vector.signature

    def test_verify(self, vector: Vector):
        """A vector's signature is accepted, and none that differs in one digit or in any signed value."""
        good = (vector.signature, vector.timestamp, vector.nonce, vector.encrypted)
        assert vector.keys.verify(*good)
        for place in range(4):
            bad = list(good)
            bad[place] = bad[place][:-1] + ("0" if bad[place][-1] != "0" else "1")
            assert not vector.keys.verify(*bad)

    def test_decrypt(self, vector: Vector):
        """A vector decrypts to the published message, or to one of the published length."""
        message = vector.keys.decrypt(vector.encrypted)
        assert len(message) == vector.length
        assert vector.message in (None, message)

    def test_pad(self, vector: Vector):
        """A vector's pad has the published value, so the suite really covers pads above 16."""
        assert unsealed(vector)[-1] == vector.pad

    def test_encrypt(self, vector: Vector):
        """Encrypting a vector's message behind the same random bytes gives the published ciphertext."""
        random = vector.random or unsealed(vector)[:16]
        message = vector.keys.decrypt(vector.encrypted)
        assert vector.keys.encrypt(message, random=random) == vector.encrypted


@pytest.mark.parametrize("pad", range(1, 33))
def test_every_pad(pad: int):
    """Each pad from 1 to 32 is taken off, made by hand and made by us."""
    message = b"m" * ((32 - pad - len(framed(b""))) % 32 or 32)
    plain = framed(message)
    assert 32 - len(plain) % 32 == pad
    by_hand = sealed(plain + bytes([pad]) * pad)
    assert OWN.decrypt(by_hand) == message
    assert OWN.encrypt(message, random=RANDOM) == by_hand


@pytest.mark.parametrize("message", [b"", "渠道🎉".encode(), b"\0" * 100])
def test_length_counts_bytes(message: bytes):
    """The length field counts bytes, and any bytes pass."""
    assert OWN.decrypt(OWN.encrypt(message, random=RANDOM)) == message


@pytest.mark.parametrize("pad", [0, 33, 255])
def test_wrong_pad(pad: int):
    """A pad outside 1 to 32 is refused."""
    plain = framed(b"m" * 26)
    assert rejection(sealed(plain + bytes(31) + bytes([pad]))).reason == "wrong padding"


@pytest.mark.parametrize("pad", [1, 31])
def test_misleading_pad(pad: int):
    """A pad that is possible but not the right one moves the receiver's end and is refused."""
    plain = framed(b"m" * 26)
    assert rejection(sealed(plain + bytes(31) + bytes([pad]))).reason == "wrong receiver"


@pytest.mark.parametrize(
    ("length", "reason"),
    [
        (0, "wrong receiver"),
        (25, "wrong receiver"),
        (27, "wrong receiver"),
        (26 + 18 + 1, "wrong length field"),
        (2**31, "wrong length field"),
        (2**32 - 1, "wrong length field"),
    ],
)
def test_wrong_length_field(length: int, reason: str):
    """A length field that is off by one, or beyond the end, is refused."""
    plain = framed(b"m" * 26, length=length)
    assert rejection(sealed(plain + bytes([32]) * 32)).reason == reason


def test_length_field_into_padding():
    """A length field that leaves a message shorter than its own header is refused, not sliced backwards."""
    plain = RANDOM + (12).to_bytes(4, "big") + bytes(11) + bytes([32])
    assert rejection(sealed(plain)).reason == "wrong length field"


@pytest.mark.parametrize("receiver", [b"", b"ww9f8e7d6c5b4a3211", RECEIVER.upper(), RECEIVER + b"0", RECEIVER[:-1]])
def test_wrong_receiver(receiver: bytes):
    """A message for any other receiver is refused, however alike."""
    plain = framed(b"message", receiver=receiver)
    pad = 32 - len(plain) % 32
    assert rejection(sealed(plain + bytes([pad]) * pad)).reason == "wrong receiver"


@pytest.mark.parametrize(
    ("encrypted", "reason"),
    [
        ("", "ciphertext is truncated"),
        ("AAAA", "ciphertext is truncated"),
        (OWN_CHECK.encrypted[:-8], "ciphertext is truncated"),
        (b64encode(bytes(16)).decode(), "ciphertext is truncated"),
        (OWN_CHECK.encrypted[:-1], "ciphertext is not base64"),
        (OWN_POST.encrypted.replace("+", " "), "ciphertext is not base64"),
        (OWN_CHECK.encrypted + "\n", "ciphertext is not base64"),
        (OWN_CHECK.encrypted + OWN_CHECK.encrypted, "ciphertext is not base64"),
        ("渠道" * 20, "ciphertext is not base64"),
    ],
)
def test_broken_ciphertext(encrypted: str, reason: str):
    """Broken base64 and cut-off ciphertexts are refused, each with its reason."""
    assert rejection(encrypted).reason == reason


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_truncated_anywhere(vector: Vector):
    """A vector cut off after any number of blocks is refused."""
    blocks = b64decode(vector.encrypted)
    for end in range(0, len(blocks), 16):
        assert rejection(b64encode(blocks[:end]).decode(), vector.keys).status == 403


@given(st.binary(max_size=200))
def test_random_ciphertext(blocks: bytes):
    """Random blocks are refused and never raise anything else."""
    assert rejection(b64encode(blocks).decode()).status == 403


@given(st.text(max_size=200))
def test_random_text(encrypted: str):
    """Random text is refused and never raises anything else."""
    assert rejection(encrypted).status == 403


@given(st.binary(min_size=32, max_size=32).map(lambda end: framed(b"m" * 26) + end))
def test_random_plaintext(plain: bytes):
    """Whatever the last block decrypts to, the outcome is the message or a rejection."""
    with suppress(CallbackRejected):
        assert OWN.decrypt(sealed(plain)) == b"m" * 26


@given(signature=st.text(), timestamp=st.text(), nonce=st.text(), encrypted=st.text())
def test_random_signature(signature: str, timestamp: str, nonce: str, encrypted: str):
    """Text of any kind can be verified; it is wrong unless it is the signature."""
    expected = OWN.sign(timestamp, nonce, encrypted)
    assert OWN.verify(expected, timestamp, nonce, encrypted)
    assert not OWN.verify(signature, timestamp, nonce, encrypted)


def test_signature_of_undecodable_text():
    """What aiohttp makes of bytes that are no UTF-8 is a wrong signature, not an error."""
    assert not OWN.verify("\udcff", "\udcff", "\udcff", "\udcff")


@given(message=st.binary(max_size=300), random=st.binary(min_size=16, max_size=16))
def test_round_trip(message: bytes, random: bytes):
    """Whatever is encrypted is decrypted again, and fills blocks of 32 bytes."""
    encrypted = OFFICIAL.encrypt(message, random=random)
    assert OFFICIAL.decrypt(encrypted) == message
    assert len(b64decode(encrypted)) % 32 == 0


@pytest.mark.parametrize("size", [0, 15, 17])
def test_random_bytes_are_sixteen(size: int):
    """Any other number of random bytes is refused."""
    with pytest.raises(ValueError, match="16"):
        OWN.encrypt(b"", random=bytes(size))


def test_spare_bits():
    """Keys that differ only in the spare bits of their last character are one key."""
    assert OFFICIAL.aes_key.endswith("C")
    for last in "ABCD":
        same = CallbackKeys(token=OFFICIAL.token, aes_key=OFFICIAL.aes_key[:-1] + last, receive_id=OFFICIAL.receive_id)
        assert same.encrypt(b"m", random=RANDOM) == OFFICIAL.encrypt(b"m", random=RANDOM)


@pytest.mark.parametrize("aes_key", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "-", "渠" * 43, " " * 43])
def test_malformed_key(aes_key: str):
    """A key that is not 43 base64 characters is refused, without repeating it."""
    with pytest.raises(ValueError, match="EncodingAESKey") as caught:
        CallbackKeys(token="t", aes_key=aes_key, receive_id="r")
    assert not aes_key or aes_key not in str(caught.value)


def test_repr_is_safe():
    """The keys' repr shows no secret."""
    assert repr(OWN) == "CallbackKeys(receive_id='ww9f8e7d6c5b4a3210')"


class TestKeyring:
    """Present and previous keys."""

    OLD = CallbackKeys(token="before", aes_key=OFFICIAL.aes_key, receive_id=OWN.receive_id)

    def ring(self) -> Keyring:
        """Return a ring in the middle of changing both token and key."""
        return Keyring(
            tokens=(OWN.token, self.OLD.token),
            aes_keys=(OWN.aes_key, self.OLD.aes_key),
            receive_id=OWN.receive_id,
        )

    @pytest.mark.parametrize("token", [OWN.token, OLD.token])
    @pytest.mark.parametrize("aes_key", [OWN.aes_key, OLD.aes_key])
    def test_change(self, token: str, aes_key: str):
        """While token or key are changed, either can be the old or the new one."""
        keys = CallbackKeys(token=token, aes_key=aes_key, receive_id=OWN.receive_id)
        encrypted = keys.encrypt(b"message", random=RANDOM)
        assert self.ring().open(keys.sign("1", "2", encrypted), "1", "2", encrypted) == b"message"

    def test_after_the_change(self):
        """Without the previous keys an old callback is refused."""
        ring = Keyring(tokens=(OWN.token,), aes_keys=(OWN.aes_key,), receive_id=OWN.receive_id)
        encrypted = self.OLD.encrypt(b"message", random=RANDOM)
        with pytest.raises(CallbackRejected) as caught:
            ring.open(self.OLD.sign("1", "2", encrypted), "1", "2", encrypted)
        assert (caught.value.status, caught.value.reason) == (403, "wrong signature")

    def test_reason_of_a_failure_behind_the_signature(self):
        """A callback that is signed but for somebody else says so in its reason, with the same status."""
        other = CallbackKeys(token=OWN.token, aes_key=OWN.aes_key, receive_id="wwother")
        encrypted = other.encrypt(b"message", random=RANDOM)
        ring = Keyring(tokens=(OWN.token,), aes_keys=(OWN.aes_key,), receive_id=OWN.receive_id)
        with pytest.raises(CallbackRejected) as caught:
            ring.open(other.sign("1", "2", encrypted), "1", "2", encrypted)
        assert (caught.value.status, caught.value.reason) == (403, "wrong receiver")

    def test_signature_comes_first(self):
        """A broken ciphertext with a wrong signature is a wrong signature: nothing was decrypted."""
        with pytest.raises(CallbackRejected) as caught:
            self.ring().open(OWN_POST.signature, "1", "2", "not base64")
        assert caught.value.reason == "wrong signature"
