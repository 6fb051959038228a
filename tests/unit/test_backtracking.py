"""Regular expressions that can take exponential time are found without running them."""

import re
import time

import pytest

from takopi.adapters.backtracking import exponential_part
from takopi.adapters.compile import compile_adapter
from takopi.adapters.source import Source
from tests.support.adapters import adapter_text


@pytest.mark.parametrize(
    ("regex", "part"),
    [
        (r"(a+)+$", "(a+)+"),
        (r"(a*)*b", "(a*)*"),
        (r"(a|a)*b", "(a|a)*"),
        (r"(a|aa)+$", "(a|aa)+"),
        (r"(a?b?)*c", "(a?b?)*"),
        (r"^(\d+)*$", r"(\d+)*"),
        (r"(\w+\s*)+:", r"(\w+\s*)+"),
        (r"(?:[^\"]+|\\.)*\"", r"(?:[^\"]+|\\.)*"),
        (r"foo(?:x+)+bar", "(?:x+)+"),
        (r"(?:(?:a+)+)+x", "(?:a+)+"),
        (r"(?:\w+(?:-\w+)*)+$", r"(?:\w+(?:-\w+)*)+"),
        (r"(?P<token>(?:\S+ ?)+)`", r"(?:\S+ ?)+"),
        (r"(.*?,){11,}P", "(.*?,){11,}"),
        (r"(a{1,30}){1,30}$", "(a{1,30}){1,30}"),
        (r"(?i)(?:[a-z]+[A-Z])+!", r"(?i)(?:[a-z]+[A-Z])+!"),
        (r"(?s)(?:.|\n)*x", r"(?s)(?:.|\n)*x"),
        (r"(?=(a+)+b)", "(a+)+"),
        (r"(?x) ( a + ) + $", "(?x) ( a + ) + $"),
        (r"(é+)+$", "(é+)+"),
        (r"(x)?(?(1)(a+)+b|c)", "(a+)+"),
    ],
)
def test_exponential(regex, part):
    assert exponential_part(regex) == part


@pytest.mark.parametrize(
    "regex",
    [
        r"(?im)^\s*`?acme\s+(?:--resume|-r)(?:\s+|=)(?P<token>[^`\s]+)`?\s*$",
        r"(?:[a-z]+\.)+x",  # each round ends with what the next cannot begin with
        r"(?:\d{1,3}\.){3}\d",
        r"(?:[^\"\\]|\\.)*\"",
        r"(?:[0-9a-f]{8})+$",
        r"(?:/[^/]+)+$",
        r"(?:\s*,\s*\w+)*$",
        r"([a-z]+[A-Z])+!",
        r"(?:foo|bar|baz)+$",
        r"(?:ab|ac)+$",
        r"(?:(?!x).)*y",
        r"(?:\w+\b)+$",
        r"(.|\n)*x",
        r"(\s|\t)+x",  # one class for Python
        r"(a?){3}$",  # a few ways only
        r"(?>a+)+$",
        r"(?:a+)*+b",
        r"(\w+,?)+",  # nothing follows that could fail
        r"[(a+)+]$",
        r"\(a+\)+$",
        r"(?:^|\n)x",
        r"(a+)+$(",  # reported elsewhere
    ],
)
def test_harmless(regex):
    assert exponential_part(regex) is None


@pytest.mark.parametrize("regex", [r"(a|aa)+$", r"(\w+\s*)+:", r"(?:\w+(?:-\w+)*)+$"])
def test_what_is_found_is_slow_indeed(regex):
    """Three more characters cost far more than three more characters may."""

    def seconds(length):
        began = time.perf_counter()
        re.search(regex, "a" * length + "!")
        return time.perf_counter() - began

    assert min(seconds(19), seconds(19)) > 3 * seconds(13)


def test_a_large_expression_is_looked_at_quickly():
    words = "|".join(f"{c}{i}word{i * 7}" for i in range(60) for c in "abcdefghijklmnopqrstuvwxyz")
    began = time.perf_counter()
    assert exponential_part(f"(?:{words})+$") is None
    assert exponential_part("(" * 5000 + "a" + ")*" * 5000) is None
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            r"resume: {line: 'acme -r ${token}', regex: 'acme -r (?P<token>(\S+ ?)+)$'}",
            "resume.regex",
        ),
        (r"session: {text: 'id (?P<token>(\S+ ?)+)$'}", "session.text"),
        (r"hints: [{match: '(\S+ ?)+$', say: wait}]", "hints[0].match"),
        (
            "events: [{match: {type: a}, complete: {answer: \"capture(text, '(\\\\S+ ?)+$').match\"}}]",
            "events[0].complete.answer",
        ),
    ],
)
def test_no_adapter_runs_one(text, path):
    """Also validation does not: the round trip of resume lines would hang."""
    compiled = compile_adapter(Source("acme.yaml", adapter_text(text)))
    assert compiled.adapter is None
    [found] = [d for d in compiled.diagnostics if d.severity == "error"]
    assert (found.code, found.path) == ("regex", path)
    assert found.message == r"this can take exponential time: `(\S+ ?)+`"
