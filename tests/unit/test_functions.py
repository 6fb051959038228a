"""The functions of the adapter language, and the shape of the function table."""

from __future__ import annotations

import re
import time
import uuid

import jmespath.functions
import pytest

from takopi.adapters.functions import EVERYWHERE, FUNCTIONS, EvaluationError
from takopi.adapters.jmes import compile_expression
from takopi.adapters.scope import Scope
from tests.oracle.reference import ReferenceError_, reference_search, same_json

SCOPE = Scope(run={"cwd": "/srv/repo"}, environ={"HOME": "/home/me", "EMPTY": ""})


def call(text, value=None):
    """The value of an expression in which ``x`` is the value."""
    node = {"x": value}
    result = compile_expression(text).evaluate(node, SCOPE)
    if "uuid" not in text:
        assert same_json(result, reference_search(text, node, SCOPE))
    return result


def deep(levels, make):
    value = "core"
    for _ in range(levels):
        value = make(value)
    return value


# The table


def test_all_built_ins_of_the_library_are_there():
    library = jmespath.functions.Functions.FUNCTION_TABLE
    assert library.keys() <= FUNCTIONS.keys()
    for name, entry in library.items():
        ours, signature = FUNCTIONS[name], entry["signature"]
        variadic = bool(signature[-1].get("variadic"))
        assert ours.min_args == len(signature)
        assert ours.max_args == (None if variadic else len(signature))
        references = {i for i, kind in enumerate(signature) if kind["types"] == ["expref"]}
        assert ours.references == references
        assert ours.pure
        assert ours.places == EVERYWHERE


def test_own_functions():
    own = FUNCTIONS.keys() - jmespath.functions.Functions.FUNCTION_TABLE.keys()
    assert own == {
        *("event", "state", "options", "run", "env", "text", "relpath", "relcommand", "capture"),
        *("parse_json", "split", "lower", "trim", "removeprefix", "removesuffix", "replace"),
        *("dash_safe", "uuid"),
    }


def test_places():
    elsewhere = {name: f.places for name, f in FUNCTIONS.items() if f.places != EVERYWHERE}
    assert elsewhere == {
        "event": {"event"},
        "state": {"event"},
        "env": {"command", "session.create"},
        "uuid": {"session.create"},
    }


def test_impure_functions():
    impure = {name for name, f in FUNCTIONS.items() if not f.pure}
    assert impure == {"event", "state", "options", "run", "env", "relpath", "relcommand", "uuid"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_usage_agrees_with_the_counts(name):
    function = FUNCTIONS[name]
    assert function.name == name
    written = re.fullmatch(rf"{name}\((.*)\)", function.usage)[1]
    arguments = [part for part in written.split(", ") if part and part != "..."]
    assert len([part for part in arguments if not part.endswith("?")]) == function.min_args
    assert function.max_args == (None if "..." in written else len(arguments))
    for index, argument in enumerate(arguments):
        assert argument.startswith("&") is (index in function.references)


# Null and wrong types


ON_STRINGS = {
    "relpath": "relpath({})",
    "relcommand": "relcommand({})",
    "capture": "capture({}, 'x')",
    "parse_json": "parse_json({})",
    "split": "split({}, ',')",
    "lower": "lower({})",
    "trim": "trim({})",
    "removeprefix": "removeprefix({}, 'x')",
    "removesuffix": "removesuffix({}, 'x')",
    "replace": "replace({}, 'x', 'y')",
    "dash_safe": "dash_safe({})",
    "env": "env({})",
}


@pytest.mark.parametrize("text", ON_STRINGS.values(), ids=ON_STRINGS)
def test_null_gives_null(text):
    assert call(text.format("x"), None) is None
    assert call(text.format("missing"), None) is None


@pytest.mark.parametrize("value", [1, True, [], {}, ["text"]], ids=repr)
@pytest.mark.parametrize("text", ON_STRINGS.values(), ids=ON_STRINGS)
def test_what_is_no_string_is_an_error(text, value):
    expression = compile_expression(text.format("x"))
    assert expression.can_fail
    with pytest.raises(EvaluationError, match=f"`{text.split('(')[0]}` wants"):
        expression.evaluate({"x": value}, SCOPE)
    with pytest.raises(ReferenceError_):
        reference_search(text.format("x"), {"x": value}, SCOPE)


@pytest.mark.parametrize(
    "text", ["split('a', x)", "trim('a', x)", "removeprefix('a', x)", "replace('a', 'b', x)"]
)
def test_null_is_only_a_value_in_the_first_place(text):
    with pytest.raises(EvaluationError, match="wants strings, not null"):
        compile_expression(text).evaluate({"x": None}, SCOPE)


# Strings, as in Python


@pytest.mark.parametrize(
    ("text", "value", "wanted"),
    [
        ("split(x)", " a  b\nc ", ["a", "b", "c"]),
        ("split(x, ',')", "a,,b", ["a", "", "b"]),
        ("split(x, ', ')", "a", ["a"]),
        ("lower(x)", "ÄB", "äb"),
        ("trim(x)", " \ta b\n", "a b"),
        ("trim(x, '-/')", "-/a-b/", "a-b"),
        ("removeprefix(x, 'mcp__')", "mcp__a", "a"),
        ("removeprefix(x, 'b')", "abc", "abc"),
        ("removesuffix(x, '.py')", "a.py", "a"),
        ("replace(x, '__', '.')", "a__b__c", "a.b.c"),
        ("dash_safe(x)", "-x", " -x"),
        ("dash_safe(x)", "--", " --"),
        ("dash_safe(x)", " -x", " -x"),
        ("dash_safe(x)", "x-", "x-"),
        ("dash_safe(x)", "", ""),
    ],
)
def test_strings(text, value, wanted):
    assert call(text, value) == wanted


def test_an_empty_separator_is_an_error():
    with pytest.raises(EvaluationError, match="`split`: empty separator"):
        compile_expression("split(x, '')").evaluate({"x": "a"}, SCOPE)


# text


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, ""),
        ("", ""),
        ("a\nb", "a\nb"),
        (["a", "", "b"], "a\n\nb"),
        ([], ""),
        ({}, ""),
        ([{"type": "text", "text": "a"}, {"type": "image", "source": {}}, {"text": "b"}], "a\nb"),
        (["a", {"text": "b"}, None, [{"text": "c"}]], "a\nb\nc"),
        ({"text": "a"}, "a"),
        ({"content": "a"}, "a"),
        ({"text": None, "content": "a"}, "a"),
        ({"text": "a", "content": "b"}, "a"),
        ({"content": [{"text": "a"}, {"content": {"text": "b"}}]}, "a\nb"),
        ({"other": "a"}, ""),
        (3, "3"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        ({"text": 3}, "3"),
    ],
)
def test_text(value, wanted):
    assert call("text(x)", value) == wanted


