"""The syntax of JMESPath: tokens, the parser's tree, and mistakes explained where they are.

The parser and lexer are the ``jmespath`` package's. What it finds out only while evaluating (unknown
functions, wrong argument counts, a slice step of 0) is an `ExpressionError` of `check` here. An
``&expression`` anywhere but in an argument that wants one is, too: the reference library lets such
values leak out.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, TypeAlias, cast

from jmespath.exceptions import IncompleteExpressionError, LexerError, ParseError
from jmespath.lexer import Lexer
from jmespath.parser import Parser

from takopi.adapters.functions import FUNCTIONS, Function
from takopi.diagnostics import did_you_mean

Node: TypeAlias = dict[str, Any]
"""A node of the tree: ``{"type": "subexpression", "children": [...]}``, some with a ``value``."""

SEQUENCES: Final = frozenset({"pipe", "subexpression", "index_expression"})
CHAINS: Final = {
    "or_expression": frozenset({"or_expression"}),
    "and_expression": frozenset({"and_expression"}),
    **dict.fromkeys(SEQUENCES, SEQUENCES),
}

_MAX_DEPTH: Final = 200  # nesting of an expression; each level is a few frames when it runs


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


def operands(node: Node) -> list[Node]:
    """The operands, in order, of ``a || b || c``, which the parser nests to the left."""
    kinds = CHAINS[node["type"]]
    found: list[Node] = []
    while node["type"] in kinds:
        node, *rest = node["children"]
        found[:0] = rest
    return [node, *found]


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


def check(text: str, tree: Node, functions: Mapping[str, Function]) -> int:
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
        chain = kind in CHAINS and children[0]["type"] in CHAINS[kind]
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
