"""The running ingress over HTTP: what it answers, what it publishes, and what nobody can do to it."""

import asyncio
import socket
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace

import aiohttp
import pytest
from Crypto.Cipher import AES
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from ingress.server import serve
from shared.clock import SystemClock
from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError, QueueUnavailable
from shared.domain.events import CustomerAdded, Lane
from shared.queue.message import decode
from shared.web.connections import Bounds
from shared.web.doors import Shortage
from shared.wecom.crypto import CallbackKeys, Keyring
from tests.callback_vectors import (
    OFFICIAL,
    OFFICIAL_CHECK,
    OFFICIAL_POST,
    OWN,
    OWN_CHECK,
    OWN_FULL_PAD,
    OWN_POST,
    Vector,
)
from tests.doubles.queue import MemoryQueue
from tests.rigs.ingress import (
    ADD_EVENT,
    HeldQueue,
    Sent,
    added,
    check,
    envelope,
    post,
    query,
    running_ingress,
)
from tests.rigs.strangers import connection, request_head, until

OTHER = CallbackKeys(token=OWN.token, aes_key=OWN.aes_key, receive_id="wwother")


def sealed(plain: bytes) -> str:
    """Encrypt *plain*, already padded, with the own key."""
    key = b64decode(OWN.aes_key + "=")
    return b64encode(AES.new(key, AES.MODE_CBC, key[:16]).encrypt(plain)).decode()


class TestVectors:
    """The five published vectors over HTTP."""

    @pytest.mark.parametrize("vector", [OFFICIAL_CHECK, OWN_CHECK, OWN_FULL_PAD], ids=lambda vector: vector.name)
    async def test_url_checks(self, vector: Vector):
        """A published URL check is answered with the bare plaintext and nothing around it."""
        sent = check(vector.keys, vector.encrypted, timestamp=vector.timestamp, nonce=vector.nonce)
        assert f"msg_signature={vector.signature}&" in sent.path
        async with running_ingress(keys=vector.keys) as ingress:
            async with ingress.session.get(ingress.url + sent.path) as response:
                assert (response.status, await response.read()) == (200, vector.message)
                assert response.content_type == "text/plain"
            assert await ingress.waiting() == {}

    @pytest.mark.parametrize("vector", [OFFICIAL_POST, OWN_POST], ids=lambda vector: vector.name)
    @pytest.mark.parametrize("form", ["xml", "json"])
    async def test_messages(self, vector: Vector, form: str):
        """A published message is answered 200 and counted, in either envelope: nobody handles its kind."""
        path = query(vector.keys, vector.encrypted, timestamp=vector.timestamp, nonce=vector.nonce)
        assert f"msg_signature={vector.signature}&" in path
        body = envelope(vector.encrypted) if form == "xml" else b'{"encrypt":"%s"}' % vector.encrypted.encode()
        async with running_ingress(keys=vector.keys) as ingress:
            assert await ingress.post(Sent(path=path, body=body)) == (200, b"")
            assert ingress.count("qudao_callbacks_ignored_total", kind="UnknownEvent") == 1
            assert await ingress.waiting() == {}