def test_text_cannot_fail_however_deep_or_odd_the_data():
    expression = compile_expression("text(@)")
    assert not expression.can_fail
    assert expression.evaluate(deep(5, lambda inner: {"content": [inner]}), SCOPE) == "core"
    for value in (
        deep(100_000, lambda inner: {"content": inner}),
        deep(100_000, lambda inner: [inner]),
        10**5000,
        object(),
    ):
        assert expression.evaluate(value, SCOPE) == ""


# capture and parse_json


@pytest.mark.parametrize(
    ("text", "value", "wanted"),
    [
        (r"capture(x, '(?P<a>\d+)')", "n 12 3", {"match": "12", "a": "12"}),
        (r"capture(x, '(?P<a>x)|(?P<b>y)')", "y", {"match": "y", "a": None, "b": "y"}),
        (r"capture(x, 'b')", "abc", {"match": "b"}),
        (r"capture(x, '^b')", "abc", None),
        (r"capture(x, '')", "abc", {"match": ""}),
        (r"capture(x, '(?i)B').match", "abc", "b"),
        (r"capture(x, '(?P<a>b)').a", "c", None),
        (r"capture(x, 'it\'s')", "it's", {"match": "it's"}),
    ],
)
def test_capture(text, value, wanted):
    assert call(text, value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ('{"a": [1, true, null]}', {"a": [1, True, None]}),
        ('"text"', "text"),
        (" 1.0 ", 1.0),
        ("null", None),
        ("", None),
        ("{'a': 1}", None),
        ('{"a": 1} x', None),
        ("NaN", None),
        ("[Infinity]", None),
        ("[" * 100_000, None),
        ("[" * 100_000 + "]" * 100_000, None),
        ("9" * 5000, None),
        ('"\\ud83d"', "\ud83d"),
    ],
    ids=range(13),
)
def test_parse_json(value, wanted):
    assert same_json(call("parse_json(x)", value), wanted)


