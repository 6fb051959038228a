"""Compiling: inheritance, one problem per cause, and that no text whatever makes it fail."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from takopi.adapters.compile import compile_adapter
from takopi.adapters.scope import Scope
from takopi.adapters.source import Source
from takopi.diagnostics import CODES, has_errors, render_github, render_json, render_text
from takopi.errors import SpecError

CHECKOUT = Path(__file__).parents[2]
GOOD = [
    path.read_text(encoding="utf-8")
    for folder in ("adapters", "fixtures/specs/good")
    for path in sorted((CHECKOUT / folder).glob("*.yaml"))
]

PARENT = """\
adapter: 1
id: parent
name: Parent
description: The parent
homepage: https://example.com
install: pip install parent
tested: "1"
command: parent
options:
  model: {type: string}
args: [run, "${options().model}", "${run().prompt}"]
resume: {line: "parent ${token}"}
session: {id: id}
tools:
  - {name: bash, kind: command}
hints:
  - {match: login, say: log in}
events:
  - match: {type: text}
    set: {answer: text}
  - match: {type: result}
    complete: {}
quiet: 7
"""
CHILD = "adapter: 1\nid: child\nextends: parent\nresume: null\n"


def family(**texts):
    """A `parents` function over texts by id."""
    return lambda engine: Source(f"{engine}.yaml", texts[engine]) if engine in texts else None


def compile_child(text, **parents):
    parents = parents or {"parent": PARENT}
    return compile_adapter(Source("child.yaml", text), stem="child", parents=family(**parents))


def child(text):
    compiled = compile_child(CHILD + text)
    assert compiled.diagnostics == ()
    return compiled.adapter


# extends


def test_what_a_child_does_not_say_is_its_parents():
    found = child("")
    assert found.id == "child"
    assert found.spec.command == "parent"
    assert found.spec.quiet == 7
    assert [rule.match for rule in found.rules.rules] == [
        {("type",): ("text",)},
        {("type",): ("result",)},
    ]


@pytest.mark.parametrize("key", ["name", "description", "homepage", "install", "tested", "resume"])
def test_what_speaks_about_the_parent_is_never_inherited(key):
    assert getattr(child("").spec, key) is None


def test_a_missing_resume_is_not_taken_from_the_parent():
    compiled = compile_child(CHILD.replace("resume: null\n", ""))
    assert [d.message for d in compiled.diagnostics] == ["`resume` is missing"]


def test_a_key_replaces_the_parents():
    found = child(
        "args: [go, '${run().prompt}']\noptions: {}\nevents:\n  - match: {type: x}\n    complete: {}\n"
    )
    assert found.args[0].value.literal() == "go"
    assert found.spec.options == {}
    assert len(found.rules.rules) == 1


def test_inherit_stands_for_the_parents_items():
    text = (
        "events:\n  - match: {type: first}\n  - inherit\n  - match: {type: last}\n"
        "tools:\n  - inherit\n  - {name: sh, kind: command}\n"
        "hints: [{match: x, say: y}, inherit]\n"
    )
    found = child(text)
    assert [rule.match[("type",)][0] for rule in found.rules.rules] == [
        "first",
        "text",
        "result",
        "last",
    ]
    assert [rule.inherited for rule in found.rules.rules] == [False, True, True, False]
    assert [tool.name for tool in found.spec.tools] == ["bash", "sh"]
    assert [hint.say for hint in found.hints] == ["y", "log in"]


def test_inherit_of_nothing_is_nothing():
    parent = PARENT.replace("hints:\n  - {match: login, say: log in}\n", "")
    compiled = compile_child(CHILD + "hints: [inherit]\n", parent=parent)
    assert compiled.adapter.hints == ()


def test_a_childs_rule_may_stand_before_the_one_it_overrides():
    found = child("events:\n  - match: {type: text}\n    set: {answer: other}\n  - inherit\n")
    rule = found.rules.find({"type": "text"}, Scope())
    assert not rule.inherited


def test_a_childs_rule_behind_the_parents_never_acts():
    compiled = compile_child(CHILD + "events:\n  - inherit\n  - match: {type: text}\n")
    [found] = compiled.diagnostics
    assert found.code == "unreachable-rule"
    assert (found.span.file, found.span.line) == ("child.yaml", 7)
    assert found.related[0][0].file == "parent.yaml"


def test_grandparents():
    middle = "adapter: 1\nid: middle\nextends: parent\nresume: null\nevents:\n  - inherit\n  - match: {type: m}\n"
    text = CHILD.replace("extends: parent", "extends: middle") + "events:\n  - inherit\n"
    compiled = compile_child(text, parent=PARENT, middle=middle)
    assert len(compiled.adapter.rules.rules) == 3


def test_a_problem_of_the_parent_is_shown_where_it_is():
    parent = PARENT.replace("set: {answer: text}", "set: {answer: trimm(text)}")
    [found] = compile_child(CHILD, parent=parent).diagnostics
    assert (found.span.file, found.span.line) == ("parent.yaml", 20)
    assert found.span.text[found.span.column - 1 :].startswith("trimm")


def test_a_wrong_shape_of_the_parent_is_shown_where_it_is():
    [found] = compile_child(CHILD, parent=PARENT.replace("quiet: 7", "quiet: x")).diagnostics
    assert (found.span.file, found.span.line, found.path) == ("parent.yaml", 23, "quiet")


def test_an_option_that_only_the_parent_declared_is_missed():
    [found] = compile_child(CHILD + "options: {}\n").diagnostics
    assert (found.code, found.span.file, found.path) == ("unknown-option", "child.yaml", "options")
    assert found.related[0][0].file == "parent.yaml"


def test_an_inherited_option_need_not_be_read():
    compiled = compile_child(CHILD + "args: [go, '${run().prompt}']\n")
    assert compiled.diagnostics == ()
    assert "model" not in compiled.adapter.options_read


def test_a_parent_that_cannot_be_read():
    def parents(engine):
        raise SpecError("the file is not UTF-8", [])

    [found] = compile_adapter(Source("child.yaml", CHILD), parents=parents).diagnostics
    assert found.message == "the adapter it extends, `parent`, is broken"


def test_a_file_may_extend_the_one_it_shadows():
    shadowed = PARENT.replace("id: parent", "id: child")
    text = CHILD.replace("extends: parent", "extends: child")
    parents = lambda engine: Source("built-in/child.yaml", shadowed)  # noqa: E731
    compiled = compile_adapter(Source("child.yaml", text), stem="child", parents=parents)
    assert compiled.diagnostics == ()
    assert compiled.adapter.spec.command == "parent"


# One problem per cause, and all of them at once


def test_problems_of_yaml_shape_and_meaning_come_together():
    text = PARENT.replace("quiet: 7", "quiet: x\nquiet: 8").replace(
        "{answer: text}", "{answer: f(x)}"
    )
    codes = [d.code for d in compile_adapter(Source("parent.yaml", text)).diagnostics]
    assert codes == ["expression", "schema", "duplicate-key"]


def test_what_a_mistake_in_the_yaml_spoils_is_not_reported_too():
    text = PARENT.replace("set: {answer: text}", "if: !a.b\n    set: {answer: text}")
    assert [d.code for d in compile_adapter(Source("p.yaml", text)).diagnostics] == ["syntax"]


def test_an_option_read_in_an_expression_that_fails_is_not_unread():
    text = PARENT.replace('"${options().model}"', '"${trimm(options().model)}"')
    assert [d.code for d in compile_adapter(Source("p.yaml", text)).diagnostics] == ["expression"]


def test_a_value_used_twice_through_an_alias_is_reported_once():
    text = PARENT.replace(
        "complete: {}", "complete: &c {answer: f(x)}\n  - match: {type: z}\n    complete: *c"
    )
    assert len(compile_adapter(Source("p.yaml", text)).diagnostics) == 1


def test_a_newer_format_says_only_that():
    text = "adapter: 7\nnew_key: [\u00e4]\nid: 1\n"
    [found] = compile_adapter(Source("x.yaml", text)).diagnostics
    assert found.help == "upgrade takopi"


# Any text


def assert_sound(text):
    """There is an adapter, or there are errors; every problem can be shown in every view."""
    compiled = compile_adapter(Source("x.yaml", text))
    assert (compiled.adapter is None) == has_errors(compiled.diagnostics)
    lines = Source("x.yaml", text).text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for d in compiled.diagnostics:
        assert d.code in CODES
        assert d.span is not None
        assert d.span.text == lines[d.span.line - 1]
        assert 1 <= d.span.column <= len(d.span.text) + 1
        assert 1 <= d.span.length <= max(1, len(d.span.text) - d.span.column + 1)
        render_text(d)
        render_github(d)
    render_json(compiled.diagnostics)


@given(st.text(max_size=300))
def test_any_text_is_an_adapter_or_has_problems(text):
    assert_sound(text)


@given(st.text("{}[]:,-!&*'\"|>#?%@` \n\tab1<~.$()=", max_size=120))
def test_any_punctuation_is_an_adapter_or_has_problems(text):
    assert_sound("adapter: 1\n" + text)


@st.composite
def mutated(draw):
    """A good adapter with some of its lines and characters deleted, doubled or replaced."""
    lines = draw(st.sampled_from(GOOD)).split("\n")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["delete", "double", "move", "indent", "character", "word"]))
        line = lines[at]
        if how == "delete" and len(lines) > 1:
            del lines[at]
        elif how == "double":
            lines.insert(at, line)
        elif how == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif how == "indent":
            lines[at] = draw(st.sampled_from(["  ", "    ", "\t", ""])) + line.lstrip()
        elif how == "word" and line.split():
            words = line.split(" ")
            words[draw(st.integers(0, len(words) - 1))] = draw(
                st.sampled_from(
                    ["null", "true", "1", "[]", "{}", "x", "''", "*a", "&a", "!a", "inherit"]
                )
            )
            lines[at] = " ".join(words)
        elif line:
            index = draw(st.integers(0, len(line) - 1))
            new = draw(st.sampled_from([*"{}[]:,'\"`!&*|#$()=.-x1 \t\\", ""]))
            lines[at] = line[:index] + new + line[index + 1 :]
    return "\n".join(lines)


@settings(max_examples=200, deadline=None)
@given(mutated())
def test_any_change_of_a_good_adapter_is_one_or_has_problems(text):
    assert_sound(text)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(GOOD), st.data())
def test_any_beginning_of_a_good_adapter_is_one_or_has_problems(text, data):
    assert_sound(text[: data.draw(st.integers(0, len(text)))])