class TestAccepting:
    """200 when durable, 503 when not, and a publish is never cancelled."""

    async def test_customer_added(self):
        """A customer's event is in both lanes when 200 is answered, with an empty body."""
        async with running_ingress() as ingress:
            assert await ingress.post(added()) == (200, b"")
            assert await ingress.waiting() == {"fast": 1, "live": 1}
            async with ingress.queue.consume(Lane.LIVE, 1) as consumer:
                delivery = await consumer.take()
                assert decode(delivery.message.body) == CustomerAdded(
                    corp="ww9f8e7d6c5b4a3210",
                    staff="lin.qiao",
                    customer="wmK3vTBwAAh2Yq0ZsPd7uXn4rCf6LmEg",
                    created_at=1767229384,
                    state="渠道0",
                    welcome_code="canary-code",
                )
                await delivery.ack()

    async def test_copy_of_a_durable_event(self):
        """A copy of a durable event is answered 200 and not published again."""
        async with running_ingress() as ingress:
            assert await ingress.post(added()) == (200, b"")
            assert await ingress.post(added()) == (200, b"")
            assert await ingress.waiting() == {"fast": 1, "live": 1}
            assert ingress.count("qudao_callbacks_duplicate_total") == 1

    async def test_copy_while_the_first_is_published(self):
        """A copy waits for the first one, and is published itself when that fails."""
        queue = HeldQueue()
        queue.error = QueueUnavailable("away")
        async with running_ingress(queue=queue) as ingress, asyncio.TaskGroup() as group:
            first = group.create_task(ingress.post(added()))
            await queue.begun.acquire()
            copy = group.create_task(ingress.post(added()))
            queue.go_on.set()
            assert (await first)[0] == 503
            await queue.begun.acquire()
            queue.error = None
            assert (await copy)[0] in (200, 503)
            assert await ingress.post(added()) == (200, b"")
            assert await ingress.waiting() == {"fast": 1, "live": 1}

    async def test_nothing_to_welcome(self):
        """Without a WelcomeCode nothing goes to the fast lane."""
        async with running_ingress() as ingress:
            sent = post(ADD_EVENT.replace("canary-code", ""))
            assert await ingress.post(sent) == (200, b"")
            assert await ingress.waiting() == {"live": 1}

    async def test_nobody_handles_it(self):
        """A known kind that nobody handles is answered 200, counted under its name, and not published."""
        async with running_ingress() as ingress:
            sent = post(ADD_EVENT.replace("add_external_contact", "transfer_fail"))
            assert await ingress.post(sent) == (200, b"")
            assert ingress.count("qudao_callbacks_ignored_total", kind="TransferFailed") == 1
            assert await ingress.waiting() == {}

    @pytest.mark.parametrize("change", ["del_follow_user", "del_external_contact"])
    async def test_a_customer_who_is_lost(self, change):
        """No API tells it later: the event is made durable as any other work, once for all its copies."""
        async with running_ingress() as ingress:
            for _ in range(2):
                assert await ingress.post(post(ADD_EVENT.replace("add_external_contact", change))) == (200, b"")
            assert ingress.count("qudao_callbacks_ignored_total", kind="CustomerLost") == 0
            assert await ingress.waiting() == {"live": 1}

    async def test_no_answer_before_it_is_durable(self):
        """While the publish is on its way there is no answer."""
        queue = HeldQueue()
        async with running_ingress(queue=queue) as ingress, connection(ingress) as (reader, writer):
            sent = added()
            writer.write(request_head(sent, f"Content-Length: {len(sent.body)}") + sent.body)
            await queue.begun.acquire()
            assert ingress.count("qudao_publishing") == 1
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await reader.read(1)
            queue.go_on.set()
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await until(lambda: ingress.count("qudao_publishing") == 0)

    @pytest.mark.parametrize("error", [QueueUnavailable("away"), RuntimeError("canary")])
    async def test_not_durable(self, error: Exception):
        """A queue that fails, expectedly or not, means 503, and the next event is served again."""
        queue = HeldQueue()
        queue.error = error
        queue.go_on.set()
        async with running_ingress(queue=queue) as ingress:
            assert await ingress.post(added()) == (503, b"")
            assert ingress.count("qudao_callbacks_failed_total", kind="CustomerAdded") == 1
            queue.error = None
            assert await ingress.post(added()) == (200, b"")

    @pytest.mark.parametrize(
        ("error", "outcome"), [(None, "durable"), (QueueUnavailable("away"), "failed"), (RuntimeError(), "failed")]
    )
    async def test_not_durable_in_time(self, error: Exception | None, outcome: str):
        """A publish that takes too long is answered 503, goes on to its end, and its end is counted."""
        queue = HeldQueue()
        queue.error = error
        async with running_ingress(queue=queue, deadline=0.1) as ingress:
            assert await ingress.post(added()) == (503, b"")
            assert queue.published == []
            queue.go_on.set()
            await until(lambda: ingress.count("qudao_publishes_late_total", outcome=outcome) == 1)
            assert len(queue.published) == (1 if error is None else 0)
            assert ingress.count("qudao_callbacks_failed_total", kind="CustomerAdded") == 1
            assert ingress.count("qudao_callbacks_accepted_total", kind="CustomerAdded") == 0

    async def test_many_late_at_once(self):
        """Late publishes do not wait for one another, and the ingress serves on."""
        queue = HeldQueue()
        async with running_ingress(queue=queue, deadline=0.2) as ingress, asyncio.TaskGroup() as group:
            began = asyncio.get_running_loop().time()
            answers = [group.create_task(ingress.post(added(number))) for number in range(20)]
            for answer in answers:
                assert await answer == (503, b"")
            assert asyncio.get_running_loop().time() - began < 2
            queue.go_on.set()
            await until(lambda: len(queue.published) == 20)
            assert await ingress.post(added(21)) == (200, b"")

    async def test_too_many_on_their_way(self):
        """With too many publishes on their way, late ones too, the next event is answered 503 at once."""
        queue = HeldQueue()
        async with running_ingress(queue=queue, limit=2, deadline=0.1) as ingress:
            assert [await ingress.post(added(number)) for number in range(3)] == [(503, b"")] * 3
            assert ingress.count("qudao_publishing") == 2
            queue.go_on.set()
            await until(lambda: len(queue.published) == 2 and ingress.count("qudao_publishing") == 0)
            assert await ingress.post(added(4)) == (200, b"")

    async def test_caller_hangs_up(self):
        """A caller that hangs up while its event is being published does not cancel the publish."""
        queue = HeldQueue()
        async with running_ingress(queue=queue) as ingress:
            async with connection(ingress) as (_, writer):
                sent = added()
                writer.write(request_head(sent, f"Content-Length: {len(sent.body)}") + sent.body)
                await queue.begun.acquire()
                writer.transport.abort()
            # a second caller's round trip: the server has seen the first one go
            assert (await ingress.get(check(OWN, OWN_CHECK.encrypted)))[0] == 200
            queue.go_on.set()
            await until(lambda: len(queue.published) == 1)
            assert ingress.count("qudao_callbacks_accepted_total", kind="CustomerAdded") == 1

    async def test_caller_hangs_up_before_a_late_end(self):
        """Nor does one that is gone when its 503 is due."""
        queue = HeldQueue()
        async with running_ingress(queue=queue, deadline=0.1) as ingress:
            async with connection(ingress) as (_, writer):
                sent = added()
                writer.write(request_head(sent, f"Content-Length: {len(sent.body)}") + sent.body)
                await queue.begun.acquire()
                writer.transport.abort()
            await until(lambda: ingress.count("qudao_callbacks_failed_total", kind="CustomerAdded") == 1)
            queue.go_on.set()
            await until(lambda: ingress.count("qudao_publishes_late_total", outcome="durable") == 1)

    async def test_stop_waits_for_publishes(self):
        """Stopping lets what has begun end with its answer, and accepts nothing new."""
        queue = HeldQueue()
        async with running_ingress(queue=queue) as ingress, asyncio.TaskGroup() as group:
            answer = group.create_task(ingress.post(added()))
            await queue.begun.acquire()
            ingress.stop.set()
            port = ingress.callbacks.port
            await until(lambda: not is_listening(port))
            queue.go_on.set()
            assert await answer == (200, b"")
        assert len(queue.published) == 1

    async def test_stop_does_not_wait_for_ever(self):
        """A publish that never ends has had its 503 and does not keep the process alive."""
        queue = HeldQueue()
        async with asyncio.timeout(5):
            async with running_ingress(queue=queue, deadline=0.1, read_timeout=0.1) as ingress:
                assert await ingress.post(added()) == (503, b"")
        assert queue.published == []


