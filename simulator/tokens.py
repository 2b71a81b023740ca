"""Access tokens: gettoken and everything that can be wrong with a token (doc 91039)."""

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.calls import ApiError, Result
from simulator.config import TokenRenewal
from simulator.corp import App
from simulator.scenario import Scenario


@dataclass(slots=True, kw_only=True)
class Token:
    """One issued token; ``errcode`` is what it gets once revoked, 0 while it is good."""

    app: App
    expires_at: float
    errcode: int = 0


class Tokens:
    """Issues and checks the tokens of one corp, one per app."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._tokens: dict[str, Token] = {}
        self._latest: dict[int, str] = {}

    def issued(self) -> list[str]:
        """Return every token that was issued here, whatever became of it."""
        return list(self._tokens)

    def knows(self, value: str) -> bool:
        """Tell whether *value* was issued here, whatever became of it."""
        return value in self._tokens

    def get(self, query: Mapping[str, str], address: str) -> Result:
        """
        Answer gettoken.

        Raises:
            ApiError: 41004, 41002, 40013, 40001, or 45009 for an address that tried too many wrong secrets.
        """
        now = self._scenario.clock.time()
        if now < self._scenario.world.banned_until.get(address, 0.0):
            raise ApiError(45009)
        app = self._authenticate(query, address, now)
        value = self._issue(app, now)
        left = int(self._tokens[value].expires_at - now)
        return {"access_token": value, "expires_in": max(left, 1)}

    def _authenticate(self, query: Mapping[str, str], address: str, now: float) -> App:
        secret, corp_id = query.get("corpsecret"), query.get("corpid")
        if not secret:
            raise ApiError(41004)
        if not corp_id:
            raise ApiError(41002)
        corp = self._scenario.corp
        if corp_id != corp.corp_id:
            raise ApiError(40013)
        app = next((app for app in corp.apps.values() if app.secret == secret and app.enabled), None)
        if app is None:
            self._count_wrong(address, now)
            raise ApiError(40001)
        return app

    def _count_wrong(self, address: str, now: float) -> None:
        config, world = self._scenario.config, self._scenario.world
        wrong = world.wrong_secrets[address]
        wrong.append(now)
        while wrong[0] <= now - config.hour_window:
            wrong.popleft()
        if len(wrong) >= config.wrong_secret_limit:
            world.banned_until[address] = now + config.hour_window
            wrong.clear()

    def _issue(self, app: App, now: float) -> str:
        config = self._scenario.config
        latest = self._latest.get(app.agent_id, "")
        token = self._tokens.get(latest)
        if token is not None and not token.errcode and now < token.expires_at:
            if config.token_renewal is TokenRenewal.SAME:
                return latest
            if config.token_renewal is TokenRenewal.NEW_KILLS_OLD:
                token.errcode = 40014
        value = self._scenario.ids.access_token(config.token_length)
        self._tokens[value] = Token(app=app, expires_at=now + config.token_lifetime)
        self._latest[app.agent_id] = value
        return value

    def check(self, value: str | None) -> App:
        """
        Return the app that *value* belongs to.

        Raises:
            ApiError: 41001 without a token, 40014 for an unknown or revoked one, 42001 for an expired one.
        """
        if not value:
            raise ApiError(41001)
        token = self._tokens.get(value)
        scenario = self._scenario
        if token is None or token.errcode == 40014:
            raise ApiError(40014, bare=scenario.chance(scenario.config.bare_token_error_rate))
        if token.errcode:
            raise ApiError(token.errcode)
        if scenario.clock.time() >= token.expires_at:
            raise ApiError(42001)
        return token.app

    def revoke(self, errcode: int = 40014) -> int:
        """Invalidate every token early; their next use gets *errcode* (40014 or 42001). Return how many there were."""
        live = [token for token in self._tokens.values() if not token.errcode]
        for token in live:
            token.errcode = errcode
        return len(live)
