"""JMESPath compiled to Python: against the reference library, and what it adds."""

from __future__ import annotations

import copy
import json
import types

import jmespath
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.adapters.functions import FUNCTIONS, EvaluationError
from takopi.adapters.jmes import compile_expression, is_true
from takopi.adapters.scope import Scope
from takopi.adapters.syntax import ExpressionError, parse, tokens
from tests.oracle.reference import ReferenceError_, reference_search, same_json


def search(text, node=None, scope=None):
    return compile_expression(text).evaluate(node, scope or Scope())


def refused(text, functions=None):
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, functions)
    return caught.value


def marked(text, functions=None):
    """The characters of the text that the caret underlines."""
    error = refused(text, functions)
    return text[error.offset : error.offset + error.length]


# Generated expressions and documents

NAMES = ("a", "b", "c", "type")
FIXED = (
    *("@", "a", "b", "c", "a.b", "a.b.c", "a[0].b", '"a"', '"ä"', "*", "[*]", "[]", "a[]", "a[*]"),
    *(
        "a[*].b",
        "a.*",
        "event()",
        "event().a.b",
        "state()",
        "state().a",
        "options().a",
        "run().cwd",
    ),
    *("'a'", "''", "'1'", "'-x'", "`0`", "`1`", "`-1.5`", "`true`", "`false`", "`null`", "`[]`"),
    *("`{}`", "`[3, 1, 2]`", '`["b", "a"]`', '`{"a": {"b": 1}}`', "`[[1], [2, [3]]]`", '`"x"`'),
    *('`[{"a": 2}, {"a": 1}]`', "`[true, 1, 1.0]`", "`1.0`"),
)
POSTFIXES = (
    *(".a", ".b", ".*", "[0]", "[1]", "[-1]", "[9]", "[*]", "[]", "[1:]", "[:-1]", "[::-1]"),
    *("[-2::2]", "[5:1:-2]", ".a.b", "[0].a", "[*].a", "[].a", ".*.a", "[?@]", "[?a].b", " | [0]"),
)
OPERATORS = ("==", "!=", "<", "<=", ">", ">=", "&&", "||", "|")
UNTESTED_HERE = {"uuid", "env", "capture"}
REGEXES = (r"(?P<first>\w)(?P<rest>.+)?", "^$", "x|a")


def combine(inner):
    parts = st.one_of(inner, st.sampled_from(FIXED))
    return st.one_of(
        st.builds("{}{}".format, parts, st.sampled_from(POSTFIXES)),
        st.builds("({}){}".format, parts, st.sampled_from(POSTFIXES)),
        st.builds("{} {} {}".format, parts, st.sampled_from(OPERATORS), parts),
        st.builds("({}) {} ({})".format, parts, st.sampled_from(OPERATORS), parts),
        st.builds("!{}".format, parts),
        st.builds("!({})".format, parts),
        st.builds("({})[?{}]".format, parts, parts),
        st.builds("({})[?{}].{}".format, parts, parts, st.sampled_from(NAMES)),
        st.builds("[{}, {}]".format, parts, parts),
        st.builds("({}).[{}]".format, parts, parts),
        st.builds("{{a: {}, b: {}}}".format, parts, parts),
        st.builds("({}).{{x: {}}}".format, parts, parts),
        st.builds("({}).{}".format, parts, calls(parts)),
        st.builds("capture({}, '{}')".format, parts, st.sampled_from(REGEXES)),
        calls(parts),
        calls(parts),
    )


@st.composite
def calls(draw, arguments):
    name = draw(st.sampled_from(sorted(FUNCTIONS.keys() - UNTESTED_HERE)))
    function = FUNCTIONS[name]
    most = function.min_args + 2 if function.max_args is None else function.max_args
    count = draw(st.integers(function.min_args, most))
    written = [
        f"&{draw(arguments)}" if index in function.references else draw(arguments)
        for index in range(count)
    ]
    return f"{name}({', '.join(written)})"


