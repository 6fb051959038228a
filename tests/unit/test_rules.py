"""Matching: what equals what, and that the dispatch tables change nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from takopi.adapters.code import Value, called, constant
from takopi.adapters.rules import Rule, compile_rules, json_equal, matcher, read_path
from takopi.adapters.scope import Place, Scope

SCOPE = Scope()


def rule(match, condition=None, number=0):
    return Rule(
        place=Place("x.yaml", number, f"events[{number}]"),
        match={tuple(path.split(".")): tuple(values) for path, values in match.items()},
        condition=condition,
        set=(),
        append=(),
        action=None,
        complete=None,
        each=None,
        rules=None,
        values=(),
        inherited=False,
    )


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1, True),
        (1, 1.0, True),
        (1, True, False),
        (True, True, True),
        (0, False, False),
        (None, None, True),
        (None, False, False),
        ("1", 1, False),
        ("", None, False),
        ([], None, False),
        ({}, None, False),
        ([1], 1, False),
    ],
)
def test_equality_is_that_of_json(left, right, equal):
    assert json_equal(left, right) is equal


@pytest.mark.parametrize(
    ("match", "node", "matches"),
    [
        ({"a": ["x"]}, {"a": "x"}, True),
        ({"a": ["x", "y"]}, {"a": "y"}, True),
        ({"a": ["x", "y"]}, {"a": ["x", "y"]}, False),
        ({"a.b": ["x"]}, {"a": {"b": "x"}}, True),
        ({"a.b": ["x"]}, {"a.b": "x"}, False),
        ({"a.b": ["x"]}, {"a": ["x"]}, False),
        ({"a.b": [None]}, {"a": "text"}, True),
        ({"a": [None]}, {}, True),
        ({"a": [None]}, {"a": None}, True),
        ({"a": [None]}, {"a": ""}, False),
        ({"a": [None, "x"]}, {"a": "x"}, True),
        ({"a": ["x"], "b": [1]}, {"a": "x", "b": 1}, True),
        ({"a": ["x"], "b": [1]}, {"a": "x", "b": True}, False),
        ({"a": ["x"], "b": [1]}, {"a": "x"}, False),
        ({"a": [None]}, "no object", True),
        ({"a": ["x"]}, None, False),
    ],
)
def test_matching(match, node, matches):
    paths = {tuple(path.split(".")): tuple(values) for path, values in match.items()}
    assert matcher(paths)(node) is matches
    assert (compile_rules([rule(match)]).find(node, SCOPE) is not None) is matches


@pytest.mark.parametrize(
    ("value", "matches"),
    [(0, True), ("x", True), ([0], True)]
    + [(v, False) for v in (None, False, "", [], {})],
)  # fmt: skip
def test_a_condition_is_jmespath_truth(value, matches):
    rules = compile_rules([rule({"a": [None]}, constant(value))])
    assert (rules.find({}, SCOPE) is not None) is matches


def test_read_path():
    node = {"a": {"b": {"c": 1}}, "x": 5}
    assert read_path(node, ("a", "b", "c")) == 1
    assert read_path(node, ("x", "y")) is None
    assert read_path(node, ("nope",)) is None
    assert read_path([], ("a",)) is None


PATHS = ["a", "b", "a.b", "a.c", "c.d.e"]
LITERALS = st.sampled_from(["x", "y", "z", "", 0, 1, 1.0, 2.5, True, False, None])
MATCHES = st.dictionaries(
    st.sampled_from(PATHS), st.lists(LITERALS, min_size=1, max_size=3), min_size=1, max_size=4
)
VALUES = st.recursive(
    LITERALS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(list("abcde")), inner, max_size=4)
    ),
    max_leaves=8,
)
NODES = st.dictionaries(st.sampled_from(list("abcde")), VALUES, max_size=4) | VALUES


def reads_true(path):
    return Value(called(lambda node, scope: read_path(node, tuple(path.split("."))) is True))


CONDITIONS = st.none() | st.sampled_from(PATHS)


def naive(entries, node):
    """The sentence of the format as plainly as it can be written: the first rule that matches."""
    for number, (match, condition) in enumerate(entries):
        for path, values in match.items():
            found = node
            for key in path.split("."):
                found = found.get(key) if isinstance(found, dict) else None
            same = [
                found == v and isinstance(found, bool) == isinstance(v, bool) for v in values
            ]  # fmt: skip
            if not any(same):
                break
        else:
            if condition is None or reads_true(condition).evaluate(node, SCOPE):
                return number
    return None


@given(st.lists(st.tuples(MATCHES, CONDITIONS), max_size=12), st.lists(NODES, max_size=12))
def test_dispatch_is_the_same_as_trying_rules_in_order(entries, nodes):
    rules = [
        rule(match, reads_true(condition) if condition else None, number)
        for number, (match, condition) in enumerate(entries)
    ]
    find = compile_rules(rules).find
    for node in nodes:
        found = find(node, SCOPE)
        assert (found.place.line if found is not None else None) == naive(entries, node)


def test_many_rules_compile_to_small_tables():
    rules = [
        rule({"type": [f"t{i}"], "sub": [f"s{i % 7}"], "x": [i % 5], "y": ["z"]}) for i in range(400)
    ]  # fmt: skip
    find = compile_rules(rules).find
    assert find({"type": "t399", "sub": "s0", "x": 4, "y": "z"}, SCOPE) is rules[399]
