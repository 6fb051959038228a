"""Python source of expressions, while it is written and when it is run.

A `Writer` collects the statements of one function ``(node, scope) -> value``. What is written is made
of fixed phrases and of names that the writer invents: the names and constants of an adapter file are
never part of the text. They are values of the function's namespace, which holds nothing else but the
few helpers that the phrases need (no builtins), so that no adapter can write Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from takopi.adapters.functions import NUMBERS
from takopi.adapters.scope import Scope

Evaluator: TypeAlias = Callable[[Any, Scope], Any]
"""(current node, scope) -> value. Values may be shared with the node and with constants: read only."""


def is_true(value: Any) -> bool:
    """JMESPath's truth: false, null, "", [] and {} are false; 0 is true."""
    return bool(value) or type(value) in NUMBERS


UNKNOWN: Final = object()


@dataclass(slots=True)
class Code:
    """What was written for a node of the tree, and what is known about its value.

    ``text`` is the name of a variable or constant; naming it twice costs nothing.
    """

    text: str
    fails: bool = False
    local: bool = True  # the value depends on the current node
    scoped: bool = False  # it depends on the scope, or is never the same
    value: Any = UNKNOWN  # of a constant
    boolean: bool = False  # it is true or false, no other value
    tests_text: str | None = None  # true means that this variable holds a string

    @property
    def true(self) -> str:
        """A condition for `is_true` of it."""
        return self.text if self.boolean else f"{self.text} or type({self.text}) in NUMBERS"


def joined(
    text: str,
    *parts: Code,
    fails: bool = False,
    local: bool | None = None,
    scoped: bool = False,
    boolean: bool = False,
) -> Code:
    """Code made of parts: it fails if one of them does, and so on."""
    return Code(
        text,
        fails=fails or any(part.fails for part in parts),
        local=any(part.local for part in parts) if local is None else local,
        scoped=scoped or any(part.scoped for part in parts),
        boolean=boolean,
    )


@dataclass(slots=True)
class Block:
    """Statements that belong together, and the fields that they have read.

    A ``guard`` is nearly always run to its end; others may well not be.
    """

    guard: bool
    lines: list[str] = field(default_factory=list)
    reads: dict[tuple[str, str], str] = field(default_factory=dict)


Write: TypeAlias = Callable[["Writer", str], Code]
"""Writes what computes a value; the second argument is the variable that holds the current node."""

_HELPERS: Final[Mapping[str, Any]] = {
    "__builtins__": {},
    "NUMBERS": NUMBERS,
    **{kind.__name__: kind for kind in (bool, dict, list, str, type)},
    "len": len,
}