expressions = st.recursive(st.sampled_from(FIXED), combine, max_leaves=8)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.sampled_from([0.0, 1.0, -0.5, 1e300, float("inf")]),
    st.sampled_from(["", "a", "b", "ab", "1", "2.5", "-x", "ä", "\ud83d", "[1]", "/w/a", "x\ny"]),
)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(st.dictionaries(st.sampled_from(NAMES), scalars, max_size=3), max_size=3),
        st.dictionaries(st.sampled_from((*NAMES, "text", "ä")), inner, max_size=4),
    ),
    max_leaves=12,
)
scopes = st.builds(
    lambda event, state, options: Scope(
        event=event, state={"a": state}, options={"a": options}, run={"cwd": "/w"}
    ),
    documents,
    documents,
    scalars,
)


def outcome(text, node, scope):
    """What the library says: (True, value), or (False, None) for a failure."""
    try:
        return True, reference_search(text, node, scope)
    except ReferenceError_:
        return False, None


def ours(text, node, scope):
    """(expression or None, value, error or None)"""
    expression = None
    try:
        expression = compile_expression(text)
        return expression, expression.evaluate(node, scope), None
    except (ExpressionError, EvaluationError) as error:
        return expression, None, error


def check_equal(text, node, scope):
    before = copy.deepcopy(node)
    succeeds, wanted = outcome(text, node, scope)
    expression, value, error = ours(text, node, scope)
    assert (error is None) is succeeds, f"{text}: {value!r} {error!r}, the library: {wanted!r}"
    if error is None:
        assert same_json(value, wanted), f"{text}: {value!r} is not {wanted!r}"
        if expression.constant:
            assert same_json(value, outcome(text, [node], Scope())[1])
    elif expression is not None:
        assert expression.can_fail, f"{text} failed although it cannot: {error}"
    assert same_json(node, before), f"{text} changed the data"


@settings(max_examples=400, deadline=None)
@given(expressions, st.lists(documents, min_size=3, max_size=3), scopes)
def test_values_and_errors_are_those_of_the_reference_library(text, nodes, scope):
    for node in nodes:
        check_equal(text, node, scope)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@settings(max_examples=200, deadline=None)
@given(st.text("ab.*[]{}()?:,@&|!=<>'\"`\\0-1 \n$+ä", max_size=12))
def test_any_text_is_parsed_as_by_the_library_or_refused_with_a_position(text):
    try:
        wanted = jmespath.compile(text).parsed
    except ValueError:
        with pytest.raises(ExpressionError) as caught:
            parse(text)
        error = caught.value
        assert 0 <= error.offset <= error.offset + error.length <= len(text)
        assert error.length or not text
    else:
        assert parse(text) == wanted


@settings(max_examples=200, deadline=None)
@given(expressions)
def test_tokens_are_where_they_say(text):
    try:
        found = tokens(text)
    except ExpressionError:
        return
    assert (found[-1].type, found[-1].start, found[-1].end) == ("eof", len(text), len(text))
    between, position = [], 0
    for token in found:
        between.append(text[position : token.start])
        position = token.end
        if token.type not in ("literal", "quoted_identifier", "eof", "number"):
            assert text[token.start : token.end] == token.value
    assert "".join(between).strip() == ""


# Rules that are easy to get wrong, one by one


