"""Injected faults: what goes wrong with which API, by chance or for the next few calls."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """Ways for a call to fail."""

    ERRCODE = "errcode"
    """Answer ``code`` (-1, 6000, 81026 …) without doing anything."""
    STATUS = "status"
    """Answer HTTP ``code`` (502 …) with an empty body."""
    TIMEOUT_BEFORE = "timeout_before"
    """Do nothing and do not answer for ``seconds``, then close."""
    TIMEOUT_AFTER = "timeout_after"
    """Carry the call out and do not answer for ``seconds``, then close."""
    SLOW_BODY = "slow_body"
    """Carry it out, send the head, and the body in pieces over ``seconds``."""
    RESET = "reset"
    """Do nothing and reset the connection."""
    RESET_AFTER = "reset_after"
    """Carry it out and reset the connection."""
    NO_EFFECT = "no_effect"
    """Answer ok without doing anything."""
    HTML = "html"
    """Answer 200 with a proxy's error page."""
    FOREIGN = "foreign"
    """Answer 200 with JSON that is not WeCom's: an object without errcode."""
    DATE = "date"
    """Answer as always, with a Date that is ``seconds`` ahead; negative: behind."""


@dataclass(slots=True, kw_only=True)
class FaultRule:
    """
    One fault for one API. Scripted with ``count``, by chance with ``rate``.

    Attributes:
        endpoint: Path below ``/cgi-bin/``; ``*`` for all but gettoken.
        code: errcode (-1 unless given) or HTTP status (502 unless given), for the kinds that have one.
        count: Hit the next so many calls; then the rule is spent.
        rate: Hit this share of calls.
        userid: Hit calls for this member only.
    """

    fault: Fault
    endpoint: str = "*"
    code: int = 0
    count: int = 0
    rate: float = 0.0
    seconds: float = 30.0
    userid: str = ""
    hits: int = 0

    def __post_init__(self) -> None:
        if not self.code:
            self.code = 502 if self.fault is Fault.STATUS else -1

    def applies(self, endpoint: str, userid: str) -> bool:
        """Tell whether the rule is about a call of *endpoint* for *userid*."""
        if self.userid and self.userid.casefold() != userid.casefold():
            return False
        return self.endpoint == endpoint or (self.endpoint == "*" and endpoint != "gettoken")


class Faults:
    """The rules in force."""

    def __init__(self, random: Random) -> None:
        self.rules: list[FaultRule] = []
        self._random = random

    def add(self, rule: FaultRule) -> None:
        """Put *rule* in force."""
        self.rules.append(rule)

    def clear(self) -> None:
        """Drop all rules."""
        self.rules.clear()

    def strike(self, endpoint: str, userid: str) -> FaultRule | None:
        """Return the rule that hits this call, if any: scripted ones first, each in the order they were added."""
        rules = [rule for rule in self.rules if rule.applies(endpoint, userid)]
        for rule in rules:
            if rule.count > 0:
                rule.count -= 1
                rule.hits += 1
                return rule
        for rule in rules:
            if rule.rate and self._random.random() < rule.rate:
                rule.hits += 1
                return rule
        return None
