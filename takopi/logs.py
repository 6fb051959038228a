"""Structured log lines: one pipeline that hides secrets, then writes to stderr and to a file.

Modules may log through `get_logger` or through the standard ``logging``; both end here. Until
`setup_logging` is called nothing is configured and structlog is not imported, so that commands that
log nothing do not pay for it: `show_warnings` is all they need.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from takopi.ansi import without_escapes

_ROOT = "takopi"
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_TRUE_WORDS = {"1", "true", "yes", "on"}
_MAX_DEPTH = 10
_MIN_SECRET = 8  # shorter values would hide ordinary words

# A colon may be percent-encoded: tokens occur in URLs.
_BOT_TOKEN = re.compile(r"(?i:bot)\d+(?::|%3[Aa])[A-Za-z0-9_-]+")
_BARE_TOKEN = re.compile(r"\d+(?::|%3[Aa])[A-Za-z0-9_-]{10,}")

_NOTHING: Mapping[str, Any] = MappingProxyType({})

_bound: ContextVar[Mapping[str, Any]] = ContextVar("takopi_log_context", default=_NOTHING)
_floor: ContextVar[int] = ContextVar("takopi_log_floor", default=0)


# -- redaction ---------------------------------------------------------------------------------


@dataclass(slots=True)
class _Secrets:
    """What must never be shown by this process, in every spelling it may take."""

    spellings: set[str] = field(default_factory=set)
    pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        for line in {value.strip(), *(line.strip() for line in value.splitlines())}:
            if len(line) >= _MIN_SECRET:
                escaped = {repr(line)[1:-1], ascii(line)[1:-1], repr(f"'{line}")[2:-1]}
                escaped |= {json.dumps(line, ensure_ascii=plain)[1:-1] for plain in (True, False)}
                self.spellings |= {line, *escaped, *(_encoded(line, safe) for safe in ("/", ""))}
        self.pattern = _any_of(self.spellings)


def _encoded(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="replace")


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(re.escape(text) for text in ordered)) if ordered else None


_secrets = _Secrets()


def add_secret(value: str | None) -> None:
    """Hide ``value`` from now on: in logs, and in what engines print. Short values are ignored."""
    if value:
        _secrets.add(value)


def known_secrets() -> frozenset[str]:
    """The secrets given to `add_secret`, with the spellings that quoting gives them."""
    return frozenset(_secrets.spellings)


def redact(text: str) -> str:
    """``text`` without known secrets and without what looks like a bot token."""
    if _secrets.pattern is not None:
        text = _secrets.pattern.sub("[REDACTED]", text)
    return _BARE_TOKEN.sub("[REDACTED_TOKEN]", _BOT_TOKEN.sub("bot[REDACTED]", text))


def _clean(text: str) -> str:
    # Escape sequences first: they could split a token. An exact str, whatever subclass came in.
    return redact(without_escapes(str.__str__(text)))


def _text(value: object) -> str:
    """Any object as redacted text; an object that cannot be shown becomes a note about it."""
    try:
        if isinstance(value, str):
            return _clean(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return _clean(bytes(value).decode("utf-8", "replace"))
        return _clean(str(value) if isinstance(value, BaseException | Path) else repr(value))
    except Exception:
        return f"<unprintable {type(value).__name__}>"


def _plain(value: object, above: tuple[int, ...] = ()) -> Any:
    """``value`` as redacted JSON data, whatever it is."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and value.bit_length() < 1024:
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if not isinstance(value, Mapping | list | tuple | set | frozenset):
        return _text(value)
    if id(value) in above or len(above) >= _MAX_DEPTH:
        return "<cycle>" if id(value) in above else "<too deep>"
    inside = (*above, id(value))
    try:
        if isinstance(value, Mapping):
            return {_text(key): _plain(item, inside) for key, item in value.items()}
        return [_plain(item, inside) for item in value]
    except Exception:  # an iterator of somebody else's
        return f"<unprintable {type(value).__name__}>"


def _exception_text(exc_info: object) -> str | None:
    """A traceback without local variables; None if there is no exception."""
    if isinstance(exc_info, tuple):
        exc_info = exc_info[1]
    elif exc_info and not isinstance(exc_info, BaseException):
        exc_info = sys.exception()
    if not isinstance(exc_info, BaseException):
        return None
    try:
        return _clean("".join(traceback.format_exception(exc_info)).rstrip())
    except Exception:
        return f"<unprintable {type(exc_info).__name__}>"


# -- outputs -----------------------------------------------------------------------------------


class _Stderr:
    """Whatever stderr is at the moment (a live display replaces it), until it breaks."""

    def __init__(self) -> None:
        self._broken: object = None

    def write(self, line: str) -> None:
        stream = sys.stderr
        if stream is None or stream is self._broken:
            return
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):  # a broken pipe, a closed stream
            self._broken = stream

    def is_terminal(self) -> bool:
        try:
            return sys.stderr.isatty()
        except (AttributeError, OSError, ValueError):
            return False