class Writer:
    """The statements of one function."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = dict(_HELPERS)
        self.texts: set[str] = set()  # variables that hold a string where statements are added now
        self._blocks = [Block(guard=False)]
        self._made_in: dict[str, int] = {"node": 0, "scope": 0}  # variable: depth of its block
        self._fields: dict[str, str] = {}

    @property
    def depth(self) -> int:
        """How many blocks are open."""
        return len(self._blocks)

    def name(self, value: Any) -> str:
        """A name for a constant or a helper."""
        if type(value) is str and value in self._fields:
            return self._fields[value]
        name = f"c{len(self.names)}"
        self.names[name] = value
        if type(value) is str:
            self._fields[value] = name
        return name

    def variable(self) -> str:
        """A new variable, to be set by statements of the open block."""
        name = f"v{len(self._made_in)}"
        self._made_in[name] = len(self._blocks) - 1
        return name

    def add(self, *lines: str) -> None:
        """Statements of the open block."""
        self._blocks[-1].lines += lines

    def let(self, text: str) -> str:
        """A new variable that holds the value of ``text``."""
        name = self.variable()
        self.add(f"{name} = {text}")
        return name

    def read(self, base: str, text: str, key: str) -> str:
        """The variable that holds ``text``, which reads ``key`` of ``base`` and cannot fail.

        What an enclosing block has read is not read again; a guard has it read before the guard.
        """
        for block in self._blocks:
            if (base, key) in block.reads:
                return block.reads[base, key]
        depth = len(self._blocks) - 1
        while self._blocks[depth].guard and self._made_in.get(base, 0) < depth:
            depth -= 1
        name = self.variable()
        self._made_in[name] = depth
        self._blocks[depth].lines.append(f"{name} = {text}")
        self._blocks[depth].reads[base, key] = name
        return name

    def field(self, base: str, key: str) -> str:
        """A variable that holds a field of ``base``, null where that is no object."""
        text = f"{base}.get({self.name(key)}) if type({base}) is dict else None"
        return self.read(base, text, f".{key}")

    @contextmanager
    def block(self, *, guard: bool = False) -> Iterator[Block]:
        """What is added inside goes into a block of its own, which `place` may put somewhere."""
        block = Block(guard)
        self._blocks.append(block)
        texts = set(self.texts)
        try:
            yield block
        finally:
            self._blocks.pop()
            self.texts = texts

    def place(self, header: str | None, block: Block) -> None:
        """Add a block under a header such as ``if v1:``, or without one as if never apart."""
        if header is None:
            self._blocks[-1].lines += block.lines
            self._blocks[-1].reads.update(block.reads)
        else:
            self.add(header, *[f" {line}" for line in block.lines or ["pass"]])

    def mark(self) -> list[tuple[int, int]]:
        """Where things stand, for `undo`."""
        return [(len(block.lines), len(block.reads)) for block in self._blocks]

    def undo(self, mark: list[tuple[int, int]]) -> None:
        """Take back what was added since `mark`."""
        for block, (lines, reads) in zip(self._blocks, mark, strict=True):
            del block.lines[lines:]
            while len(block.reads) > reads:
                block.reads.popitem()

    def source(self, result: str) -> str:
        """The function's text."""
        lines = [f" {line}" for line in self._blocks[0].lines]
        return "\n".join(["def run(node, scope):", *lines, f" return {result}", ""])


def assemble(write: Write) -> Evaluator:
    """The function that ``write`` writes, at once."""
    writer = Writer()
    code = write(writer, "node")
    exec(compile(writer.source(code.text), "<expression>", "exec"), writer.names)
    return writer.names["run"]  # type: ignore[no-any-return]


class Value:
    """Something to evaluate. ``evaluate(node, scope)`` is made when it is called for the first time."""

    def __init__(self, write: Write, constant: bool = False) -> None:
        self.write = write
        self.constant = constant  # the same whatever node and scope
        self.evaluate: Evaluator = self._first

    def _first(self, node: Any, scope: Scope) -> Any:
        self.evaluate = assemble(self.write)
        return self.evaluate(node, scope)

    def literal(self) -> Any:
        """The value of a constant."""
        return self.evaluate(None, Scope())


def constant(value: Any) -> Value:
    """A value that is the same for every line."""
    return Value(lambda writer, here: literal(writer, value), True)


def literal(writer: Writer, value: Any) -> Code:
    """Code of a constant."""
    return Code(writer.name(value), local=False, value=value, boolean=type(value) is bool)


def apart(write: Write) -> Evaluator:
    """A function of its own, compiled when it is called for the first time."""
    value = Value(write)
    return lambda node, scope: value.evaluate(node, scope)


def called(function: Evaluator) -> Write:
    """Writes a call of a function of node and scope of which nothing is known."""
    return lambda writer, here: Code(
        writer.let(f"{writer.name(function)}({here}, scope)"), fails=True
    )


def variable(name: str) -> Value:
    """A variable of the run's state."""

    def write(writer: Writer, here: str) -> Code:
        state = writer.read("scope", "scope.state", ".state")
        return Code(writer.field(state, name), local=False, scoped=True)

    return Value(write)


def stores(variables: Sequence[tuple[str, Value]]) -> Value:
    """Sets variables of the run's state: all values are computed before any is stored."""

    def write(writer: Writer, here: str) -> Code:
        codes = [(writer.name(name), value.write(writer, here)) for name, value in variables]
        state = writer.read("scope", "scope.state", ".state")
        writer.add(*[f"{state}[{name}] = {code.text}" for name, code in codes])
        return literal(writer, None)

    return Value(write)


def group(values: list[Value]) -> Value:
    """The values as a tuple. What they read in common is read once."""

    def write(writer: Writer, here: str) -> Code:
        codes = [value.write(writer, here) for value in values]
        texts = ("None" if code.value is None else code.text for code in codes)
        return joined(f"({', '.join(texts)},)", *codes)

    return Value(write)
