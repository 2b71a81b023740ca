"""`qudao api`: one WeCom call by hand: the token is handled, the answer printed, a refusal explained."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.json import JSON

from cli.compose.deployment import open_deployment
from cli.compose.services import open_api
from cli.failures import FAILED, MISCONFIGURED, fail, run_async
from cli.options import AsJson
from cli.output import print_json, print_line
from shared.domain.errors import WeComError
from shared.domain.events import Lane
from shared.domain.spelling import did_you_mean
from shared.logs import configure_logging
from shared.settings import Need, load_settings
from shared.wecom.endpoints import APIS, full_name
from shared.wecom.errcodes import reading_of

_NAME: Final = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*")
_FIELD: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(:?=)(.*)", re.DOTALL)
_NEVER_SENT: Final = frozenset({"access_token", "corpsecret", "debug"})
_NEVER_SHOWN: Final = re.compile(r"token|secret|ticket", re.IGNORECASE)
_HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """A call as the words of the command line describe it."""

    name: str
    posts: bool
    writes: bool
    fields: Mapping[str, Any]

    @property
    def params(self) -> dict[str, str]:
        """The query of a GET."""
        return {} if self.posts else {name: _as_query(value) for name, value in self.fields.items()}

    @property
    def body(self) -> Mapping[str, Any] | None:
        """The body of a POST."""
        return self.fields if self.posts else None

    def document(self) -> dict[str, Any]:
        """Return the request as plain data, without the token."""
        method = "POST" if self.posts else "GET"
        return {"method": method, "path": f"/cgi-bin/{self.name}", "query": self.params, "body": self.body}


def api(
    name: Annotated[str, typer.Argument(help="The API below /cgi-bin/; `get` is short for `externalcontact/get`.")],
    fields: Annotated[
        list[str] | None,
        typer.Argument(help="KEY=TEXT, or KEY:=JSON for anything else: limit:=100 user:='[\"lin.qiao\"]'."),
    ] = None,
    post: Annotated[
        bool | None,
        typer.Option("--post/--get", help="For an API that is not known here; otherwise a POST if there are fields."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the request, and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Make one WeCom call and print the answer; explain the errcode if it is refused.

    The call goes through the corp's quota like all others. Tokens and secrets are never printed.
    """
    request = _request(name, fields or [], post)
    if dry_run:
        print_json({**request.document(), "writes": request.writes})
        return
    run_async(lambda: _call(request, as_json=as_json))


def _request(name: str, words: Sequence[str], post: bool | None) -> _Request:
    """Return the request, or exit with every problem of the words."""
    name = full_name(name)
    known = APIS.get(name)
    problems = []
    if not _NAME.fullmatch(name) or name == "gettoken":
        problems.append(f"{name!r} cannot be called: name an API such as externalcontact/get; the token is handled")
    fields: dict[str, Any] = {}
    for word in words:
        problem = _add_field(fields, word)
        if problem:
            problems.append(problem)
    if problems:
        fail(MISCONFIGURED, *problems)
    if known is not None:
        return _Request(name=name, posts=known.posts, writes=known.writes, fields=fields)
    posts = bool(fields) if post is None else post
    return _Request(name=name, posts=posts, writes=posts, fields=fields)


def _add_field(fields: dict[str, Any], word: str) -> str:
    """Add the field that *word* describes to *fields*; return what is wrong with it, if anything is."""
    match = _FIELD.fullmatch(word)
    if match is None:
        return f"{word!r} is not KEY=TEXT or KEY:=JSON"
    key, operator, text = match.groups()
    if key in _NEVER_SENT:
        return f"{key}: is not yours to give here"
    if key in fields:
        return f"{key}: is given twice"
    if operator == "=":
        fields[key] = text
        return ""
    try:
        fields[key] = orjson.loads(text)
    except orjson.JSONDecodeError:
        return f"{key}: is not JSON; for text write {key}=…"
    return ""


def _as_query(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


async def _call(request: _Request, *, as_json: bool) -> int:
    settings = load_settings(Need.API)
    configure_logging("error", settings.log_format)
    async with open_deployment(settings) as deployment, open_api(settings, deployment, Lane.LIVE) as wecom:
        try:
            answer = await wecom.call(
                request.name, params=request.params, body=request.body, staff=str(request.fields.get("userid", ""))
            )
        except WeComError as error:
            return _explain(request, error, as_json=as_json)
    if as_json or not sys.stdout.isatty():
        print_json(_without_secrets(answer))
    else:
        Console().print(JSON(orjson.dumps(_without_secrets(answer)).decode()))
    return 0


def _explain(request: _Request, error: WeComError, *, as_json: bool) -> int:
    """Print what a refusal means and what to do about it; return the exit code."""
    document: dict[str, Any] = {"endpoint": request.name, "errcode": error.errcode, "hint": error.hint}
    if error.errcode is None:
        document |= {"class": "no answer", "meaning": error.meaning, "remedy": _remedy_without_answer(request)}
    else:
        reading = reading_of(request.name, error.errcode)
        # The error's own words: they name the address that WeCom refused. They end with the remedy.
        meaning = error.meaning.removesuffix(reading.remedy.rstrip(". ")).rstrip(". ")
        document |= {"class": reading.kind.value, "meaning": meaning, "remedy": reading.remedy}
    if as_json:
        print_json(document)
    else:
        for name, value in document.items():
            if value not in ("", None):
                print_line(f"{name:>9}  {value}")
    return FAILED


def _remedy_without_answer(request: _Request) -> str:
    if request.name not in APIS:
        return f"Check the name{did_you_mean(request.name, APIS)}"
    return "Look before you repeat it: it may have been carried out." if request.writes else "Try again."


def _without_secrets(value: object) -> object:
    """Return an answer with everything that is called a token, a secret or a ticket masked."""
    match value:
        case dict():
            return {
                key: _HIDDEN if _NEVER_SHOWN.search(key) and isinstance(inner, str) else _without_secrets(inner)
                for key, inner in value.items()
            }
        case list():
            return [_without_secrets(inner) for inner in value]
        case _:
            return value
