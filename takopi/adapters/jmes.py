"""JMESPath, compiled once to nested Python closures.

Values and errors are those of the reference interpreter; what it refuses only while evaluating, such
as an unknown function, is refused when compiling (see `takopi.adapters.syntax`).

Nodes are decoded JSON. What is not exactly a ``dict`` has no fields, what is not exactly a ``list``
is no array.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Final

from takopi.adapters.code import UNKNOWN, Code, constant, joined
from takopi.adapters.code import Evaluator as Evaluator
from takopi.adapters.code import is_true as is_true
from takopi.adapters.functions import FUNCTIONS, NUMBERS, EvaluationError, Function, type_name
from takopi.adapters.lists import (
    filter_projection,
    flatten,
    index_of,
    multi_select_dict,
    multi_select_list,
    projection,
    slice_of,
    value_projection,
)
from takopi.adapters.scope import Scope
from takopi.adapters.syntax import CHAINS, SEQUENCES, ExpressionError, Node, check, operands, parse

_NOWHERE: Final = Scope()
_SAFE_DEPTH: Final = 64  # nesting below which no stack that is sane to call from can overflow


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    ``can_fail`` false: `evaluate` never raises `EvaluationError`.
    ``constant`` true: the value is the same whatever node and scope.
    """

    text: str
    ast: Node
    evaluate: Evaluator
    can_fail: bool
    constant: bool


def compile_expression(text: str, functions: Mapping[str, Function] | None = None) -> Expression:
    """Compile once, evaluate often. ``functions`` (default: all) may be called.

    Raises `ExpressionError` with the position of the first mistake.
    """
    table = FUNCTIONS if functions is None else functions
    tree = parse(text)
    depth = check(text, tree, table)
    try:
        code = _compile(tree, table)
    except RecursionError:
        raise ExpressionError("the expression nests too deep", 0, len(text)) from None
    run, fails = code.run, code.fails
    if depth > _SAFE_DEPTH and code.value is UNKNOWN:
        run, fails = _guarded(run), True
    return Expression(text, tree, run, fails, code.value is not UNKNOWN)


def _guarded(run: Evaluator) -> Evaluator:
    def guarded(node: Any, scope: Scope) -> Any:
        try:
            return run(node, scope)
        except RecursionError:
            raise EvaluationError("the expression nests too deep for this call stack") from None

    return guarded


def _compile(node: Node, functions: Mapping[str, Function]) -> Code:
    """Compile a node and everything below it; a constant is evaluated at once."""
    kind = node["type"]
    if kind in CHAINS:
        codes = [_compile(child, functions) for child in operands(node)]
        code = _sequence(codes) if kind in SEQUENCES else _junction(kind, codes)
    elif kind == "function_expression":
        code = _call(functions[node["value"]], node["children"], functions)
    elif kind == "slice":
        code = slice_of(slice(*node["children"]))
    elif kind in _LEAVES:
        code = _LEAVES[kind](node)
    else:
        codes = [_compile(child, functions) for child in node["children"]]
        code = _BRANCHES[kind](node, codes)
    if code.local or code.scoped or code.value is not UNKNOWN:
        return code
    try:
        return constant(code.run(None, _NOWHERE))
    except EvaluationError:
        return code


def _path(root: str | None, path: tuple[str, ...]) -> Code:
    run = _node_reader(path) if root is None else _scope_reader(root, path)
    return Code(run, local=root is None, scoped=root is not None, path=path, root=root)


def _node_reader(path: tuple[str, ...]) -> Evaluator:
    if not path:
        return lambda node, scope: node
    first, second = path[0], path[-1]
    if len(path) == 1:
        return lambda node, scope: node.get(first) if type(node) is dict else None

    def two(node: Any, scope: Scope) -> Any:
        if type(node) is dict:
            node = node.get(first)
            if type(node) is dict:
                return node.get(second)
        return None

    def many(node: Any, scope: Scope) -> Any:
        for name in path:
            if type(node) is not dict:
                return None
            node = node.get(name)
        return node

    return two if len(path) == 2 else many


