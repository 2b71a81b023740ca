"""Every request of ``docs/wecom.http`` works against the simulator, in the order of the file."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from shared.wecom.endpoints import APIS
from simulator import Simulator, SimulatorConfig, run_simulator
from simulator.play import APP, CORP_ID

FILE = Path(__file__).parents[3] / "docs" / "wecom.http"
NOT_IN_THE_FILE = {
    "externalcontact/send_welcome_msg",  # needs the WelcomeCode of a callback
    "externalcontact/close_temp_chat",  # Qudao makes no temporary sessions
    "externalcontact/get_user_behavior_data",
    "media/upload",  # sends a file
}


@dataclass(kw_only=True)
class Request:
    name: str = ""
    method: str = ""
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


def read(text: str) -> tuple[dict[str, str], list[Request]]:
    """Return variables and requests as the editors' clients read them."""
    variables: dict[str, str] = {}
    requests = []
    for part in re.split(r"^###.*$", text, flags=re.MULTILINE):
        request = Request()
        head, _, body = part.strip("\n").partition("\n\n") if "\nPOST" in "\n" + part else (part, "", "")
        for line in head.splitlines():
            if match := re.fullmatch(r"@(\w+) = (.*)", line):
                variables[match[1]] = match[2]
            elif match := re.fullmatch(r"# @name (\w+)", line):
                request.name = match[1]
            elif match := re.fullmatch(r"(GET|POST) (\S+)", line):
                request.method, request.url = match[1], match[2]
            elif match := re.fullmatch(r"([\w-]+): (.*)", line):
                request.headers[match[1]] = match[2]
        request.body = body.strip()
        if request.method:
            requests.append(request)
    return variables, requests


def fill(text: str, variables: dict[str, str], answers: dict[str, Any]) -> str:
    """Fill in variables, and what earlier answers hold: ``{{name.response.body.$.a.b[0]}}``."""

    def value(match: re.Match[str]) -> str:
        word = match[1]
        if word in variables:
            return fill(variables[word], variables, answers)
        name, _, path = word.partition(".response.body.$.")
        found = answers[name]
        for step in re.findall(r"\w+", path):
            found = found[int(step)] if step.isdecimal() else found[step]
        return str(found)

    return re.sub(r"\{\{([^{}]+)\}\}", value, text)


def test_the_file_points_at_the_simulator_as_it_starts():
    """Nothing has to be edited to try it."""
    variables, _ = read(FILE.read_text(encoding="utf-8"))
    assert variables["host"] == "http://127.0.0.1:8090"
    assert (variables["corpid"], variables["corpsecret"]) == (CORP_ID, APP.secret)


def test_the_file_has_every_api_that_qudao_uses():
    """What `qudao api` knows by name is there, but for what a file cannot do."""
    _, requests = read(FILE.read_text(encoding="utf-8"))
    paths = {request.url.partition("/cgi-bin/")[2].partition("?")[0]: request.method for request in requests}
    assert set(APIS) - set(paths) == NOT_IN_THE_FILE
    assert {name: "POST" if APIS[name].posts else "GET" for name in APIS if name in paths} == {
        name: method for name, method in paths.items() if name in APIS
    }


async def test_every_request_works_against_the_simulator():
    """Each is answered with errcode 0, with what it needs taken from the answers before it."""
    variables, requests = read(FILE.read_text(encoding="utf-8"))
    assert len(requests) == 19
    simulator = Simulator(SimulatorConfig.quiet(), staff={"staff1": "员工1"})
    answers: dict[str, Any] = {}
    async with run_simulator(simulator) as server, aiohttp.ClientSession() as session:
        variables["host"] = server.url
        for request in requests:
            url, body = (fill(text, variables, answers) for text in (request.url, request.body))
            if body:
                json.loads(body)
            async with session.request(request.method, url, data=body.encode(), headers=request.headers) as response:
                answers[request.name] = answer = await response.json()
            assert response.status == 200, request.name
            assert answer.get("errcode", 0) == 0, (request.name, answer)
    assert answers["way"]["contact_way"]["remark"] == "made by hand"
    assert [entry["userid"] for entry in answers["customer"]["follow_user"]] == ["staff1"]
    assert simulator.remark_of("staff1", answers["scanned"]["scans"][0]["external_userid"]) == "展会26-Nana"
    assert simulator.corp.ways == {}


@pytest.mark.parametrize("name", ["access_token", "config_id", "external_userid", "tag_id"])
def test_what_comes_from_answers_is_a_variable(name: str):
    """A client that cannot take values from answers needs one place only to put them."""
    variables, _ = read(FILE.read_text(encoding="utf-8"))
    assert ".response.body.$." in variables[name]
