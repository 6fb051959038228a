"""Compiles the values of an adapter file: expressions, templates, and mappings of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from takopi.adapters.code import Code, Value, Writer, constant
from takopi.adapters.functions import FUNCTIONS, EvaluationError
from takopi.adapters.jmes import Expression, compile_expression
from takopi.adapters.lint import accesses, calls, lint
from takopi.adapters.scope import Place, Scope
from takopi.adapters.source import Node, comment_after, format_path
from takopi.adapters.syntax import ExpressionError, Token, parse, tokens
from takopi.adapters.template import (
    ExpressionPart,
    TemplateError,
    as_text,
    is_template,
    split_template,
)
from takopi.diagnostics import Diagnostic, Span, did_you_mean

Path = tuple[str | int, ...]

RUN_FIELDS = ("prompt", "resume", "session", "model", "reasoning", "cwd", "engine")
REGEX_HELP = "write `\\` before a character that is meant as itself: `\\(`"
_PLACE_NAMES = {
    "event": "in mapping fields, where there is a line",
    "command": "in command-line fields",
    "session.create": "in `session.create`",
    "resume": "in `resume.line`",
}


@dataclass(frozen=True, slots=True)
class Read:
    """A field of ``options()``, ``state()`` or ``run()`` that an expression reads."""

    function: str
    field: str | None  # None: the whole object
    span: Span
    path: str


NULL = constant(None)


class ExpressionCompiler:
    """Compiles values and collects every problem and every read on the way."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []
        self.compiled: list[tuple[Place, Expression]] = []
        self.reads: list[Read] = []

    # -- the three kinds of field ------------------------------------------------------------

    def mapping(self, node: Node | None, path: Path, where: str = "event") -> Value:
        """A mapping field: a text is an expression, or a template when it holds ``${``."""
        if node is None:
            return NULL
        if node.kind == "map":
            return self._tree_map(node, path, where)
        if node.kind == "list":
            return self._tree_list(node, path, where)
        text = node.scalar
        if not isinstance(text, str) or text == "":
            return constant(text)
        if is_template(text):
            return self._template(node, text, path, where)
        return self._expression(node, text, 0, path, where)

    def text(self, node: Node | None, path: Path, where: str = "command") -> Value:
        """A command-line or enum field: a text is literal; ``${ EXPR }`` mixes in a value."""
        if node is None:
            return NULL
        text = node.scalar
        if isinstance(text, str) and is_template(text):
            return self._template(node, text, path, where)
        if isinstance(text, str) and _LOOKS_LIKE_A_CALL.match(text):
            self.problem(
                "expression",
                f"`{text.strip()}` is literal text here, not an expression",
                node.span,
                path,
                f"write `${{{text.strip()}}}` to mix in its value",
            )
        return constant(text)

    # -- parts -------------------------------------------------------------------------------

    def problem(
        self, code: str, message: str, span: Span, path: Path, help: str | None = None
    ) -> None:
        """Record a problem at ``span``."""
        self.diagnostics.append(Diagnostic(code, message, span, format_path(path), help))

    def _tree_map(self, node: Node, path: Path, where: str) -> Value:
        parts = [
            (str(k.scalar), self.mapping(v, (*path, str(k.scalar)), where)) for k, v in node.entries
        ]
        if all(v.constant for _, v in parts):
            return constant({k: v.literal() for k, v in parts})

        def write(writer: Writer, here: str) -> Code:
            codes = [(writer.name(key), value.write(writer, here)) for key, value in parts]
            items = ", ".join(f"{key}: {code.text}" for key, code in codes)
            return Code(writer.let(f"{{{items}}}"))

        return Value(write)

    def _tree_list(self, node: Node, path: Path, where: str) -> Value:
        parts = [self.mapping(item, (*path, i), where) for i, item in enumerate(node.items)]
        if all(v.constant for v in parts):
            return constant([v.literal() for v in parts])

        def write(writer: Writer, here: str) -> Code:
            codes = [value.write(writer, here) for value in parts]
            return Code(writer.let(f"[{', '.join(code.text for code in codes)}]"))

        return Value(write)

    def _template(self, node: Node, text: str, path: Path, where: str) -> Value:
        try:
            parts = split_template(text)
        except TemplateError as error:
            self.problem(
                "expression",
                str(error),
                node.span_within(error.offset, 2),
                path,
                "close it with `}`, or write `$${` for a literal `${`",
            )
            return NULL
        if len(parts) == 1:
            only = parts[0]
            if isinstance(only, str):
                return constant(only)
            return self._expression(node, only.text, only.offset, path, where)
        return self._joined(
            [
                self._expression(node, p.text, p.offset, path, where)
                if isinstance(p, ExpressionPart)
                else constant(p)
                for p in parts
            ]
        )

    @staticmethod
    def _joined(parts: list[Value]) -> Value:
        def write(writer: Writer, here: str) -> Code:
            codes = [part.write(writer, here) for part in parts]
            show = writer.name(as_text)
            texts = (
                code.text if type(code.value) is str else f"{show}({code.text})" for code in codes
            )
            return Code(writer.let(f"{writer.name(''.join)}(({', '.join(texts)},))"))

        return Value(write, all(part.constant for part in parts))

    def _expression(self, node: Node, text: str, offset: int, path: Path, where: str) -> Value:
        try:
            expression = compile_expression(text)
        except ExpressionError as error:
            at = 0 if error.offset is None else error.offset
            length = error.length if error.offset is not None else len(text)
            span = node.span_within(offset + at, length)
            code = "regex" if "regular expression" in error.message else "expression"
            self.problem(code, error.message, span, path, _advice(error, node, text))
            if _parses(text):  # wrong, but not in its syntax: it may hold traps besides
                self._note_traps(node, text, offset, path)
                self._note_reads(node, tokens(text), offset, path)
            return NULL
        self._note_traps(node, text, offset, path)
        found = tokens(text)
        self._check_places(node, found, offset, path, where)
        self._note_reads(node, found, offset, path)
        place = Place(node.source.file, node.span.line, format_path(path))
        self.compiled.append((place, expression))
        return _guarded(expression, place)

    def _note_traps(self, node: Node, text: str, offset: int, path: Path) -> None:
        for trap in lint(text, tokens(text)):
            span = node.span_within(offset + trap.start, trap.length)
            self.problem(trap.code, trap.message, span, path, trap.help)

    def _check_places(
        self, node: Node, found: list[Token], offset: int, path: Path, where: str
    ) -> None:
        for token in calls(found):
            function = FUNCTIONS.get(str(token.value))
            if function is None or where in function.places:
                continue
            allowed = " or ".join(_PLACE_NAMES.get(p, p) for p in sorted(function.places))
            span = node.span_within(offset + token.start, token.end - token.start)
            self.problem(
                "expression",
                f"`{token.value}()` cannot be used here",
                span,
                path,
                f"it can be used {allowed}",
            )

    def _note_reads(self, node: Node, found: list[Token], offset: int, path: Path) -> None:
        for access in accesses(found, frozenset(("options", "state", "run"))):
            span = node.span_within(offset + access.start, access.length)
            self.reads.append(Read(access.function, access.field, span, format_path(path)))
            if (
                access.function == "run"
                and access.field is not None
                and access.field not in RUN_FIELDS
            ):
                self.problem(
                    "expression",
                    f"`run()` has no field `{access.field}`",
                    span,
                    path,
                    did_you_mean(access.field, RUN_FIELDS),
                )


