"""
A WeCom for the simulation: it keeps relations, counts strictly, is unwell now and then, and notes what never should be.

It sits where the network would be, so that permits, errcodes and parsing are the real ones. Members write remarks
themselves at any moment.
"""

import asyncio
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random

from shared.domain.errors import TransientError
from shared.domain.events import Lane
from shared.quota.port import Limits
from shared.wecom.client import MARK_TAG
from shared.wecom.transport import Answer, Request
from tests.simulation.life import Life

GET = "externalcontact/get"
WELCOME = "externalcontact/send_welcome_msg"
GETTOKEN = "gettoken"

REFUSED = 84074
"""What WeCom answers for the one member whom it refuses."""

TIMEOUT = 10.0
FRESH = 1.0
"""Age of a look that may carry a write, beside the time that the look itself took."""

LANE: ContextVar[Lane] = ContextVar("lane")
"""For whom the call is made, noted by whoever has its permit."""


class Calls:
    """A journal of calls, by API."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._arrived: defaultdict[str, list[float]] = defaultdict(list)
        self._open: defaultdict[str, int] = defaultdict(int)
        self._most: defaultdict[str, int] = defaultdict(int)

    @contextmanager
    def call(self, endpoint: str, lane: Lane = Lane.LIVE) -> Iterator[Callable[[], None]]:
        """Open a call for as long as the context is; it arrives when the yielded function is called."""
        self._open[endpoint] += 1
        self._most[endpoint] = max(self._most[endpoint], self._open[endpoint])
        try:
            yield lambda: insort(self._arrived[endpoint], self._now())
        finally:
            self._open[endpoint] -= 1

    def made(self, endpoint: str) -> int:
        return len(self._arrived[endpoint])

    def last(self, endpoint: str, seconds: float) -> int:
        """Return how many calls arrived within the last *seconds*, this moment included."""
        times = self._arrived[endpoint]
        return len(times) - bisect_left(times, self._now() - seconds + 1e-6)

    def most_in(self, endpoint: str, seconds: float) -> int:
        """Return the most calls that arrived within any *seconds*."""
        times = self._arrived[endpoint]
        return max((bisect_left(times, start + seconds - 1e-6) - index for index, start in enumerate(times)), default=0)

    def most_at_once(self, endpoint: str) -> int:
        return self._most[endpoint]

    def endpoints(self) -> list[str]:
        return list(self._arrived)


@dataclass(slots=True, kw_only=True)
class Related:
    """One relation as it is: the remark, who wrote it (a person, or we) and when, on the loop's time."""

    staff: str
    customer: str
    created_at: int
    known_from: float
    remark: str = ""
    by_us: bool = False
    written_at: float = 0.0
    marked_at: float | None = None
    tags: set[str] = field(default_factory=set)
    looks: int = 0
    """Reads of the customer while the member was refused."""
    refusals: int = 0
    forgotten: bool = False
    """Whether a remark was answered ok and not written, which happens once at the most."""

    @property
    def name(self) -> str:
        return f"客{self.customer}"

    def write(self, remark: str) -> None:
        """Write *remark* as the member does in their client."""
        self.remark, self.by_us, self.written_at = remark, False, _now()


