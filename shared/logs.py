"""
Logging: structlog to stderr, JSON for machines or a console for people; what libraries log goes the same way.

Nothing secret is supposed to be logged in the first place (``design.md`` 4). The redaction here is the second line of
defence, above all for what libraries write into their own messages and tracebacks.
"""

import json
import logging
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "console", "json"]

_HIDDEN: Final = "***"
_SENSITIVE: Final = (
    "access_token",
    "aes_key",
    "corp_secret",
    "corpsecret",
    "echostr",
    "encodingaeskey",
    "passwd",
    "password",
    "secret",
    "welcome_code",
)
_SECRET_KEYS: Final = frozenset({*_SENSITIVE, "authorization", "callback_aes_key", "callback_token", "token"})
# Found in any line with something to hide, and much faster than the expressions below.
_STEMS: Final = ("_token", "aes", "_code", "secret", "passw", "echostr", "://")
# A word and its value as in a query, a JSON document (perhaps within a string) or a repr.
_SECRET_VALUE: Final = re.compile(
    rf"""((?:{"|".join(_SENSITIVE)})\\*["']?\s*(?:=|:|%3D)\s*\\*["']?)[^\s"'&\\,;}})\]]+""", re.IGNORECASE
)
_URL_PASSWORD: Final = re.compile(r"([a-z]://[^\s/:@\"']*:)[^\s/@\"']+@", re.IGNORECASE)
# These tell frames, bodies or URLs below these levels.
_QUIET: Final = {"aiohttp.access": logging.WARNING, "aio_pika": logging.CRITICAL, "aiormq": logging.CRITICAL}


def configure_logging(level: str, format: LogFormat) -> None:  # noqa: A002 - the setting's name
    """
    Send all logging from *level* on to stderr; ``auto`` means a console on a terminal and JSON elsewhere.

    May be called again. A line that cannot be written is dropped: logging never stops the work.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    enrich: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secret_keys,
    ]
    render = _console() if console else _json()
    structlog.configure(
        processors=[*enrich, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_StderrLogger,
        cache_logger_on_first_use=False,
    )
    _route_stdlib(threshold, enrich, render)


def redact(line: str) -> str:
    """Return the rendered *line* without the values of secrets."""
    folded = line.lower()
    if not any(stem in folded for stem in _STEMS):
        return line
    return _URL_PASSWORD.sub(rf"\1{_HIDDEN}@", _SECRET_VALUE.sub(rf"\1{_HIDDEN}", line))


def hide_secret_keys(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Replace the values of keys that are named like secrets."""
    if not _SECRET_KEYS.isdisjoint(event_dict):
        event_dict.update(dict.fromkeys(_SECRET_KEYS & event_dict.keys(), _HIDDEN))
    return event_dict


def _json() -> list[Processor]:
    renderer = structlog.processors.JSONRenderer(serializer=_dumps)
    return [structlog.processors.format_exc_info, _redacted(renderer)]


def _console() -> list[Processor]:
    # Not rich's tracebacks: they show the values of local variables.
    plain = structlog.dev.plain_traceback
    return [_redacted(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))]


def _redacted(renderer: Processor) -> Processor:
    def processor(logger: WrappedLogger, method: str, event_dict: EventDict) -> str:
        return redact(str(renderer(logger, method, event_dict)))

    return processor


def _dumps(event_dict: EventDict, default: Callable[[Any], Any]) -> str:
    try:
        return orjson.dumps(event_dict, default=default).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits, keys that are not strings
        return json.dumps(event_dict, default=default, skipkeys=True)


def _write(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(line + "\n")


class _StderrLogger:
    """What structlog hands its lines to. Looks stderr up for each line, as it may have been replaced."""

    def __init__(self, *_name: object) -> None:
        pass

    def msg(self, line: str) -> None:
        _write(line)

    debug = info = warning = warn = error = critical = fatal = exception = log = msg


class _StderrHandler(logging.Handler):
    """The same for the standard library's loggers."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - logging's own rule: report, do not raise
            self.handleError(record)
        else:
            _write(line)


def _route_stdlib(threshold: int, enrich: list[Processor], render: list[Processor]) -> None:
    handler = _StderrHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*enrich, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(threshold)
    for name, lowest in _QUIET.items():
        logging.getLogger(name).setLevel(max(threshold, lowest))
