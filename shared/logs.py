"""
Logging: structlog to stderr, JSON for machines or a console for people; what libraries log goes the same way.

Nothing secret is supposed to be logged in the first place (``design.md`` 4). The redaction here is the second line of
defence, above all for what libraries write into their own messages and tracebacks.
"""

import json
import logging
import re
import sys
from contextlib import suppress
from typing import Any, Final, Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

LogFormat = Literal["auto", "console", "json"]

_HIDDEN: Final = "***"
_SECRET_WORDS: Final = (
    r"(?:access_token|corpsecret|corp_secret|secret|password|passwd|welcome_code|aes_key|encodingaeskey|echostr)"
)
_SECRET_KEY: Final = re.compile(rf"{_SECRET_WORDS}|token|callback_token|authorization", re.IGNORECASE)
# A word and its value as in a query, a JSON document (perhaps within a string) or a repr.
_SECRET_VALUE: Final = re.compile(
    rf"""(\b{_SECRET_WORDS}\\*["']?\s*(?:=|:|%3D)\s*\\*["']?)[^\s"'&\\,;}})\]]+""", re.IGNORECASE
)
_URL_PASSWORD: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@\"']*:)[^\s/@\"']+@", re.IGNORECASE)
# These tell frames, bodies or URLs below these levels.
_QUIET: Final = {"aiohttp.access": logging.WARNING, "aio_pika": logging.INFO, "aiormq": logging.INFO}


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
    render: list[Processor] = [*(_console() if console else _json()), redact]
    structlog.configure(
        processors=[*enrich, *render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_StderrLogger,
        cache_logger_on_first_use=False,
    )
    _route_stdlib(threshold, enrich, render)


def redact(_logger: WrappedLogger, _method: str, line: str) -> str:
    """Return the rendered *line* without the values of secrets."""
    return _URL_PASSWORD.sub(rf"\1{_HIDDEN}@", _SECRET_VALUE.sub(rf"\1{_HIDDEN}", line))


def hide_secret_keys(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """Replace the values of keys that are named like secrets."""
    for key in event_dict:
        if _SECRET_KEY.fullmatch(key):
            event_dict[key] = _HIDDEN
    return event_dict


def _json() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]


def _console() -> list[Processor]:
    # Not rich's tracebacks: they show the values of local variables.
    return [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ]


def _dumps(event_dict: EventDict, default: Any) -> str:
    try:
        return orjson.dumps(event_dict, default=default).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits, keys that are not strings
        return json.dumps(event_dict, default=default)


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
