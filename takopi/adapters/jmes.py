"""JMESPath, compiled once to Python.

Values and errors are those of the reference interpreter; what it refuses only while evaluating, such
as an unknown function, is refused when compiling (see `takopi.adapters.syntax`).

Every kind of node of the tree has a function that writes statements and says which variable then
holds the value. Nodes are decoded JSON. What is not exactly a ``dict`` has no fields, what is not
exactly a ``list`` is no array.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from takopi.adapters import lists
from takopi.adapters.code import (
    UNKNOWN,
    Code,
    Value,
    Write,
    Writer,
    apart,
    assemble,
    called,
    joined,
    literal,
)
from takopi.adapters.code import Evaluator as Evaluator
from takopi.adapters.code import is_true as is_true
from takopi.adapters.functions import FUNCTIONS, NUMBERS, EvaluationError, Function, type_name
from takopi.adapters.scope import Scope
from takopi.adapters.syntax import CHAINS, SEQUENCES, ExpressionError, Node, check, operands, parse

_NOWHERE: Final = Scope()
_SAFE_DEPTH: Final = 64  # nesting below which no stack that is sane to call from can overflow
_MAX_BLOCKS: Final = 12  # beyond that a function of its own: Python nests 20 loops, 100 levels


class Expression(Value):
    """A compiled expression.

    ``can_fail`` false: ``evaluate`` never raises `EvaluationError`.
    """

    def __init__(
        self, text: str, ast: Node, write: Write, *, can_fail: bool, constant: bool
    ) -> None:
        super().__init__(write, constant)
        self.text = text
        self.ast = ast
        self.can_fail = can_fail


def compile_expression(text: str, functions: Mapping[str, Function] | None = None) -> Expression:
    """Compile once, evaluate often. ``functions`` (default: all) may be called.

    Raises `ExpressionError` with the position of the first mistake.
    """
    table = FUNCTIONS if functions is None else functions
    tree = parse(text)
    depth = check(text, tree, table)

    def write(writer: Writer, here: str) -> Code:
        return _Compiler(writer, table).emit(tree, here)

    try:
        code = write(Writer(), "node")
    except RecursionError:
        raise ExpressionError("the expression nests too deep", 0, len(text)) from None
    if code.value is not UNKNOWN:
        value = code.value
        return Expression(
            text, tree, lambda w, here: literal(w, value), can_fail=False, constant=True
        )
    if depth > _SAFE_DEPTH:
        return Expression(text, tree, called(_guarded(Value(write))), can_fail=True, constant=False)
    return Expression(text, tree, write, can_fail=code.fails, constant=False)


def _guarded(value: Value) -> Evaluator:
    def guarded(node: Any, scope: Scope) -> Any:
        try:
            return value.evaluate(node, scope)
        except RecursionError:
            raise EvaluationError("the expression nests too deep for this call stack") from None

    return guarded


class _Compiler:
    """Writes the code of one tree."""

    def __init__(
        self,
        writer: Writer,
        functions: Mapping[str, Function],
        folded: dict[int, Any] | None = None,
    ) -> None:
        self.w = writer
        self.functions = functions
        self.folded = {} if folded is None else folded  # id of a node: its value, or UNKNOWN

    def emit(self, node: Node, here: str) -> Code:
        """Write a node and everything below it; a constant is evaluated at once."""
        if self.w.depth > _MAX_BLOCKS:
            return self._apart(node, here)
        folded = self.folded.get(id(node), UNKNOWN)
        if folded is not UNKNOWN:
            return literal(self.w, folded)
        mark = self.w.mark()
        code = self._written(node, here)
        known = code.local or code.scoped or code.value is not UNKNOWN
        if known or id(node) in self.folded:
            return code
        self.folded[id(node)] = value = self._fold(node)
        if value is UNKNOWN:
            return code
        self.w.undo(mark)
        return literal(self.w, value)

    def _fold(self, node: Node) -> Any:
        """The value of a node that depends on nothing; UNKNOWN if it fails."""
        write = self._writer_of(node)
        try:
            return assemble(write)(None, _NOWHERE)
        except EvaluationError:
            return UNKNOWN

    def _writer_of(self, node: Node) -> Write:
        def write(writer: Writer, here: str) -> Code:
            return _Compiler(writer, self.functions, self.folded)._written(node, here)

        return write

    def _apart(self, node: Node, here: str) -> Code:
        write = self._writer_of(node)
        inner = write(Writer(), "node")
        call = self.w.name(apart(write))
        return joined(self.w.let(f"{call}({here}, scope)"), inner, boolean=inner.boolean)

    def _written(self, node: Node, here: str) -> Code:
        kind = node["type"]
        if kind in SEQUENCES:
            return self._sequence(_steps(node), here)
        if kind in CHAINS:
            return self._junction(kind, operands(node), here)
        if kind in _LISTS:
            return _LISTS[kind](self.w, self.emit, node, here)
        if kind == "field":
            return Code(self.w.field(here, node["value"]))
        if kind == "literal":
            return literal(self.w, node["value"])
        if kind == "function_expression":
            return self._call(self.functions[node["value"]], node["children"], here)
        if kind == "comparator":
            return self._comparator(node, here)
        if kind == "not_expression":
            code = self.emit(node["children"][0], here)
            return joined(self.w.let(f"not ({code.true})"), code, boolean=True)
        return Code(here)  # `@`

    def _sequence(self, steps: list[Node], here: str) -> Code:
        """Each step on the result of the one before: ``a.b``, ``a[0]``, ``a | b``."""
        codes: list[Code] = []
        index = 0
        while index < len(steps):
            code, taken = self._first_of(steps[index : index + 3], here)
            codes.append(code or self.emit(steps[index], here))
            here = codes[-1].text
            index += taken
        if len(codes) < 2:
            return codes[0] if codes else Code(here)
        last = codes[-1]
        # A step that does not look at its node cuts the dependence on the first: unless that may fail.
        fails = any(code.fails for code in codes)
        local = codes[0].local and (fails or all(code.local for code in codes))
        return joined(last.text, *codes, local=local, boolean=last.boolean)

    def _first_of(self, steps: list[Node], here: str) -> tuple[Code | None, int]:
        """Code for the first of a filtered list, if these steps ask for that; how many it is."""
        code, kinds = None, [step["type"] for step in steps]
        if kinds[:2] == ["multi_select_list", "filter_projection"] and _is_first(steps[2:]):
            base, body, condition = steps[1]["children"]
            if base["type"] == body["type"] == "identity":
                code = lists.first_of_fields(self.w, self.emit, steps[0], condition, here)
                return code, 1 if code is None else 3
        if kinds[:1] == ["filter_projection"] and _is_first(steps[1:]):
            code = lists.first_of_filter(self.w, self.emit, steps[0], here)
        return code, 1 if code is None else 2

    def _junction(self, kind: str, operands: list[Node], here: str) -> Code:
        """``||`` and ``&&``: the first operand that decides, else the last."""
        w, deciding = self.w, kind == "or_expression"
        code = self.emit(operands[0], here)
        if code.value is not UNKNOWN and is_true(code.value) is deciding:
            return code
        codes, texts, found = [code], set[str](), w.let(code.text)
        so_far = Code(found, boolean=code.boolean)
        for operand in operands[1:]:
            if code.tests_text is not None and not deciding:
                texts.add(code.tests_text)
            with w.block() as block:
                w.texts |= texts
                code = self.emit(operand, here)
                w.add(f"{found} = {code.text}")
            w.place(f"if not ({so_far.true}):" if deciding else f"if {so_far.true}:", block)
            codes.append(code)
            so_far.boolean = so_far.boolean and code.boolean
            if code.value is not UNKNOWN and is_true(code.value) is deciding:
                break
        return joined(found, *codes, boolean=so_far.boolean)

    def _comparator(self, node: Node, here: str) -> Code:
        operation, w = node["value"], self.w
        if operation in ("eq", "ne"):
            tested = self._type_test(node, here)
            if tested is not None:
                return tested
        left, right = (self.emit(child, here) for child in node["children"])
        if operation not in ("eq", "ne"):
            compare = w.name(_ORDERINGS[operation])
            return joined(w.let(f"{compare}({left.text}, {right.text})"), left, right, fails=True)
        if right.value is UNKNOWN:
            left, right = right, left
        text, fails = _equals(w, left.text, right), False
        if right.value is UNKNOWN or type(right.value) in (list, dict):
            text = f"{w.name(_equal)}({left.text}, {right.text})"
            text, fails = (
                f"({left.text} == {right.text} if type({left.text}) is str else {text})",
                True,
            )
        if operation == "ne":
            text = f"not ({text})"
        return joined(w.let(text), left, right, fails=fails, boolean=True)

    def _type_test(self, node: Node, here: str) -> Code | None:
        """``type(x) == 'string'`` without the name of the type of every item of a list."""
        first, second = node["children"]
        call, other = (first, second) if second["type"] == "literal" else (second, first)
        if call["type"] != "function_expression" or other["type"] != "literal":
            return None
        if self.functions[call["value"]].implementation is not type_name:
            return None
        wanted, code = other["value"], self.emit(call["children"][0], here)
        types = {type(v) for v in _EVERY_TYPE if type_name(v) == wanted}
        equal = node["value"] == "eq"
        text = f"type({code.text}) {'in' if equal else 'not in'} {self.w.name(tuple(types))}"
        if len(types) == 1:
            text = f"type({code.text}) {'is' if equal else 'is not'} {self.w.name(types.pop())}"
        found = joined(self.w.let(text), code, boolean=True)
        if wanted == "string" and equal and type(wanted) is str:
            found.tests_text = code.text
        return found

    def _call(self, function: Function, arguments: list[Node], here: str) -> Code:
        w = self.w
        if function.attribute is not None:
            return self._variables(function.attribute)
        implementation = function.implementation
        if function.bind is not None:
            implementation = function.bind(arguments[-1]["value"])
            arguments = arguments[:-1]
        codes = [
            self._reference(argument["children"][0])
            if argument["type"] == "expref"
            else self.emit(argument, here)
            for argument in arguments
        ]
        given = ", ".join(["scope"] * function.scoped + [code.text for code in codes])
        fails, text = function.can_fail, f"{w.name(implementation)}({given})"
        if function.on_text is not None and len(codes) == 1:
            quick = f"{w.name(function.on_text)}({given})"
            if codes[0].text in w.texts:
                fails, text = False, quick
            else:
                text = f"{quick} if type({codes[0].text}) is str else {text}"
        return joined(w.let(text), *codes, fails=fails, scoped=not function.pure)

    def _variables(self, name: str) -> Code:
        """``event()`` and the like; options and run may be any mapping, and become a ``dict``."""
        text = f"scope.{name}"
        if name not in ("event", "state"):
            text = f"{self.w.name(_plain)}({text})"
        return Code(self.w.read("scope", text, f".{name}"), local=False, scoped=True)

    def _reference(self, body: Node) -> Code:
        """``&body``: the value is a function from an item to what the body makes of it."""
        function, item = self.w.variable(), self.w.variable()
        with self.w.block() as block:
            code = self.emit(body, item)
            self.w.add(f"return {code.text}")
        self.w.place(f"def {function}({item}):", block)
        return Code(function, fails=code.fails, local=False, scoped=code.scoped)


def _steps(node: Node) -> list[Node]:
    """The steps of a sequence, however it is nested, without those that give what they get."""
    steps: list[Node] = []
    for step in operands(node):
        if step["type"] in SEQUENCES:
            steps += _steps(step)
        elif step["type"] not in ("identity", "current"):
            steps.append(step)
    return steps


def _is_first(steps: list[Node]) -> bool:
    return bool(steps) and steps[0]["type"] == "index" and steps[0]["value"] == 0


def _plain(value: Any) -> Any:
    return dict(value) if type(value) is not dict and isinstance(value, Mapping) else value


_EVERY_TYPE: Final[tuple[Any, ...]] = (None, False, 0, 0.0, "", [], {})


def _equals(w: Writer, text: str, constant: Code) -> str:
    """Comparison with a scalar; in Python ``True == 1``, so the types may have to tell."""
    wanted = constant.value
    if wanted is None or type(wanted) is bool:
        return f"{text} is {constant.text}"
    if type(wanted) in NUMBERS:
        return f"{text} == {constant.text} and type({text}) is not bool"
    return f"{text} == {constant.text}"


def _equal(left: Any, right: Any) -> bool:
    try:
        return left == right and (type(left) is bool) is (type(right) is bool)
    except RecursionError:
        raise EvaluationError("a comparison of data that nests too deep") from None


def _ordering(compare: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool | None]:
    def ordered(first: Any, second: Any) -> bool | None:
        if type(first) not in _ORDERED or type(second) not in _ORDERED:
            return None
        try:
            return bool(compare(first, second))
        except TypeError:
            raise EvaluationError("numbers and strings have no order") from None

    return ordered


_ORDERED: Final = NUMBERS | {str}
_ORDERINGS: Final = {
    "lt": _ordering(operator.lt),
    "lte": _ordering(operator.le),
    "gt": _ordering(operator.gt),
    "gte": _ordering(operator.ge),
}

_LISTS: Final[dict[str, Callable[[Writer, lists.Emit, Node, str], Code]]] = {
    "filter_projection": lists.filter_projection,
    "flatten": lists.flatten,
    "index": lists.index_of,
    "multi_select_dict": lists.multi_select_dict,
    "multi_select_list": lists.multi_select_list,
    "projection": lists.projection,
    "slice": lists.slice_of,
    "value_projection": lists.value_projection,
}
