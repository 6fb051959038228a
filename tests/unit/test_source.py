"""YAML to nodes: values as YAML 1.2 has them, places as the author sees them, problems explained."""

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from takopi.adapters.positions import character_offsets
from takopi.adapters.source import MAX_NODES, Source, format_path, parse, plain, resolve
from takopi.diagnostics import has_errors


def load(text):
    root, problems = parse(Source("x.yaml", text))
    assert root is not None
    assert problems == []
    return root


def problem(text):
    """The first problem of a text."""
    _, problems = parse(Source("x.yaml", text))
    return problems[0]


def pointed_at(span):
    return span.text[span.column - 1 : span.column - 1 + span.length]


# Values


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("off", "off"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("10", 10),
        ("-3", -3),
        ("+3", 3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        (".inf", ".inf"),
        ("'true'", "true"),
        ('"10"', "10"),
        ("=", "="),
    ],
)
def test_only_true_false_null_and_numbers_have_a_type(written, value):
    found = plain(load(f"key: {written}\n"))["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("written", ["9" * 5000, "1e999", "-1e999"])
def test_a_number_that_is_too_large_is_text(written):
    assert plain(load(f"key: {written}\n"))["key"] == written


def test_keys_are_text_whatever_they_look_like():
    root = load("1: a\ntrue: b\nnull: c\n1.50: d\n")
    assert plain(root) == {"1": "a", "true": "b", "null": "c", "1.50": "d"}
    assert root.get("1.50").scalar == "d"


def test_anchors_aliases_and_merge_keys():
    text = "a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd:\n  <<: [{x: 9}, *a]\n"
    assert plain(load(text)) == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 1, "y": 2},
        "c": {"x": 1, "y": 3},
        "d": {"x": 9, "y": 2},
    }


def test_a_quoted_merge_key_is_a_key():
    assert plain(load("a: {'<<': 1}\n")) == {"a": {"<<": 1}}


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert plain(load("\ufeffa: 1\n")) == {"a": 1}


def test_get_key_node_and_resolve():
    root = load("a:\n  - b: 1\n  - 2\n")
    assert root.key_node("a").span.column == 1
    assert root.key_node("z") is None
    assert root.get("z") is None
    node, taken = resolve(root, ("a", 0, "b"))
    assert (node.scalar, taken) == (1, 3)
    assert resolve(root, ("a", 7, "b"))[1] == 1
    assert resolve(root, ("a", "b"))[1] == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("a",), "a"), (("a", 0, "b", 1, 2), "a[0].b[1][2]"), ((0, "a"), "[0].a")],
)
def test_format_path(path, text):
    assert format_path(path) == text


# Lines and columns


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_end_as_editors_have_it(newline):
    source = Source("x.yaml", newline.join(["one", "two", "three\u2028four"]))
    span = source.span(source.text.index("four"), len(source.text))
    assert (span.line, span.column, span.length, span.text) == (3, 7, 4, "three\u2028four")


def test_a_span_ends_with_its_line_and_is_never_empty():
    source = Source("x.yaml", "ab\ncd\n")
    assert source.span(1, 5).length == 1
    assert source.span(2, 2).length == 1
    assert source.span(99, 120).line == 3
    assert source.span(-5, 1).column == 1


# Where each character of a scalar is written

LETTERS = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))
TEXTS = st.text(LETTERS, max_size=30)
WORDS = st.text("abcXYZé文🎉.()'\"\\|&", min_size=1, max_size=8).filter(
    lambda word: word[0] not in "'\"|&"
)
NEWLINES = st.sampled_from(["\n", "\r\n"])


def scalar(written, newline="\n", before=""):
    """The node of a scalar put into a document."""
    text = f"head: 1\nkey: {before}{written}\nlast: 2\n".replace("\n", newline)
    root, _ = parse(Source("x.yaml", text))
    assert root is not None
    return root.get("key")


def assert_points_at_itself(node, shown=None):
    """Every character that is no white space is found; ``shown`` is how it is written there."""
    for index, char in enumerate(node.scalar):
        if not char.isspace():
            assert pointed_at(node.span_within(index, 1)).startswith((shown or {}).get(index, char))


