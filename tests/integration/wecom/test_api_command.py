"""`qudao api`: one call by hand."""

from typing import Any

import orjson
import pytest
import typer

from cli.api import _call, _request, api
from shared.wecom.client import WeCom
from shared.wecom.endpoints import APIS
from simulator import Fault
from simulator.endpoints import endpoints
from tests.rigs.channels import desk


@pytest.fixture
async def here(tmp_path, monkeypatch, capsys):
    async with desk(tmp_path, monkeypatch, capsys) as sitting:
        yield sitting


async def call(here, name: str, *fields: str, as_json: bool = True):
    return await here.say(_call, _request(name, fields, None), as_json=as_json)


def test_the_names_and_methods_are_those_of_the_simulator():
    """Whatever the simulator serves as JSON is known by name, with the method it wants."""
    served = {name: endpoint for name, endpoint in endpoints().items() if not endpoint.uploads}
    assert {name: endpoint.posts for name, endpoint in served.items()} == {name: APIS[name].posts for name in served}


async def test_an_answer_is_printed_as_it_came(here):
    """A short name is enough, text is text, := is JSON."""
    said = await call(here, "add_contact_way", "type:=2", "scene:=2", "state=qd_1", 'user:=["lin.qiao"]', "remark=007")
    assert (said.code, said.document["errcode"]) == (0, 0)
    way = here.simulator.corp.ways[said.document["config_id"]]
    assert (way.fields["user"], way.fields["remark"]) == (["lin.qiao"], "007")
    said = await call(here, "externalcontact/get_follow_user_list", as_json=False)
    assert orjson.loads(said.out)["follow_user"] == ["lin.qiao", "zhou.yi", "wang.fang", "chen.wei"]


async def test_a_get_carries_its_fields_in_the_query(here):
    """A customer is read by GET, as WeCom wants it."""
    (relation,) = here.simulator.populate(1, userid="lin.qiao")
    said = await call(here, "get", f"external_userid={relation.customer.external_userid}")
    assert said.document["external_contact"]["name"] == relation.customer.name


@pytest.mark.parametrize("as_json", [True, False])
async def test_a_refusal_is_explained(here, as_json):
    """errcode, class, meaning, remedy and trace id are told, and the exit code is 1."""
    here.simulator.put_member("lin.qiao", verified=False)
    fields = ("type:=1", "scene:=2", 'user:=["lin.qiao"]')
    said = await call(here, "add_contact_way", *fields, as_json=as_json)
    assert said.code == 1
    if as_json:
        document = said.document
        assert (document["errcode"], document["class"]) == (40098, "staff")
        assert document["meaning"] == "the member has not verified their name"
        assert document["remedy"] == "The member must verify their real name in WeCom."
        assert document["hint"]
    else:
        for part in ("40098", "staff", "has not verified", "must verify"):
            assert part in said.out


async def test_a_refused_address_is_named(here):
    """60020 tells the address that WeCom saw."""
    here.simulator.configure(trusted_ip_delay=0.0)
    here.simulator.trust(["203.0.113.7"])
    said = await call(here, "get_follow_user_list")
    assert (said.code, said.document["meaning"]) == (1, "this machine's address is not trusted (127.0.0.1)")


async def test_no_answer_is_explained_too(here):
    """A write that got no answer may have been carried out; a name that does not exist may be a slip."""
    here.simulator.fail(Fault.RESET_AFTER, "externalcontact/remark", count=1)
    said = await call(here, "remark", "userid=lin.qiao", "external_userid=wm1", "remark=x")
    assert (said.code, said.document["errcode"]) == (1, None)
    assert "may have been carried out" in said.document["remedy"]
    said = await call(here, "externalcontact/remarks", "a=b")
    assert "externalcontact/remark" in said.document["remedy"]


async def test_nothing_secret_is_printed(here, monkeypatch):
    """Neither the token nor the secret shows in any output, and what an answer calls a token is masked."""
    said = [await call(here, "get_follow_user_list"), await call(here, "get", "external_userid=wmx")]

    async def revealing(*_: Any, **__: Any) -> dict[str, object]:
        return {"errcode": 0, "list": [{"provider_access_token": "tttt", "expires_in": 7200}], "jsapi_ticket": "tttt"}

    monkeypatch.setattr(WeCom, "call", revealing)
    said.append(await call(here, "service/x", "a=b"))
    tokens = list(here.simulator.tokens._tokens)
    assert tokens
    for each in said:
        for secret in ("tttt", here.simulator.app.secret, *tokens):
            assert secret not in each.out + each.err
    assert said[-1].document["list"] == [{"provider_access_token": "***", "expires_in": 7200}]


def test_a_dry_run_shows_the_request_and_needs_no_settings(capsys, monkeypatch, tmp_path):
    """The request is printed without a token, and nothing is sent."""
    monkeypatch.chdir(tmp_path)
    api("remark", ["userid=lin.qiao", "external_userid=wm1", "remark=展会"], dry_run=True)
    assert orjson.loads(capsys.readouterr().out) == {
        "method": "POST",
        "path": "/cgi-bin/externalcontact/remark",
        "query": {},
        "body": {"userid": "lin.qiao", "external_userid": "wm1", "remark": "展会"},
        "writes": True,
    }
    api("/cgi-bin/externalcontact/list", ["userid=a", "limit:=5"], dry_run=True)
    document = orjson.loads(capsys.readouterr().out)
    assert (document["method"], document["query"], document["writes"]) == ("GET", {"userid": "a", "limit": "5"}, False)


@pytest.mark.parametrize(
    ("post", "fields", "method"),
    [(None, [], "GET"), (None, ["a=b"], "POST"), (True, [], "POST"), (False, ["a=b"], "GET")],
)
def test_an_unknown_api_may_be_called(capsys, post, fields, method):
    """It is a POST when it has fields, unless it is said."""
    api("user/get", fields, post=post, dry_run=True)
    assert orjson.loads(capsys.readouterr().out)["method"] == method


def test_everything_wrong_with_the_words_is_told_at_once(capsys):
    """gettoken, no pair, a token, a field given twice, no JSON: all named, exit code 2."""
    with pytest.raises(typer.Exit) as ended:
        api("gettoken", ["x", "access_token=abc", "a=1", "a=2", "b:=x"], dry_run=True)
    assert ended.value.exit_code == 2
    problems = capsys.readouterr().err.splitlines()
    assert len(problems) == 5
    assert "abc" not in "".join(problems)


@pytest.mark.parametrize("name", ["", "../admin", "get?x=1", "https://example.com", "Get"])
def test_what_is_no_api_is_refused(name):
    """A token never goes anywhere but below /cgi-bin/."""
    with pytest.raises(typer.Exit) as ended:
        api(name, [], dry_run=True)
    assert ended.value.exit_code == 2
