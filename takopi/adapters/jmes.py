"""JMESPath, compiled once to nested Python closures.

The parser and lexer are the ``jmespath`` package's; values and errors are those of its interpreter.
What it finds out only while evaluating (unknown functions, wrong argument counts, a slice step of
0) is an `ExpressionError` here, when compiling. An ``&expression`` anywhere but in an argument that
wants one is, too: the reference library lets such values leak out.

Nodes are decoded JSON. What is not exactly a ``dict`` has no fields, what is not exactly a ``list``
is no array.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final, cast

from jmespath.exceptions import IncompleteExpressionError, LexerError, ParseError
from jmespath.lexer import Lexer
from jmespath.parser import Parser

from takopi.adapters.functions import FUNCTIONS, NUMBERS, EvaluationError, Function
from takopi.adapters.scope import Scope
from takopi.diagnostics import did_you_mean

__all__ = [
    "EvaluationError",
    "Evaluator",
    "Expression",
    "ExpressionError",
    "Token",
    "compile_expression",
    "is_true",
    "parse",
    "tokens",
]

Evaluator = Callable[[Any, Scope], Any]
"""(current node, scope) -> value. Values may be shared with the node and with constants: read only."""

Node = dict[str, Any]

_MAX_DEPTH: Final = 200  # nesting of an expression; each level is a few frames when it runs
_SAFE_DEPTH: Final = 64  # below this no stack that is sane to call from can overflow


class ExpressionError(ValueError):
    """The text cannot be compiled; ``offset`` and ``length`` are characters into it."""

    def __init__(
        self, message: str, offset: int | None = None, length: int = 0, help: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.length = length
        self.help = help


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


# Syntax


@dataclass(frozen=True, slots=True)
class Token:
    """A lexer token; ``text[start:end]`` is how it is written."""

    type: str
    value: Any
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """All tokens, the last is ``eof``. Raises `ExpressionError` where `parse` would for the lexer."""
    with _syntax_errors(text):
        return [_token(text, raw) for raw in Lexer().tokenize(text)]


def parse(text: str) -> Node:
    """The reference parser's tree (its parser caches it: read only)."""
    with _syntax_errors(text):
        return cast(Node, Parser().parse(text).parsed)


@contextmanager
def _syntax_errors(text: str) -> Iterator[None]:
    if not text.strip():
        raise ExpressionError("empty expression", 0, len(text))
    try:
        with warnings.catch_warnings():
            # Text without its quotes between back-ticks is deprecated, but part of the language.
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            yield
    except LexerError as error:
        raise _explain_lexer_error(text, error) from None
    except ParseError as error:
        raise _explain_parse_error(text, error) from None
    except RecursionError:
        raise ExpressionError("the expression nests too deep", 0, len(text)) from None
    except ValueError:  # int() of thousands of digits
        raise ExpressionError("a number has too many digits", 0, len(text)) from None


def _token(text: str, raw: Mapping[str, Any]) -> Token:
    # The lexer's own ends are wrong for quoted tokens and for operators.
    kind, start = raw["type"], raw["start"]
    if kind in ("literal", "quoted_identifier"):
        return Token(kind, raw["value"], start, _closing_quote(text, start) + 1)
    end = raw["end"] if kind == "number" else start + len(raw["value"])
    return Token(kind, raw["value"], start, end)


def _closing_quote(text: str, start: int) -> int:
    position = start + 1
    while position < len(text) and text[position] != text[start]:
        position += 2 if text[position] == "\\" else 1
    return min(position, len(text) - 1)


_HELP_FOR_QUOTE: Final = {
    "'": "text is written `'…'`; a quote inside it is written `\\'`",
    '"': 'a name is written `"…"`; text is written with single quotes',
    "`": "a JSON value is written between two back-ticks",
}
_HELP_FOR_CHARACTER: Final = {
    "=": "compare with `==`",
    "-": 'there is no arithmetic; a name with `-` is written in double quotes: `"a-b"`',
    "+": "there is no arithmetic",
    "/": "there is no arithmetic; a name with `/` is written in double quotes",
    "%": "there is no arithmetic",
    "?": "`a ? b : c` is written `a && b || c`",
    "$": "the current node is `@`, its field is just `name`",
}


def _explain_lexer_error(text: str, error: LexerError) -> ExpressionError:
    start: int = error.lexer_position
    character = text[start]
    if character not in _HELP_FOR_QUOTE:
        help = _HELP_FOR_CHARACTER.get(character)
        if help is None and character.isalpha():
            help = "names are ASCII letters, digits and `_`; write others in double quotes"
        return ExpressionError(f"unexpected `{character}`", start, 1, help)
    if error.message.startswith("Unclosed"):
        return ExpressionError(
            f"unclosed quote {character}", start, len(text) - start, _HELP_FOR_QUOTE[character]
        )
    length = _closing_quote(text, start) + 1 - start
    if character == "`":
        return ExpressionError("not a JSON value between the back-ticks", start, length)
    return ExpressionError("bad escape in the quoted name", start, length)