@pytest.mark.parametrize(
    ("text", "node", "wanted"),
    [
        ("a == `1`", {"a": True}, False),
        ("a == `true`", {"a": 1}, False),
        ("a == `0`", {"a": False}, False),
        ("a != `1`", {"a": True}, True),
        ("a == b", {"a": 1, "b": True}, False),
        ("a == b", {"a": 1, "b": 1.0}, True),
        ("`1` == a", {"a": 1}, True),
        ("a == `null`", {}, True),
        ("a != 'x'", {}, True),
        ("a || 'x'", {"a": 0}, 0),
        ("a || 'x'", {"a": 0.0}, 0.0),
        ("a || 'x'", {"a": False}, "x"),
        ("a || 'x'", {"a": []}, "x"),
        ("a || 'x'", {"a": {}}, "x"),
        ("a && 'x'", {"a": 0}, "x"),
        ("a && 'x'", {"a": ""}, ""),
        ("!a", {"a": 0}, False),
        ("!a", {"a": ""}, True),
        ("a < `1`", {"a": None}, None),
        ("a < `1`", {"a": True}, None),
        ("a < 'b'", {"a": "a"}, True),
        ("a[*].b", {"a": [{"b": 1}, {}, {"b": None}, 3]}, [1]),
        ("a[*].b", {"a": {"b": 1}}, None),
        ("a.*", {"a": [1]}, None),
        ("a.{b: b}", {}, None),
        ("a.{b: b}", {"a": 1}, {"b": None}),
        ("a.[b]", {}, None),
        ("a[::-1]", {"a": [1, 2, 3]}, [3, 2, 1]),
        ("a[-2:]", {"a": [1, 2, 3]}, [2, 3]),
        ("a[1]", {"a": "text"}, None),
        ("a[-9]", {"a": [1]}, None),
        ("a[99999999999999999999]", {"a": [1]}, None),
        ("a[]", {"a": [[1, [2]], 3]}, [1, [2], 3]),
        ("a[?b == `1`].c", {"a": [{"b": 1, "c": 2}, {"b": True, "c": 3}]}, [2]),
        ("a[?@]", {"a": [0, 0.0, "", None, False, [], {}, "0"]}, [0, 0.0, "0"]),
        ("a[*].b | [0]", {"a": [{"b": 1}, {"b": 2}]}, 1),
        ("a[*].b[0]", {"a": [{"b": [1]}, {"b": [2]}]}, [1, 2]),
        ("sort_by(a, &b)[*].b", {"a": [{"b": 2}, {"b": 1}]}, [1, 2]),
        ("map(&b, a)", {"a": [{"b": 2}, {}]}, [2, None]),
        ("to_string(a)", {"a": {"b": [1, True, "ä"]}}, '{"b":[1,true,"\\u00e4"]}'),
        ('"ä"."b c"', {"ä": {"b c": 1}}, 1),
        ("'it\\'s'", None, "it's"),
        ("a.b", {"a": (("b", 1),)}, None),
    ],
)
def test_rule(text, node, wanted):
    assert same_json(search(text, node), wanted)
    assert same_json(reference_search(text, node), wanted)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("length(a)", {}),
        ("sort(a)", {"a": [1, "x"]}),
        ("sort_by(a, &b)", {"a": [{"b": 1}, {"b": "x"}]}),
        ("max_by(a, &b)", {"a": [{"b": None}]}),
        ("min_by(a, &b)", {"a": [{"b": "x"}, {"b": 1}]}),
        ("map(&b, a)", {"a": {}}),
        ("join(', ', a)", {"a": [1]}),
        ("sum(a)", {"a": [True]}),
        ("a < 'x'", {"a": 1}),
        ("contains(a, `1`)", {"a": "text"}),
        ("ceil(a)", {"a": float("inf")}),
    ],
)
def test_failure_at_run_time(text, node):
    expression = compile_expression(text)
    assert expression.can_fail
    with pytest.raises(EvaluationError):
        expression.evaluate(node, Scope())
    with pytest.raises(ReferenceError_):
        reference_search(text, node)


def test_what_a_type_error_says():
    with pytest.raises(
        EvaluationError, match="`length` wants a string, an array or an object, not null"
    ):
        search("length(a)", {})


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "text", ["a == b", "a != b", "contains(c, b)", "to_string(a)", "a == `[]`"]
)
def test_data_that_nests_too_deep_is_an_evaluation_error_or_a_value(text):
    node = {"a": deep(100_000), "b": deep(100_000), "c": [deep(100_000)]}
    try:
        search(text, node)
    except EvaluationError:
        assert text != "a == `[]`"
    else:
        assert text == "a == `[]`"


