"""Log lines: what they look like, where they go, and what never gets into them."""

import io
import json
import logging
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from takopi import logs
from takopi.logs import (
    add_secret,
    bind_run_context,
    clear_context,
    get_logger,
    log_pipeline,
    redact,
    setup_logging,
    show_warnings,
    suppress_logs,
)

TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
SECRET = "sk-very'secret\"key\\é"
LOGGER = get_logger("takopi.tests")


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    for name in [name for name in os.environ if name.startswith("TAKOPI_")]:
        monkeypatch.delenv(name)
    root = logging.getLogger("takopi")
    before = (list(root.handlers), root.level, root.propagate)
    monkeypatch.setattr(logs, "_pipeline", None)
    monkeypatch.setattr(logs, "_secrets", logs._Secrets())
    root.handlers = []
    yield
    clear_context()
    if logs._pipeline is not None and logs._pipeline.file is not None:
        logs._pipeline.file.close()
    root.handlers, root.level, root.propagate = before
    root.setLevel(before[1])  # clears logging's cache
    structlog.reset_defaults()


class Printed:
    """What was printed to stderr so far."""

    def __init__(self, capsys):
        self._capsys = capsys
        self._text = ""

    def getvalue(self):
        self._text += self._capsys.readouterr().err
        return self._text


@pytest.fixture
def stderr(capsys):
    return Printed(capsys)


@pytest.fixture
def file(tmp_path, monkeypatch, stderr):
    """Sets logging up with a file; gives its records."""
    path = tmp_path / "takopi.log"
    monkeypatch.setenv("TAKOPI_LOG_FILE", str(path))
    setup_logging(debug=True)
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


class Broken:
    def __repr__(self):
        raise ValueError("no")

    __str__ = __repr__


# -- records -------------------------------------------------------------------------------------


def test_a_record_has_time_level_logger_event_and_fields(file):
    LOGGER.info("run.started", engine="acme", pid=5)
    (record,) = file()
    time = record.pop("timestamp")
    assert time.endswith("Z")
    assert datetime.fromisoformat(time).utcoffset().total_seconds() == 0
    assert record == {
        "level": "info",
        "logger": "takopi.tests",
        "event": "run.started",
        "engine": "acme",
        "pid": 5,
    }


def test_the_console_is_stderr(file, capsys):
    LOGGER.warning("run.odd", engine="acme")
    printed = capsys.readouterr()
    assert re.match(r"20\d\d-.*Z \[warning *\] run\.odd .*engine=acme", printed.err)
    assert "takopi.tests" in printed.err
    assert printed.out == ""


def test_the_console_can_be_json(stderr, monkeypatch):
    monkeypatch.setenv("TAKOPI_LOG_FORMAT", "json")
    setup_logging()
    LOGGER.info("a", x=[1, (2, None)])
    assert json.loads(stderr.getvalue())["x"] == [1, [2, None]]


@pytest.mark.parametrize(
    ("level", "debug", "seen"),
    [
        (None, False, "iwe"),
        ("nonsense", False, "iwe"),
        (" ERROR ", False, "e"),
        ("warning", False, "we"),
        ("error", True, "diwe"),
        ("debug", False, "diwe"),
    ],
)
def test_the_minimum_level(stderr, monkeypatch, level, debug, seen):
    if level is not None:
        monkeypatch.setenv("TAKOPI_LOG_LEVEL", level)
    monkeypatch.setenv("TAKOPI_LOG_FORMAT", "json")
    setup_logging(debug=debug)
    for name in ("debug", "info", "warning", "error"):
        getattr(LOGGER, name)(name[0])
    assert "".join(json.loads(x)["event"] for x in stderr.getvalue().splitlines()) == seen


@pytest.mark.parametrize(
    ("word", "coloured"), [("Yes", True), ("1", True), ("0", False), ("", False)]
)
def test_colour_can_be_forced_or_forbidden(stderr, monkeypatch, word, coloured):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TAKOPI_LOG_COLOR", word)
    setup_logging()
    LOGGER.info("a")
    assert ("\x1b[" in stderr.getvalue()) == coloured


