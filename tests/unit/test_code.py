"""Generated source: what an adapter writes never becomes part of it, and it is made when needed."""

from __future__ import annotations

import io
import json
import keyword
import re
import tokenize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.adapters.catalog import Catalog, Entry
from takopi.adapters.code import Value, Writer, called, constant, group, stores, variable
from takopi.adapters.expressions import ExpressionCompiler
from takopi.adapters.fixtures import all_rules
from takopi.adapters.jmes import compile_expression
from takopi.adapters.scope import Scope
from takopi.adapters.source import Source, parse
from takopi.bundled import bundled
from tests.oracle.reference import reference_search, same_json

OUR_WORDS = {"run", "node", "scope", "NUMBERS", "dict", "list", "str", "bool", "type", "len"}
OUR_ATTRIBUTES = {"get", "append", "values", "event", "state", "run", "options", "environ"}
KEYWORDS = {
    "def",
    "return",
    "if",
    "else",
    "for",
    "in",
    "is",
    "not",
    "or",
    "and",
    "elif",
    "None",
    "break",
}
KEYWORDS |= {"try", "except", "as", "pass"}


def source_of(value: Value) -> str:
    writer = Writer()
    return writer.source(value.write(writer, "node").text)


def foreign(source: str) -> list[str]:
    """What a source holds that is neither a phrase of ours nor a name that the writer invented."""
    found, before = [], ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string
        if token.type == tokenize.NAME:
            known = OUR_ATTRIBUTES if before == "." else OUR_WORDS | KEYWORDS | {"error"}
            if text not in known and not re.fullmatch(r"[vc]\d+", text):
                found.append(text)
        elif token.type in (tokenize.STRING, tokenize.NUMBER, tokenize.COMMENT):
            found.append(text)
        before = text
    return found


HOSTILE = [
    "__import__('os').system('false')",
    "x') or exit() #",
    'x"); raise SystemExit #',
    "a\n raise SystemExit",
    "a\r\nimport os",
    "a\u2028b\u0085c",
    "\\",
    "'",
    '"""',
    "{node}",
    "%s",
    "v2",
    "c8",
    "node",
    "scope",
    "__builtins__",
    "None",
    "\0",
    "\ud800",
    "ﬁ",
    "",
]