def test_deep_data_is_read_like_any_other():
    assert search("a[0][0][0] && text(a)", {"a": deep(100_000)}) == ""


@pytest.mark.parametrize(
    "text", ["(" * 5000 + "a" + ")" * 5000, "!" * 5000 + "a", "`" + "[" * 99_999]
)
def test_an_expression_that_nests_too_deep_is_refused(text):
    refused(text)


@pytest.mark.parametrize("operator", ["||", "&&", "|", "."])
def test_a_long_chain_is_not_deep(operator):
    expression = compile_expression(operator.join(["a"] * 5000))
    assert not expression.can_fail
    value = {"a": None}
    value["a"] = value
    assert expression.evaluate(value, Scope()) is value


def test_a_deep_expression_may_fail_on_a_full_stack():
    expression = compile_expression("!" * 150 + "a")
    assert expression.can_fail
    assert expression.evaluate({}, Scope()) is False

    def at_the_end_of_the_stack():
        try:
            return at_the_end_of_the_stack()
        except RecursionError:
            return expression.evaluate({}, Scope())

    with pytest.raises(EvaluationError, match="too deep"):
        at_the_end_of_the_stack()


# The scope


def test_scope_functions_read_the_scope():
    scope = Scope(
        event={"a": {"b": 1}},
        state={"answer": "text"},
        options=types.MappingProxyType({"model": "m"}),
        run={"cwd": "/w"},
        environ={"HOME": "/home/me"},
    )
    assert search("event().a.b", {}, scope) == 1
    assert search("x[*].[@, event().a]", {"x": [1]}, scope) == [[1, {"b": 1}]]
    assert search("state().answer", None, scope) == "text"
    assert search("state()", None, scope) is scope.state
    assert search("options().model", None, scope) == "m"
    assert search("options() | model", None, scope) == "m"
    assert search("options()", None, scope) == {"model": "m"}
    assert search("keys(run())", None, scope) == ["cwd"]
    assert search("env('HOME')", None, scope) == "/home/me"
    assert search("event().a", None, Scope(event=["no object"])) is None
    assert search("event()[0]", None, Scope(event=["no object"])) == "no object"


def test_scope_is_read_at_every_evaluation():
    expression = compile_expression("state().n")
    scope = Scope()
    assert expression.evaluate({}, scope) is None
    scope.state["n"] = 1
    assert expression.evaluate({}, scope) == 1
    scope.state = {"n": 2}
    assert expression.evaluate({}, scope) == 2


# Folding, and what is known about an expression


@pytest.mark.parametrize(
    "text",
    [
        "'x'",
        "`[1]`",
        "lower('X')",
        "`1` == `2`",
        "'x' || a",
        "`null` && a",
        "sort_by(`[2, 1]`, &@)",
        '`{"a": [1]}`.a[0]',
        "'x'.{a: @}",
        "a | 'x'",
        "capture('x', '(?P<a>.)').a",
        "map(&lower(@), split('A B'))",
    ],
)
def test_constant(text):
    expression = compile_expression(text)
    assert expression.constant
    assert not expression.can_fail
    value = expression.evaluate({"a": 1}, Scope())
    assert same_json(value, reference_search(text, {"a": 1}))
    assert expression.evaluate(None, Scope()) is value  # computed once


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "@",
        "{a: 'x'}",
        "['x']",
        "state().a",
        "uuid()",
        "env('A')",
        "relpath('/w/x')",
        "length(`1`)",
        "`null` || a",
        "length(@) | 'x'",
        "map(&state().a, `[1]`)",
    ],
)
def test_not_constant(text):
    assert not compile_expression(text).constant


def test_a_failing_step_is_not_folded_away():
    # With null in place of the data this would succeed: the failure depends on the data.
    assert search("ceil(a || `1`) | 'x'", {}) == "x"
    with pytest.raises(EvaluationError):
        search("ceil(a || `1`) | 'x'", {"a": "text"})


