"""Log lines: their form, and what they must not hold."""

import io
import json
import logging

import pytest
import structlog

from shared.logs import configure_logging, hide_secret_keys, redact


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


class Terminal(io.StringIO):
    """A terminal, as far as anyone asks."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream that nobody reads any more."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_line_is_one_json_document_on_stderr(capsys):
    """Event, level, time and everything given, on stderr and never on stdout."""
    configure_logging("info", "json")
    with structlog.contextvars.bound_contextvars(event_id="e1"):
        structlog.get_logger().info("remark.applied", corp="ww1", attempt=2, reason=None)
    (line,) = lines_of(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "remark.applied",
        "level": "info",
        "event_id": "e1",
        "corp": "ww1",
        "attempt": 2,
        "reason": None,
    }


@pytest.mark.parametrize("value", ["\ud83d", 2**70, {1: "x"}, {("a",): 1}, object(), b"\xff", {1, 2}])
def test_any_value_can_be_logged(capsys, value):
    """A value that JSON cannot hold is written somehow; it never fails the work."""
    configure_logging("info", "json")
    structlog.get_logger().info("a.b", value=value)
    (line,) = lines_of(capsys)
    assert line["event"] == "a.b"
    assert "value" in line


def test_levels_below_the_threshold_are_dropped(capsys):
    """The level holds for our loggers and for the libraries'."""
    configure_logging("warning", "json")
    structlog.get_logger().info("a.b")
    logging.getLogger("x").info("a.b")
    structlog.get_logger().warning("c.d")
    logging.getLogger("x").warning("e.f")
    assert [line["event"] for line in lines_of(capsys)] == ["c.d", "e.f"]


def test_libraries_log_the_same_way(capsys):
    """A line of the standard library's logging has the same form, with its logger's name."""
    configure_logging("info", "json")
    logging.getLogger("some.library").warning("lost %s", "it")
    (line,) = lines_of(capsys)
    assert (line["event"], line["level"], line["logger"]) == ("lost it", "warning", "some.library")


def test_libraries_do_not_tell_frames_and_urls(capsys):
    """Even at debug level: access lines hold queries, and the AMQP library's debug lines hold bodies."""
    configure_logging("debug", "json")
    logging.getLogger("aiohttp.access").info("GET /wecom/callback?echostr=x")
    logging.getLogger("aiormq.connection").debug("frame")
    logging.getLogger("aio_pika.channel").debug("body")
    logging.getLogger("asyncio").debug("slow")
    assert [line["event"] for line in lines_of(capsys)] == ["slow"]


def test_configuring_twice_does_not_double_the_lines(capsys):
    """A second call replaces the first."""
    configure_logging("info", "json")
    configure_logging("info", "json")
    logging.getLogger("x").warning("once")
    assert len(lines_of(capsys)) == 1


def test_auto_writes_json_where_nobody_looks(capsys):
    """Without a terminal ``auto`` is JSON."""
    configure_logging("info", "auto")
    structlog.get_logger().info("a.b")
    assert lines_of(capsys)[0]["event"] == "a.b"


def test_auto_writes_a_console_on_a_terminal(monkeypatch):
    """On a terminal ``auto`` is for people, in colour."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    configure_logging("info", "auto")
    structlog.get_logger().info("a.b", corp="ww1")
    assert "\x1b[" in terminal.getvalue()
    assert "ww1" in terminal.getvalue()


def test_console_without_a_terminal_has_no_colours(capsys):
    """A console that was asked for and is written to a file is plain text."""
    configure_logging("info", "console")
    structlog.get_logger().info("a.b", corp="ww1")
    shown = capsys.readouterr().err
    assert "a.b" in shown
    assert "corp=ww1" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variables(capsys, form):
    """An error is logged with its traceback, without what its functions held."""
    configure_logging("info", form)

    def fail() -> None:
        held = "".join(["s3", "cret"])
        raise ValueError(len(held))

    for log in (structlog.get_logger().exception, logging.getLogger("x").exception):
        try:
            fail()
        except ValueError:
            log("a.b")
    shown = capsys.readouterr().err
    assert shown.count("ValueError: 6") == 2
    assert "s3cret" not in shown


def test_a_reader_that_went_away_stops_nothing(monkeypatch):
    """When stderr is gone the line is lost and the work goes on."""
    monkeypatch.setattr("sys.stderr", Broken())
    configure_logging("info", "json")
    structlog.get_logger().info("a.b")
    logging.getLogger("x").warning("c.d")


def test_a_library_s_broken_log_call_stops_nothing(capsys, monkeypatch):
    """A message that cannot be formatted is reported the way logging does, not raised."""
    monkeypatch.setattr("logging.raiseExceptions", False)
    configure_logging("info", "json")
    logging.getLogger("x").warning("%d", "no number")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "text",
    [
        "https://qyapi.weixin.qq.com/cgi-bin/externalcontact/get?access_token=s3cret&external_userid=wm1",
        "/cgi-bin/gettoken?corpid=ww1&corpsecret=s3cret",
        "ACCESS_TOKEN=s3cret",
        "access_token%3Ds3cret",
        '{"access_token":"s3cret","expires_in":7200}',
        '{"access_token" : "s3cret"}',
        r'"body":"{\"access_token\":\"s3cret\"}"',
        "{'corpsecret': 's3cret'}",
        "amqp://user:s3cret@mq:5672/prod",
        "amqps://user:s3cret@mq",
        "password=s3cret)",
        "welcome_code='s3cret'",
    ],
)
def test_secrets_in_texts_are_hidden(text):
    """Whatever way a library writes a token, a secret or a password, its value is gone and the rest stays."""
    hidden = redact(f"before {text} after")
    assert "s3cret" not in hidden
    assert "***" in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")


@pytest.mark.parametrize(
    "text", ["the token was refused", "errcode 41001: access_token missing", "http://127.0.0.1:8080/x@y", "{}"]
)
def test_texts_without_secrets_stay(text):
    """A word alone is no secret."""
    assert redact(text) == text


@pytest.mark.parametrize("key", ["token", "corpsecret", "password", "callback_aes_key", "welcome_code"])
def test_keys_that_are_named_like_secrets_are_hidden(capsys, key):
    """A value under a secret's name is hidden whatever it looks like."""
    assert hide_secret_keys(None, "info", {key: "x y", "staff": "lin"}) == {key: "***", "staff": "lin"}
    configure_logging("info", "json")
    structlog.get_logger().info("a.b", **{key: ["s3cret", "two"]})
    assert lines_of(capsys)[0][key] == "***"
