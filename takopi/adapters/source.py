"""YAML text to nodes that know where they were written.

ruamel's `compose()` gives nodes with marks but accepts duplicate keys, merge keys, alias cycles and
tags; those are checked here. Scalars follow YAML 1.2: only ``true``, ``false``, ``null`` and
numbers have a type, so ``on``, ``off`` and ``no`` are text.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from takopi.adapters.positions import character_offsets
from takopi.adapters.yaml_errors import Complaint, explain
from takopi.diagnostics import Diagnostic, Span

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

# An adapter is a page or two. Longer files, and aliases that multiply into more nodes than this, are
# an attack or a mistake, and would take time and memory without bound.
MAX_CHARS = 128 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 60
_SAFE_NESTING = 2_000
_NESTING_HELP = f"an adapter never needs more than {MAX_DEPTH} levels"

YamlNode: TypeAlias = Any  # ruamel does not type its nodes
Scalar: TypeAlias = str | int | float | bool | None
Kind = Literal["scalar", "list", "map"]


class Source:
    """The text of one file and the name it is shown by."""

    __slots__ = ("_starts", "file", "text")

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text.removeprefix("\ufeff")
        self._starts = [0, *(m.end() for m in re.finditer(r"\r\n|\r|\n", self.text))]

    def span(self, start: int, end: int) -> Span:
        """The stretch from ``start`` to ``end`` (character indices), cut at the end of its line."""
        start = min(max(start, 0), len(self.text))
        line = bisect_right(self._starts, start) - 1
        begin = self._starts[line]
        stop = self._starts[line + 1] if line + 1 < len(self._starts) else len(self.text)
        text = self.text[begin:stop].rstrip("\r\n")
        length = max(1, min(end, begin + len(text)) - start)
        return Span(self.file, line + 1, start - begin + 1, length, text)


@dataclass(slots=True)
class Node:
    """A YAML value with its place. ``value`` is a scalar, a list of nodes or a list of entries."""

    kind: Kind
    source: Source = field(repr=False)
    start: int
    end: int
    scalar: Scalar = None
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[Node, Node]] = field(default_factory=list)
    style: str | None = None  # of a scalar: None (plain), ', ", | or >

    @property
    def span(self) -> Span:
        """The whole value (its first line, where it has several)."""
        return self.source.span(self.start, self.end)

    def get(self, key: str) -> Node | None:
        """The value of a mapping's key."""
        return next((v for k, v in self.entries if k.scalar == key), None)

    def key_node(self, key: str) -> Node | None:
        """The key itself, for problems that are about the key."""
        return next((k for k, _ in self.entries if k.scalar == key), None)

    def span_within(self, offset: int, length: int) -> Span:
        """The characters ``offset`` to ``offset + length`` of a text scalar, as written.

        Cut at the end of the line; the whole scalar where the written form cannot be followed.
        """
        if not isinstance(self.scalar, str):
            return self.source.span(self.start + offset, self.start + offset + max(length, 1))
        raw = self.source.text[self.start : self.end]
        places = character_offsets(raw, self.style, self.scalar)
        if places is None or offset >= len(places):
            return self.span
        start = places[offset]
        end = places[min(offset + max(length, 1), len(places) - 1)]
        return self.source.span(self.start + start, self.start + max(end, start + 1))


def plain(node: Node) -> Any:
    """The node as ordinary Python data."""
    if node.kind == "map":
        return {k.scalar: plain(v) for k, v in node.entries}
    if node.kind == "list":
        return [plain(item) for item in node.items]
    return node.scalar


def resolve(node: Node, path: tuple[str | int, ...]) -> tuple[Node, int]:
    """Follow ``path`` as far as it goes; returns the last node reached and how many parts it took."""
    current = node
    for count, part in enumerate(path):
        following: Node | None = None
        if isinstance(part, int) and current.kind == "list" and part < len(current.items):
            following = current.items[part]
        elif isinstance(part, str) and current.kind == "map":
            following = current.get(part)
        if following is None:
            return current, count
        current = following
    return current, len(path)


def format_path(path: tuple[str | int, ...]) -> str:
    """``("events", 2, "action")`` as ``events[2].action``."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


# --------------------------------------------------------------------------------------- reading


def parse(source: Source) -> tuple[Node | None, list[Diagnostic]]:
    """The document's root node and all problems of its YAML; no root when it cannot be read."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(source.text) > MAX_CHARS:
        message = f"the file is too large for an adapter: {len(source.text) // 1024} KiB"
        advice = f"an adapter is a page or two; the limit is {MAX_CHARS // 1024} KiB"
        return None, [Diagnostic("syntax", message, source.span(0, 1), help=advice)]
    try:
        too_deep = _nested_too_deep(source)
        if too_deep is not None:
            return None, [too_deep]
        composed = YAML(typ="safe").compose(source.text)
    except MarkedYAMLError as error:
        return None, [_syntax_error(source, error)]
    except (YAMLError, ValueError, UnicodeError) as error:
        return None, [_reader_error(source, error)]
    if composed is None:
        span = source.span(0, 1)
        advice = "begin with `adapter: 1`; `takopi adapters show ID` prints a whole adapter as an example"
        return None, [Diagnostic("syntax", "the file is empty", span, help=advice)]
    builder = _Builder(source)
    root = builder.build(composed)
    if root is not None:
        builder.diagnostics += _lost_in_comments(root)
    return root, builder.diagnostics


