"""The text of a failed run."""

import re

import pytest

from takopi.adapters.adapter import Hint
from takopi.adapters.failure import TAIL_CHARS, Failure, describe_failure
from takopi.ansi import strip_ansi


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[38;5;196mred\x1b[m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never closed", ""),
        ("\x1b7saved\x1b8 \x1bM\x1b(B\x1b=", "saved"),
        ("a\tb", "a\tb"),
        ("bell\x07 nul\x00 del\x7f", "bell nul del"),
        ("10%\r20%\r", "10%20%"),
        ("\x9b31mred", "red"),
        ("[31m no escape", "[31m no escape"),
        ("  ünïcode 😀 ", "ünïcode 😀"),
    ],
)
def test_strip_ansi(text, plain):
    assert strip_ansi(text) == plain


def describe(*hints, **facts):
    defaults = {
        "name": "Acme",
        "error": "",
        "exit_code": 0,
        "recorded": False,
        "stderr": (),
        "stdout": (),
    }
    return describe_failure(Failure(**{**defaults, **facts}), hints)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "Acme finished without a result event"),
        ({"exit_code": None}, "Acme finished without a result event"),
        ({"exit_code": 1}, "Acme failed (exit code 1)"),
        ({"exit_code": -9}, "Acme was killed by SIGKILL"),
        ({"exit_code": -99}, "Acme was killed by signal 99"),
        ({"recorded": True}, "Acme run failed"),
        ({"recorded": True, "exit_code": 1}, "Acme run failed (exit code 1)"),
        ({"exit_code": 2, "stderr": ["a", "b"], "stdout": ["c"]}, "Acme failed (exit code 2)\na\nb\nc"),
        ({"error": "boom", "exit_code": 2, "stderr": ["a"]}, "boom"),
    ],
)  # fmt: skip
def test_the_reason(facts, text):
    assert describe(**facts) == text


def test_the_newest_output_is_kept():
    lines = [f"{i:04}" for i in range(3_000)]
    kept = describe(exit_code=1, stderr=lines).splitlines()[1:]
    assert kept[-1] == "2999"
    assert len("".join(kept)) == TAIL_CHARS


def test_one_long_line_is_kept():
    assert describe(exit_code=1, stderr=["x" * 9_000]).endswith("x" * 9_000)


def test_each_advice_once():
    login = Hint(re.compile("(?i)login"), "log in")
    again = Hint(re.compile("401"), "log in")
    other = Hint(re.compile("disk"), "make room")
    text = describe(login, again, other, error="Login: 401")
    assert text == "Login: 401\nhint: log in"
    assert describe(other, stderr=["disk full"], error="boom") == "boom\nhint: make room"
    assert describe(other, stdout=["disk full"], error="boom") == "boom\nhint: make room"
    assert describe(login) == "Acme finished without a result event"


def test_hints_look_at_the_ends_of_what_there_is():
    """A slow regular expression meets a bounded text: both ends of the error, the end of the output."""
    hint = Hint(re.compile("disk full"), "make room")
    filler = "x" * 30_000
    for error in ("disk full" + filler, filler + "disk full"):
        assert describe(hint, error=error).endswith("hint: make room")
    assert "hint" not in describe(hint, error=filler + "disk full" + filler)
    lines = ["disk full", *["x" * 1_000] * 7]
    assert describe(hint, stderr=lines).endswith("hint: make room")
    assert "hint" not in describe(hint, stderr=["disk full", *["x" * 1_000] * 9])