_LOOKS_LIKE_A_CALL = re.compile(r"\s*(?:run|options|state|event)\(\)")
_WORDS = re.compile(r"[\w ,.!?'’-]+\Z")
_CUT_OFF = ("unclosed quote", "unexpected end")


def _advice(error: ExpressionError, node: Node, text: str) -> str | None:
    """The error's own help, or what only the place of the expression tells."""
    if comment_after(node) is not None and error.message.startswith(_CUT_OFF):
        return "` #` begins a comment in YAML: quote the whole value"
    if error.help is None and not text.strip():
        return "write an expression between the braces, or `$${` for a literal `${`"
    if error.help is None and error.message.startswith("bad regular expression"):
        return REGEX_HELP
    if error.help is None and re.search(r"\{\s*\}", text):
        return "write `` `{}` `` for an empty object"
    if error.help is None and node.style in ("'", '"') and " " in text and _WORDS.match(text):
        shown = text.replace("'", "\\'")
        return f"YAML takes its quotes away: for a text, write \"'{shown}'\""
    return error.help


def _parses(text: str) -> bool:
    try:
        parse(text)
    except ExpressionError:
        return False
    return True


def _guarded(expression: Expression, place: Place) -> Value:
    """The expression; where it can fail, a failure is reported and gives null."""
    if not expression.can_fail:
        return expression

    def failed(scope: Scope, error: EvaluationError) -> None:
        scope.failed(place, error)

    def write(writer: Writer, here: str) -> Code:
        found, caught = writer.variable(), writer.name(EvaluationError)
        with writer.block(guard=True) as block:
            code = expression.write(writer, here)
            writer.add(f"{found} = {code.text}")
        writer.place("try:", block)
        writer.add(f"except {caught} as error:", f" {found} = {writer.name(failed)}(scope, error)")
        return Code(found)

    return Value(write)
