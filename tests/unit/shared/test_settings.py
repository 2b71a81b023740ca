"""Read the settings."""

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from shared.domain.addresses import Address
from shared.domain.errors import ConfigurationError
from shared.settings import Need, Settings, load_settings

AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"
ALL = {
    "QUDAO_CORP_ID": "ww9f8e7d6c5b4a3210",
    "QUDAO_CORP_SECRET": "corp-secret",
    "QUDAO_CALLBACK_TOKEN": "QDG6eK",
    "QUDAO_CALLBACK_AES_KEY": AES_KEY,
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and none of our variables."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("QUDAO_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch):
    def set_all(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


def problems_of(*needs: Need) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(*needs)
    return caught.value.problems


def test_the_defaults_are_those_of_the_reference():
    """With nothing set, everything but keys and secrets has a value."""
    settings = load_settings()
    assert settings.api_url == "https://qyapi.weixin.qq.com"
    assert settings.queue_url.get_secret_value() == "sqlite:///var/queue.db"
    assert settings.queue_file == Path("var/queue.db")
    assert settings.spool == Path("var/spool.db")
    assert settings.listen == Address("127.0.0.1", 8080)
    assert settings.admin_listen == Address("127.0.0.1", 9090)
    assert settings.channels == Path("channels.toml")
    assert (settings.quota_per_minute, settings.quota_per_hour, settings.quota_in_flight) == (8000, 120_000, 3)
    assert (settings.quota_minute_seconds, settings.quota_hour_seconds) == (60, 3600)
    assert (settings.api_timeout, settings.stop_grace, settings.reconcile_every) == (10, 25, 0)
    assert (settings.log_level, settings.log_format) == ("info", "auto")
    assert settings.corp_id == settings.corp_secret.get_secret_value() == ""


def test_every_variable_is_read(setenv):
    """Each variable reaches its setting."""
    setenv(
        **ALL,
        QUDAO_CALLBACK_TOKEN_PREVIOUS="old",
        QUDAO_CALLBACK_AES_KEY_PREVIOUS=AES_KEY[::-1],
        QUDAO_API_URL="http://127.0.0.1:8090/",
        QUDAO_API_TIMEOUT="2.5",
        QUDAO_QUEUE_URL="amqps://u:p@mq.example.com/prod",
        QUDAO_SPOOL="/srv/spool.db",
        QUDAO_LISTEN="0.0.0.0:80",
        QUDAO_ADMIN_LISTEN="[::1]:0",
        QUDAO_CHANNELS="etc/channels.toml",
        QUDAO_QUOTA_PER_MINUTE="100",
        QUDAO_QUOTA_PER_HOUR="1000",
        QUDAO_QUOTA_IN_FLIGHT="1",
        QUDAO_QUOTA_MINUTE_SECONDS="0.5",
        QUDAO_QUOTA_HOUR_SECONDS="30",
        QUDAO_RECONCILE_EVERY="6h",
        QUDAO_STOP_GRACE="0",
        QUDAO_LOG_LEVEL="DEBUG",
        QUDAO_LOG_FORMAT="json",
    )
    settings = load_settings(*Need)
    assert settings.corp_id == "ww9f8e7d6c5b4a3210"
    assert settings.corp_secret.get_secret_value() == "corp-secret"
    assert settings.callback_token.get_secret_value() == "QDG6eK"
    assert settings.callback_aes_key.get_secret_value() == AES_KEY
    assert settings.callback_token_previous.get_secret_value() == "old"
    assert settings.callback_aes_key_previous.get_secret_value() == AES_KEY[::-1]
    assert (settings.api_url, settings.api_timeout) == ("http://127.0.0.1:8090", 2.5)
    assert settings.queue_url.get_secret_value() == "amqps://u:p@mq.example.com/prod"
    assert settings.queue_file is None
    assert settings.spool == Path("/srv/spool.db")
    assert (settings.listen, settings.admin_listen) == (Address("0.0.0.0", 80), Address("::1", 0))
    assert settings.channels == Path("etc/channels.toml")
    assert (settings.quota_per_minute, settings.quota_per_hour, settings.quota_in_flight) == (100, 1000, 1)
    assert (settings.quota_minute_seconds, settings.quota_hour_seconds, settings.stop_grace) == (0.5, 30, 0)
    assert (settings.log_level, settings.log_format) == ("debug", "json")
    assert settings.reconcile_every == 6 * 3600


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("", 0), ("45s", 45), ("30m", 1800), ("1d", 86400), (" 6h ", 21600)]
)
def test_an_interval_is_a_number_with_its_unit(setenv, text, seconds):
    """How often to reconcile is told in seconds, minutes, hours or days; nothing and 0 mean never."""
    setenv(QUDAO_RECONCILE_EVERY=text)
    assert load_settings().reconcile_every == seconds