_QUOTED_CALL: Final = ("quoted_identifier", "lparen")


def _explain_parse_error(text: str, error: ParseError) -> ExpressionError:
    found = tokens(text)
    index = next(i for i, token in enumerate(found) if token.start >= error.lex_position)
    if error.msg.startswith("Quoted identifier not allowed"):  # its position is always 0
        kinds = [token.type for token in found]
        index = next(i for i, pair in enumerate(pairwise(kinds)) if pair == _QUOTED_CALL)
    token = found[index]
    if isinstance(error, IncompleteExpressionError) or token.type == "eof":
        # At the last token, because a caret behind the text is hard to see.
        message, (token, help) = "unexpected end of the expression", (found[-2], _unclosed(found))
        return ExpressionError(message, token.start, token.end - token.start, help)
    if token.type == "number":
        return _explain_number(text, found, index)
    written = text[token.start : token.end]
    help = _help_for_token(found, index)
    return ExpressionError(f"unexpected `{written}`", token.start, len(written), help)


def _explain_number(text: str, found: list[Token], index: int) -> ExpressionError:
    start = found[index].start
    after_dot = index > 0 and found[index - 1].type == "dot"
    match = re.compile(r"-?\d+" if after_dot else r"-?\d+(\.\d+)?([eE]\d+)?").match(text, start)
    written = match[0] if match else ""
    help = f"numbers need back-ticks: write `` `{written}` ``"
    if after_dot:
        help = f"an index is written `[{written}]`"
    return ExpressionError(f"unexpected `{written}`", start, len(written), help)


_CLOSERS: Final = {
    "lparen": "rparen",
    "lbracket": "rbracket",
    "filter": "rbracket",
    "lbrace": "rbrace",
}


def _unclosed(found: list[Token]) -> str | None:
    open_tokens: list[Token] = []
    for token in found:
        if token.type in _CLOSERS:
            open_tokens.append(token)
        elif open_tokens and token.type == _CLOSERS[open_tokens[-1].type]:
            open_tokens.pop()
    if not open_tokens:
        return None
    return f"`{open_tokens[-1].value}` at character {open_tokens[-1].start + 1} is never closed"


def _help_for_token(found: list[Token], index: int) -> str | None:
    token = found[index]
    if token.type == "expref":
        return "`and` is written `&&`"
    if token.type == "quoted_identifier" and found[index + 1].type == "lparen":
        return f"a function's name has no quotes: `{token.value}(…)`"
    if token.type == "unquoted_identifier" and token.value in ("and", "or", "not"):
        return "write `&&`, `||` and `!`"
    if index and found[index - 1].type == "dot" and token.type == "literal":
        return 'a name that needs quotes is written in double quotes: `a."b"`'
    return None


# Checks on the tree


def _check(text: str, tree: Node, functions: Mapping[str, Function]) -> int:
    """Refuse what can only fail; gives the depth of the tree.

    Nodes carry no position. They are visited in the order they are written, so the n-th call met
    is the n-th call among the tokens, and the n-th reference the n-th ``&``.
    """
    deepest = calls = references = 0
    stack: list[tuple[Node, int, bool]] = [(tree, 1, False)]
    while stack:
        node, depth, may_refer = stack.pop()
        deepest = max(deepest, depth)
        kind, children = node["type"], node["children"]
        wanted: frozenset[int] = frozenset()
        if kind == "expref":
            if not may_refer:
                raise _misplaced_reference(text, references)
            references += 1
        elif kind == "function_expression":
            wanted = _check_call(text, node, calls, functions)
            calls += 1
        elif kind == "slice":
            if children[2] == 0:
                raise _zero_step(text)
            continue
        elif kind == "filter_projection":
            children = [children[0], children[2], children[1]]
        # A chain (`a || b || c`) leans to the left and is compiled to one closure: no depth.
        chain = kind in _CHAINS and children[0]["type"] in _CHAINS[kind]
        for index in reversed(range(len(children))):
            below = depth if chain and index == 0 else depth + 1
            stack.append((children[index], below, index in wanted))
    if deepest > _MAX_DEPTH:
        raise ExpressionError("the expression nests too deep", 0, len(text))
    return deepest