@pytest.mark.parametrize(
    ("text", "can_fail"),
    [
        ("a.b[0][*].c || !d && e == 'x'", False),
        ("{a: state().x, b: text(a)}", False),
        ("a[?b == `1`]", False),
        ("not_null(a, type(b), to_number(c))", False),
        ("a == b", True),
        ("a > `1`", True),
        ("length(a)", True),
        ("a[?length(b)]", True),
        ("a || relpath(b)", True),
        ("'x' || length(a)", False),
    ],
)
def test_can_fail(text, can_fail):
    assert compile_expression(text).can_fail is can_fail


def test_text_and_tree_are_kept():
    expression = compile_expression("a.b")
    assert expression.text == "a.b"
    assert expression.ast == jmespath.compile("a.b").parsed


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0, True), (0.0, True), ("0", True), (True, True), ([0], True), ({"a": None}, True)]
    + [(value, False) for value in (None, False, "", [], {})],
)
def test_truth(value, wanted):
    assert is_true(value) is wanted


# Mistakes


@pytest.mark.parametrize(
    ("text", "where", "message", "help"),
    [
        ("n == 1", "1", "unexpected `1`", "numbers need back-ticks: write `` `1` ``"),
        ("n > -1.5 && a", "-1.5", "unexpected `-1.5`", "write `` `-1.5` ``"),
        ("1", "1", "unexpected `1`", "numbers need back-ticks"),
        ("a.0.b", "0", "unexpected `0`", "an index is written `[0]`"),
        ("", "", "empty expression", None),
        ("  ", "  ", "empty expression", None),
        ("a ||", "||", "unexpected end of the expression", None),
        ("(a && b", "b", "unexpected end of the expression", "`(` at character 1 is never closed"),
        ("a[?b == 'x'", "'x'", "unexpected end of the expression", "`[?` at character 2"),
        ("lower(a", "a", "unexpected end of the expression", "`(` at character 6 is never closed"),
        ("a == 'x", "'x", "unclosed quote '", "text is written `'…'`"),
        ('a == "x', '"x', 'unclosed quote "', "text is written with single quotes"),
        ("a == `1", "`1", "unclosed quote `", "two back-ticks"),
        ('a == `"x`', '`"x`', "not a JSON value between the back-ticks", None),
        ('"a\\x"', '"a\\x"', "bad escape in the quoted name", None),
        ("a = 'x'", "=", "unexpected `=`", "compare with `==`"),
        ("foo-bar", "-", "unexpected `-`", "double quotes"),
        ("a + b", "+", "unexpected `+`", "no arithmetic"),
        ("a ? b : c", "?", "unexpected `?`", "`a && b || c`"),
        ("$.type", "$", "unexpected `$`", "`@`"),
        ("größe", "ö", "unexpected `ö`", "double quotes"),
        ("a & b", "&", "unexpected `&`", "`&&`"),
        ("a and b", "and", "unexpected `and`", "`&&`"),
        ("a.'b'", "'b'", "unexpected `'b'`", 'a."b"'),
        ('x || "lower"(a)', '"lower"', 'unexpected `"lower"`', "no quotes: `lower(…)`"),
        ("a)", ")", "unexpected `)`", None),
        ("a b", "b", "unexpected `b`", None),
        ("lower(trimm(a))", "trimm", "unknown function `trimm`", "did you mean `trim`?"),
        ("join(a[*].b)", "join", "`join` takes 2 arguments, not 1", "join(glue, list)"),
        ("event(a)", "event", "`event` takes no arguments, not 1", "event()"),
        ("split(a, b, c)", "split", "`split` takes 1 or 2 arguments, not 3", "split(string"),
        ("merge()", "merge", "`merge` takes at least 1 argument, not 0", "merge(object, ...)"),
        ("lower()", "lower", "`lower` takes 1 argument, not 0", "lower(string)"),
        ("a[::0]", "0", "the step of a slice cannot be 0", None),
        ("[b, a[0:0], a[1:2:0]]", "0", "the step of a slice cannot be 0", None),
        ("a.b || &c", "&", "`&` has no place here", "only `map`"),
        ("map(&a, b) && length(&c)", "&", "`&` has no place here", "`sort_by`"),
        ("map(a, b)", "a", "`map` wants an `&expression` as argument 1", "map(&expression, list)"),
        ("sort_by(a[?b], lower(c))", "lower(c)", "`sort_by` wants", "sort_by("),
        ("capture(a, b)", "b", "the regular expression of `capture` must be a literal", "single"),
        ("capture(a, '(x')", "(", "bad regular expression: missing )", None),
        ("capture(a, '(?P<a>x)(\\'')", "'(?P<a>x)(\\''", "bad regular expression", None),
        ("capture(a '(')", "capture", "bad regular expression", None),
    ],
)
def test_mistake(text, where, message, help):
    error = refused(text)
    assert message in error.message
    assert text[error.offset : error.offset + error.length] == where
    assert error.help is None if help is None else help in error.help
    assert str(error) == error.message


