"""Diagnostics: order, suggestions, and their three views."""

import json
import re

import pytest

from takopi.diagnostics import (
    CODES,
    Diagnostic,
    Span,
    did_you_mean,
    has_errors,
    in_file_order,
    render_github,
    render_json,
    render_text,
    suggest,
)


def span(line=3, column=5, length=4, text="    abcd: efgh", file="a.yaml"):
    return Span(file, line, column, length, text)


def test_the_text_view():
    d = Diagnostic("unknown-key", "unknown key `abcd`", span(), "x.abcd", "did you mean `abc`?")
    assert render_text(d) == (
        "error[unknown-key]: unknown key `abcd`\n"
        " --> a.yaml:3:5\n"
        "  |\n"
        "3 |     abcd: efgh\n"
        "  |     ^^^^ x.abcd\n"
        "  = help: did you mean `abc`?"
    )


def test_without_a_place():
    d = Diagnostic("syntax", "cannot read the file", path="~/a.yaml", severity="warning")
    assert render_text(d) == "warning[syntax]: cannot read the file\n --> ~/a.yaml"
    assert render_text(Diagnostic("schema", "no")) == "error[schema]: no"
    assert render_text(Diagnostic("schema", "no", help="go")).endswith("\n  = help: go")


def test_places_are_shown_in_the_order_of_the_file():
    d = Diagnostic(
        "duplicate-key",
        "twice",
        span(line=12, column=1, length=1, text="a: 2"),
        related=(
            (span(line=9, column=1, length=1, text="a: 1"), "first"),
            (span(line=12, column=4, length=1, text="a: 2"), "value"),
            (span(line=2, column=1, length=2, text="zz", file="b.yaml"), "elsewhere"),
        ),
    )
    assert render_text(d).splitlines()[1:] == [
        "  --> a.yaml:12:1",
        "   |",
        " 9 | a: 1",
        "   | - first",
        "   ⋮",
        "12 | a: 2",
        "   | ^",
        "   |    - value",
        "  ::: b.yaml:2:1",
        " 2 | zz",
        "   | -- elsewhere",
    ]


@pytest.mark.parametrize(
    ("before", "marked", "pad", "carets"),
    [
        ("\t", "ab", "\t", 2),
        ("文", "件", "  ", 2),
        ("e\u0301", "x", " ", 1),
        ("\u200b", "x", "", 1),
        ("", "", "", 1),
    ],
)
def test_the_caret_stands_under_what_it_means(before, marked, pad, carets):
    text = before + marked + " rest"
    d = Diagnostic("schema", "m", span(column=len(before) + 1, length=len(marked), text=text))
    assert render_text(d).splitlines()[-1] == f"  | {pad}{'^' * carets}"


def test_a_long_line_is_cut_around_the_place():
    text = "x" * 500 + "HERE" + "y" * 500
    lines = render_text(Diagnostic("schema", "m", span(column=501, text=text))).splitlines()
    excerpt, caret = lines[-2][4:], lines[-1][4:]
    assert len(excerpt) == 160
    assert excerpt[caret.index("^") :][: caret.count("^")] == "HERE"


def test_a_long_line_with_two_places_shows_both():
    text = "x" * 300 + "HERE" + "y" * 300 + "THERE"
    related = ((span(column=605, length=5, text=text), "and here"),)
    shown = render_text(Diagnostic("schema", "m", span(column=301, text=text), related=related))
    assert "HERE" in shown
    assert "THERE" in shown


def test_control_characters_do_not_reach_the_terminal():
    d = Diagnostic("syntax", "m", span(column=2, length=1, text="a\x1b[2Jb\x07"))
    assert "\x1b" not in render_text(d)
    assert "a␛[2Jb␇" in render_text(d)


def test_the_json_view():
    d = Diagnostic("schema", "ä", span(), "x", "h", "warning", ((span(line=1), "first"),))
    place = {"file": "a.yaml", "column": 5, "length": 4}
    assert json.loads(render_json([d, Diagnostic("syntax", "m")])) == [
        {
            "code": "schema",
            "severity": "warning",
            "message": "ä",
            "path": "x",
            "help": "h",
            "span": {**place, "line": 3},
            "related": [{"span": {**place, "line": 1}, "label": "first"}],
        },
        {
            "code": "syntax",
            "severity": "error",
            "message": "m",
            "path": None,
            "help": None,
            "span": None,
            "related": [],
        },
    ]


def test_the_github_view():
    d = Diagnostic("schema", "100%\nno", span(file="a,b:c.yaml"), help="do")
    assert render_github(d) == (
        "::error file=a%2Cb%3Ac.yaml,line=3,col=5,title=schema::100%25%0Ano%0Ahelp: do"
    )
    assert render_github(Diagnostic("syntax", "m", severity="warning")) == (
        "::warning title=syntax::m"
    )


def test_order_and_one_per_cause():
    first, second = span(line=1), span(line=2)
    twice = [Diagnostic("schema", "m", second, "a.x"), Diagnostic("schema", "m", second, "b.x")]
    nowhere = Diagnostic("schema", "nowhere")
    early = Diagnostic("syntax", "early", first)
    other = Diagnostic("schema", "m", span(line=1, file="0.yaml"))
    found = in_file_order([*twice, early, nowhere, other, nowhere])
    assert found == [nowhere, other, early, twice[0]]


def test_errors_and_warnings():
    assert has_errors([Diagnostic("a", "m", severity="warning"), Diagnostic("a", "m")])
    assert not has_errors([Diagnostic("a", "m", severity="warning")])


@pytest.mark.parametrize(
    ("word", "known", "help"),
    [
        ("titel", ["title", "tool"], "did you mean `title`?"),
        ("TITLE", ["Title"], "did you mean `Title`?"),
        ("weather", ["b", "a"], "known: `a`, `b`"),
        ("weather", [str(n) for n in range(13)], None),
        ("weather", [], None),
    ],
)
def test_suggestions(word, known, help):
    assert did_you_mean(word, known) == help
    assert (suggest(word, known) is not None) == ("did you mean" in (help or ""))


def test_codes_are_kebab_case():
    assert all(code == code.lower().replace("_", "-") for code in CODES)


def test_control_characters_are_shown_wherever_they_stand():
    line = "\x1b[2Jname: \x9b2J"
    d = Diagnostic(
        "unknown-key",
        "unknown key `\x1b[2J`",
        Span("a\x07.yaml", 1, 1, 4, line),
        "a\x1b",
        "did you mean `\x1b]0;x\x07`?",
    )
    text = render_text(d)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert "unknown key `␛[2J`" in text