FORMS = [
    "{name}",
    "a.{name}.b",
    "{{{name}: {text}}}",
    "[{name}, {text}, {json}]",
    "{name} == {text}",
    "{text} != {name} || {json}",
    "not_null({name}, {text})",
    "a[?{name} == {text}].{name} | [0]",
    "*.{name}",
    "map(&{name}, to_array(@))",
    "contains(keys(@), {text}) && state().{name}",
    "!event().{name}",
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_and_literals_stay_out_of_the_source(form, hostile):
    check_form(form, hostile)


@given(st.sampled_from(FORMS), st.text())
@settings(deadline=None, max_examples=150)
def test_any_text_stays_out_of_the_source(form, hostile):
    check_form(form, hostile)


def check_form(form, hostile):
    name, quoted = json.dumps(hostile), json.dumps(hostile).replace("`", "\\`")
    text = form.format(name=name, text=f"`{quoted}`", json=f'`{{"a": [{quoted}]}}`')
    expression = compile_expression(text)
    assert foreign(source_of(expression)) == []
    expression.evaluate({hostile: hostile, "a": [{hostile: hostile}]}, Scope())


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_fields_are_read_and_hostile_texts_given_back(hostile):
    quoted = json.dumps(hostile)
    node = {hostile: {"a": 1}}
    assert compile_expression(quoted).evaluate(node, Scope()) == {"a": 1}
    assert compile_expression(f"{{{quoted}: {quoted}.a}}").evaluate(node, Scope()) == {hostile: 1}
    assert compile_expression(f"[`{quoted}`]").evaluate(node, Scope()) == [hostile]


def test_a_hostile_regular_expression_stays_out_of_the_source():
    expression = compile_expression(r"capture(a, '(?P<b>x\)\n raise SystemExit)').b")
    assert foreign(source_of(expression)) == []


def test_hostile_keys_of_mappings_stay_out_of_the_source():
    hostile = "a': exit(), 'b"
    root, problems = parse(Source("x.yaml", f'"{hostile}": ["${{a}} \\"\\"\\" exit()", b]\n'))
    assert root is not None
    assert problems == []
    value = ExpressionCompiler().mapping(root, ())
    assert foreign(source_of(value)) == []
    wanted = {hostile: ['1 """ exit()', 2]}
    assert value.evaluate({"a": 1, "b": 2}, Scope()) == wanted


def test_every_source_of_every_adapter_is_made_of_our_words():
    files = sorted(bundled("adapters").glob("*.yaml"))
    catalog = Catalog({f.stem: [Entry(f.stem, f, "built-in")] for f in files})
    seen = 0
    for engine in catalog.ids:
        rules = catalog.adapter(engine).rules
        assert foreign(source_of(rules.choice)) == [], engine
        for rule in all_rules(rules):
            if rule.rules is not None:
                assert foreign(source_of(rule.rules.choice)) == [], rule.place
            values = [rule.store, rule.condition, rule.each]
            values += [plan.values for plan in (rule.action, rule.complete) if plan is not None]
            for value in filter(None, values):
                seen += 1
                assert foreign(source_of(value)) == [], rule.place
    assert seen > 200


def test_the_source_reaches_no_builtins():
    writer = Writer()
    assert writer.names["__builtins__"] == {}
    assert not {"open", "exec", "eval", "getattr", "__import__"} & set(writer.names)
    assert set(OUR_WORDS) - {"run", "node", "scope"} <= set(writer.names)
    assert all(keyword.iskeyword(word) for word in KEYWORDS)


def test_a_value_is_compiled_when_it_is_first_needed_and_once():
    written = []

    def write(writer, here):
        written.append(here)
        return constant(7).write(writer, here)

    value = Value(write)
    assert written == []
    assert [value.evaluate(None, Scope()) for _ in range(3)] == [7, 7, 7]
    assert written == ["node"]


def test_a_group_reads_a_shared_path_once_and_only_once():
    texts = ["a.b.c", "a.b.d", "a.b", "length(a.b.c)", "a.b.c == 'x' && a.b.d"]
    source = source_of(group([compile_expression(text) for text in texts]))
    assert source.count(".get(") == 4  # a, b, c, d


def test_what_only_one_branch_has_read_is_read_again():
    value = compile_expression("[a && b.c, b.c]")
    assert value.evaluate({"b": {"c": 1}}, Scope()) == [None, 1]
    assert value.evaluate({"a": 1, "b": {"c": 1}}, Scope()) == [1, 1]


def test_a_failing_part_of_a_group_leaves_the_others_alone():
    failures = []
    root, _ = parse(Source("x.yaml", "[length(a.b), a.b, length(c.d), c.d]"))
    assert root is not None
    value = ExpressionCompiler().mapping(root, ())
    scope = Scope(failed=lambda place, error: failures.append(place.path))
    assert value.evaluate({"a": {"b": 1}, "c": {"d": "xy"}}, scope) == [None, 1, 2, "xy"]
    assert failures == ["[0]"]


def test_variables_are_stored_after_all_are_computed():
    scope = Scope(state={"a": 1, "b": 2})
    stores([("a", variable("b")), ("b", variable("a"))]).evaluate({}, scope)
    assert scope.state == {"a": 2, "b": 1}


def test_a_call_gets_node_and_scope():
    scope = Scope()
    assert Value(called(lambda node, scope: (node, scope))).evaluate(1, scope) == (1, scope)


@pytest.mark.parametrize("form", ["[?{}]", "map(&{}, @)"])
def test_loops_deeper_than_python_nests_them(form):
    text, node = "@", [1]
    for _ in range(40):
        text, node = form.format(text), [node]
    assert compile_expression(text).evaluate(node, Scope()) == node


@pytest.mark.parametrize("form", ["{}[0]", "{}.a", "{}[*]", "{} | [1:]", "!{}", "{} == {}", "[{}]"])
@pytest.mark.parametrize(
    "value", ["`null`", "`true`", "`0`", "`1.5`", "'x'", "`[]`", "`{{}}`", "a"]
)
def test_python_has_no_objection_to_any_constant(form, value):
    text = form.replace("{}", value.replace("{{}}", "{}"))
    assert same_json(compile_expression(text).evaluate({}, Scope()), reference_search(text, {}))


def test_a_deep_constant_is_folded_in_no_time():
    assert compile_expression("!" * 150 + "`true`").literal() is True