class _File:
    """A file that lines are appended to, until it breaks. Only its owner may read it."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        # A pipe that nobody reads must be an error, not a wait.
        self._fd: int | None = os.open(Path(path).expanduser(), flags | os.O_NONBLOCK, 0o600)
        os.set_blocking(self._fd, True)

    def write(self, line: str) -> None:
        if self._fd is None:
            return
        data = (line + "\n").encode("utf-8", "backslashreplace")
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self.close()

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with contextlib.suppress(OSError):
                os.close(fd)


def _json_line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False)


@dataclass(slots=True)
class _Pipeline:
    """What happens to a record: made plain and redacted, then rendered for each output."""

    level: int
    render: Callable[[dict[str, Any]], str]
    stderr: _Stderr
    file: _File | None

    def emit(self, level: int, name: str | None, event: object, fields: dict[str, Any]) -> None:
        if level < self.level or level < _floor.get():
            return
        fields = {**_bound.get(), **fields}
        exception = _exception_text(fields.pop("exc_info", None))
        record: dict[str, Any] = {
            "timestamp": datetime.now(UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": _level_name(level),
            "logger": _text(name or _ROOT),
            "event": _text(event),
        }
        plain: dict[str, Any] = _plain(fields)
        # A field may not pass for one of the record's own.
        record |= {f"{key}_" if key in record else key: value for key, value in plain.items()}
        if exception is not None:
            record["exception"] = exception
        self._write(self.file, _json_line, record)
        self._write(self.stderr, self.render, record)

    def _write(
        self,
        output: _File | _Stderr | None,
        render: Callable[[dict[str, Any]], str],
        record: dict[str, Any],
    ) -> None:
        if output is None:
            return
        try:
            line = render(dict(record))
        except Exception:
            line = f"{record['timestamp']} [{record['level']}] {record['event']} <unprintable>"
        output.write(line)


def _level_name(level: int) -> str:
    return max(
        (name for name, value in _LEVELS.items() if value <= level),
        key=_LEVELS.__getitem__,
        default="debug",
    )


_pipeline: _Pipeline | None = None


class _Records(logging.Handler):
    """Sends records of the standard ``logging`` down the same pipeline."""

    def emit(self, record: logging.LogRecord) -> None:
        if _pipeline is None:
            return
        try:
            event = record.getMessage()
        except Exception:
            event = str(record.msg)
        fields = {"exc_info": record.exc_info}
        _quietly(_pipeline.emit, record.levelno, record.name, event, fields)


class _StderrLines(logging.Handler):
    """``warning: …`` on whatever stderr is at the moment (a live display replaces it)."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= _floor.get():
            _quietly(self._print, record)

    def _print(self, record: logging.LogRecord) -> None:
        text = _text(record.getMessage()).strip()  # it may quote what an engine printed
        print(f"{record.levelname.lower()}: {text}", file=sys.stderr, flush=True)


def _quietly(do: Callable[..., None], *args: Any) -> None:
    """Nothing that is wrong with a log record may break the program."""
    with contextlib.suppress(Exception):
        do(*args)


# -- set-up ------------------------------------------------------------------------------------


def show_warnings() -> None:
    """Print warnings from here on. Calling it again, or after `setup_logging`, changes nothing."""
    root = logging.getLogger(_ROOT)
    if not root.handlers:
        root.addHandler(_StderrLines(logging.WARNING))
        root.propagate = False


def setup_logging(*, debug: bool = False, cache_logger_on_first_use: bool = False) -> None:
    """Configure logging from the environment (``TAKOPI_LOG_*``); calling it again starts afresh."""
    global _pipeline
    _load_structlog()
    import structlog

    if _pipeline is not None and _pipeline.file is not None:
        _pipeline.file.close()
    name = os.environ.get("TAKOPI_LOG_LEVEL", "").strip().lower()
    level = logging.DEBUG if debug else _LEVELS.get(name, logging.INFO)
    stderr = _Stderr()
    file, problem = _open_file(os.environ.get("TAKOPI_LOG_FILE", "").strip())
    _pipeline = _Pipeline(level, _renderer(stderr), stderr, file)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _from_structlog],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=cache_logger_on_first_use,
    )
    root = logging.getLogger(_ROOT)
    for handler in list(root.handlers):
        if isinstance(handler, _Records | _StderrLines):
            root.removeHandler(handler)
    root.addHandler(_Records())
    root.setLevel(level)
    root.propagate = False  # a handler further up would not redact
    if problem is not None:
        get_logger(__name__).debug("log.file.unavailable", error=problem)


def _load_structlog() -> None:
    """Import structlog without the rich it takes if it can, for tracebacks that we print plainly.

    That would be 4 MB for as long as a bot lives, and a third of the time that structlog takes.
    """
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]


