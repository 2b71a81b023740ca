"""
The settings: environment variables, or the same names in ``.env``; the environment goes first.

Read once, in ``cli/``; components are given their part. Messages never hold a value, since a value may be a secret in
the wrong place.
"""

import os
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, PlainValidator, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError
from shared.domain.ids import CorpId
from shared.domain.spelling import did_you_mean

_PREFIX: Final = "QUDAO_"
_OTHERS: Final = "QUDAO_TEST_"
_ENCODING: Final = "utf-8-sig"
_AES_KEY: Final = re.compile(r"[A-Za-z0-9+/]{43}")
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})")
_INTERVAL: Final = re.compile(r"0|([1-9]\d{0,5})([smhd])")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WORDING: Final = {
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "finite_number": "must be a finite number",
}


class Need(StrEnum):
    """What a command does that it cannot do without certain settings."""

    CALLBACK = "callback"
    API = "api"
    STATE = "state"


_CORP_ID: Final = "the corp id (企业ID), from 我的企业 in the admin console"
_REQUIRED: Final[Mapping[Need, Mapping[str, str]]] = {
    Need.CALLBACK: {
        "corp_id": _CORP_ID,
        "callback_token": "the Token from the app's 接收消息 page",
        "callback_aes_key": "the EncodingAESKey from the app's 接收消息 page",
    },
    Need.API: {
        "corp_id": _CORP_ID,
        "corp_secret": "the app's Secret, from its page in the admin console",
    },
    Need.STATE: {"corp_id": _CORP_ID},
}


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if not match or int(match[3]) > 65535:
        raise ValueError("must be host:port, for example 127.0.0.1:8080 or [::1]:8080")
    return Address(match[1] or match[2], int(match[3]))


def _aes_key(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not _AES_KEY.fullmatch(value.get_secret_value()):
        raise ValueError("must be the 43 letters and digits of the EncodingAESKey")
    return value


def _queue_url(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"sqlite:///.+|amqps?://[^\s/]+.*", value.get_secret_value()):
        raise ValueError("must be sqlite:///path, amqp://host/vhost or amqps://host/vhost")
    return value


def _state_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if url and not re.fullmatch(r"sqlite:///.+|postgres(ql)?://[^\s/]+/[^\s/?]+(\?\S*)?", url):
        raise ValueError("must be postgresql://user:password@host/database or sqlite:///path")
    return value


def _prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,32}", value):
        raise ValueError("must be 1 to 32 letters, digits, dots, dashes or underscores")
    return value


def _interval(value: object) -> float:
    if isinstance(value, float):
        return value
    match = _INTERVAL.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a time such as 30m, 6h or 1d, or 0 for never")
    return float(match[1] or 0) * _SECONDS[match[2] or "s"]


def _api_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
        raise ValueError("must be https://host, http://host:port, or either with a path")
    return value.rstrip("/").removesuffix("/cgi-bin")