def is_listening(port: int) -> bool:
    """Tell whether anybody accepts connections on *port*."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def forbidden() -> dict[str, Sent]:
    """Return callbacks that are not WeCom's, or not for us."""
    good = added()
    encrypted = OWN.encrypt(b"<xml/>", random=bytes(16))
    framed = bytes(16) + (26).to_bytes(4, "big") + b"m" * 26 + OWN.receive_id.encode()
    too_long = bytes(16) + (99).to_bytes(4, "big") + b"m" * 26 + OWN.receive_id.encode()
    return {
        "wrong signature": replace(good, path=good.path.replace("nonce=7", "nonce=8")),
        "no signature": Sent(path="/wecom/callback?msg_signature=&timestamp=&nonce=", body=good.body),
        "signature not text": Sent(
            path="/wecom/callback?msg_signature=%00&timestamp=%F0%9F%8E%89&nonce=+", body=good.body
        ),
        "another body": replace(good, body=envelope(encrypted)),
        "wrong receiver": post("<xml/>", OTHER),
        "broken base64": Sent(path=query(OWN, encrypted[:-1]), body=envelope(encrypted[:-1])),
        "truncated": Sent(path=query(OWN, encrypted[:64]), body=envelope(encrypted[:64])),
        "pad 0": Sent(path=query(OWN, e := sealed(framed + bytes(32))), body=envelope(e)),
        "pad 33": Sent(path=query(OWN, e := sealed(framed + bytes([33]) * 32)), body=envelope(e)),
        "wrong length field": Sent(path=query(OWN, e := sealed(too_long + bytes([32]) * 32)), body=envelope(e)),
    }


