"""Transport, tokens and trusted addresses: S01 to S10 of the checklist."""

import io
import re
import time
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from simulator.config import MalformedJson, TokenRenewal
from tests.rigs.simulator import rig

BATCH = "externalcontact/batch/get_by_user"


async def test_s01_plain_http_is_redirected_to_https() -> None:
    """With the switch on, plain http gets a 301 to the same path over https."""
    async with rig() as r:
        r.simulator.configure(https_redirect=True)
        async with r.client.session.get("/cgi-bin/gettoken?corpid=a", allow_redirects=False) as response:
            assert response.status == 301
            assert response.headers["Location"] == f"https://{response.url.authority}/cgi-bin/gettoken?corpid=a"


@pytest.mark.parametrize("path", ["/cgi-bin/externalcontact/no_such_api", "/cgi-bin/", "/", "/wecom"])
async def test_s01_an_unknown_path_is_404_and_empty(path: str) -> None:
    """What does not exist gets HTTP 404 and an empty body."""
    async with rig() as r, r.client.session.post(path) as response:
        assert (response.status, await response.read()) == (404, b"")


@pytest.mark.parametrize("ahead", [-7200.0, 0.0, 7200.0])
async def test_s39_every_answer_tells_the_scenarios_time(ahead: float) -> None:
    """The Date is that of the scenario's clock, unless a fault gives it another."""
    async with rig() as r:
        r.simulator.clock.set_ahead(ahead)

        async def told() -> float:
            async with r.client.session.get("/cgi-bin/getcallbackip") as response:
                return parsedate_to_datetime(response.headers["Date"]).timestamp()

        assert abs(await told() - time.time() - ahead) < 5
        r.simulator.fail("date", count=1, seconds=-600)
        assert abs(await told() - time.time() - ahead + 600) < 5


async def test_s01_an_error_is_http_200_with_json_and_headers() -> None:
    """An API error is HTTP 200; headers repeat the code and the text."""
    async with rig() as r, r.client.session.get("/cgi-bin/externalcontact/list") as response:
        answer = await response.json()
        assert (response.status, answer["errcode"]) == (200, 41001)
        assert response.headers["error-code"] == "41001"
        assert response.headers["error-msg"] == answer["errmsg"]
        assert response.headers["Content-Type"] == "application/json; charset=UTF-8"


async def test_s02_a_token_counts_only_in_the_query() -> None:
    """A token in a header or in the body is no token: 41001."""
    async with rig() as r:
        headers = {"Authorization": f"Bearer {r.client.token}"}
        assert (await r.client.raw("GET", "externalcontact/list", {}, headers=headers))["errcode"] == 41001
        body = {"access_token": r.client.token, "userid_list": ["lin.qiao"]}
        assert (await r.client.raw("POST", BATCH, {}, json=body))["errcode"] == 41001


async def test_s02_checks_come_in_order() -> None:
    """Token, address, permission, body, parameters, objects, limits: the first that is wrong is told."""
    async with rig(trusted_ip_delay=0.0, corp_per_minute=0, malformed_json="refuse") as r:
        path, query = "externalcontact/remark", {"access_token": r.client.token}
        simulator, app = r.simulator, r.simulator.app
        relation = {"userid": "lin.qiao", "external_userid": simulator.populate(1, userid="lin.qiao")[0].key[1]}
        unknown = {"userid": "nobody", "external_userid": "wm", "remark": "x"}
        simulator.trust(["192.0.2.1"])
        app.allowed = False
        codes = [(await r.client.raw("POST", path, {"access_token": "fake"}, data=b"{"))["errcode"]]
        codes.append((await r.client.raw("POST", path, query, data=b"{"))["errcode"])
        simulator.trust(None)
        codes.append((await r.client.raw("POST", path, query, data=b"{"))["errcode"])
        app.allowed = True
        codes.append((await r.client.raw("POST", path, query, data=b"{"))["errcode"])
        codes.append(await r.client.code("externalcontact/remark"))
        codes.append(await r.client.code("externalcontact/remark", **unknown))
        codes.append(await r.client.code("externalcontact/remark", **relation, remark="x"))
        assert codes == [40014, 60020, 48002, 40058, 41009, 40003, 45009]
        assert simulator.remark_of(**relation) == next(iter(simulator.corp.customers.values())).name


