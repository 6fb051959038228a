"""The shape of a document: what is wrong with it, in the file's own words, and what is still right."""

import pytest

from takopi.adapters.shape import check_shape, is_cut_expression, keys_of
from takopi.adapters.source import Source, parse, plain

BASE = """\
adapter: 1
id: acme
command: acme
args: [run]
resume: {line: "acme ${token}"}
session: {id: id}
"""
EVENTS = "events:\n  - match: {type: a}\n"


def shape(text):
    root, problems = parse(Source("acme.yaml", text))
    assert problems == []
    return check_shape(root)


def messages(text):
    return [(d.path, d.message) for d in shape(text).diagnostics]


def test_a_right_document_is_a_model():
    found = shape(BASE + EVENTS)
    assert found.diagnostics == ()
    assert found.spec.id == "acme"
    assert found.spec.events[0].match == {"type": "a"}
    assert found.spec.version_args == ["--version"]


def test_every_missing_key_is_told():
    assert messages("adapter: 1\n") == [
        (key, f"`{key}` is missing")
        for key in ("id", "command", "args", "resume", "session", "events")
    ]


def test_a_missing_key_beside_its_misspelling_is_one_problem():
    found = shape(BASE + "event: []\n").diagnostics
    assert [(d.code, d.message) for d in found] == [("unknown-key", "unknown key `event`")]
    assert found[0].help == "did you mean `events`? It is required here"


def test_a_missing_key_beside_another_unknown_one_is_two():
    assert [d.code for d in shape(BASE + "weather: fine\n").diagnostics] == [
        "schema",
        "unknown-key",
    ]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("quiet: x", "quiet", "expected a number, not `x`"),
        ("quiet: true", "quiet", "expected a number, not `true`"),
        ("quiet: -1", "quiet", "`-1` is not allowed here"),
        ("name: 1", "name", "expected text, not `1`"),
        ("name: ''", "name", "this must not be empty"),
        ("env: {set: {A: [1]}}", "env.set.A", "expected text or a number, not a list"),
        ("env: {unset: A}", "env.unset", "expected a list, not `A`"),
        ("options: [a]", "options", "expected a mapping, not a list"),
        ("options: {1a: {type: string}}", "options.1a", "`1a` is not allowed here"),
        ("options: {a: text}", "options.a", "expected a mapping, not `text`"),
        ("end: text", "end", "expected a mapping, not `text`"),
        ("hints: [{match: a}]", "hints[0].say", "`say` is missing in `hints[0]`"),
        ("tools: [{name: []}]", "tools[0].name", "this must not be empty"),
        ("tools: [{name: a, kind: shell}]", "tools[0].kind", "`shell` is not allowed here"),
        ("settle: [1]", "settle", "expected a number or text, not a list"),
        ("non_json: off", "non_json", "`off` is not allowed here"),
        ("x: " + "y" * 100, "x", "unknown key `x`"),
        ("quiet: " + "y" * 100, "quiet", f"expected a number, not `{'y' * 59}…`"),
    ],
)
def test_one_wrong_value(text, path, message):
    assert messages(BASE + EVENTS + text + "\n") == [(path, message)]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("{}", "events[0].match"),
        ("{match: {}}", "events[0].match"),
        ("{match: {a: []}}", "events[0].match.a"),
        ("{match: {a: [[1]]}}", "events[0].match.a[0]"),
        ("{match: {a: {b: 1}}}", "events[0].match.a"),
        ("{match: {a.: 1}}", "events[0].match.a."),
        ("{match: {a: 1}, action: x}", "events[0].action"),
        ("{match: {a: 1}, action: {kind: x}}", "events[0].action.kind"),
        ("{match: {a: 1}, action: {tool: {input: x}}}", "events[0].action.tool.name"),
        ("{match: {a: 1}, set: []}", "events[0].set"),
        ("{match: {a: 1}, set: {}}", "events[0].set"),
        ("{match: {a: 1}, each: x}", "events[0].each"),
        ("{match: {a: 1}, rules: [{match: {a: 1}}]}", "events[0].rules"),
        ("{match: {a: 1}, each: x, rules: []}", "events[0].rules"),
        ("{match: {a: 1}, each: x, rules: [{match: {b: 1}, on: 1}]}", "events[0].rules[0].on"),
        ("[]", "events[0]"),
        ("text", "events[0]"),
    ],
)
def test_one_wrong_rule(rule, path):
    assert [p for p, _ in messages(f"{BASE}events:\n  - {rule}\n")] == [path]


def test_what_is_wrong_is_left_out_and_the_rest_keeps_its_place():
    found = shape(
        BASE + "quiet: x\nevents:\n  - text\n  - match: {type: a, b: {c: 1}}\n    action: {id: x}\n"
    )
    sound = plain(found.sound)
    assert "quiet" not in sound
    assert sound["events"] == [None, {"action": {"id": "x"}}]


def test_keys():
    assert keys_of(("events", 0, "action", "tool")) == {"name": True, "input": False}
    assert keys_of(("args", 1, "then", 0)) == {"if": True, "then": True}
    assert keys_of(("options", "model"))["type"] is True
    assert keys_of(("session", "meta")) == {}
    assert keys_of(())["adapter"] is True


@pytest.mark.parametrize(
    ("key", "cut"), [("b)", True), ("'x')", True), ("a && b", True), ("id", False)]
)
def test_keys_that_are_the_rest_of_an_expression(key, cut):
    assert is_cut_expression(key) == cut