def _check_call(
    text: str, node: Node, call: int, functions: Mapping[str, Function]
) -> frozenset[int]:
    """Check name and arguments of the n-th call; which of them must be ``&expression``."""
    name, arguments = node["value"], node["children"]
    function = functions.get(name)
    if function is None and name in FUNCTIONS:
        places = "only in: " + ", ".join(sorted(FUNCTIONS[name].places))
        raise ExpressionError(f"`{name}` is not available here", *_name_span(text, call), places)
    if function is None:
        help = did_you_mean(name, functions)
        raise ExpressionError(f"unknown function `{name}`", *_name_span(text, call), help)
    usage = f"write `{function.usage}`"
    too_many = function.max_args is not None and len(arguments) > function.max_args
    if too_many or len(arguments) < function.min_args:
        message = f"`{name}` takes {_arity(function)}, not {len(arguments)}"
        raise ExpressionError(message, *_name_span(text, call), usage)
    for index in function.references:
        if arguments[index]["type"] != "expref":
            message = f"`{name}` wants an `&expression` as argument {index + 1}"
            raise ExpressionError(message, *_argument_span(text, call, index), usage)
    if function.bind is not None:
        _check_bound(text, call, function, arguments[-1])
    return function.references


def _check_bound(text: str, call: int, function: Function, argument: Node) -> None:
    """The last argument of a function with `Function.bind` is a literal string that it accepts."""
    assert function.bind is not None
    last = function.min_args - 1
    if argument["type"] != "literal" or type(argument["value"]) is not str:
        message = f"the regular expression of `{function.name}` must be a literal string"
        span = _argument_span(text, call, last)
        raise ExpressionError(message, *span, "write it in single quotes")
    try:
        function.bind(argument["value"])
    except (re.error, OverflowError, RecursionError) as error:
        start, length = _argument_span(text, call, last)
        position = getattr(error, "pos", None)
        if position is not None and text[start + 1 : start + length - 1] == argument["value"]:
            start, length = start + 1 + min(position, length - 3), 1  # nothing was escaped
        message = f"bad regular expression: {getattr(error, 'msg', error)}"
        raise ExpressionError(message, start, length) from None


def _arity(function: Function) -> str:
    least, most = function.min_args, function.max_args
    if most == 0:
        return "no arguments"
    if most is None:
        return f"at least {least} argument" + ("s" if least > 1 else "")
    choice = str(least) if least == most else f"{least} or {most}"
    return f"{choice} argument" + ("s" if most > 1 else "")


def _call_parenthesis(found: list[Token], call: int) -> int:
    """Index of the n-th ``(`` that calls something: a name or, oddly, ``(name)(…)``."""
    calls = (
        i
        for i, token in enumerate(found)
        if token.type == "lparen" and i and found[i - 1].type in ("unquoted_identifier", "rparen")
    )
    return next(i for n, i in enumerate(calls) if n == call)


def _name_span(text: str, call: int) -> tuple[int, int]:
    found = tokens(text)
    index = _call_parenthesis(found, call) - 1
    while found[index].type == "rparen":
        index -= 1
    return found[index].start, found[index].end - found[index].start


def _argument_span(text: str, call: int, argument: int) -> tuple[int, int]:
    """Where the argument of the n-th call is; the call's name if commas were left out."""
    found = tokens(text)
    opening = _call_parenthesis(found, call)
    first, index, depth, commas = opening + 1, opening, 0, 0
    for index in range(opening, len(found)):
        kind = found[index].type
        depth += (kind in _CLOSERS) - (kind in _CLOSERS.values())
        if depth == 0 or (depth == 1 and kind == "comma"):
            if commas == argument and first < index:
                return found[first].start, found[index - 1].end - found[first].start
            first, commas = index + 1, commas + 1
        if depth == 0:
            break
    return _name_span(text, call)


def _misplaced_reference(text: str, reference: int) -> ExpressionError:
    start = [token.start for token in tokens(text) if token.type == "expref"][reference]
    takers = ", ".join(f"`{f.name}`" for f in FUNCTIONS.values() if f.references)
    return ExpressionError("`&` has no place here", start, 1, f"only {takers} take `&expression`")


def _zero_step(text: str) -> ExpressionError:
    found = tokens(text)
    for index, token in enumerate(found):
        before = [t.type for t in found[max(0, index - 3) : index] if t.type != "number"]
        if token.type == "number" and token.value == 0 and before[-2:] == ["colon", "colon"]:
            break
    return ExpressionError("the step of a slice cannot be 0", token.start, token.end - token.start)


# Compilation


_UNKNOWN: Final = object()
_NOWHERE: Final = Scope()
_SEQUENCES: Final = frozenset({"pipe", "subexpression", "index_expression"})
_CHAINS: Final = {
    "or_expression": frozenset({"or_expression"}),
    "and_expression": frozenset({"and_expression"}),
    **dict.fromkeys(_SEQUENCES, _SEQUENCES),
}


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
    depth = _check(text, tree, table)
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
    if kind in _CHAINS:
        codes = [_compile(child, functions) for child in _chain(node, _CHAINS[kind])]
        code = _sequence(codes) if kind in _SEQUENCES else _junction(kind, codes)
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


def _chain(node: Node, kinds: frozenset[str]) -> list[Node]:
    """The operands of ``a || b || c``, which the parser nests to the left, in order."""
    operands: list[Node] = []
    while node["type"] in kinds:
        node, *rest = node["children"]
        operands[:0] = rest
    return [node, *operands]


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