async def test_s02_limits_may_come_first() -> None:
    """With the switch, a call over the limit gets 45009 before anything but the token is looked at."""
    async with rig(corp_per_minute=0, rate_check="first") as r:
        assert await r.client.code("externalcontact/remark") == 45009
        r.client.token = "fake"
        assert await r.client.code("externalcontact/remark") == 40014


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, 41004),
        ({"corpid": "ww9f8e7d6c5b4a3210"}, 41004),
        ({"corpsecret": "s"}, 41002),
        ({"corpid": "wwunknown", "corpsecret": "s"}, 40013),
        ({"corpid": "ww9f8e7d6c5b4a3210", "corpsecret": "wrong"}, 40001),
    ],
)
async def test_s03_gettoken_names_what_is_wrong(query: dict[str, str], code: int) -> None:
    """Each wrong gettoken gets its own code."""
    async with rig() as r:
        assert (await r.client.raw("GET", "gettoken", query))["errcode"] == code


async def test_s03_a_stopped_app_gets_no_token() -> None:
    """gettoken for a stopped app gives 40001, a business call 50003."""
    async with rig() as r:
        r.simulator.app.enabled = False
        assert (await r.client.get_token())["errcode"] == 40001
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 50003


async def test_s03_a_token_is_the_same_until_it_expires() -> None:
    """A repeat within the validity returns the same token with the time left; later a new one."""
    async with rig(token_lifetime=7200, token_length=512) as r:
        first = await r.client.get_token()
        assert (len(first["access_token"]), first["expires_in"] > 7190) == (512, True)
        r.simulator.clock.advance(7000)
        again = await r.client.get_token()
        assert (again["access_token"], again["expires_in"] <= 200) == (first["access_token"], True)
        r.simulator.clock.advance(300)
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 42001
        assert (await r.client.get_token())["access_token"] != first["access_token"]
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 0


@pytest.mark.parametrize(("renewal", "old"), [(TokenRenewal.NEW, 0), (TokenRenewal.NEW_KILLS_OLD, 40014)])
async def test_s03_a_new_token_may_kill_the_old_one(renewal: TokenRenewal, old: int) -> None:
    """With the switches every gettoken makes a new token, and the old one lives on or dies."""
    async with rig(token_renewal=renewal) as r:
        before = r.client.token
        after = (await r.client.get_token())["access_token"]
        assert after != before
        answer = await r.client.raw("GET", "externalcontact/get_follow_user_list", {"access_token": before})
        assert answer["errcode"] == old
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 0


@pytest.mark.parametrize("code", [40014, 42001])
async def test_s04_a_token_can_be_revoked_early(code: int) -> None:
    """On command the next call with the token fails; a fresh token works."""
    async with rig() as r:
        assert await r.client.control("POST", "tokens/revoke", {"errcode": code}) == {"revoked": 1}
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == code
        await r.client.get_token()
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 0


async def test_s05_wrong_secrets_ban_the_address_for_an_hour() -> None:
    """After so many wrong secrets even the right one gives 45009, for an hour."""
    async with rig(wrong_secret_limit=3) as r:
        for _ in range(3):
            assert (await r.client.get_token(corpsecret="wrong"))["errcode"] == 40001
        assert (await r.client.get_token())["errcode"] == 45009
        r.simulator.clock.advance(3601)
        assert (await r.client.get_token())["errcode"] == 0


async def test_s06_only_trusted_addresses_may_call() -> None:
    """60020 names the caller's address; gettoken is exempt; a change takes effect after a minute."""
    async with rig() as r:
        r.simulator.trust(["192.0.2.7"])
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 0
        r.simulator.clock.advance(61)
        answer = await r.client.get("externalcontact/get_follow_user_list")
        assert (answer["errcode"], "from ip: 127.0.0.1" in answer["errmsg"]) == (60020, True)
        assert (await r.client.get_token())["errcode"] == 0
        await r.client.control("POST", "apps", {"trusted_ips": ["127.0.0.1"]})
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 60020
        r.simulator.clock.advance(61)
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 0