def _nested_too_deep(source: Source) -> Diagnostic | None:
    """Refuses what would overflow the stack of libyaml's composer, which is C and does not look.

    Indentation takes a character per level and line: only brackets, dashes and `?` nest cheaply.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

    if sum(source.text.count(c) for c in "[{-?") < _SAFE_NESTING:
        return None
    depth = 0
    for event in YAML(typ="safe").parse(source.text):
        if isinstance(event, CollectionStartEvent):
            depth += 1
        elif isinstance(event, CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            at = event.start_mark.index
            return Diagnostic(
                "syntax", "values are nested too deep", source.span(at, at + 1), help=_NESTING_HELP
            )
    return None


def _reader_error(source: Source, error: Exception) -> Diagnostic:
    found = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]", source.text)
    at = found.start() if found else 0
    what = (
        f"a character that YAML does not allow: U+{ord(found.group()):04X}" if found else str(error)
    )
    return Diagnostic(
        "syntax",
        what,
        source.span(at, at + 1),
        help="delete it, or write it as an escape in double quotes",
    )


def _syntax_error(source: Source, error: MarkedYAMLError) -> Diagnostic:
    at = error.problem_mark or error.context_mark
    begin = error.context_mark or at
    found = explain(
        source.text,
        Complaint(
            str(error.problem or error).strip(),
            str(error.context or ""),
            at.index if at is not None else 0,
            begin.index if begin is not None else 0,
        ),
    )
    related: tuple[tuple[Span, str], ...] = ()
    if found.other is not None:
        related = ((source.span(found.other, found.other + 1), found.label),)
    span = source.span(found.start, found.end)
    return Diagnostic("syntax", found.message, span, help=found.help, related=related)


class _Builder:
    """Turns composed YAML nodes into ours, collecting every problem on the way."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        self.count = 0
        self.active: set[int] = set()
        self.top: YamlNode = None  # the key of the document that is being built

    def build(self, node: YamlNode) -> Node | None:
        """The root, or None when aliases make the document endless or far too large."""
        try:
            return self._node(node, ())
        except _TooLarge as stop:
            self.diagnostics.append(stop.diagnostic)
            return None

    def problem(self, code: str, message: str, node: YamlNode, **more: Any) -> Diagnostic:
        span = self.source.span(node.start_mark.index, node.end_mark.index)
        found = Diagnostic(code, message, span, **more)
        self.diagnostics.append(found)
        return found

    def _node(self, node: YamlNode, path: tuple[str | int, ...]) -> Node:
        self.count += 1
        if self.count > MAX_NODES or len(path) > MAX_DEPTH:
            deep = len(path) > MAX_DEPTH
            what = "values are nested too deep" if deep else "aliases multiply into too many values"
            advice = _NESTING_HELP if deep else "write the values out, or use fewer aliases"
            raise _TooLarge(self._at(node if deep else self.top, what, advice))
        if id(node) in self.active:
            advice = "an anchor cannot be used inside its own value"
            raise _TooLarge(self._at(node, "an alias that contains itself", advice))
        start, end = self._start(node), node.end_mark.index
        self.active.add(id(node))
        try:
            if node.id == "mapping":
                self._tagged(node, path)
                built = Node("map", self.source, start, end)
                built.entries = self._entries(node, path)
                return built
            if node.id == "sequence":
                self._tagged(node, path)
                items = [self._node(item, (*path, i)) for i, item in enumerate(node.value)]
                return Node("list", self.source, start, end, items=items)
            return self._scalar(node, path)
        finally:
            self.active.discard(id(node))

    def _at(self, node: YamlNode, message: str, advice: str) -> Diagnostic:
        span = self.source.span(node.start_mark.index, node.end_mark.index)
        return Diagnostic("syntax", message, span, help=advice)

    def _start(self, node: YamlNode) -> int:
        """Where the value itself begins: ruamel counts its anchor and tag in."""
        at: int = node.start_mark.index
        properties = _PROPERTIES.match(self.source.text, at, node.end_mark.index)
        return properties.end() if properties else at

    def _tagged(self, node: YamlNode, path: tuple[str | int, ...]) -> bool:
        """Whether a tag stands before the node, which is a problem: `!a` was meant as text."""
        written = self.source.text[node.start_mark.index : node.end_mark.index].split("\n", 1)[0]
        properties = _PROPERTIES.match(written)
        tag = _TAG.search(properties[0]) if properties else None
        if tag is None:
            return False
        expression = written[tag.start() :].rstrip(" ,")
        self.problem(
            "syntax",
            f"an unquoted leading `!` makes `{tag[0].rstrip(',')}` a YAML tag",
            node,
            path=format_path(path),
            help=f'quote the expression: "{expression}"',
        )
        return True

    def _scalar(self, node: YamlNode, path: tuple[str | int, ...]) -> Node:
        tagged = self._tagged(node, path)
        style = node.style or None
        value: Scalar = node.value
        if style is None and not tagged:
            value = _typed(node.value)
        return Node(
            "scalar",
            self.source,
            self._start(node),
            node.end_mark.index,
            scalar=value,
            style=style,
        )

    def _entries(self, node: YamlNode, path: tuple[str | int, ...]) -> list[tuple[Node, Node]]:
        own: list[tuple[Node, Node]] = []
        merged: list[tuple[Node, Node]] = []
        first: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if key_node.id != "scalar":
                self.problem(
                    "syntax",
                    "a key must be a plain text",
                    key_node,
                    path=format_path(path),
                    help="quote a text that begins with `{` or `[`",
                )
                continue
            if not path:
                self.top = key_node
            key = self._key(key_node, path)
            name = str(key.scalar)
            if name in first:
                self._duplicate(key_node, (*path, name), first[name])
                continue
            first[name] = key
            if name == "<<" and key.style is None:
                merged += self._merge(value_node, path)
            else:
                own.append((key, self._node(value_node, (*path, name))))
        for key, value in merged:
            if str(key.scalar) not in first:
                first[str(key.scalar)] = key
                own.append((key, value))
        return own

    def _key(self, node: YamlNode, path: tuple[str | int, ...]) -> Node:
        """A key. It is text whatever it looks like: JSON has no others, ``1:`` means ``"1"``."""
        key = self._scalar(node, path)
        key.scalar = node.value
        return key

    def _duplicate(self, node: YamlNode, path: tuple[str | int, ...], first: Node) -> None:
        name = path[-1]
        self.problem(
            "duplicate-key",
            f"`{name}` is written twice",
            node,
            path=format_path(path),
            help="write `<<: [*one, *two]`" if name == "<<" else "keep one of the two",
            related=((first.span, "first written here"),),
        )

    def _merge(self, node: YamlNode, path: tuple[str | int, ...]) -> list[tuple[Node, Node]]:
        built = self._node(node, (*path, "<<"))
        parts = built.items if built.kind == "list" else [built]
        if any(part.kind != "map" for part in parts):
            self.problem(
                "syntax",
                "`<<` merges mappings only",
                node,
                path=format_path(path),
                help="give it the `*name` of a mapping marked `&name`, or a list of them",
            )
            return []
        return [entry for part in parts for entry in part.entries]


