"""The tool table: from a tool call to the kind and title of an action."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from takopi.adapters.code import Value
from takopi.adapters.expressions import ExpressionCompiler
from takopi.adapters.scope import Scope
from takopi.adapters.source import Node, Source, parse
from takopi.diagnostics import render_text
from takopi.paths import relativize_path

_MAX_REMEMBERED = 1_000  # names looked up before; an engine cannot fill memory with new ones


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """One entry of a ``tools`` list. ``names`` are lower-case; ``x*`` matches a beginning."""

    names: tuple[str, ...]
    kind: str | None
    title: Value | None
    path: Value | None


@dataclass(slots=True)
class ToolView:
    """How one call looks: its kind, its title (never empty) and the paths it changes.

    Not frozen: one is made for every call, and that would cost a multiple.
    """

    kind: str
    title: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """What all entries for one tool say; the first title and the first paths that are some count."""

    kind: str
    titles: tuple[Value, ...]
    paths: tuple[Value, ...]


class ToolTable:
    """An adapter's own entries before the built-in ones; what one leaves out the next may give."""

    def __init__(self, entries: Sequence[ToolEntry], fallback: ToolTable | None = None) -> None:
        self._entries = tuple((_names_regex(entry.names), entry) for entry in entries)
        self._fallback = fallback
        self._found: dict[str, _Look] = {}

    def entries(self, name: str) -> tuple[ToolEntry, ...]:
        """The entries for a tool, the first of each table, nearest table first.

        The name is compared without case, and with and without a dotted prefix.
        """
        whole, bare = name.lower(), name.lower().rpartition(".")[2]
        own = (e for names, e in self._entries if names.fullmatch(whole) or names.fullmatch(bare))
        found = tuple(islice(own, 1))
        return found if self._fallback is None else found + self._fallback.entries(name)

    def view(self, name: str, arguments: Any, scope: Scope) -> ToolView:
        """Kind, title and changed paths of the call of ``name`` with ``arguments``."""
        look = self._found.get(name) or self._look(name)
        node = {"name": name, "input": arguments}
        paths: tuple[str, ...] = ()
        for path in look.paths:
            paths = _texts(path.evaluate(node, scope))
            if paths:
                break
        for written in look.titles:
            title = _title(written.evaluate(node, scope))
            if title:
                return ToolView(look.kind, title, paths)
        base = scope.run.get("cwd")
        title = ", ".join([relativize_path(path, base_dir=base) for path in paths])
        return ToolView(look.kind, title or name or look.kind, paths)

    def _look(self, name: str) -> _Look:
        entries = self.entries(name)
        kind = next((e.kind for e in entries if e.kind), "tool")
        paths = [e.path for e in entries if e.path is not None and kind == "file_change"]
        titles = [e.title for e in entries if e.title is not None]
        look = _Look(kind, tuple(titles), tuple(paths))
        if len(self._found) < _MAX_REMEMBERED:
            self._found[name] = look
        return look


def _names_regex(names: Sequence[str]) -> re.Pattern[str]:
    found = (".*".join(re.escape(part) for part in name.split("*")) for name in names)
    return re.compile("|".join(found), re.DOTALL)


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, list):
        return tuple(dict.fromkeys(v for v in value if isinstance(v, str) and v))
    return ()


def _title(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def compile_tools(
    nodes: Sequence[tuple[Node, tuple[str | int, ...]]], compiler: ExpressionCompiler
) -> list[ToolEntry]:
    """Entries from the nodes of a ``tools`` list and their places in the document."""
    entries = []
    for node, path in nodes:
        name = node.get("name")
        names = name.items if name is not None and name.kind == "list" else [name]
        kind = node.get("kind")
        title, changed = node.get("title"), node.get("path")
        entries.append(
            ToolEntry(
                names=tuple(str(n.scalar).lower() for n in names if n is not None),
                kind=str(kind.scalar) if kind is not None and kind.scalar is not None else None,
                title=compiler.mapping(title, (*path, "title")) if title is not None else None,
                path=compiler.mapping(changed, (*path, "path")) if changed is not None else None,
            )
        )
    return entries


@lru_cache(maxsize=1)
def builtin_tools() -> ToolTable:
    """The table shipped with takopi, ``takopi/adapters/tools.yaml``."""
    file = Path(__file__).with_name("tools.yaml")
    root, problems = parse(Source(file.name, file.read_text(encoding="utf-8")))
    compiler = ExpressionCompiler()
    entries: list[ToolEntry] = []
    if root is not None:
        nodes = [(item, (i,)) for i, item in enumerate(root.items)]
        entries = compile_tools(nodes, compiler)
    problems += compiler.diagnostics
    if problems:
        raise RuntimeError("\n".join(render_text(p) for p in problems))
    return ToolTable(entries)