@pytest.mark.parametrize("terminal", [True, False])
def test_colour_is_for_terminals(stderr, monkeypatch, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    setup_logging()
    LOGGER.info("a")
    assert ("\x1b[" in stderr.getvalue()) == terminal


def test_context_is_on_every_line_until_it_is_cleared(file):
    bind_run_context(engine="acme", session="s1")
    bind_run_context(session="s2")
    LOGGER.info("a")
    LOGGER.bind(session="s3", level="mine").info("b")
    clear_context()
    LOGGER.info("c")
    a, b, c = file()
    assert (a["engine"], a["session"], b["session"]) == ("acme", "s2", "s3")
    assert (b["level"], b["level_"]) == ("info", "mine")
    assert "engine" not in c


def test_logs_can_be_suppressed(file):
    with suppress_logs():
        LOGGER.info("a")
        logging.getLogger("takopi.x").info("b")
        LOGGER.warning("c")
        with suppress_logs("error"):
            LOGGER.warning("d")
    LOGGER.info("e")
    assert [record["event"] for record in file()] == ["c", "e"]


@pytest.mark.parametrize(("word", "level"), [("yes", "info"), ("0", "debug"), ("", "debug")])
def test_pipeline_events_can_be_traced(file, monkeypatch, word, level):
    monkeypatch.setenv("TAKOPI_TRACE_PIPELINE", word)
    log_pipeline(LOGGER, "jsonl.parse.error", line="x")
    assert [(r["level"], r["line"]) for r in file()] == [(level, "x")]


def test_standard_logging_and_structlog_take_the_same_way(file):
    try:
        raise ValueError(f"at https://api.telegram.org/bot{TOKEN}/getMe")
    except ValueError:
        logging.getLogger("takopi.adapters.x").exception("%s: %s", "a", TOKEN)
        structlog.get_logger().bind(logger="plugin").exception("b", key=TOKEN)
        structlog.get_logger().debug("c %s", TOKEN)
    a, b, c = file()
    assert (a["logger"], a["event"], a["level"]) == (
        "takopi.adapters.x",
        "a: [REDACTED_TOKEN]",
        "error",
    )
    assert (b["logger"], b["key"], b["level"]) == ("plugin", "[REDACTED_TOKEN]", "error")
    assert a["exception"].endswith("ValueError: at https://api.telegram.org/bot[REDACTED]/getMe")
    assert "bot[REDACTED]" in b["exception"]
    assert c["event"] == "c [REDACTED_TOKEN]"


def test_set_up_again_logs_once_and_to_the_new_file(file, tmp_path, monkeypatch, stderr):
    monkeypatch.setenv("TAKOPI_LOG_FILE", str(tmp_path / "new.log"))
    setup_logging()
    show_warnings()
    logging.getLogger("takopi.x").warning("a")
    assert len((tmp_path / "new.log").read_text().splitlines()) == 1
    assert len(stderr.getvalue().splitlines()) == 1
    assert file() == []


# -- before set-up -------------------------------------------------------------------------------


def test_before_set_up_warnings_are_plain_lines(stderr):
    show_warnings()
    show_warnings()
    LOGGER.info("quiet")
    LOGGER.warning("lock.odd", path=Path("/x"), token=TOKEN)
    logging.getLogger("takopi.x").warning("\x1b[1m%s\x07", "bold")
    with suppress_logs("error"):
        LOGGER.warning("dropped")
    try:
        raise ValueError("it is broken")
    except ValueError:
        LOGGER.exception("config.crashed")
    assert stderr.getvalue().splitlines() == [
        "warning: lock.odd path=/x token=[REDACTED_TOKEN]",
        "warning: bold",
        "error: config.crashed error=ValueError: it is broken",
    ]


def test_structlog_is_imported_by_set_up_only():
    code = (
        "import sys, takopi.logs as l; l.get_logger('x').warning('a'); l.bind_run_context(a=1)\n"
        "assert 'structlog' not in sys.modules; l.setup_logging(); assert 'structlog' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# -- outputs -------------------------------------------------------------------------------------


def test_s24_the_file_is_private_and_appended_to(tmp_path, monkeypatch, stderr):
    path = tmp_path / "debug.log"
    monkeypatch.setenv("TAKOPI_LOG_FILE", str(path))
    old = os.umask(0)
    try:
        setup_logging()
    finally:
        os.umask(old)
    LOGGER.info("a")
    assert path.stat().st_mode & 0o777 == 0o600
    setup_logging()
    LOGGER.info("b")
    assert [json.loads(x)["event"] for x in path.read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize("name", ["missing/x.log", ".", "pipe", "nul\0"])
def test_a_file_that_cannot_be_opened_is_none(tmp_path, monkeypatch, stderr, name):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(os, "environ", {"TAKOPI_LOG_FILE": f"{tmp_path}/{name}"})
    setup_logging()
    assert stderr.getvalue() == ""
    LOGGER.info("a")
    assert "a" in stderr.getvalue()
    setup_logging(debug=True)
    assert "log.file.unavailable" in stderr.getvalue()


def test_a_broken_stream_is_left_alone(file, monkeypatch):
    class Gone(io.StringIO):
        writes = 0

        def write(self, text):
            Gone.writes += 1
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    LOGGER.info("a")
    LOGGER.info("b")
    assert Gone.writes == 1
    monkeypatch.setattr(sys, "stderr", later := io.StringIO())
    LOGGER.info("c")
    assert "c" in later.getvalue()
    later.close()
    LOGGER.info("d")
    monkeypatch.setattr(sys, "stderr", None)
    LOGGER.info("e")
    assert [record["event"] for record in file()] == list("abcde")


def test_a_full_disk_is_no_error(monkeypatch, stderr):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    monkeypatch.setenv("TAKOPI_LOG_FILE", "/dev/full")
    setup_logging()
    LOGGER.info("a")
    LOGGER.info("b")
    assert len(stderr.getvalue().splitlines()) == 2


# -- what cannot be rendered ---------------------------------------------------------------------


def ours(logger):
    return next(handler for handler in logger.handlers if isinstance(handler, logs._Records))


def cyclic():
    value = {"token": TOKEN}
    value["self"] = [value]
    return value


def deep(depth=5000):
    value = TOKEN
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        Broken(),
        [Broken()],
        {Broken(): Broken()},
        {(1, TOKEN): {TOKEN}},
        cyclic(),
        deep(),
        float("nan"),
        10**5000,
        "\ud800 \0 \x1b[0m",
        b"\xff" + TOKEN.encode(),
        ValueError(Broken()),
        object(),
        type("Odd", (dict,), {"items": lambda self: 1 / 0})(a=1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_record_that_cannot_be_rendered_breaks_nothing(file, stderr, value):
    LOGGER.info("a", value=value, token=TOKEN)
    LOGGER.info("%s %s", value)
    LOGGER.info(value)
    record = logging.LogRecord("takopi.x", logging.INFO, "x.py", 1, "%d", (value,), None)
    ours(logging.getLogger("takopi")).handle(record)  # pytest's own handlers refuse it
    assert len(file()) == 4
    assert "AAHdq" not in stderr.getvalue() + json.dumps(file())


def test_an_exception_that_cannot_be_rendered_breaks_nothing(file, stderr):
    class Bad(Exception):
        def __str__(self):
            raise RuntimeError(TOKEN)

    try:
        raise Bad
    except Bad:
        LOGGER.exception("a")
    assert "Bad" in file()[0]["exception"]
    assert "AAHdq" not in stderr.getvalue()


# -- redaction -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bot123:abc", "bot[REDACTED]"),
        ("https://x/file/bot123:ab-c_d/y?z=1", "https://x/file/bot[REDACTED]/y?z=1"),
        ("bot123%3Aabc", "bot[REDACTED]"),
        (f"<{TOKEN}>", "<[REDACTED_TOKEN]>"),
        (f"\\x1b{TOKEN}\\n", "\\x1b[REDACTED_TOKEN]\\n"),
        ("at 12:30:45, a:1, 5:short", "at 12:30:45, a:1, 5:short"),
    ],
)
def test_what_looks_like_a_token_is_hidden(text, shown):
    # Digits of a preceding escape are taken for the token's own, which is harmless.
    assert redact(text).replace("\\x[", "\\x1b[") == shown


def test_s24_configured_secrets_are_hidden_however_they_are_quoted(file, stderr):
    add_secret(SECRET)
    add_secret("line-one-of-key\n  line-two-of-key\n")
    add_secret("short")
    add_secret(None)
    LOGGER.info(f"a {SECRET}", b={SECRET: [repr(SECRET), ascii(SECRET), json.dumps(SECRET)]})
    LOGGER.info("b", both="line-two-of-key", one=SimpleHolder(SECRET), kept="short")
    everything = stderr.getvalue() + json.dumps(file(), ensure_ascii=False)
    assert "very" not in everything
    assert "line-two" not in everything
    assert file()[1]["kept"] == "short"


class SimpleHolder:
    def __init__(self, value):
        self.value = value

    def __repr__(self):
        return f"SimpleHolder({self.value!r})"


def test_s24_tracebacks_are_redacted_and_have_no_locals(file, stderr):
    def fail():
        local_password = "hunter2hunter2"
        raise ValueError(f"token {TOKEN}" + local_password[:0])

    try:
        try:
            fail()
        except ValueError as error:
            raise RuntimeError(f"bot{TOKEN}") from error
    except RuntimeError:
        LOGGER.exception("a")
    exception = file()[0]["exception"]
    for text in (exception, stderr.getvalue()):
        assert "Traceback" in text
        assert "RuntimeError: bot[REDACTED]" in text
        assert "ValueError: token [REDACTED_TOKEN]" in text
        assert "AAHdq" not in text
        assert "local_password =" not in text


def test_s24_tokens_split_by_escape_sequences_are_hidden(file, stderr):
    LOGGER.info("a", line=TOKEN[:5] + "\x1b[0m" + TOKEN[5:20] + "\x00" + TOKEN[20:])
    assert file()[0]["line"] == "[REDACTED_TOKEN]"


NESTED = st.recursive(
    st.sampled_from([TOKEN, f"bot{TOKEN}", TOKEN.encode(), SECRET, 1, None, Path(f"/x/{TOKEN}")])
    | st.tuples(st.text(max_size=9), st.text("/ <\n'\"\\", max_size=3)).map(
        lambda ends: f"{ends[0]} {TOKEN} {SECRET} {ends[1]}"
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from(["a", TOKEN, SECRET, (TOKEN, 1)]), inner, max_size=3)
        | st.builds(SimpleHolder, inner)
        | st.builds(ValueError, inner)
    ),
    max_leaves=8,
)


@settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(value=NESTED, causes=st.lists(NESTED, min_size=1, max_size=3))
def test_s24_no_secret_ever_comes_out(file, stderr, value, causes):
    add_secret(SECRET)
    error = None
    for cause in causes:
        try:
            raise ValueError(cause) from error
        except ValueError as caught:
            error = caught
    LOGGER.info(f"a {value}", value=value, exc_info=error)
    LOGGER.info(value, error=error)
    logging.getLogger("takopi.x").warning("%s", value, exc_info=error)
    everything = stderr.getvalue() + json.dumps(file(), ensure_ascii=False)
    assert "AAHdq" not in everything
    assert "sk-very" not in everything


def test_logging_does_not_load_rich_and_leaves_it_to_others():
    script = (
        "import sys; from takopi.logs import setup_logging; setup_logging();"
        "assert 'structlog' in sys.modules; assert not [m for m in sys.modules if 'rich' in m];"
        "import rich.console"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
