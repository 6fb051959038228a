"""JMESPath, compiled once to nested Python closures.

Values and errors are those of the reference interpreter; what it refuses only while evaluating, such
as an unknown function, is refused when compiling (see `takopi.adapters.syntax`).

Nodes are decoded JSON. What is not exactly a ``dict`` has no fields, what is not exactly a ``list``
is no array.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, TypeAlias

from takopi.adapters.functions import FUNCTIONS, NUMBERS, EvaluationError, Function
from takopi.adapters.scope import Scope
from takopi.adapters.syntax import CHAINS, SEQUENCES, ExpressionError, Node, check, operands, parse

Evaluator: TypeAlias = Callable[[Any, Scope], Any]
"""(current node, scope) -> value. Values may be shared with the node and with constants: read only."""

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


def is_true(value: Any) -> bool:
    """JMESPath's truth: false, null, "", [] and {} are false; 0 is true."""
    return bool(value) or type(value) in NUMBERS


_UNKNOWN: Final = object()
_NOWHERE: Final = Scope()


@dataclass(slots=True)
class _Code:
    """A compiled node and what is known about it."""

    run: Evaluator
    fails: bool = False
    local: bool = True  # the value depends on the current node
    scoped: bool = False  # it depends on the scope, or is never the same
    value: Any = _UNKNOWN  # of a constant
    path: tuple[str, ...] | None = None  # nothing but these fields, one after the other, of ...
    root: str | None = None  # ... this attribute of the scope, or of the current node


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
    if depth > _SAFE_DEPTH and code.value is _UNKNOWN:
        run, fails = _guarded(run), True
    return Expression(text, tree, run, fails, code.value is not _UNKNOWN)


def _guarded(run: Evaluator) -> Evaluator:
    def guarded(node: Any, scope: Scope) -> Any:
        try:
            return run(node, scope)
        except RecursionError:
            raise EvaluationError("the expression nests too deep for this call stack") from None

    return guarded


def _compile(node: Node, functions: Mapping[str, Function]) -> _Code:
    """Compile a node and everything below it; a constant is evaluated at once."""
    kind = node["type"]
    if kind in CHAINS:
        codes = [_compile(child, functions) for child in operands(node)]
        code = _sequence(codes) if kind in SEQUENCES else _junction(kind, codes)
    elif kind == "function_expression":
        code = _call(functions[node["value"]], node["children"], functions)
    elif kind == "slice":
        code = _slice(slice(*node["children"]))
    elif kind in _LEAVES:
        code = _LEAVES[kind](node)
    else:
        codes = [_compile(child, functions) for child in node["children"]]
        code = _BRANCHES[kind](node, codes)
    if code.local or code.scoped or code.value is not _UNKNOWN:
        return code
    try:
        return _constant(code.run(None, _NOWHERE))
    except EvaluationError:
        return code


def _constant(value: Any) -> _Code:
    return _Code(lambda node, scope: value, local=False, value=value)


def _joined(run: Evaluator, *parts: _Code, fails: bool = False, local: bool | None = None) -> _Code:
    """Code made of parts: it fails if one of them does, and so on."""
    return _Code(
        run,
        fails=fails or any(part.fails for part in parts),
        local=any(part.local for part in parts) if local is None else local,
        scoped=any(part.scoped for part in parts),
    )


def _path(root: str | None, path: tuple[str, ...]) -> _Code:
    run = _node_reader(path) if root is None else _scope_reader(root, path)
    return _Code(run, local=root is None, scoped=root is not None, path=path, root=root)


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
    if len(path) == 1:
        name = path[0]

        def one(node: Any, scope: Scope) -> Any:
            value = variables(scope)
            if type(value) is not dict:
                value = _plain(value)
            return value.get(name) if type(value) is dict else None

        return one
    read = _node_reader(path)
    return lambda node, scope: read(_plain(variables(scope)), scope)


def _plain(value: Any) -> Any:
    """Options and run may be any mapping; expressions know only ``dict``."""
    return dict(value) if type(value) is not dict and isinstance(value, Mapping) else value


def _sequence(codes: list[_Code]) -> _Code:
    """Each step on the result of the one before: ``a.b``, ``a[0]``, ``a | b``."""
    steps = codes[:1]
    for code in codes[1:]:
        last = steps[-1]
        if code.path is not None and code.root is None and last.path is not None:
            steps[-1] = _path(last.root, last.path + code.path)
        elif last.path == () and last.root is None:
            steps[-1] = code
        elif not (code.path == () and code.root is None):
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
    return _joined(two if len(runs) == 2 else many, *steps, local=local)


def _junction(kind: str, codes: list[_Code]) -> _Code:
    """``||`` and ``&&``: the first operand that decides, else the last."""
    deciding = kind == "or_expression"
    operands: list[_Code] = []
    for code in codes:
        operands.append(code)
        if code.value is not _UNKNOWN and is_true(code.value) is deciding:
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

    return _joined(many if len(rest) > 1 else either if deciding else both, *operands)


def _not(node: Node, codes: list[_Code]) -> _Code:
    run = codes[0].run

    def negation(node: Any, scope: Scope) -> bool:
        value = run(node, scope)
        return not value and type(value) not in NUMBERS

    return _joined(negation, *codes)