class _TooLarge(Exception):
    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


# YAML's own white space: a no-break space belongs to the text.
_PROPERTIES = re.compile(r"(?:[&!][^ \t\r\n]*[ \t\r\n]*)+")
_TAG = re.compile(r"(?<![^ \t\r\n])![^ \t\r\n]*")
_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_TRUE = re.compile(r"(?:true|True|TRUE)\Z")
_FALSE = re.compile(r"(?:false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]{1,300}\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")


def _typed(text: str) -> Scalar:
    """A plain scalar's value after the JSON-like part of YAML 1.2's core schema."""
    if _NULL.match(text):
        return None
    if _TRUE.match(text):
        return True
    if _FALSE.match(text):
        return False
    if _INT.match(text):
        return int(text)
    if _FLOAT.match(text) and math.isfinite(number := float(text)):
        return number
    return text


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for item in node.items:
        yield from _walk(item)
    for _, value in node.entries:
        yield from _walk(value)


def comment_after(node: Node) -> Span | None:
    """The comment that ends a plain text, from the white space before its ``#``."""
    if node.kind != "scalar" or node.style is not None or node.start == node.end:
        return None
    found = _COMMENT.match(node.source.text, node.end)
    return node.source.span(node.end, found.end()) if found else None


_COMMENT = re.compile(r"[ \t]+#[^\r\n]*")


def _lost_in_comments(root: Node) -> list[Diagnostic]:
    """Plain texts whose template was cut off by `` #``, which begins a YAML comment."""
    found = []
    for node in _walk(root):
        comment = comment_after(node)
        if comment is None:
            continue
        text = str(node.scalar)
        lost = comment.text[comment.column - 1 :]
        if "${" in lost or ("${" in text and text.count("${") > text.count("}")):
            message = "the text after ` #` is a YAML comment and is not part of the value"
            found.append(Diagnostic("syntax", message, comment, help="quote the whole value"))
    return found