class FakeWeCom:
    """Counts like WeCom does, and fails as the seed has it."""

    def __init__(self, limits: Limits, random: Random) -> None:
        self.calls = Calls(_now)
        self.of_others = Calls(_now)
        self.of_bulk = Calls(_now)
        self.wrong: list[str] = []
        self.relations: dict[str, Related] = {}
        self.sent: list[tuple[float, str, Lane]] = []
        self.blocked_until: defaultdict[str, float] = defaultdict(float)
        self.forbidden: set[str] = set()
        self.refused_staff = ""
        self.rude = 0.0
        self.slow = 0.0
        self.forgetful = 0.0
        """Chance that a remark is answered ok and not written."""
        self._tags: dict[str, str] = {}
        self._limits = limits
        self._random = random

    async def answer(self, request: Request, lane: Lane, sent: float, looked: float) -> Answer:
        """Return the answer to *request*, *sent* after a look that took *looked* seconds."""
        endpoint = request.endpoint
        if endpoint == GETTOKEN:
            await asyncio.sleep(self._seconds())
            return {"errcode": 0, "access_token": "token", "expires_in": 7200}
        with self.calls.call(endpoint) as arrive:
            await asyncio.sleep(self._seconds())
            arrive()
            self._count(endpoint, lane)
            errcode = self._trouble(endpoint)
            answer = {"errcode": errcode} if errcode else self._do(request, sent, looked)
            broken = errcode == 0 and self._random.random() < self.rude / 4
            await asyncio.sleep(self._seconds())
            if broken:
                raise TransientError(endpoint, meaning="no answer: the connection broke")
            return answer

    def _seconds(self) -> float:
        if self._random.random() < self.slow:
            return self._random.uniform(0.2, 1.5)
        return self._random.choice((0.002, 0.01, 0.03))

    def _count(self, endpoint: str, lane: Lane) -> None:
        """Look whether the limits still hold, and what the other lanes leave to fast and to live."""
        limits = self._limits
        counted = [(self.calls, Lane.FAST)]
        if lane is not Lane.FAST:
            counted.append((self.of_others, Lane.LIVE))
        if lane is Lane.BULK:
            counted.append((self.of_bulk, Lane.BULK))
        for calls, of in counted:
            if calls is not self.calls:
                with calls.call(endpoint) as arrive:
                    arrive()
            for seconds, most in ((limits.minute, limits.minute_for(of)), (limits.hour, limits.hour_for(of))):
                seen = calls.last(endpoint, seconds)
                if seen > most:
                    self.wrong.append(f"{endpoint}: {seen} calls in {seconds} s, {most} allowed up to {of}")
        if self.calls.most_at_once(endpoint) > limits.in_flight:
            self.wrong.append(f"{endpoint}: {self.calls.most_at_once(endpoint)} calls at once")

    def _trouble(self, endpoint: str) -> int:
        if self.blocked_until[endpoint] > _now():
            return 45009
        if endpoint in self.forbidden:
            return 48002
        draw = self._random.random()
        if draw < self.rude / 4:
            return 45033
        return -1 if draw < self.rude / 2 else 0

    def _do(self, request: Request, sent: float, looked: float) -> Answer:
        body = request.body or {}
        match request.endpoint:
            case "externalcontact/get":
                return self._get(request.params["external_userid"])
            case "externalcontact/batch/get_by_user":
                staffs = body["userid_list"]
                assert isinstance(staffs, list)
                return self._list(staffs)
            case "externalcontact/remark" | "externalcontact/mark_tag":
                relation = self.relations[str(body["external_userid"])]
                if relation.staff == self.refused_staff:
                    relation.refusals += 1
                    return {"errcode": REFUSED}
                if relation.known_from > _now():
                    return {"errcode": 84061}
                if request.endpoint == MARK_TAG:
                    added = body["add_tag"]
                    assert isinstance(added, list)
                    relation.tags.update(added)
                elif "remark" in body and not self._forgets(relation):
                    self._remark(relation, str(body["remark"]), sent, looked)
                return {"errcode": 0}
            case "externalcontact/get_corp_tag_list":
                return {"errcode": 0, "tag_group": self._groups()}
            case "externalcontact/add_corp_tag":
                return self._add_tags(body)
            case "externalcontact/send_welcome_msg":
                return {"errcode": 0}
        raise AssertionError(request.endpoint)

    def _forgets(self, relation: Related) -> bool:
        forgets = not relation.forgotten and self._random.random() < self.forgetful
        relation.forgotten = relation.forgotten or forgets
        return forgets

    def _remark(self, relation: Related, text: str, sent: float, looked: float) -> None:
        """Write *text*, and note when what it replaces should have been seen before."""
        seen = relation.written_at < sent - looked - FRESH
        if relation.remark and not relation.by_us and seen:
            self.wrong.append(
                f"a person's remark for {relation.customer}, {sent - relation.written_at:.1f} s old, is gone"
            )
        if relation.remark == text and relation.by_us and seen:
            self.wrong.append(f"the remark of {relation.customer} was written twice")
        relation.remark, relation.by_us, relation.written_at = text, True, _now()
        if relation.marked_at is None:
            relation.marked_at = _now()

    def _get(self, customer: str) -> Answer:
        relation = self.relations[customer]
        if relation.known_from > _now():
            return {"errcode": 84061}
        if relation.staff == self.refused_staff:
            relation.looks += 1
        contact = {"external_userid": customer, "name": relation.name, "type": 1}
        tags = [{"tag_id": tag} for tag in sorted(relation.tags)]
        return {"errcode": 0, "external_contact": contact, "follow_user": [{**_follow(relation), "tags": tags}]}

    def _list(self, staffs: list[str]) -> Answer:
        found = [relation for relation in self.relations.values() if relation.staff in staffs]
        return {
            "errcode": 0,
            "external_contact_list": [
                {
                    "external_contact": {"external_userid": relation.customer, "name": relation.name, "type": 1},
                    "follow_info": {**_follow(relation), "tag_id": sorted(relation.tags)},
                }
                for relation in found
                if relation.known_from <= _now()
            ],
        }

    def _groups(self) -> list[Answer]:
        if not self._tags:
            return []
        tags = [{"id": tag_id, "name": name} for name, tag_id in self._tags.items()]
        return [{"group_id": "g1", "group_name": "来源", "tag": tags}]

    def _add_tags(self, body: Mapping[str, object]) -> Answer:
        wanted = body["tag"]
        assert isinstance(wanted, list)
        if any(tag["name"] in self._tags for tag in wanted):
            return {"errcode": 40071}
        self._tags |= {tag["name"]: f"t{tag['name']}" for tag in wanted}
        (group,) = self._groups()
        return {"errcode": 0, "tag_group": group}


class Wire:
    """One process's way to WeCom; stands for ``shared.wecom.transport.Transport``."""

    def __init__(self, wecom: FakeWeCom, life: Life) -> None:
        self._wecom = wecom
        self._life = life
        self._looked: dict[str, float] = {}

    async def exchange(self, request: Request, secrets: Mapping[str, str]) -> Answer:
        """Make one call. It goes on when the caller dies."""
        del secrets
        self._life.require()
        began, endpoint = _now(), request.endpoint
        lane = LANE.get() if endpoint != GETTOKEN else Lane.LIVE
        if endpoint != GETTOKEN:
            self._wecom.sent.append((began, endpoint, lane))
        looked = self._looked.get(str((request.body or {}).get("external_userid", "")), 0.0)
        call = asyncio.get_running_loop().create_task(self._wecom.answer(request, lane, began, looked))
        call.add_done_callback(lambda call: call.cancelled() or call.exception())  # nobody may be there to hear it
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await asyncio.shield(call)
        except TimeoutError:
            raise TransientError(endpoint, meaning="no answer in time") from None
        await self._life.go_on()
        if endpoint == GET:
            self._looked[request.params["external_userid"]] = _now() - began
        return answer


def _follow(relation: Related) -> Answer:
    return {
        "userid": relation.staff,
        "remark": relation.remark or relation.name,
        "createtime": relation.created_at,
        "state": "qd_x",
        "add_way": 1,
    }


def _now() -> float:
    return asyncio.get_running_loop().time()
