"""Checks across values and across adapters."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.adapters.checks import resume_overlap, unreachable
from takopi.adapters.compile import compile_adapter
from takopi.adapters.rules import matcher
from takopi.adapters.source import Source, parse

BASE = """\
adapter: 1
id: {id}
command: acme
args: [run, "${{run().resume}}", "${{run().prompt}}"]
resume: {resume}
session: {{id: id}}
events:
  - match: {{type: a}}
    complete: {{answer: text}}
"""


def adapter(engine, line=None, regex=None, extends=None):
    resume = f"{{line: '{line}'" + (f", regex: '{regex}'}}" if regex else "}") if line else "null"
    text = BASE.format(id=engine, resume=resume)
    compiled = compile_adapter(Source(f"{engine}.yaml", text), stem=engine)
    assert compiled.diagnostics == ()
    found = compiled.adapter
    spec = found.spec.model_copy(update={"extends": extends})
    return replace(found, spec=spec)


# Resume lines that two adapters understand


def overlap(lower, *higher):
    root, _ = parse(Source("x.yaml", "resume: {line: x}"))
    return resume_overlap(lower, root.get("resume"), higher)


def test_lines_of_their_own_do_not_overlap():
    assert overlap(adapter("a", "a resume ${token}"), adapter("b", "b resume ${token}")) == []


def test_the_same_line_twice_is_an_error_of_the_lower_one():
    [found] = overlap(adapter("a", "x resume ${token}"), adapter("b", "x resume ${token}"))
    assert (found.code, found.severity, found.path) == ("resume-overlap", "error", "resume")
    assert "understood by `b` too" in found.message
    assert (found.span.line, found.span.column) == (1, 9)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_wider_regex_overlaps_whoever_is_the_lower_one(swapped):
    wide = adapter("wide", "wide ${token}", r"(?im)^\s*`?(?:wide|narrow) (?P<token>[^`\s]+)`?$")
    pair = [wide, adapter("narrow", "narrow ${token}")]
    lower, higher = reversed(pair) if swapped else pair
    assert [d.severity for d in overlap(lower, higher)] == ["error"]


@pytest.mark.parametrize("child_is_lower", [False, True])
def test_a_wrapper_may_share_its_parents_line(child_is_lower):
    child = adapter("child", "x ${token}", extends="parent")
    parent = adapter("parent", "x ${token}")
    pair = (child, parent) if child_is_lower else (parent, child)
    assert [d.severity for d in overlap(*pair)] == ["warning"]


def test_only_adapters_that_resume_overlap():
    silent = adapter("a")
    assert overlap(silent, adapter("b", "x ${token}")) == []
    assert overlap(adapter("b", "x ${token}"), silent) == []


def test_each_other_adapter_is_named():
    same = [adapter(engine, "x ${token}") for engine in ("b", "c")]
    assert len(overlap(adapter("a", "x ${token}"), *same)) == 2


# Rules that never act

SOURCE = Source("x.yaml", "[" + ", ".join("{match: {a: 1}}" for _ in range(9)) + "]")
NODES = parse(SOURCE)[0].items


def reported(rules):
    """The indices of rules that are said never to act; a rule is its match and its condition."""
    prepared = [({tuple(k.split(".")): v for k, v in m.items()}, c) for m, c in rules]
    found = unreachable(prepared, NODES[: len(rules)], ("events",), SOURCE)
    return [int(d.path.removeprefix("events[").removesuffix("]")) for d in found]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([({"a": ("x",)}, None), ({"a": ("x",)}, None)], [1]),
        ([({"a": ("x", "y")}, None), ({"a": ("x",), "b": ("z",)}, None)], [1]),
        ([({"a": ("x",)}, None), ({"a": ("x", "y")}, None)], []),
        ([({"a": ("x",)}, None), ({"a": ("y",)}, None), ({"a": ("x", "y")}, None)], [2]),
        ([({"a": ("x",), "b": ("z",)}, None), ({"a": ("x",)}, None)], []),
        ([({"a": ("x",)}, "c"), ({"a": ("x",)}, None)], []),
        ([({"a": ("x",)}, "c"), ({"a": ("x",)}, "c")], [1]),
        ([({"a": ("x",)}, "c"), ({"a": ("x",)}, "d")], []),
        ([({"a": ("x",)}, None), ({"a": ("x",)}, "d")], [1]),
        ([({"a": (None,)}, None), ({"b": ("x",)}, None)], []),
        ([({"a": (1,)}, None), ({"a": (True,)}, None)], []),
        ([({"a": (1,)}, None), ({"a": (1.0,)}, None)], [1]),
        ([({}, None), ({"a": ("x",)}, None)], []),
        ([({"a": ("x",)}, None), ({}, None)], []),
    ],
)
def test_unreachable(rules, expected):
    assert reported(rules) == expected


def test_an_inherited_rule_may_be_beaten():
    other = parse(Source("parent.yaml", "[{match: {a: 1}}]"))[0].items[0]
    rules = [({("a",): ("x",)}, None), ({("a",): ("x",)}, None)]
    assert unreachable(rules, [NODES[0], other], (), SOURCE) == []
    assert unreachable(rules, [other, NODES[0]], (), SOURCE) != []


def test_very_many_combinations_are_not_tried():
    many = tuple(str(n) for n in range(70))
    assert reported([({"a": many}, None), ({"a": many}, None)]) == []


VALUES = st.lists(st.sampled_from(["x", "y", None, 1, True]), min_size=1, max_size=2).map(tuple)
MATCHES = st.dictionaries(st.sampled_from(["a", "b"]), VALUES, min_size=1, max_size=2)
UNIVERSE = [
    dict(zip("ab", values, strict=True))
    for values in itertools.product(["x", "y", None, 1, True, "other"], repeat=2)
]


@given(st.lists(MATCHES, min_size=2, max_size=4))
def test_what_is_reported_never_acts(matches):
    tests = [matcher({(k,): v for k, v in match.items()}) for match in matches]
    acting = {next((i for i, test in enumerate(tests) if test(node)), None) for node in UNIVERSE}
    said = reported([(match, None) for match in matches])
    assert not acting & set(said)
    if all(set(match) == {"a"} for match in matches):  # of one path everything is known
        assert set(said) == set(range(len(matches))) - acting