def test_the_last_of_two_zeros_is_the_step():
    assert refused("[b, a[0:0], a[1:2:0]]").offset == len("[b, a[0:0], a[1:2:")


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("lower(x) || trim(lower(nope(x)))", 23),
        ("a[?lower(b)].trim(nope(c)) | d", 18),
        ("a[?nope(b)].trim(c)", 3),
        ("{a: lower(b), c: nope(d)}", 17),
        ("[lower(nope), nope (x)]", 14),
        ("sort_by(a, &lower(b)) | map(&nope(@), @)", 29),
        ("'nope(' || \"nope\" || nope(a)", 21),
        ("(lower)(a) || ((nope))(b)", 16),
        ("f.nope(lower(g))[0]", 2),
        ("!nope(a) == lower(b)", 1),
    ],
)
def test_the_right_call_is_marked(text, offset):
    error = refused(text)
    assert (error.offset, error.length) == (offset, 4)
    assert error.message == "unknown function `nope`"


@settings(max_examples=150, deadline=None)
@given(expressions, st.data())
def test_the_right_call_is_marked_in_any_expression(text, data):
    """Misspell one call: the first mistake, so the caret must be there."""
    try:
        calls = [
            token
            for token, following in zip(tokens(text), tokens(text)[1:], strict=False)
            if token.type == "unquoted_identifier" and following.type == "lparen"
        ]
        compile_expression(text)
    except ExpressionError:
        return
    if calls:
        call = data.draw(st.sampled_from(calls))
        wrong = f"{text[: call.start]}no_such_function{text[call.end :]}"
        error = refused(wrong)
        if call.value in ("map", "sort_by", "min_by", "max_by"):
            assert error.message in ("unknown function `no_such_function`", "`&` has no place here")
        assert (error.offset, error.length) == (call.start, len("no_such_function"))


def test_functions_can_be_restricted():
    few = {"lower": FUNCTIONS["lower"]}
    assert compile_expression("lower(a)", few).evaluate({"a": "X"}, Scope()) == "x"
    error = refused("lower(a) && uuid()", few)
    assert error.message == "`uuid` is not available here"
    assert error.help == "only in: session.create"
    assert marked("lower(a) && uuid()", few) == "uuid"


def test_numbers_of_thousands_of_digits():
    assert "too many digits" in refused("a[" + "9" * 5000 + "]").message


def test_the_deprecated_literal_is_still_a_string():
    # pytest turns the library's PendingDeprecationWarning into an error if it gets out.
    assert search("a == `text`", {"a": "text"}) is True


def test_results_are_json():
    node = {"a": [{"b": 1}, {"b": 2}]}
    assert json.loads(json.dumps(search("{x: a[*].b, y: a[?b > `1`] | [0]}", node))) == {
        "x": [1, 2],
        "y": {"b": 2},
    }