def _open_file(path: str) -> tuple[_File | None, str | None]:
    try:
        return (_File(path) if path else None), None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no such user's home
        return None, str(error)


def _renderer(stderr: _Stderr) -> Callable[[dict[str, Any]], str]:
    if os.environ.get("TAKOPI_LOG_FORMAT", "").strip().lower() == "json":
        return _json_line
    import structlog

    wish = os.environ.get("TAKOPI_LOG_COLOR")
    colors = stderr.is_terminal() if wish is None else _is_true(wish)
    console = structlog.dev.ConsoleRenderer(
        colors=colors, exception_formatter=structlog.dev.plain_traceback
    )
    return lambda record: str(console(None, "", record))


def _from_structlog(_: object, method: str, event: Any) -> Any:
    """The last processor of plugins that use structlog themselves."""
    import structlog

    fields = dict(event)
    message, name = fields.pop("event", ""), fields.pop("logger", None)
    if _pipeline is not None:
        _quietly(_pipeline.emit, _LEVELS.get(method, logging.INFO), name, message, fields)
    raise structlog.DropEvent


def _is_true(word: str) -> bool:
    return word.strip().lower() in _TRUE_WORDS


# -- for modules -------------------------------------------------------------------------------


class Logger:
    """Log lines of one module: a dotted event name and fields. Never raises.

    Before `setup_logging` the lines go to the standard ``logging``, as text.
    """

    def __init__(self, name: str | None, fields: Mapping[str, Any]) -> None:
        self._name = name or _ROOT
        self._fields = dict(fields)

    def is_enabled_for(self, level: str) -> bool:
        """Whether a line of that level goes anywhere: for what is expensive to say."""
        number = _LEVELS[level]
        if number < _floor.get():
            return False
        if _pipeline is not None:
            return number >= _pipeline.level
        return logging.getLogger(self._name).isEnabledFor(number)

    def bind(self, **fields: Any) -> Logger:
        """A logger whose lines also carry ``fields``."""
        return Logger(self._name, {**self._fields, **fields})

    def debug(self, event: object, /, *args: Any, **fields: Any) -> None:
        _quietly(self._log, logging.DEBUG, event, args, fields)

    def info(self, event: object, /, *args: Any, **fields: Any) -> None:
        _quietly(self._log, logging.INFO, event, args, fields)

    def warning(self, event: object, /, *args: Any, **fields: Any) -> None:
        _quietly(self._log, logging.WARNING, event, args, fields)

    def error(self, event: object, /, *args: Any, **fields: Any) -> None:
        _quietly(self._log, logging.ERROR, event, args, fields)

    def critical(self, event: object, /, *args: Any, **fields: Any) -> None:
        _quietly(self._log, logging.CRITICAL, event, args, fields)

    def exception(self, event: object, /, *args: Any, **fields: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        _quietly(self._log, logging.ERROR, event, args, {"exc_info": True, **fields})

    def _log(
        self, level: int, event: object, args: tuple[Any, ...], fields: dict[str, Any]
    ) -> None:
        if args:
            try:
                event = str(event) % args
            except Exception:
                event = f"{_text(event)} {_plain(args)}"
        fields = {**self._fields, **fields}
        if _pipeline is not None:
            _pipeline.emit(level, self._name, event, fields)
        elif level >= _floor.get() and logging.getLogger(self._name).isEnabledFor(level):
            logging.getLogger(self._name).log(level, "%s", _as_text(event, fields))


def _as_text(event: object, fields: dict[str, Any]) -> str:
    """One line of text; of a traceback only the last line."""
    exception = _exception_text(fields.pop("exc_info", None))
    plain: dict[str, Any] = _plain(fields)
    if exception is not None:
        plain.setdefault("error", exception.rpartition("\n")[2])
    return " ".join([_text(event), *(f"{key}={value}" for key, value in plain.items())])


def get_logger(name: str | None = None) -> Logger:
    """The logger of a module: ``get_logger(__name__)``. Costs nothing before the first line."""
    return Logger(name, {})


def bind_run_context(**fields: Any) -> None:
    """Add fields to every line of the current task and of those it starts."""
    _bound.set({**_bound.get(), **fields})


def clear_context() -> None:
    """Forget what `bind_run_context` added in the current task."""
    _bound.set(_NOTHING)


@contextlib.contextmanager
def suppress_logs(level: str = "warning") -> Iterator[None]:
    """Drop lines below ``level`` in the current task."""
    token = _floor.set(_LEVELS.get(level.lower(), logging.WARNING))
    try:
        yield
    finally:
        _floor.reset(token)


def log_pipeline(logger: Logger, event: str, **fields: Any) -> None:
    """Log a step of a run: at debug, or at info with ``TAKOPI_TRACE_PIPELINE``."""
    traced = _is_true(os.environ.get("TAKOPI_TRACE_PIPELINE", ""))
    (logger.info if traced else logger.debug)(event, **fields)
