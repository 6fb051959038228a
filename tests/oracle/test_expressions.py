"""Every expression of the built-in adapters and of the tool table, on every line of every fixture.

What ours gives must be what the reference library gives, on every line, on every item of every list in
it, and on every tool call; and where that fails, ours must fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import takopi.adapters.tools as tools
from takopi.adapters.expressions import ExpressionCompiler
from takopi.adapters.functions import EvaluationError
from takopi.adapters.jmes import Expression
from takopi.adapters.replay import new_translator
from takopi.adapters.scope import Scope
from takopi.adapters.source import Source, parse
from tests.oracle.reference import ReferenceError_, reference_search, same_json
from tests.snapshot.cases import CASES, ENGINES, adapter_of, each_engine

FAILED = object()


def ours(expression: Expression, node: Any, scope: Scope) -> Any:
    try:
        return expression.evaluate(node, scope)
    except EvaluationError:
        assert expression.can_fail, f"`{expression.text}` must not be able to fail"
        return FAILED


def theirs(expression: Expression, node: Any, scope: Scope) -> Any:
    try:
        return reference_search(expression.text, node, scope)
    except ReferenceError_:
        return FAILED


def same(left: Any, right: Any) -> bool:
    return left is right or (FAILED not in (left, right) and same_json(left, right))


def items(value: Any) -> Iterator[Any]:
    """Every item of every list anywhere in ``value``."""
    for below in value.values() if isinstance(value, dict) else ():
        yield from items(below)
    if isinstance(value, list):
        for item in value:
            yield item
            yield from items(item)


def scopes(engine: str) -> Iterator[Scope]:
    """The scope at each line of the engine's fixtures, as the run's variables were just after it."""
    adapter = adapter_of(engine)
    for case in CASES:
        if case.engine != engine:
            continue
        recording = case.recording
        translator = new_translator(adapter, recording)
        for line in recording.stdout.split(b"\n"):
            before = translator.lines
            translator.line(line)
            if translator.lines > before:
                scope = translator.scope
                run = {**scope.run, "prompt": "Do it.", "model": "m-1", "reasoning": "high"}
                options = {**scope.options, "extra_args": ["-x"]}
                state = json.loads(json.dumps(scope.state))
                yield Scope(event=json.loads(line), state=state, options=options, run=run)


def nodes(engine: str) -> Iterator[tuple[Any, Scope]]:
    """What expressions are evaluated on: lines, and items that were not seen before."""
    seen = set()
    for scope in scopes(engine):
        yield scope.event, scope
        for item in items(scope.event):
            key = json.dumps(item)
            if key not in seen:
                seen.add(key)
                yield item, scope


def table() -> list[Expression]:
    """The expressions of the built-in tool table."""
    file = Path(tools.__file__).with_name("tools.yaml")
    root, problems = parse(Source(file.name, file.read_text(encoding="utf-8")))
    assert root is not None
    assert not problems
    compiler = ExpressionCompiler()
    tools.compile_tools([(item, (i,)) for i, item in enumerate(root.items)], compiler)
    return [expression for _, expression in compiler.compiled]


def calls(engine: str) -> Iterator[tuple[Any, Scope]]:
    """Tool calls as the table sees them: those of the fixtures, and inputs of the wrong type."""
    yield from (
        ({"name": "Bash", "input": odd}, Scope()) for odd in (None, "ls", 1, [], ["ls"], {})
    )
    seen = set()
    for node, scope in nodes(engine):
        for given in ("input", "parameters", "arguments", "item", "tool"):
            value = node.get(given) if isinstance(node, dict) else None
            if value is not None and (key := json.dumps(value)) not in seen:
                seen.add(key)
                name = node.get("name") or node.get("tool_name") or "tool"
                yield {"name": name, "input": value}, scope


def differences(expressions: list[Expression], on: Iterator[tuple[Any, Scope]]) -> list[str]:
    wrong = []
    for node, scope in on:
        for expression in expressions:
            mine, its = ours(expression, node, scope), theirs(expression, node, scope)
            if not same(mine, its):
                wrong.append(
                    f"`{expression.text}` on {json.dumps(node)[:300]}: {mine!r}, not {its!r}"
                )
    return wrong


@each_engine
def test_an_adapter_s_expressions_give_what_the_library_gives(engine: str):
    # A fresh UUID differs each time.
    found = [e for _, e in adapter_of(engine).expressions if "uuid(" not in e.text]
    assert found
    assert not differences(list({e.text: e for e in found}.values()), nodes(engine))


@each_engine
def test_the_tool_table_gives_what_the_library_gives(engine: str):
    assert not differences(table(), calls(engine))


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (True, True, True),
        (1, True, False),
        (1, 1.0, False),
        (FAILED, FAILED, True),
        (None, FAILED, False),
    ],
)
def test_the_comparison_tells_types_and_failures_apart(left, right, equal):
    assert same(left, right) == equal


def test_there_is_something_to_compare():
    assert len(table()) > 20
    assert all(any(True for _ in nodes(engine)) for engine in ENGINES)
    assert sum(1 for engine in ENGINES for _ in calls(engine)) > 100
