"""Templates: where an expression ends, what is literal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.adapters.template import (
    ExpressionPart,
    TemplateError,
    as_text,
    is_template,
    split_template,
)


def parts(text):
    """Literal texts as they are, expressions in a tuple."""
    return [p if isinstance(p, str) else (p.text,) for p in split_template(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [""]),
        ("plain", ["plain"]),
        ("$", ["$"]),
        ("$x {y}", ["$x {y}"]),
        ("${a}", [("a",)]),
        ("${ a.b }", [("a.b",)]),
        ("x${a}y${b}", ["x", ("a",), "y", ("b",)]),
        ("$${a}", ["${a}"]),
        ("$$${a}", ["$${a}"]),
        ("$${a}${b}", ["${a}", ("b",)]),
        ("${ {a: b}.a }!", [("{a: b}.a",), "!"]),
        ("${ {a: {b: c}} }", [("{a: {b: c}}",)]),
        ("${join('}', a)}", [("join('}', a)",)]),
        ("${join('{', a)}", [("join('{', a)",)]),
        ('${"}"}', [('"}"',)]),
        ('${`{"a": "}"}`}', [('`{"a": "}"}`',)]),
        (r"${'it\'s }'}", [(r"'it\'s }'",)]),
        ("${}", [("",)]),
        ("a\n${b}\nc", ["a\n", ("b",), "\nc"]),
    ],
)
def test_split(text, expected):
    assert parts(text) == expected


@pytest.mark.parametrize(
    ("text", "offset"),
    [("${", 0), ("ab${c", 2), ("${a}${ {b}", 4), ("${'}", 0), ("$${a} ${b", 6)],
)
def test_what_is_not_closed_says_where_it_begins(text, offset):
    with pytest.raises(TemplateError) as error:
        split_template(text)
    assert error.value.offset == offset


def test_an_offset_is_where_the_expression_begins():
    text = "x ${  a } ${b}"
    expressions = [p for p in split_template(text) if isinstance(p, ExpressionPart)]
    assert [text[p.offset :][:1] for p in expressions] == ["a", "b"]


EXPRESSIONS = st.sampled_from(["a", "a.b", "{a: b}", "join('}', @)", "`{}`", '"{"', r"'\''"])


# A `$` right before `${` makes an escape of it.
LITERALS = st.text("ab {}'\"`\\$\n", min_size=1, max_size=8).filter(
    lambda text: not text.endswith("$") and "$$" not in text
)


@given(st.lists(st.tuples(LITERALS, EXPRESSIONS), max_size=4), st.one_of(st.just(""), LITERALS))
def test_what_is_joined_is_split_again(pairs, end):
    text = "".join(literal.replace("${", "$${") + "${" + e + "}" for literal, e in pairs)
    expected = [part for literal, e in pairs for part in (literal, (e,))]
    if end or not pairs:
        expected.append(end)
    assert parts(text + end.replace("${", "$${")) == expected


@given(st.text(st.sampled_from("${}a'\"`\\ "), max_size=20))
def test_escaped_text_is_literal(text):
    escaped = text.replace("${", "$${")
    assert "".join(p for p in split_template(escaped) if isinstance(p, str)) == text


@given(st.text(st.sampled_from("${}a'\"`\\ \n"), max_size=30))
def test_any_text_is_split_or_refused(text):
    try:
        found = split_template(text)
    except TemplateError as error:
        found = [ExpressionPart("${", error.offset)]
    assert found
    for part in found:
        if isinstance(part, ExpressionPart):
            assert text.startswith(part.text, part.offset)


def test_a_template_has_an_expression_or_an_escape():
    assert is_template("a ${b}")
    assert is_template("$${b}")
    assert not is_template("$b {c} $ {")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        (True, "true"),
        (1, "1"),
        (1.5, "1.5"),
        ([1, "ä"], '[1, "ä"]'),
        ({"a": None}, '{"a": null}'),
    ],
)
def test_values_joined_into_text(value, text):
    assert as_text(value) == text
