"""wechatpy, a client nobody here wrote, builds callbacks for our ingress and reads what we encrypt."""

import pytest
import xmltodict
from wechatpy.enterprise.crypto import PrpCrypto, WeChatCrypto
from wechatpy.enterprise.exceptions import InvalidCorpIdException
from wechatpy.exceptions import InvalidSignatureException

from shared.domain.events import CustomerAdded, Lane
from shared.queue.message import decode
from shared.wecom.callback import parse_envelope
from tests.callback_vectors import OFFICIAL, OWN
from tests.rigs.ingress import ADD_EVENT, Sent, check, running_ingress

SDK = WeChatCrypto(OWN.token, OWN.aes_key, OWN.receive_id)


def sdk_callback(message: str) -> Sent:
    """Let the SDK encrypt and sign *message*, the way it answers WeCom."""
    made = xmltodict.parse(SDK.encrypt_message(message, "480215937", "1767225600"))["xml"]
    path = f"/wecom/callback?msg_signature={made['MsgSignature']}&timestamp={made['TimeStamp']}&nonce={made['Nonce']}"
    body = f"<xml><ToUserName>{OWN.receive_id}</ToUserName><Encrypt>{made['Encrypt']}</Encrypt></xml>"
    return Sent(path=path, body=body.encode())


@pytest.mark.parametrize("state", ["", "qd_expo26", "渠道🎉", *("x" * size for size in range(1, 32))])
async def test_ingress_accepts_the_sdk(state: str):
    """A callback that the SDK made is accepted and queued, whatever its padding."""
    async with running_ingress() as ingress:
        assert await ingress.post(sdk_callback(ADD_EVENT.replace("渠道{number}", state))) == (200, b"")
        async with ingress.queue.consume(Lane.LIVE, 1) as consumer:
            delivery = await consumer.take()
            work = decode(delivery.message.body)
            await delivery.ack()
    assert isinstance(work, CustomerAdded)
    assert (work.state, work.staff) == (state, "lin.qiao")


async def test_ingress_refuses_the_sdk_of_another_corp():
    """The SDK with another corp's id is refused, and with a wrong token too."""
    for sdk in (WeChatCrypto(OWN.token, OWN.aes_key, "wwother"), WeChatCrypto("wrong", OWN.aes_key, OWN.receive_id)):
        made = xmltodict.parse(sdk.encrypt_message("<xml/>", "7", "1"))["xml"]
        path = f"/wecom/callback?msg_signature={made['MsgSignature']}&timestamp=1&nonce=7"
        async with running_ingress() as ingress:
            sent = Sent(path=path, body=f"<xml><Encrypt>{made['Encrypt']}</Encrypt></xml>".encode())
            assert await ingress.post(sent) == (403, b"")


async def test_ingress_answers_the_check_of_the_sdk():
    """A URL check that the SDK encrypted is answered with its plaintext."""
    encrypted = PrpCrypto(SDK.key).encrypt("1616140317555161061", OWN.receive_id).decode()
    async with running_ingress() as ingress:
        assert await ingress.get(check(OWN, encrypted)) == (200, b"1616140317555161061")


@pytest.mark.parametrize("size", range(1, 34))
def test_sdk_reads_ours(size: int):
    """What we encrypt and sign the SDK verifies and decrypts, whatever the padding."""
    message = "m" * size
    encrypted = OWN.encrypt(message.encode(), random=b"0123456789abcdef")
    body = f"<xml><ToUserName>x</ToUserName><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>"
    assert parse_envelope(body.encode()) == encrypted
    signature = OWN.sign("1", "2", encrypted)
    assert SDK.decrypt_message(body, signature, "1", "2") == message
    assert SDK.check_signature(signature, "1", "2", encrypted) == message


def test_sdk_refuses_what_we_refuse():
    """The SDK and we agree on what a wrong signature and a wrong receiver are."""
    encrypted = OWN.encrypt(b"m", random=bytes(16))
    with pytest.raises(InvalidSignatureException):
        SDK.check_signature(OFFICIAL.sign("1", "2", encrypted), "1", "2", encrypted)
    other = WeChatCrypto(OWN.token, OWN.aes_key, "wwother")
    with pytest.raises(InvalidCorpIdException):
        other.check_signature(OWN.sign("1", "2", encrypted), "1", "2", encrypted)