async def test_s07_an_error_carries_a_hint_of_its_own() -> None:
    """Every error has hint, address and link; hints differ and are found in the journal."""
    async with rig() as r:
        answers = [await r.client.get("externalcontact/get", external_userid="wm") for _ in range(2)]
        pattern = (
            r"invalid external userid, hint: \[(\d{10,})\], from ip: 127\.0\.0\.1, more info at https://\S+e=40096"
        )
        hints = [re.fullmatch(pattern, answer["errmsg"])[1] for answer in answers]
        assert len(set(hints)) == 2
        found = (await r.client.control("GET", "journal", hint=hints[1]))["entries"]
        assert [(e["endpoint"], e["code"], e["external_userid"]) for e in found] == [
            ("externalcontact/get", 40096, "wm")
        ]


async def test_s07_some_40014_are_bare() -> None:
    """A part of the 40014 answers has no hint."""
    async with rig(bare_token_error_rate=0.5) as r:
        r.client.token = "fake"
        texts = [(await r.client.get("externalcontact/list"))["errmsg"] for _ in range(40)]
        bare = [text for text in texts if text == "invalid access_token"]
        assert 0 < len(bare) < 40


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "externalcontact/list", "external_userid"),
        ("GET", "externalcontact/get", "follow_user"),
        ("GET", "externalcontact/get_follow_user_list", "follow_user"),
        ("POST", BATCH, "external_contact_list"),
        ("GET", "getcallbackip", "ip_list"),
    ],
)
async def test_s08_a_failure_has_the_endpoints_empty_fields(method: str, path: str, field: str) -> None:
    """A failing answer still carries the endpoint's list, empty."""
    async with rig() as r:
        answer = await r.client.raw(method, path, {"access_token": "fake"})
        assert (answer["errcode"], answer[field]) == (40014, [])


@pytest.mark.parametrize(("switch", "code"), [(MalformedJson.WARN, 0), (MalformedJson.REFUSE, 40058)])
async def test_s09_malformed_json_is_warned_about_or_refused(switch: MalformedJson, code: int) -> None:
    """A body that is no JSON is ignored with a warning, or refused."""
    async with rig(malformed_json=switch) as r:
        path = "externalcontact/get_corp_tag_list"
        answer = await r.client.raw("POST", path, {"access_token": r.client.token}, data=b'{"tag_id": [')
        assert answer["errcode"] == code
        assert (answer["errmsg"] == "ok. Warning: wrong json format. ") == (code == 0)


async def test_s09_get_where_post_is_required_gives_40058() -> None:
    """The body of a GET is not read: 40058, not 405."""
    async with rig() as r:
        assert (await r.client.get("externalcontact/get_corp_tag_list"))["errcode"] == 40058


async def test_s10_debug_is_limited_to_five_a_minute() -> None:
    """The sixth call with debug=1 in a minute gives 45009; calls without go on."""
    async with rig() as r:
        codes = [(await r.client.get("externalcontact/get_follow_user_list", debug="1"))["errcode"] for _ in range(6)]
        assert codes == [0] * 5 + [45009]
        assert (await r.client.get("externalcontact/get_follow_user_list"))["errcode"] == 0


async def test_addresses_need_no_permission() -> None:
    """getcallbackip and get_api_domain_ip answer any valid token, with a wildcard among the addresses."""
    async with rig() as r:
        r.simulator.app.allowed = False
        for path in ("getcallbackip", "get_api_domain_ip"):
            answer = await r.client.get(path)
            assert (answer["errcode"], "127.0.0.*" in answer["ip_list"]) == (0, True)


async def test_a_body_over_the_limit_does_not_stop_the_simulator() -> None:
    """A body over 2 MiB gets HTTP 413 and the next call is served."""
    async with rig() as r:
        data = io.BytesIO(b"x" * (3 * 2**20))
        try:
            async with r.client.session.post("/cgi-bin/externalcontact/remark", data=data) as response:
                assert response.status == 413
        except aiohttp.ClientConnectionError:
            pass  # the answer may overtake the body
        assert (await r.client.get_token())["errcode"] == 0