# Paths and commands


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("/srv/repo/src/a.py", "src/a.py"),
        ("/srv/repo", "."),
        ("/srv/repo2/a.py", "/srv/repo2/a.py"),
        ("a.py", "a.py"),
        ("", ""),
    ],
)
def test_relpath(value, wanted):
    assert call("relpath(x)", value) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("find /srv/repo/tests -name x", "find tests -name x"),
        ("/bin/bash -lc 'cd src && ls'", "cd src && ls"),
        ("/bin/bash -lc 'cat /srv/repo/a.py'", "cat a.py"),
        ('sh -c "echo \\"a b\\""', 'echo "a b"'),
        ("bash -lc ls", "ls"),
        ("zsh -lc 'a' ", "a"),
        ("/usr/bin/env bash -c 'a b'", "a b"),
        ("env sh -c 'a b'", "a b"),
        ("/usr/bin/zsh -ic 'a b'", "a b"),
        ("bash -lc 'it'\\''s'", "it's"),
        ("bash -lc 'cat <<EOF\na\nEOF'", "cat <<EOF\na\nEOF"),
        ("bash -lc 'python -c \"print(1)\"'", 'python -c "print(1)"'),
        # not one script word, or no wrapper: left alone
        ("bash -lc ls -l", "bash -lc ls -l"),
        ("bash -lc 'a' && 'b'", "bash -lc 'a' && 'b'"),
        ("bash -lc 'open", "bash -lc 'open"),
        ("bash -lc ''", "bash -lc ''"),
        ("bash -lc ", "bash -lc "),
        ("bash script.sh -c x", "bash script.sh -c x"),
        ("bash -l script.sh", "bash -l script.sh"),
        ("python -c 'a'", "python -c 'a'"),
        ("echo bash -c 'a'", "echo bash -c 'a'"),
        ("mybash -c 'a'", "mybash -c 'a'"),
        ("", ""),
    ],
)
def test_relcommand(value, wanted):
    assert call("relcommand(x)", value) == wanted


def test_relcommand_takes_a_long_script_at_once():
    script = "echo /srv/repo/a.py\n" * 50_000
    start = time.process_time()
    assert call("relcommand(x)", f"bash -lc '{script}'") == script.replace("/srv/repo/", "")
    assert time.process_time() - start < 1


def test_without_a_directory_paths_stay_as_they_are():
    path = "/somewhere/else/a.py"
    assert compile_expression("relpath(@)").evaluate(path, Scope()) == path
    assert compile_expression("relcommand(@)").evaluate(f"cat {path}", Scope()) == f"cat {path}"


# The rest of the scope


def test_env():
    assert call("env('HOME')") == "/home/me"
    assert call("env('EMPTY')") == ""
    assert call("env('MISSING')") is None


def test_uuid_is_fresh_each_time():
    expression = compile_expression("uuid()")
    first, second = (expression.evaluate({}, SCOPE) for _ in range(2))
    assert first != second
    assert str(uuid.UUID(first)) == first


# Built-ins, where the library fails with an error of Python's


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ceil(x)", float("inf")),
        ("floor(x)", float("nan")),
        ("sum(x)", [10**400, 0.5]),
        ("avg(x)", [10**400, 1]),
        ("contains(x, `1`)", "a1"),
        ("to_string(x)", 10**5000),
        ("max_by(x, &@)", [1, "a"]),
    ],
    ids=range(7),
)
def test_errors_of_python_are_evaluation_errors(text, value):
    with pytest.raises(EvaluationError):
        compile_expression(text).evaluate({"x": value}, SCOPE)
    with pytest.raises(ReferenceError_):
        reference_search(text, {"x": value}, SCOPE)


@pytest.mark.parametrize(
    ("text", "value", "wanted"),
    [
        ("to_number(x)", "1_000", 1000),
        ("to_number(x)", " 1.5 ", 1.5),
        ("to_number(x)", "x", None),
        ("to_number(x)", True, None),
        ("contains(x, `true`)", [1], True),
        ("min_by(x, &@)", [], None),
        ("min_by(x, &a)", [{"a": 2}, {"a": 1}], {"a": 1}),
        ("max(x)", [], None),
        ("avg(x)", [], None),
        ("sort(x)", [], []),
        ("merge(x, `{\"b\": 2}`)", {"a": 1, "b": 1}, {"a": 1, "b": 2}),
        ("reverse(x)", "añ", "ña"),
        ("type(x)", {"a": 1}, "object"),
        ("[type(`1`), type('a'), type(x), type(`true`), type(`[]`)]", None,
         ["number", "string", "null", "boolean", "array"]),
    ],
)  # fmt: skip
def test_built_ins(text, value, wanted):
    assert same_json(call(text, value), wanted)


def test_capture_sees_both_ends_of_a_long_text():
    """In time that a text of any length cannot stretch."""

    def found(regex, value):
        capture = compile_expression(f"capture(x, '{regex}').match")
        return capture.evaluate({"x": value}, SCOPE)

    filler = " " * 1_000_000
    assert found(r"\w+", "begin" + filler) == "begin"
    assert found("e.d", filler + "end") == "end"
    assert found("middle", filler + "middle" + filler) is None
    began = time.perf_counter()
    assert found(r"\s+$", filler + "x") is None
    assert time.perf_counter() - began < 3