@given(TEXTS, st.sampled_from(["", "&anchor "]))
@example("\xa0no-break", "&anchor ")
def test_places_in_plain_text(text, before):
    try:
        node = scalar(text, before=before)
    except AssertionError:
        return  # not plain text
    if node is None or node.style or node.scalar != text:
        return
    assert_points_at_itself(node)


@given(TEXTS, st.sampled_from(["", "&anchor "]))
@example("it's", "")
@example("''", "&anchor ")
def test_places_in_single_quotes(text, before):
    node = scalar("'" + text.replace("'", "''") + "'", before=before)
    assert node.scalar == text
    assert_points_at_itself(node)


@given(st.lists(st.tuples(LETTERS, st.sampled_from("rxuU")), max_size=20))
def test_places_in_double_quotes(chars):
    written, shown = "", {}
    for index, (char, how) in enumerate(chars):
        code = ord(char)
        if how == "r":
            escaped = {'"': '\\"', "\\": "\\\\"}.get(char, char)
        elif how == "x" and code < 0x100:
            escaped = f"\\x{code:02x}"
        elif how in "xu" and code < 0x10000:
            escaped = f"\\u{code:04x}"
        else:
            escaped = f"\\U{code:08x}"
        shown[index] = escaped[0]
        written += escaped
    node = scalar(f'"{written}"')
    assert node.scalar == "".join(char for char, _ in chars)
    assert_points_at_itself(node, shown)


@given(
    st.lists(TEXTS, min_size=1, max_size=6), NEWLINES, st.sampled_from(["|", "|-", "|+", "| # a"])
)
@example(["", "x", "", "  y"], "\r\n", "|")
def test_places_in_a_literal_block(lines, newline, header):
    if not any(line.strip() for line in lines):
        return
    first = next(line for line in lines if line.strip())
    if first[0].isspace() or any(line and not line.strip() for line in lines):
        return
    body = "\n".join(f"  {line}" if line else "" for line in lines)
    node = scalar(f"{header}\n{body}", newline)
    assert node.scalar.rstrip("\n") == "\n".join(lines).rstrip("\n")
    assert_points_at_itself(node)


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=5),
    NEWLINES,
    st.sampled_from([">", ">-"]),
    st.sampled_from(["\n", "\n\n", "\n\n\n"]),
)
def test_places_in_a_folded_block(lines, newline, header, between):
    body = between.join("   " + " ".join(words) for words in lines)
    node = scalar(f"{header}\n{body}", newline)
    assert node.scalar.split() == [word for words in lines for word in words]
    assert_points_at_itself(node)


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=4), min_size=1, max_size=5),
    NEWLINES,
    st.sampled_from(["", "'", '"']),
    st.sampled_from(["\n   ", " \n ", "\n\n ", "\n \n\n  "]),
)
def test_places_in_a_text_over_several_lines(lines, newline, quote, between):
    text = between.join(" ".join(words) for words in lines)
    shown = {"'": "''"} if quote == "'" else {'"': '\\"', "\\": "\\\\"} if quote else {}
    written = "".join(shown.get(char, char) for char in text)
    node = scalar(f"{quote}{written}{quote}", newline)
    assert node.scalar.split() == [word for words in lines for word in words]
    first = {i: shown[c][0] for i, c in enumerate(node.scalar) if c in shown}
    assert_points_at_itself(node, first)


def test_an_escaped_line_break_is_no_character():
    node = scalar('"one \\\n   two\\\n\n  three"')
    assert node.scalar == "one two\nthree"
    assert_points_at_itself(node)


@given(st.text(max_size=40), st.sampled_from([None, "'", '"', "|", ">"]), st.text(max_size=40))
def test_places_are_told_or_not_but_nothing_fails(raw, style, value):
    offsets = character_offsets(raw, style, value)
    assert offsets is None or len(offsets) == len(value) + 1


def test_what_cannot_be_followed_is_the_whole_scalar():
    node = scalar("'abc'")
    assert node.span_within(7, 1) == node.span


def test_a_place_in_a_number_counts_from_its_start():
    assert pointed_at(scalar("1234").span_within(1, 2)) == "23"


# Problems


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_a_problem(text):
    root, problems = parse(Source("x.yaml", text))
    assert root is not None or has_errors(problems)
    for found in problems:
        assert found.span is not None
        assert 1 <= found.span.column <= len(found.span.text) + 1