def _api_proxy(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not re.fullmatch(r"http://([^\s/@]+@)?[^\s/?#@]+/?", value.get_secret_value()):
        raise ValueError("must be http://host:port or http://user:password@host:port")
    return value


def _time_zone(value: object) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(str(value))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = did_you_mean(str(value), available_timezones())
        raise ValueError(f"there is no such time zone; write one such as Asia/Shanghai{near}") from error


AesKey = Annotated[SecretStr, AfterValidator(_aes_key)]
Listen = Annotated[Address, NoDecode, PlainValidator(_address)]
Interval = Annotated[float, NoDecode, PlainValidator(_interval)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


STATE_FILE: Final = Path("var/state.db")
"""Where the state is when the queue is in a broker and nothing else is said: on this machine alone."""


class Settings(BaseSettings):
    """Everything that can be set; ``docs/reference/settings.md`` explains each. A secret that is not set is empty."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, env_file_encoding=_ENCODING
    )

    corp_id: CorpId = CorpId("")
    corp_secret: SecretStr = SecretStr("")
    callback_token: SecretStr = SecretStr("")
    callback_aes_key: AesKey = SecretStr("")
    callback_token_previous: SecretStr = SecretStr("")
    callback_aes_key_previous: AesKey = SecretStr("")
    api_url: Annotated[str, AfterValidator(_api_url)] = "https://qyapi.weixin.qq.com"
    api_proxy: Annotated[SecretStr, AfterValidator(_api_proxy)] = SecretStr("")
    api_timeout: Seconds = 10.0
    queue_url: Annotated[SecretStr, AfterValidator(_queue_url)] = SecretStr("sqlite:///var/queue.db")
    queue_prefix: Annotated[str, AfterValidator(_prefix)] = "qudao"
    state_url: Annotated[SecretStr, AfterValidator(_state_url)] = SecretStr("")
    spool: Path | None = Path("var/spool.db")
    listen: Listen = Address("127.0.0.1", 8080)
    admin_listen: Listen = Address("127.0.0.1", 9090)
    channels: Path = Path("channels.toml")
    time_zone: Annotated[ZoneInfo, NoDecode, PlainValidator(_time_zone)] = ZoneInfo("Asia/Shanghai")
    quota_per_minute: Count = 8000
    quota_per_hour: Count = 120_000
    quota_in_flight: Count = 3
    quota_minute_seconds: Seconds = 60.0
    quota_hour_seconds: Seconds = 3600.0
    reconcile_every: Interval = 0.0
    journal_days: Count = 400
    stop_grace: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 25.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    @model_validator(mode="before")
    @classmethod
    def _tidy(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Trim values; an empty one counts as not set, but turns the spool off."""
        trimmed = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
        tidy = {name: value for name, value in trimmed.items() if value not in ("", None)}
        for name in ("log_level", "log_format"):
            if name in tidy:
                tidy[name] = str(tidy[name]).lower()
        return {**tidy, "spool": None} if trimmed.get("spool") == "" else tidy

    @model_validator(mode="after")
    def _listens_apart(self) -> Self:
        if self.listen == self.admin_listen and self.listen.port:
            raise ValueError("QUDAO_ADMIN_LISTEN: must differ from QUDAO_LISTEN, which faces the world")
        return self

    @property
    def queue_file(self) -> Path | None:
        """The embedded queue's file, relative to the working folder unless absolute; None with a broker."""
        return _file_in(self.queue_url)

    @property
    def state_file(self) -> Path | None:
        """The file of the state, the embedded queue's unless said otherwise; None with PostgreSQL."""
        if not self.state_url.get_secret_value():
            return self.queue_file or STATE_FILE
        return _file_in(self.state_url)

    @property
    def state_place(self) -> str:
        """What tells the state's database from another one; may hold a password."""
        return str(self.state_file.resolve()) if self.state_file else self.state_url.get_secret_value()

    def with_state(self, url: str, name: str) -> Self:
        """
        Return the same settings with the state at *url*, which the person who typed it knows as *name*.

        Raises:
            ConfigurationError: It names no database.
        """
        try:
            return self.model_copy(update={"state_url": _state_url(SecretStr(url))})
        except ValueError as error:
            raise ConfigurationError([f"{name}: {error}"]) from None


def _file_in(url: SecretStr) -> Path | None:
    scheme, _, path = url.get_secret_value().partition(":///")
    return Path(path) if scheme == "sqlite" else None


def load_settings(*needs: Need, env_file: Path = Path(".env")) -> Settings:
    """
    Return the settings, having made sure of those that *needs* ask for.

    Raises:
        ConfigurationError: All problems, each with its fix.
    """
    given = _given(env_file)
    problems = [*_unknown(given), *_missing(given, needs)]
    settings = None
    try:
        settings = Settings(_env_file=env_file)  # type: ignore[call-arg]  # BaseSettings' own argument, no field
    except ValidationError as invalid:
        problems += [_explain(error) for error in invalid.errors(include_url=False, include_input=False)]
    if problems or not settings:
        # "from None": the cause would show what was given, and that may be a secret.
        raise ConfigurationError(problems) from None
    return settings


def _given(env_file: Path) -> Mapping[str, str]:
    """Return our variables as they are set, by their names in capitals."""
    try:
        values = {**dotenv_values(env_file, encoding=_ENCODING), **os.environ}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{env_file}: cannot be read as UTF-8 text; mend or remove it"]) from error
    ours = {name.upper(): value or "" for name, value in values.items() if name.upper().startswith(_PREFIX)}
    return {name: value for name, value in ours.items() if not name.startswith(_OTHERS)}


def _unknown(given: Mapping[str, str]) -> list[str]:
    known = [_variable(field) for field in Settings.model_fields]
    return [f"{name}: unknown setting{did_you_mean(name, known)}" for name in sorted(given) if name not in known]


def _missing(given: Mapping[str, str], needs: tuple[Need, ...]) -> list[str]:
    required = {field: fix for need in needs for field, fix in _REQUIRED[need].items()}
    return [
        f"{_variable(field)}: is missing; set it to {fix}"
        for field, fix in required.items()
        if not given.get(_variable(field), "").strip()
    ]


def _explain(error: ErrorDetails) -> str:
    wording = _WORDING.get(error["type"])
    message = wording.format(**error.get("ctx", {})) if wording else error["msg"].removeprefix("Value error, ")
    return f"{_variable(str(error['loc'][0]))}: {message}" if error["loc"] else message


def _variable(field: str) -> str:
    return _PREFIX + field.upper()