def malformed() -> dict[str, Sent]:
    """Return callbacks that anybody could tell are malformed."""
    good = added()
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + good.body
    return {
        "no query": Sent(path="/wecom/callback", body=good.body),
        "missing parameter": replace(good, path=good.path.replace("nonce", "once")),
        "duplicate parameter": replace(good, path=good.path + "&nonce=7"),
        "duplicate in disguise": replace(good, path=good.path + "&%6Eonce=7"),
        "empty body": replace(good, body=b""),
        "no envelope": replace(good, body=b"hello"),
        "truncated body": replace(good, body=good.body[:-10]),
        "two envelopes": replace(good, body=good.body * 2),
        "doctype": replace(good, body=b"<!DOCTYPE xml>" + good.body),
        "entities": replace(good, body=bomb),
        "external entity": replace(good, body=b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + good.body),
        "utf-16": replace(good, body=good.body.decode().encode("utf-16")),
        "deep": replace(good, body=b"<a>" * 20_000),
        "broken json": replace(good, body=b'{"encrypt":'),
        "deep json": replace(good, body=b'{"a":' * 10_000),
    }


class TestBadInput:
    """A clear answer, nothing published, and the process goes on."""

    @pytest.mark.parametrize("name", forbidden())
    async def test_forbidden(self, name: str):
        """What is not WeCom's, or not for us, is answered 403."""
        async with running_ingress() as ingress:
            assert await ingress.post(forbidden()[name]) == (403, b"")
            assert await ingress.waiting() == {}
            assert await ingress.post(added()) == (200, b"")

    async def test_forbidden_answers_are_one(self):
        """No header and no byte tells one 403 from another; only the date may differ."""
        async with running_ingress() as ingress:
            answers = set()
            for sent in forbidden().values():
                async with ingress.session.post(ingress.url + sent.path, data=sent.body) as response:
                    headers = tuple((name, value) for name, value in response.headers.items() if name != "Date")
                    answers.add((response.status, response.reason, headers, await response.read()))
        assert len(answers) == 1

    @pytest.mark.parametrize("name", malformed())
    async def test_malformed(self, name: str):
        """What is malformed is answered 400."""
        async with running_ingress() as ingress:
            assert await ingress.post(malformed()[name]) == (400, b"")
            assert await ingress.waiting() == {}
            assert await ingress.post(added()) == (200, b"")

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (check(OTHER, OTHER.encrypt(b"1", random=bytes(16))), 403),
            (replace(good := check(OWN, OWN_CHECK.encrypted), path=good.path.replace("nonce=7", "nonce=8")), 403),
            (replace(good, path=good.path + "&echostr=x"), 400),
            (replace(good, path=good.path.partition("&echostr")[0]), 400),
            (Sent(path="/wecom/callback"), 400),
            (check(OWN, OWN_POST.encrypted), 403),
        ],
    )
    async def test_url_check(self, sent: Sent, status: int):
        """A URL check that is not WeCom's, or malformed, or hides an event, is refused without a word."""
        async with running_ingress() as ingress:
            assert await ingress.get(sent) == (status, b"")

    @pytest.mark.parametrize("plus", ["+", "%2B"])
    async def test_plus_in_echostr(self, plus: str):
        """A ``+`` in ``echostr`` survives, encoded or not."""
        encrypted = OFFICIAL_CHECK.encrypted
        assert "+" in encrypted
        path = query(OFFICIAL, encrypted) + "&echostr=" + encrypted.replace("+", plus)
        async with running_ingress(keys=OFFICIAL) as ingress, connection(ingress) as (reader, writer):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.read()).endswith(b"\r\n\r\n" + OFFICIAL_CHECK.message)

    @pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
    async def test_other_methods(self, method: str):
        """Nothing but GET and POST is answered."""
        async with (
            running_ingress() as ingress,
            ingress.session.request(method, ingress.url + "/wecom/callback") as answer,
        ):
            assert answer.status == 405

    @pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/callback", "/wecom/callback/x"])
    async def test_other_paths(self, path: str):
        """The callback listener knows one path, and does not say what it runs on."""
        async with running_ingress() as ingress, ingress.session.get(ingress.url + path) as response:
            assert response.status == 404
            assert response.headers["Server"] == "qudao"

    async def test_a_slash_behind_the_path_does_no_harm(self):
        """Whoever types the URL with a slash at the end is served all the same."""
        async with running_ingress() as ingress:
            good = added()
            assert await ingress.post(replace(good, path=good.path.replace("callback?", "callback/?"))) == (200, b"")
            assert await ingress.waiting() != {}

    async def test_a_wrong_path_is_counted_and_said_once_a_minute(self):
        """A mistyped callback URL shows in metric and log, with the right end of it, and does not fill the log."""
        with capture_logs() as logs:
            async with running_ingress() as ingress:
                for _ in range(5):
                    async with ingress.session.post(ingress.url + "/callback", data=b"x") as response:
                        assert response.status == 404
                assert ingress.count("qudao_callbacks_rejected_total", status="404", reason="wrong path") == 5
        said = [entry for entry in logs if entry["event"] == "callback.wrong_path"]
        assert [entry["remedy"] for entry in said] == ["the callback URL ends in /wecom/callback"]

    @pytest.mark.parametrize("message", ["<xml", ADD_EVENT.replace("ExternalUserID", "Other"), "\x1d", "{}"])
    async def test_what_is_wecom_s_and_unreadable_is_not_asked_for_again(self, message: str):
        """No repeat would be any better: 200, counted, and a line that says so."""
        with capture_logs() as logs:
            async with running_ingress() as ingress:
                assert await ingress.post(post(message)) == (200, b"")
                assert ingress.count("qudao_callbacks_ignored_total", kind="Unreadable") == 1
                assert await ingress.waiting() == {}
        assert [entry["log_level"] for entry in logs if entry["event"] == "callback.unreadable"] == ["warning"]

    @pytest.mark.parametrize(
        ("name", "setting"),
        [
            ("wrong signature", "QUDAO_CALLBACK_TOKEN"),
            ("wrong receiver", "QUDAO_CORP_ID"),
            ("pad 0", "QUDAO_CALLBACK_AES_KEY"),
        ],
    )
    async def test_refusals_in_a_row_name_the_setting_to_look_at(self, name: str, setting: str):
        """The second in a row says which setting is likely wrong; a callback that is WeCom's clears it."""
        sent = forbidden()[name]
        with capture_logs() as logs:
            async with running_ingress() as ingress:
                for _ in range(3):
                    assert await ingress.post(sent) == (403, b"")
                assert ingress.count("qudao_callbacks_refused_in_a_row", setting=setting) == 3
                assert await ingress.post(added()) == (200, b"")
                assert ingress.count("qudao_callbacks_refused_in_a_row", setting=setting) == 0
        said = [entry for entry in logs if entry["event"] == "callback.setting_suspected"]
        assert [entry["setting"] for entry in said] == [setting]
        assert "接收消息" in said[0]["remedy"] or "企业信息" in said[0]["remedy"]

    async def test_a_warning_of_wecom_s_to_the_app_is_a_warning(self):
        """WeCom is about to limit the app: counted by name, and said with what a person does about it."""
        event = "<xml><MsgType>event</MsgType><Event>low_active_alert</Event><CreateTime>1</CreateTime></xml>"
        with capture_logs() as logs:
            async with running_ingress() as ingress:
                assert await ingress.post(post(event)) == (200, b"")
                assert ingress.count("qudao_app_warnings_total", event="low_active_alert") == 1
        (said,) = [entry for entry in logs if entry["event"] == "app.warned"]
        assert (said["log_level"], bool(said["remedy"])) == ("warning", True)

    async def test_largest_body(self):
        """A body of 64 KiB is read, one byte more is too large."""
        good = added()
        for size, status in ((64 * 1024, 200), (64 * 1024 + 1, 413)):
            padded = replace(good, body=good.body.replace(b"</xml>", b" " * (size - len(good.body)) + b"</xml>"))
            assert len(padded.body) == size
            async with running_ingress() as ingress:
                assert await ingress.post(padded) == (status, b"")

    async def test_ten_megabytes(self):
        """10 MB are refused at their announcement."""
        async with running_ingress() as ingress, connection(ingress) as (reader, writer):
            writer.write(request_head(added(), "Content-Length: 10000000"))
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")

    async def test_ten_megabytes_in_chunks(self):
        """10 MB in chunks that announce nothing are refused once they are too many."""

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(160):
                yield b" " * 65536

        async with running_ingress() as ingress:
            with suppress(aiohttp.ClientConnectionError):  # refused while still sending
                async with ingress.session.post(ingress.url + added().path, data=chunks()) as response:
                    assert response.status == 413
            await until(
                lambda: ingress.count("qudao_callbacks_rejected_total", status="413", reason="body is too large") == 1
            )
            assert await ingress.post(added()) == (200, b"")

    async def test_chunks(self):
        """A small body in chunks is as good as any."""
        sent = added()

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(sent.body), 100):
                yield sent.body[start : start + 100]

        async with running_ingress() as ingress:
            assert await ingress.post(replace(sent, body=chunks())) == (200, b"")

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
    async def test_compressed(self, encoding: str):
        """Compressed bodies are refused unread."""
        sent = added()
        async with running_ingress() as ingress, connection(ingress) as (reader, writer):
            length = f"Content-Length: {len(sent.body)}"
            writer.write(request_head(sent, f"Content-Encoding: {encoding}", length) + sent.body)
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")

    async def test_slow_body(self):
        """A body that trickles in is given up and its connection closed."""
        async with running_ingress(read_timeout=0.1) as ingress, connection(ingress) as (reader, writer):
            writer.write(request_head(added(), "Content-Length: 1000") + b"<xml>")
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 408")
            assert b"Connection: close" in answer

    async def test_cut_off_body(self):
        """A caller that goes away in the middle of a body is counted, nothing is published."""
        async with running_ingress() as ingress:
            async with connection(ingress) as (reader, writer):
                writer.write(request_head(added(), "Content-Length: 1000", "Expect: 100-continue"))
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                writer.write(b"<xml>")
            await until(
                lambda: ingress.count("qudao_callbacks_rejected_total", status="400", reason="body is cut off") == 1
            )

    async def test_malformed_chunks(self):
        """Chunks that turn into nonsense end nowhere: nothing more is waited for."""
        async with running_ingress() as ingress, connection(ingress) as (reader, writer):
            writer.write(request_head(added(), "Transfer-Encoding: chunked", "Expect: 100-continue"))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"5\r\n<xml>\r\nnonsense\r\n")
            assert await reader.read() == b""
            assert ingress.count("qudao_connections_cut_total", reason="malformed") == 1
            rejected = "qudao_callbacks_rejected_total"
            await until(lambda: ingress.count(rejected, status="400", reason="body is cut off") == 1)

    @pytest.mark.parametrize(
        "request_line",
        [
            b"POST /wecom/callback?msg_signature=canary HTTP/9\r\n\r\n",
            b"POST /wecom/callback?msg_signature=canary HTTP/1.1\r\ncanary\r\n\r\n",
            b"canary\r\n\r\n",
            b"\x16\x03\x01canary",
        ],
    )
    async def test_malformed_http(self, request_line: bytes, caplog: pytest.LogCaptureFixture):
        """What is no HTTP is refused, and no piece of it gets into the log or the answer."""
        with capture_logs() as logs:
            async with running_ingress() as ingress, connection(ingress) as (reader, writer):
                writer.write(request_line)
                answer = await reader.read()
        assert b" 400 " in answer
        assert [entry["reason"] for entry in logs] == ["malformed"]
        assert "canary" not in caplog.text + repr(logs) + answer.decode()

    @pytest.mark.parametrize("head", [b"", b"POST /wecom/callback HTTP/1.1\r\nHost: "])
    async def test_slow_head(self, head: bytes):
        """A connection on which no request arrives is closed, but not one on which callbacks arrive."""
        async with running_ingress(bounds=Bounds(patience=0.2)) as ingress, connection(ingress) as (used, used_writer):
            sent = added()
            used_writer.write(request_head(sent, f"Content-Length: {len(sent.body)}") + sent.body)
            assert (await used.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            async with connection(ingress) as (reader, writer):
                writer.write(head)
                assert await reader.read() == b""
            assert ingress.count("qudao_connections_cut_total", reason="slow") == 1
            used_writer.write(request_head(sent, f"Content-Length: {len(sent.body)}") + sent.body)
            assert (await used.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


class TestKeys:
    """Changing the callback's keys."""

    async def test_previous_keys(self):
        """While keys are changed, callbacks under the old and the new ones are accepted."""
        ring = Keyring(
            tokens=(OWN.token, OFFICIAL.token), aes_keys=(OWN.aes_key, OFFICIAL.aes_key), receive_id=OWN.receive_id
        )
        old = CallbackKeys(token=OFFICIAL.token, aes_key=OFFICIAL.aes_key, receive_id=OWN.receive_id)
        async with running_ingress(keyring=ring) as ingress:
            assert await ingress.post(post(ADD_EVENT, old)) == (200, b"")
            assert await ingress.post(added()) == (200, b"")


class TestLogs:
    """One line per callback, and nothing secret in it."""

    async def test_one_line_each(self):
        """Each callback leaves one line that names its outcome."""
        queue = HeldQueue()
        queue.go_on.set()
        with capture_logs() as lines:
            async with running_ingress(queue=queue) as ingress:
                await ingress.get(check(OWN, OWN_CHECK.encrypted))
                await ingress.post(added())
                await ingress.post(post("<xml><Event>e</Event><ChangeType>c</ChangeType></xml>"))
                await ingress.post(forbidden()["wrong receiver"])
                queue.error = QueueUnavailable("away")
                await ingress.post(added(1))
        told = [{name: value for name, value in line.items() if name not in ("seconds", "event_id")} for line in lines]
        accepted = {
            "kind": "CustomerAdded",
            "corp": OWN.receive_id,
            "staff": "lin.qiao",
            "duplicate": False,
            "customer": "wmK3vTBwAAh2Yq0ZsPd7uXn4rCf6LmEg",
            "state": "渠道0",
            "created_at": 1767229384,
        }
        assert told == [
            {"event": "callback.accepted", "log_level": "info", "kind": "UrlCheck"},
            {"event": "callback.accepted", "log_level": "info", **accepted},
            {
                "event": "callback.ignored",
                "log_level": "info",
                "kind": "UnknownEvent",
                "corp": OWN.receive_id,
                "name": "e",
                "change": "c",
            },
            {
                "event": "callback.rejected",
                "log_level": "warning",
                "status": 403,
                "reason": "wrong receiver",
                "remote": "127.0.0.1",
                "times": 1,
            },
            {"event": "callback.failed", "log_level": "error", "reason": "away", "kind": "CustomerAdded"},
        ]
        assert all(lines[number]["event_id"] for number in (1, 4))
        assert all(0 < line["seconds"] < 5 for line in lines)

    async def test_nothing_secret(self, caplog: pytest.LogCaptureFixture):
        """No secret, query, body or code of any callback, good or bad, is written anywhere."""
        queue = HeldQueue()
        queue.go_on.set()
        everything = [added(), *forbidden().values(), *malformed().values()]
        with capture_logs() as lines:
            async with running_ingress(queue=queue) as ingress:
                for sent in everything:
                    await ingress.post(sent)
                    await ingress.get(sent)
                queue.error = RuntimeError("bug")
                await ingress.post(added())
                async with ingress.session.get(ingress.admin_url + "/metrics") as response:
                    metrics = await response.text()
        written = repr(lines) + caplog.text + metrics
        assert "callback.accepted" in written
        for secret in (
            OWN.token,
            OWN.aes_key,
            "canary-code",
            "msg_signature",
            "CDATA",
            "Encrypt>",
            added().body[150:170].decode(),
        ):
            assert secret not in written


class TestAdmin:
    """What operators see."""

    async def test_healthy(self):
        """A running ingress is healthy and ready, and counts."""
        async with running_ingress() as ingress:
            await ingress.post(added())
            for path in ("/healthz", "/readyz"):
                async with ingress.session.get(ingress.admin_url + path) as response:
                    assert response.status == 200
            async with ingress.session.get(ingress.admin_url + "/metrics") as response:
                assert 'qudao_callbacks_accepted_total{kind="CustomerAdded"} 1.0' in await response.text()
            async with ingress.session.get(ingress.admin_url + "/wecom/callback") as response:
                assert response.status == 404

    async def test_queue_away(self):
        """Without its queue the ingress is alive but not ready."""

        class Away(MemoryQueue):
            async def check(self) -> None:
                raise QueueUnavailable("away")

        async with running_ingress(queue=Away(SystemClock())) as ingress:
            async with ingress.session.get(ingress.admin_url + "/healthz") as response:
                assert response.status == 200
            async with ingress.session.get(ingress.admin_url + "/readyz") as response:
                assert response.status == 503

    async def test_stopping(self):
        """While the last callbacks are finished the ingress answers operators, and is not ready."""
        queue = HeldQueue()
        async with running_ingress(queue=queue) as ingress, asyncio.TaskGroup() as group:
            answer = group.create_task(ingress.post(added()))
            await queue.begun.acquire()
            ingress.stop.set()
            await until(lambda: not is_listening(ingress.callbacks.port))
            async with ingress.session.get(ingress.admin_url + "/readyz") as response:
                assert response.status == 503
            queue.go_on.set()
            assert await answer == (200, b"")

    async def test_address_in_use(self):
        """An address that is taken is a matter of configuration, and the reason names it."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ConfigurationError) as caught:
                await serve(
                    keyring=Keyring(tokens=(OWN.token,), aes_keys=(OWN.aes_key,), receive_id="x"),
                    queue=MemoryQueue(SystemClock()),
                    clock=SystemClock(),
                    registry=CollectorRegistry(),
                    listen=Address("127.0.0.1", port),
                    stop=asyncio.Event(),
                    shortage=Shortage(),
                    on_listening=print,
                )
            assert f"127.0.0.1:{port}" in caught.value.problems[0]