def _scope_reader(root: str, path: tuple[str, ...]) -> Evaluator:
    variables = attrgetter(root)
    if not path:
        return lambda node, scope: _plain(variables(scope))
    name, read = path[0], _node_reader(path[1:])
    if len(path) == 1:

        def one(node: Any, scope: Scope) -> Any:
            value = variables(scope)
            if type(value) is not dict:
                value = _plain(value)
            return value.get(name) if type(value) is dict else None

        return one

    def many(node: Any, scope: Scope) -> Any:
        value = variables(scope)
        if type(value) is not dict:
            value = _plain(value)
        return read(value.get(name), scope) if type(value) is dict else None

    return many


def _plain(value: Any) -> Any:
    """Options and run may be any mapping; expressions know only ``dict``."""
    return dict(value) if type(value) is not dict and isinstance(value, Mapping) else value


def _sequence(codes: list[Code]) -> Code:
    """Each step on the result of the one before: ``a.b``, ``a[0]``, ``a | b``."""
    steps = codes[:1]
    for code in codes[1:]:
        last = steps[-1]
        if code.path is not None and code.root is None and last.path is not None:
            steps[-1] = _path(last.root, last.path + code.path)
        elif last.is_current:
            steps[-1] = code
        elif last.first is not None and code.index == 0:
            steps[-1] = replace(last, run=last.first, first=None)
        elif not code.is_current:
            steps.append(code)
    if len(steps) == 1:
        return steps[0]
    runs = tuple(step.run for step in steps)
    first, second = runs[0], runs[1]

    def many(node: Any, scope: Scope) -> Any:
        for run in runs:
            node = run(node, scope)
        return node

    def two(node: Any, scope: Scope) -> Any:
        return second(first(node, scope), scope)

    # A step that does not look at its node cuts the dependence on the first: unless that may fail.
    fails = any(step.fails for step in steps)
    local = steps[0].local and (fails or all(step.local for step in steps))
    return joined(two if len(runs) == 2 else many, *steps, local=local)


def _junction(kind: str, codes: list[Code]) -> Code:
    """``||`` and ``&&``: the first operand that decides, else the last."""
    deciding = kind == "or_expression"
    operands: list[Code] = []
    for code in codes:
        operands.append(code)
        if code.value is not UNKNOWN and is_true(code.value) is deciding:
            break
    *runs, last = (code.run for code in operands)
    if not runs:
        return operands[0]
    first, rest = runs[0], tuple(runs)

    def either(node: Any, scope: Scope) -> Any:
        value = first(node, scope)
        return value if value or type(value) in NUMBERS else last(node, scope)

    def both(node: Any, scope: Scope) -> Any:
        value = first(node, scope)
        return last(node, scope) if value or type(value) in NUMBERS else value

    def many(node: Any, scope: Scope) -> Any:
        for run in rest:
            value = run(node, scope)
            if is_true(value) is deciding:
                return value
        return last(node, scope)

    code = joined(many if len(rest) > 1 else either if deciding else both, *operands)
    if kind == "and_expression" and len(operands) == 2 and operands[0].tests_text:
        code.fails = code.fails and not operands[1].takes_text
    return code


def _not(node: Node, codes: list[Code]) -> Code:
    run = codes[0].run

    def negation(node: Any, scope: Scope) -> bool:
        value = run(node, scope)
        return not value and type(value) not in NUMBERS

    return joined(negation, *codes)


def _comparator(node: Node, codes: list[Code]) -> Code:
    operation = node["value"]
    if operation not in ("eq", "ne"):
        return joined(_ordering(operation, codes[0].run, codes[1].run), *codes, fails=True)
    left, right = codes if codes[1].value is not UNKNOWN else reversed(codes)
    equal = operation == "eq"
    if left.argument is not None and type(right.value) is str:
        code = joined(_is_of_type(left.argument, right.value, equal), *codes)
        code.tests_text = left.argument.is_current and right.value == "string" and equal
        return code
    if right.value is not UNKNOWN and type(right.value) not in (list, dict):
        return joined(_equals_scalar(left, right.value, equal), *codes)
    first, second = left.run, right.run

    def compare(node: Any, scope: Scope) -> bool:
        return _equal(first(node, scope), second(node, scope)) is equal

    return joined(compare, *codes, fails=True)