@pytest.mark.parametrize("text", ["6", "6 h", "-1h", "0h", "1w", "1.5h", "h", "6H", "9999999d"])
def test_a_wrong_interval_is_refused(setenv, text):
    """Anything else is refused, and the message says what is meant."""
    setenv(QUDAO_RECONCILE_EVERY=text)
    assert problems_of() == ["QUDAO_RECONCILE_EVERY: must be a time such as 30m, 6h or 1d, or 0 for never"]


def test_the_environment_goes_before_the_file(folder, setenv):
    """``.env`` gives the same variables, below the environment; a byte order mark does no harm."""
    (folder / ".env").write_text("\ufeffQUDAO_CORP_ID=ww-file\nQUDAO_LISTEN=127.0.0.1:1 # c\nOTHER=x\nQUDAO_SPOOL\n")
    setenv(QUDAO_LISTEN="127.0.0.1:2")
    settings = load_settings()
    assert (settings.corp_id, settings.listen.port) == ("ww-file", 2)
    assert settings.spool == Path("var/spool.db")


def test_an_empty_value_counts_as_not_set_but_turns_the_spool_off(setenv):
    """Compose files pass empty variables for what is not set; an empty spool is a choice."""
    setenv(QUDAO_QUOTA_PER_MINUTE="", QUDAO_CALLBACK_AES_KEY=" ", QUDAO_SPOOL="")
    settings = load_settings()
    assert settings.quota_per_minute == 8000
    assert settings.spool is None


def test_a_command_asks_only_for_what_it_needs(setenv):
    """The ingress does without the secret, the worker without the callback keys, a look at the queue without either."""
    setenv(QUDAO_CORP_ID="ww1", QUDAO_CALLBACK_TOKEN="t", QUDAO_CALLBACK_AES_KEY=AES_KEY)
    assert load_settings(Need.CALLBACK).corp_id == load_settings().corp_id == "ww1"
    assert load_settings(Need.STATE).corp_id == "ww1"
    assert problems_of(Need.API) == [
        "QUDAO_CORP_SECRET: is missing; set it to the app's Secret, from its page in the admin console"
    ]


def test_all_that_is_missing_is_told_with_the_fix(setenv):
    """Each missing variable is named once, with where to get it; blanks are as good as nothing."""
    setenv(QUDAO_CORP_SECRET="  ")
    problems = problems_of(Need.CALLBACK, Need.API)
    assert [problem.partition(":")[0] for problem in problems] == [
        "QUDAO_CORP_ID",
        "QUDAO_CALLBACK_TOKEN",
        "QUDAO_CALLBACK_AES_KEY",
        "QUDAO_CORP_SECRET",
    ]
    assert all("is missing; set it to the " in problem for problem in problems)


NO_ZONE = "there is no such time zone; write one such as Asia/Shanghai"


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("QUDAO_CALLBACK_AES_KEY", AES_KEY[:-1], "must be the 43 letters and digits of the EncodingAESKey"),
        ("QUDAO_CALLBACK_AES_KEY", AES_KEY[:-1] + "-", "must be the 43 letters and digits of the EncodingAESKey"),
        ("QUDAO_CALLBACK_AES_KEY_PREVIOUS", "x", "must be the 43 letters and digits of the EncodingAESKey"),
        ("QUDAO_API_URL", "qyapi.weixin.qq.com", "must be https://host, http://host:port, or either with a path"),
        ("QUDAO_API_URL", "https://host/cgi-bin?x=1", "must be https://host, http://host:port, or either with a path"),
        ("QUDAO_API_PROXY", "socks5://u:s3cret@h:1", "must be http://host:port or http://user:password@host:port"),
        ("QUDAO_TIME_ZONE", "Asia/Shangai", f"{NO_ZONE}; did you mean 'Asia/Shanghai'?"),
        ("QUDAO_TIME_ZONE", "../etc/passwd", NO_ZONE),
        ("QUDAO_API_TIMEOUT", "0", "must be greater than 0"),
        ("QUDAO_API_TIMEOUT", "inf", "must be a finite number"),
        ("QUDAO_API_TIMEOUT", "soon", "must be a number"),
        ("QUDAO_QUEUE_URL", "redis://u:s3cret@h", "must be sqlite:///path, amqp://host/vhost or amqps://host/vhost"),
        ("QUDAO_QUEUE_URL", "sqlite://queue.db", "must be sqlite:///path, amqp://host/vhost or amqps://host/vhost"),
        ("QUDAO_QUEUE_URL", "amqp://", "must be sqlite:///path, amqp://host/vhost or amqps://host/vhost"),
        ("QUDAO_LISTEN", "8080", "must be host:port, for example 127.0.0.1:8080 or [::1]:8080"),
        ("QUDAO_LISTEN", "::1:8080", "must be host:port, for example 127.0.0.1:8080 or [::1]:8080"),
        ("QUDAO_LISTEN", "127.0.0.1:65536", "must be host:port, for example 127.0.0.1:8080 or [::1]:8080"),
        ("QUDAO_ADMIN_LISTEN", "127.0.0.1:8080", "must differ from QUDAO_LISTEN, which faces the world"),
        ("QUDAO_QUOTA_PER_MINUTE", "0", "must be at least 1"),
        ("QUDAO_QUOTA_PER_HOUR", "many", "must be a whole number"),
        ("QUDAO_QUOTA_IN_FLIGHT", "-1", "must be at least 1"),
        ("QUDAO_STOP_GRACE", "-1", "must be at least 0"),
        ("QUDAO_LOG_LEVEL", "loud", "must be 'debug', 'info', 'warning' or 'error'"),
        ("QUDAO_LOG_FORMAT", "xml", "must be 'auto', 'console' or 'json'"),
        ("QUDAO_SPOL", "", "unknown setting; did you mean 'QUDAO_SPOOL'?"),
        ("QUDAO_ZZZZZZ", "1", "unknown setting"),
    ],
)
def test_a_wrong_value_is_refused(setenv, variable, value, problem):
    """Each wrong value is named with what it must be."""
    setenv(**{variable: value})
    assert problems_of() == [f"{variable}: {problem}"]


