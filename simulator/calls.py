"""One API call under way, and how it fails."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.corp import KNOWN_TO_APIS, App, Corp, Follow, Member
from simulator.scenario import Scenario

Result = dict[str, Any]


class ApiError(Exception):
    """A call that WeCom answers with an errcode. ``detail`` replaces the usual text."""

    def __init__(self, errcode: int, detail: str = "", *, bare: bool = False) -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.detail = detail
        self.bare = bare


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """A file of a form; ``encoded_name`` tells that its name came as ``filename*``, which WeCom does not read."""

    name: str
    content: bytes
    encoded_name: bool


@dataclass(slots=True, kw_only=True)
class Call:
    """
    A call whose token was accepted.

    Attributes:
        query: Of the URL.
        body: The JSON object, ``{}`` for GET; for an upload the form's files.
        warned: A field was of the wrong type and taken all the same; the answer warns of it.
        admit: Raises 45009, 45033 or 45035 when a limit is overrun; to be called before any effect.
        journal_userid: The relation the call is about, for the journal.
    """

    scenario: Scenario
    app: App
    query: Mapping[str, str]
    body: dict[str, Any] = field(default_factory=dict)
    admit: Callable[[], None] = lambda: None
    warned: bool = False

    @property
    def corp(self) -> Corp:
        """The caller's corp."""
        return self.scenario.corp

    @property
    def documented(self) -> bool:
        """Whether to answer as the documentation says, rather than as the live service was seen to."""
        return self.scenario.config.documented

    @property
    def now(self) -> float:
        """The scenario's time."""
        return self.scenario.clock.time()

    def text(self, name: str, missing: int = 40063) -> str:
        """Return a required string of the body, or of the query for GET."""
        value = self.body.get(name) or self.query.get(name)
        if not value:
            raise ApiError(missing)
        if not isinstance(value, str):
            raise invalid(name, "should be string")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string of the body, None when it is absent or null."""
        value = self.body.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid(name, "should be string")
        return value

    def integer(self, name: str, default: int | None = None, *, missing: int = 40063) -> int:
        """Return an integer of the body."""
        value = self.number(name)
        value = default if value is None else value
        if value is None:
            raise ApiError(missing)
        if not isinstance(value, int) or isinstance(value, bool):
            raise invalid(name, "should be integer")
        return value

    def number(self, name: str) -> object:
        """Return a value of the body; a number that came as text is taken for one, with a warning."""
        value = self.body.get(name)
        if isinstance(value, str) and value.lstrip("-").isdecimal() and not self.documented:
            self.warned = True
            return int(value)
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """Return a boolean of the body."""
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise invalid(name, "should be bool")
        return value

    def texts(self, name: str) -> list[str]:
        """Return a list of strings of the body, empty when absent."""
        value = self.body.get(name)
        if value is None:
            return []
        if isinstance(value, str) and not self.documented:
            self.warned = True
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise invalid(name, "should be array of string")
        return value

    def integers(self, name: str) -> list[int]:
        """Return a list of integers of the body, empty when absent."""
        value = self.body.get(name)
        if value is None:
            return []
        if not isinstance(value, list) or not all(type(item) is int for item in value):
            raise invalid(name, "should be array of integer")
        return value

    def member(self, userid: str, *, unknown: int = 60111) -> Member:
        """Return a member the app may act on: *unknown* for nobody, 40003 for one who left, 60011 out of range."""
        member = self.corp.member(userid)
        if member is None:
            raise ApiError(60111 if self.documented else unknown)
        if member.departed:
            raise ApiError(40003)
        if not self.app.sees(member.userid):
            raise ApiError(60011)
        return member

    def check_media(self, media_id: object) -> None:
        """Refuse what is not the media id of a file that was uploaded in the last three days: 40007."""
        media = self.corp.media.get(media_id) if isinstance(media_id, str) else None
        if media is None or self.now >= media.expires_at:
            raise ApiError(40007)

    def relation(self, userid: str, external_userid: str) -> Follow:
        """Return a relation that may be written: 40096 for an unknown customer, 84061 for no contact, or not yet."""
        member = self.member(userid, unknown=40003)
        if external_userid not in self.corp.customers:
            raise ApiError(40096)
        relation = member.relations.get(external_userid)
        if relation is None or relation.status not in KNOWN_TO_APIS:
            raise ApiError(84061)
        if self.now < relation.readable_at:
            raise ApiError(self.scenario.config.early_errcode)
        return relation


def invalid(name: str, problem: str) -> ApiError:
    """Return 40058 naming the field in backticks, as WeCom does."""
    return ApiError(40058, f"field `{name}` {problem}. invalid Request Parameter")