def _equals_scalar(code: Code, wanted: Any, equal: bool) -> Evaluator:
    """Comparison with a constant; in Python ``True == 1``, so the types may have to tell."""
    run = code.run
    if type(wanted) is bool:
        return lambda node, scope: (run(node, scope) is wanted) is equal
    if type(wanted) in NUMBERS:

        def number(node: Any, scope: Scope) -> bool:
            value = run(node, scope)
            return (value == wanted and type(value) is not bool) is equal

        return number
    if code.root is None and code.path is not None and len(code.path) == 1:
        name = code.path[0]

        def field(node: Any, scope: Scope) -> bool:
            return ((node.get(name) if type(node) is dict else None) == wanted) is equal

        return field
    if equal:
        return lambda node, scope: run(node, scope) == wanted
    return lambda node, scope: run(node, scope) != wanted


def _is_of_type(argument: Code, name: str, equal: bool) -> Evaluator:
    """``type(x) == 'string'`` without asking for the name of the type of every item of a list."""
    types = frozenset(type(value) for value in _EVERY_TYPE if type_name(value) == name)
    if argument.is_current:
        return lambda node, scope: (type(node) in types) is equal
    run = argument.run
    return lambda node, scope: (type(run(node, scope)) in types) is equal


_EVERY_TYPE: Final[tuple[Any, ...]] = (None, False, 0, 0.0, "", [], {})


def _equal(left: Any, right: Any) -> bool:
    try:
        return left == right and (type(left) is bool) is (type(right) is bool)
    except RecursionError:
        raise EvaluationError("a comparison of data that nests too deep") from None


_ORDERINGS: Final = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}


def _ordering(operation: str, left: Evaluator, right: Evaluator) -> Evaluator:
    compare = _ORDERINGS[operation]

    def ordered(node: Any, scope: Scope) -> bool | None:
        first, second = left(node, scope), right(node, scope)
        if type(first) not in _ORDERED or type(second) not in _ORDERED:
            return None
        try:
            return bool(compare(first, second))
        except TypeError:
            raise EvaluationError("numbers and strings have no order") from None

    return ordered


_ORDERED: Final = NUMBERS | {str}


def _call(function: Function, arguments: list[Node], functions: Mapping[str, Function]) -> Code:
    if function.attribute is not None:
        return _path(function.attribute, ())
    implementation = function.implementation
    if function.bind is not None:
        implementation = function.bind(arguments[-1]["value"])
        arguments = arguments[:-1]
    codes = [
        _reference(_compile(argument["children"][0], functions))
        if argument["type"] == "expref"
        else _compile(argument, functions)
        for argument in arguments
    ]
    code = joined(_caller(function, implementation, codes), *codes, fails=function.can_fail)
    code.scoped = code.scoped or not function.pure
    if function.implementation is type_name:
        code.argument = codes[0]
    code.takes_text = function.name in _TAKES_TEXT and len(codes) == 1 and codes[0].is_current
    return code


_TAKES_TEXT: Final = frozenset({"length", "lower", "trim"})  # alone: fail on everything else


def _caller(function: Function, implementation: Callable[..., Any], codes: list[Code]) -> Evaluator:
    runs = tuple(code.run for code in codes)
    if function.scoped:
        return lambda node, scope: implementation(scope, *[run(node, scope) for run in runs])
    if len(runs) == 1:
        only = runs[0]
        return lambda node, scope: implementation(only(node, scope))
    if len(runs) == 2:
        first, second = runs
        return lambda node, scope: implementation(first(node, scope), second(node, scope))
    return lambda node, scope: implementation(*[run(node, scope) for run in runs])


def _reference(body: Code) -> Code:
    """``&body``: the value is a function from an item to what the body makes of it."""
    run = body.run
    return Code(
        lambda node, scope: lambda item: run(item, scope),
        fails=body.fails,
        local=False,
        scoped=body.scoped,
    )


_LEAVES: Final[dict[str, Callable[[Node], Code]]] = {
    "field": lambda node: _path(None, (node["value"],)),
    "current": lambda node: _path(None, ()),
    "identity": lambda node: _path(None, ()),
    "literal": lambda node: constant(node["value"]),
    "index": index_of,
}
_BRANCHES: Final[dict[str, Callable[[Node, list[Code]], Code]]] = {
    "comparator": _comparator,
    "filter_projection": filter_projection,
    "flatten": flatten,
    "key_val_pair": lambda node, codes: codes[0],
    "multi_select_dict": multi_select_dict,
    "multi_select_list": multi_select_list,
    "not_expression": _not,
    "projection": projection,
    "value_projection": value_projection,
}
