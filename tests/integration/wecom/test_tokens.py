"""The access token's life, on a clock that the test moves."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest

from shared.domain.errors import ConfigurationNeeded, RateLimited, TokenMissing, TransientError
from shared.domain.ids import CorpId
from shared.wecom.tokens import TokenSource
from shared.wecom.transport import Transport
from tests.doubles.wecom import SECRET, TOKEN, answer, raw, reset, scripted_wecom


@pytest.fixture
async def server():
    async with scripted_wecom() as running:
        yield running


@pytest.fixture
async def tokens(server):
    async with source_of(server) as source:
        yield source


@pytest.fixture
async def forward(monkeypatch):
    """Move the event loop's clock forward, and with it every timer."""
    loop = asyncio.get_running_loop()
    real, moved = loop.time, [0.0]
    monkeypatch.setattr(loop, "time", lambda: real() + moved[0])

    def move(seconds):
        moved[0] += seconds

    return move


@asynccontextmanager
async def source_of(server, **options):
    # The moved clock ends idle connections on both sides; without any, no call can meet one that is being closed.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
        session._retry_connection = False  # as the client has it
        transport = Transport(session, server.url, timeout=5)
        yield TokenSource(transport, CorpId("ww-corp"), SECRET, **options)


class Gate:
    """Holds gettoken's answers back until told; counts those that arrived."""

    def __init__(self, server):
        self.server = server
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, request):
        self.arrived.set()
        await self.release.wait()
        self.server.issued += 1
        return answer({"errcode": 0, "access_token": self.server.token, "expires_in": 7200})


@pytest.mark.parametrize(("lifetime", "kept_for"), [(7200, 6890), (1000, 895), (100, 89)])
async def test_a_token_is_renewed_a_little_early(server, tokens, forward, lifetime, kept_for):
    """A token is renewed five minutes before its end, or in the last tenth of a short life; not sooner."""
    server.expires_in = lifetime
    first = await tokens.current()
    forward(kept_for)
    assert await tokens.current() == first
    forward(lifetime - kept_for - 1)
    assert await tokens.current() == f"{TOKEN}-2"
    assert len(server.seen) == 2


async def test_calls_go_on_with_the_old_token_while_it_is_renewed(server, tokens, forward):
    """Early renewal holds up the one who does it; others use the old token until its end."""
    old = await tokens.current()
    gate = Gate(server)
    server.script("gettoken", gate)
    forward(7000)
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(tokens.current())
        await gate.arrived.wait()
        assert await tokens.current() == old
        gate.release.set()
    assert renewing.result() == f"{TOKEN}-2"
    assert await tokens.current() == f"{TOKEN}-2"


async def test_a_failed_early_renewal_does_no_harm(server, tokens, forward):
    """While the old token lasts, a gettoken that fails is tried again later and nobody notices."""
    old = await tokens.current()
    server.script("gettoken", {"errcode": -1})
    forward(7000)
    assert await tokens.current() == old
    assert await tokens.current() == old
    assert len(server.seen) == 2
    forward(1.1)
    assert await tokens.current() == old
    assert len(server.seen) == 3
    forward(300)
    with pytest.raises(TransientError):
        await tokens.current()


async def test_a_cancelled_renewal_passes_to_the_next_in_line(server, tokens):
    """Cancelling the caller that renews, or one that waits, costs nobody else the token."""
    gate = Gate(server)
    server.script("gettoken", gate)
    async with asyncio.TaskGroup() as group:
        first, second, third = (group.create_task(tokens.current()) for _ in range(3))
        await gate.arrived.wait()
        gate.arrived.clear()
        second.cancel()
        first.cancel()
        await gate.arrived.wait()
        gate.release.set()
    assert first.cancelled()
    assert second.cancelled()
    assert third.result() == server.token


async def test_a_refused_secret_is_left_alone_for_a_minute(server, tokens, forward):
    """After a refused secret no gettoken is made for a minute; then one, and a good answer ends it."""
    server.script("gettoken", {"errcode": 40001})
    for _ in range(50):
        with pytest.raises(ConfigurationNeeded):
            await tokens.current()
    assert len(server.seen) == 1
    forward(59)
    with pytest.raises(ConfigurationNeeded):
        await tokens.current()
    assert len(server.seen) == 1
    forward(2)
    server.script("gettoken")
    assert await tokens.current() == server.token
    assert len(server.seen) == 2