def _comparator(node: Node, codes: list[_Code]) -> _Code:
    operation = node["value"]
    if operation not in ("eq", "ne"):
        return _joined(_ordering(operation, codes[0].run, codes[1].run), *codes, fails=True)
    left, right = codes if codes[1].value is not _UNKNOWN else reversed(codes)
    equal = operation == "eq"
    if right.value is not _UNKNOWN and type(right.value) not in (list, dict):
        return _joined(_equals_scalar(left, right.value, equal), *codes)
    first, second = left.run, right.run

    def compare(node: Any, scope: Scope) -> bool:
        return _equal(first(node, scope), second(node, scope)) is equal

    return _joined(compare, *codes, fails=True)


def _equals_scalar(code: _Code, wanted: Any, equal: bool) -> Evaluator:
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


def _call(function: Function, arguments: list[Node], functions: Mapping[str, Function]) -> _Code:
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
    code = _joined(_caller(function, implementation, codes), *codes, fails=function.can_fail)
    code.scoped = code.scoped or not function.pure
    return code


def _caller(
    function: Function, implementation: Callable[..., Any], codes: list[_Code]
) -> Evaluator:
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


def _reference(body: _Code) -> _Code:
    """``&body``: the value is a function from an item to what the body makes of it."""
    run = body.run
    return _Code(
        lambda node, scope: lambda item: run(item, scope),
        fails=body.fails,
        local=False,
        scoped=body.scoped,
    )


def _projection(node: Node, codes: list[_Code]) -> _Code:
    """``a[*].b``, ``a[].b``: the body for every item of a list, nulls dropped."""
    base, body = codes
    items, run = base.run, body.run

    def project(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        if type(found) is not list:
            return None
        return [value for item in found if (value := run(item, scope)) is not None]

    return _mapped(project, base, body)


def _value_projection(node: Node, codes: list[_Code]) -> _Code:
    """``a.*.b``: the body for every value of an object, nulls dropped."""
    base, body = codes
    items, run = base.run, body.run

    def project(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        if type(found) is not dict:
            return None
        return [value for item in found.values() if (value := run(item, scope)) is not None]

    return _mapped(project, base, body)


def _filter_projection(node: Node, codes: list[_Code]) -> _Code:
    base, body, condition = codes
    items, run, test = base.run, body.run, condition.run

    def project(node: Any, scope: Scope) -> Any:
        found = items(node, scope)
        if type(found) is not list:
            return None
        return [
            value
            for item in found
            if is_true(test(item, scope)) and (value := run(item, scope)) is not None
        ]

    return _mapped(project, base, body, condition)


def _mapped(run: Evaluator, base: _Code, *bodies: _Code) -> _Code:
    return _joined(run, base, *bodies, local=base.local)


def _flatten(node: Node, codes: list[_Code]) -> _Code:
    run = codes[0].run

    def flatten(node: Any, scope: Scope) -> Any:
        found = run(node, scope)
        if type(found) is not list:
            return None
        merged: list[Any] = []
        for item in found:
            if type(item) is list:
                merged.extend(item)
            else:
                merged.append(item)
        return merged

    return _joined(flatten, *codes)


def _slice(part: slice) -> _Code:
    return _Code(lambda node, scope: node[part] if type(node) is list else None)


def _index(node: Node) -> _Code:
    position = node["value"]

    def index(node: Any, scope: Scope) -> Any:
        if type(node) is not list:
            return None
        try:
            return node[position]
        except IndexError:
            return None

    return _Code(index)


def _multi_select_list(node: Node, codes: list[_Code]) -> _Code:
    runs = tuple(code.run for code in codes)

    def select(node: Any, scope: Scope) -> Any:
        return None if node is None else [run(node, scope) for run in runs]

    return _joined(select, *codes, local=True)  # null of null


def _multi_select_dict(node: Node, codes: list[_Code]) -> _Code:
    pairs = tuple(
        zip((pair["value"] for pair in node["children"]), (c.run for c in codes), strict=True)
    )

    def select(node: Any, scope: Scope) -> Any:
        if node is None:
            return None
        selected = {}
        for name, run in pairs:  # before Python 3.12 a comprehension is one call more
            selected[name] = run(node, scope)
        return selected

    return _joined(select, *codes, local=True)  # null of null


_LEAVES: Final[dict[str, Callable[[Node], _Code]]] = {
    "field": lambda node: _path(None, (node["value"],)),
    "current": lambda node: _path(None, ()),
    "identity": lambda node: _path(None, ()),
    "literal": lambda node: _constant(node["value"]),
    "index": _index,
}
_BRANCHES: Final[dict[str, Callable[[Node, list[_Code]], _Code]]] = {
    "comparator": _comparator,
    "filter_projection": _filter_projection,
    "flatten": _flatten,
    "key_val_pair": lambda node, codes: codes[0],
    "multi_select_dict": _multi_select_dict,
    "multi_select_list": _multi_select_list,
    "not_expression": _not,
    "projection": _projection,
    "value_projection": _value_projection,
}