def test_a_typo_in_the_file_is_found_too(folder):
    """A misspelt name in ``.env`` is no setting, and other programs' variables are none of our business."""
    (folder / ".env").write_text("QUDAO_CORPID=ww1\nHOME_PAGE=x\n")
    assert problems_of() == ["QUDAO_CORPID: unknown setting; did you mean 'QUDAO_CORP_ID'?"]


def test_the_test_suite_s_own_variables_are_left_alone(setenv):
    """``QUDAO_TEST_…`` belongs to the tests."""
    setenv(QUDAO_TEST_AMQP_URL="amqp://h")
    assert load_settings().queue_file


def test_all_problems_are_told_at_once(setenv):
    """Unknown, missing and wrong settings come in one list."""
    setenv(QUDAO_LISTEN="x", QUDAO_QUOTA_PER_HOUR="0", QUDAO_TYPO="1", QUDAO_CORP_ID="ww1")
    names = [problem.partition(":")[0] for problem in problems_of(Need.API)]
    assert names == ["QUDAO_TYPO", "QUDAO_CORP_SECRET", "QUDAO_LISTEN", "QUDAO_QUOTA_PER_HOUR"]


def test_no_message_holds_a_value(setenv):
    """Neither the problems nor a traceback show what was given: it may be a secret in the wrong place."""
    given = dict.fromkeys(ALL, "s3cret") | {"QUDAO_LISTEN": "s3cret", "QUDAO_QUEUE_URL": "redis://:s3cret@h"}
    setenv(**given, QUDAO_LOG_LEVEL="s3cret", QUDAO_QUOTA_PER_HOUR="s3cret", QUDAO_API_URL="https://a:s3cret@h")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(*Need)
    shown = "".join(traceback.format_exception(caught.value))
    assert len(caught.value.problems) == 6
    assert "s3cret" not in shown


def test_a_printed_settings_object_holds_no_secret(setenv):
    """Secrets, the broker's password among them, do not show in a repr."""
    setenv(**(ALL | {"QUDAO_QUEUE_URL": "amqp://user:hunter2@h/"}))
    shown = repr(load_settings(*Need))
    assert not any(secret in shown for secret in ("corp-secret", "QDG6eK", AES_KEY, "hunter2"))


def test_settings_do_not_change():
    """The object is frozen."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().listen = Address("127.0.0.1", 1)


@pytest.mark.parametrize("content", [b"QUDAO_CORP_ID=\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_named(folder, content):
    """A ``.env`` in another encoding is refused, not ignored; a folder of that name is no file at all."""
    if content is None:
        (folder / ".env").mkdir()
        assert load_settings().corp_id == ""
    else:
        (folder / ".env").write_bytes(content)
        assert problems_of() == [".env: cannot be read as UTF-8 text; mend or remove it"]


def test_the_reference_names_every_setting_and_its_default():
    """Each setting is documented with the default it has."""
    text = (Path(__file__).parents[3] / "docs/reference/settings.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        default = field.default
        match default:
            case SecretStr():
                shown = default.get_secret_value()
            case Address():
                shown = f"{default.host}:{default.port}"
            case float():
                shown = f"{default:g}"
            case _:
                shown = str(default)
        expected = f"`{shown}`" if shown else ("none" if name.endswith("_previous") else "–")
        assert f"| `QUDAO_{name.upper()}` | {expected} |" in text