async def test_a_banned_address_is_left_alone_for_an_hour(server, tokens, forward):
    """45009 at gettoken stops it for an hour, and says how much of it is left."""
    server.script("gettoken", {"errcode": 45009})
    with pytest.raises(RateLimited):
        await tokens.current()
    forward(3000)
    with pytest.raises(RateLimited) as caught:
        await tokens.current()
    assert 500 < caught.value.retry_after <= 600
    assert len(server.seen) == 1
    forward(601)
    server.script("gettoken")
    assert await tokens.current() == server.token


async def test_a_failure_is_told_to_everybody_who_waits(server, tokens):
    """Those who waited for a gettoken that failed share its failure instead of trying one after the other."""
    failures = []

    async def ask():
        try:
            await tokens.current()
        except TransientError as error:
            failures.append(error)

    server.script("gettoken", reset)
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(ask())
    assert len(failures) == 50
    assert len({id(error) for error in failures}) == 50
    assert {str(error) for error in failures} == {str(failures[0])}
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "reply",
    [
        {"errcode": 0},
        {"access_token": "", "expires_in": 7200},
        {"access_token": 5, "expires_in": 7200},
        {"access_token": "t", "expires_in": "7200"},
        {"access_token": "t", "expires_in": 0},
        {"access_token": "t", "expires_in": True},
        {"access_token": "t"},
        raw(b"<html>"),
    ],
    ids=str,
)
async def test_an_unreadable_gettoken_is_transient(server, tokens, reply):
    """A gettoken that brings no usable token is tried again."""
    server.script("gettoken", reply)
    with pytest.raises(TransientError):
        await tokens.current()


@pytest.mark.parametrize("status", [301, 404])
async def test_a_gettoken_that_is_not_there_is_tried_again(server, tokens, forward, status):
    """Something in between answers, or the URL is wrong: the error says where to look, and the next try may succeed."""
    server.script("gettoken", raw(b"", status=status))
    with pytest.raises(TransientError, match="QUDAO_API_URL"):
        await tokens.current()
    server.script("gettoken")
    forward(1.1)
    assert await tokens.current() == f"{TOKEN}-1"


async def test_only_the_current_token_is_discarded(server):
    """Discarding a token that was replaced already changes nothing."""
    async with source_of(server, renewal_interval=0) as tokens:
        first = await tokens.current()
        tokens.discard(first)
        second = await tokens.current()
        tokens.discard(first)
        assert await tokens.current() == second
        assert len(server.seen) == 2


async def test_tokens_that_are_refused_at_once_are_fetched_slowly(server, tokens, forward):
    """Discarding every token the moment it arrives makes one gettoken a second, not one a call."""
    tokens.discard(await tokens.current())
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(tokens.current())
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(server.seen) == 1
        forward(1)
    assert waiting.result() == f"{TOKEN}-2"


async def test_preparing_waits_for_a_token_that_cannot_be_had_now(server, tokens):
    """While WeCom is busy with gettoken whoever has patience asks again each second, and goes on as soon as it can."""
    server.script("gettoken", {"errcode": -1}, reset, {"errcode": 0, "access_token": "t", "expires_in": 7200})
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(tokens.prepare(60))
    assert await tokens.current() == "t"
    assert len(server.seen) == 3


@pytest.mark.parametrize(
    "reply", [{"errcode": -1}, reset, raw(b"<html>"), raw(b"", status=404)], ids=["busy", "reset", "page", "404"]
)
async def test_patience_with_a_missing_token_ends(server, tokens, reply):
    """Whoever waited enough is told that there is no token, by an error of its own that names gettoken."""
    server.script("gettoken", reply)
    with pytest.raises(TokenMissing) as caught:
        await tokens.prepare(1.5)
    assert caught.value.endpoint == "gettoken"
    assert len(server.seen) == 2


async def test_preparing_tells_no_failure(server, tokens):
    """A failure to prepare is told by the next use, and costs no second gettoken."""
    server.script("gettoken", {"errcode": 40013})
    await tokens.prepare()
    with pytest.raises(ConfigurationNeeded):
        await tokens.current()
    assert len(server.seen) == 1


async def test_no_repr_shows_the_token(server, tokens):
    """Neither the source nor what it holds shows the token or the secret."""
    await tokens.current()
    held = {name: value for name, value in vars(tokens).items() if name != "_secret"}
    assert "PLANTED" not in repr(tokens) + repr(held)