def test_duplicate_keys_show_both_places():
    found = problem("a: 1\nb: 2\na: 3\n")
    assert found.code == "duplicate-key"
    assert (found.span.line, found.related[0][0].line) == (3, 1)


def test_a_merge_key_is_written_once():
    assert problem("a: &a {x: 1}\nb: {<<: *a, <<: *a}\n").code == "duplicate-key"


@pytest.mark.parametrize(
    "text",
    [
        "[" * 30_000,
        "[" * 30_000 + "]" * 30_000,
        "{a: " * 30_000,
        "- " * 30_000,
        "? " * 30_000,
        "a: " + "[" * 70 + "]" * 70,
        "\n".join(" " * i + "a:" for i in range(100)),
    ],
    ids=["open", "closed", "braces", "dashes", "keys", "a few", "indented"],
)
def test_deep_nesting_is_refused_before_anything_overflows(text):
    assert problem(text).message == "values are nested too deep"


def test_a_long_flat_list_is_not_deep():
    assert len(load("- 1\n" * 3000).items) == 3000


def test_aliases_that_multiply_are_refused():
    text = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for name, before in zip("bcde", "abcd", strict=True):
        text += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    assert MAX_NODES < 10**5
    found = problem(text)
    assert found.message == "aliases multiply into too many values"
    assert found.span.line == 5


def test_an_alias_inside_its_own_value():
    assert problem("a: &a [1, *a]\n").message == "an alias that contains itself"
    assert problem("a: &a {<<: *a}\n").message == "an alias that contains itself"


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        ("!a.b", '"!a.b"'),
        ("!x == 'y'", "\"!x == 'y'\""),
        ("&z !a", '"!a"'),
        ("!!str 1", '"!!str 1"'),
        ("!a [1]", '"!a [1]"'),
    ],
)
def test_a_tag_is_a_text_that_lacks_its_quotes(written, advice):
    found = problem(f"key: {written}\n")
    assert found.code == "syntax"
    assert found.help == f"quote the expression: {advice}"


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("a: x ${b} #${c}\n", True),
        ("a: x${join(' #', b)}\n", True),
        ("a: x${b} # a note\n", False),
        ("a: x # a note\n", False),
        ("a: 'x' # ${b}\n", False),
        ("a: # ${b}\n  x\n", False),
    ],
)
def test_a_comment_that_takes_part_of_a_template(text, lost):
    _, problems = parse(Source("x.yaml", text))
    assert bool(problems) == lost


def test_no_message_is_about_yamls_grammar():
    """The complaints of the reader that people meet are put in other words."""
    texts = ["a: b: c", "a: [1", "a: {1", "a: 'x", "a: *b", "a: @b", "\ta: 1", 'a: "\\q"', "a: - b"]
    for text in texts:
        assert not re.search(
            r"did not|block mapping|flow|scalar|token|stream", problem(text).message
        )


def test_a_file_far_too_large_is_not_even_read():
    began = time.perf_counter()
    found = problem("events:\n" + "  - match: {type: x}\n" * 400_000)
    assert found.message == "the file is too large for an adapter: 8203 KiB"
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("text", "message", "pointed"),
    [
        ("adapter: [\n", "this `[` is never closed", "["),
        (
            "a: {b: [1, '[', {c: 1\n",
            "something in this `{` must be quoted, or it is not closed",
            "",
        ),
        ("a: [1, {b: 'x]', c: [ # [\n", "this `[` is never closed", "["),
        ("a: }\n", "this `}` closes nothing", "}"),
        ("a: [x]]\n", "this `]` closes nothing", "]"),
        ("a: 1\n\tb: 2\n", "a tab cannot indent", "\t"),
        ("a: |\n x\n\ty\n", "a tab cannot indent", "\t"),
        ("%YAML 9.9\n---\na: 1\n", "a `%YAML` line with a version that cannot be read", "%"),
        ("a: !<x y\n", "an unquoted leading `!` begins a YAML tag", "!"),
    ],
)
def test_what_the_yaml_reader_says_in_words_about_adapters(text, message, pointed):
    found = problem(text)
    assert found.message == message
    assert found.help
    assert pointed == "" or pointed_at(found.span) == pointed
