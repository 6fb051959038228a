"""Traps of JMESPath: each is found where it stands, and its right form is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.adapters.lint import accesses, calls, lint
from takopi.adapters.syntax import ExpressionError, tokens


def found(text):
    """Code and the text pointed at, for every trap."""
    traps = lint(text, tokens(text))
    return [(trap.code, text[trap.start : trap.start + trap.length]) for trap in traps]


@pytest.mark.parametrize(
    ("text", "traps"),
    [
        ('type == "init"', [("quoted-literal", '"init"')]),
        ('"init" == type', [("quoted-literal", '"init"')]),
        ('type != "a-b"', [("quoted-literal", '"a-b"')]),
        ('type == "a b"', [("quoted-literal", '"a b"')]),
        ('a || "none"', [("quoted-literal", '"none"')]),
        ('join(", ", a)', [("quoted-literal", '", "')]),
        ('join("not found", a)', [("quoted-literal", '"not found"')]),
        ('a == "b" && c == "d"', [("quoted-literal", '"b"'), ("quoted-literal", '"d"')]),
        ("!a.b", [("negated-path", "!a.")]),
        ("!a.b.c", [("negated-path", "!a.")]),
        ("x && !a.b", [("negated-path", "!a.")]),
        ("!a[0].b", [("negated-path", "!a[0].")]),
        ("!event().b", [("negated-path", "!event().")]),
        ("!(a).b", [("negated-path", "!(a).")]),
        ("!!a.b", [("negated-path", "!!a.")]),
        ("!a[?b]", [("negated-path", "!a[?")]),
        ("!a[]", [("negated-path", "!a[]")]),
        ("!x == 'y'", [("negated-path", "!x ==")]),
        ("!x != 'y'", [("negated-path", "!x !=")]),
        ("!length(x) > `1`", [("negated-path", "!length(x) >")]),
        ("x || []", [("expression", "[]")]),
        ("x == []", [("expression", "[]")]),
        ("join(', ', [])", [("expression", "[]")]),
        ("{a: []}", [("expression", "[]")]),
        ("a[][?b]", [("expression", "[?")]),
        ("a.b[][?c == 'd'].e", [("expression", "[?")]),
        (r"capture(x, '\\d+')", [("regex", r"'\\d+'")]),
        (r"capture(x, '(?P<n>\\(a)').n", [("regex", r"'(?P<n>\\(a)'")]),
        ("capture(x, '(?P<n>a)').m", [("regex", "m")]),
        ("lower(capture(x, 'a').n)", [("regex", "n")]),
    ],
)
def test_traps(text, traps):
    assert found(text) == traps


@pytest.mark.parametrize(
    "text",
    [
        "type == 'init'",
        '"a-b"',
        "a.\"b\" == 'x'",
        '"a-b".c',
        'a."b c"',
        '{"a": b}',
        "a.\"init\" == 'x'",
        "!(a.b)",
        "!(x == 'y')",
        "!a",
        "!a && b",
        "!a || b == 'c'",
        "!a[0]",
        "!length(a)",
        "a.b == 'c' && !d",
        "x || `[]`",
        "a[]",
        "a[].b",
        "[] | [?b]",
        "a[] | [?b]",
        "a[?b][]",
        "a[?b]",
        r"capture(x, '\d+')",
        r"capture(x, '(?P<n>a)').n",
        r"capture(x, '(?P<n>a)').match",
        r"replace(x, '\\d', 'y')",
        "capture(x, 'a')",
    ],
)
def test_right_forms(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "help"),
    [
        ('a == "b"', "write `'b'` for the text, or `b` without quotes for the field"),
        ('a == "b-c"', "write `'b-c'` for the text"),
        ("!a.b", "write `!(a.…)`"),
        ("!a == b", "write `!(a == …)`"),
        ("a[][?b]", "write `[] | [?…]`"),
        ("a || []", "write `` `[]` `` for an empty list"),
        ("capture(x, '(?P<n>a)').m", "its groups: `match`, `n`"),
    ],
)
def test_help(text, help):
    assert [trap.help for trap in lint(text, tokens(text))] == [help]


FUNCTIONS = frozenset({"options", "state", "run"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("options().a", [("options", "a")]),
        ('options()."a"', [("options", "a")]),
        ("options()", [("options", None)]),
        ("length(options())", [("options", None)]),
        ("state().a.b || options().c", [("state", "a"), ("options", "c")]),
        ("event().options", []),
        ("options.a", []),
        ("run().model", [("run", "model")]),
        ("options() | a", [("options", None)]),
        ("keys(options().a)", [("options", "a")]),
    ],
)
def test_accesses(text, expected):
    reads = accesses(tokens(text), FUNCTIONS)
    assert [(read.function, read.field) for read in reads] == expected
    for read in reads:
        name = read.field or read.function
        assert text[read.start : read.start + read.length].strip('"') == name


def test_calls():
    assert [token.value for token in calls(tokens("a(b(c), d).e || f()"))] == ["a", "b", "f"]


PIECES = [
    "a",
    "b",
    ".",
    "!",
    "(",
    ")",
    "[]",
    "[?",
    "]",
    "==",
    "'x'",
    '"y"',
    "`1`",
    "||",
    "&&",
    "[0]",
]
PIECES += ["capture(", ",", "{", "}", ":", "options()", "@", "|", "*", " "]


@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_any_tokens_can_be_looked_at(pieces):
    text = "".join(pieces)
    try:
        found_tokens = tokens(text)
    except ExpressionError:
        return
    for trap in lint(text, found_tokens):
        assert 0 <= trap.start <= len(text)
        assert trap.length > 0
    accesses(found_tokens, FUNCTIONS)
