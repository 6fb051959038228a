"""One adapter's document: its YAML, its format version, and the keys it inherits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from takopi.adapters.model import EXTENDABLE_LISTS, FORMAT_VERSION, NEVER_INHERITED
from takopi.adapters.source import Node, Source, parse
from takopi.diagnostics import Diagnostic, has_errors, suggest
from takopi.errors import SpecError

Parents: TypeAlias = Callable[[str], Source | None]
"""The text of the adapter that ``extends`` names, None for an unknown one; may raise `SpecError`."""


def load_document(
    source: Source, parents: Parents, chain: tuple[Source, ...] = ()
) -> tuple[Node | None, list[Diagnostic]]:
    """The document with its parents' keys laid under it, and what is wrong so far.

    No document when nothing more can be said about it. ``chain`` are the files that extend this one.
    """
    root, problems = parse(source)
    if root is None:
        return None, problems
    if root.kind != "map":
        message = "an adapter is a mapping of keys"
        problem = Diagnostic("schema", message, root.span, help="begin with `adapter: 1`")
        return None, [*problems, problem]
    version = _check_version(root)
    if version is not None:
        return None, [version]
    extends = root.get("extends")
    if extends is None or not isinstance(extends.scalar, str):
        return root, problems
    parent, problem_of_parent = _parent(extends, parents, (*chain, source))
    if problem_of_parent is not None:
        return None, [*problems, problem_of_parent]
    return (_inherit(root, parent) if parent is not None else root), problems


def _parent(
    extends: Node, parents: Parents, chain: tuple[Source, ...]
) -> tuple[Node | None, Diagnostic | None]:
    name = str(extends.scalar)
    try:
        text = parents(name)
    except SpecError as error:
        return None, _broken(extends, error.diagnostics)
    if text is None:
        advice = "see `takopi adapters list`"
        return None, _problem(extends, f"there is no adapter `{name}` to extend", advice)
    if any(text.file == child.file for child in chain):
        circle = " → ".join([*(child.file for child in chain), text.file])
        advice = "an adapter cannot extend itself, also not by way of others"
        return None, _problem(extends, f"`extends` goes round in a circle: {circle}", advice)
    parent, problems = load_document(text, parents, chain)
    if parent is None or has_errors(problems):
        return None, _broken(extends, problems)
    return parent, None


def _broken(extends: Node, problems: list[Diagnostic] | tuple[Diagnostic, ...]) -> Diagnostic:
    first = next((p for p in problems if p.severity == "error"), None)
    why = f": {first.message}" if first else ""
    message = f"the adapter it extends, `{extends.scalar}`, is broken{why}"
    advice: str | None = f"run `takopi adapters validate {extends.scalar}`"
    if first and first.path == "extends":  # a circle, or a grandparent that is missing
        message, advice = first.message, first.help
    related = ((first.span, "here"), *first.related) if first and first.span else ()
    return Diagnostic("schema", message, extends.span, "extends", advice, related=related)


def _problem(node: Node, message: str, advice: str) -> Diagnostic:
    return Diagnostic("schema", message, node.span, "extends", advice)


def _check_version(root: Node) -> Diagnostic | None:
    version = root.get("adapter")
    if version is None:
        keys = {str(key.scalar): key for key, _ in root.entries}
        near = suggest("adapter", keys)
        span = keys[near].span if near else root.source.span(root.start, root.start + 1)
        advice = f"begin the file with `adapter: {FORMAT_VERSION}`"
        message = "`adapter` is missing: the version of the format"
        return Diagnostic("schema", message, span, "adapter", advice)
    number = version.scalar
    if type(number) is int and number == FORMAT_VERSION:
        return None
    if (
        isinstance(number, (int, float))
        and not isinstance(number, bool)
        and number > FORMAT_VERSION
    ):
        message = f"this adapter needs a newer takopi: it has format {number}, this takopi reads {FORMAT_VERSION}"
        return Diagnostic("schema", message, version.span, "adapter", "upgrade takopi")
    advice = f"write `adapter: {FORMAT_VERSION}`"
    message = "unknown version of the adapter format"
    return Diagnostic("schema", message, version.span, "adapter", advice)


def _inherit(child: Node, parent: Node) -> Node:
    """The child's keys over the parent's; ``inherit`` in a list stands for the parent's items."""
    entries: list[tuple[Node, Node]] = []
    for key, value in child.entries:
        under = parent.get(str(key.scalar))
        if key.scalar in EXTENDABLE_LISTS and value.kind == "list":
            items: list[Node] = []
            for item in value.items:
                if item.kind == "scalar" and item.scalar == "inherit":
                    items += under.items if under is not None else []
                else:
                    items.append(item)
            value = replace(value, items=items)
        entries.append((key, value))
    own = {key.scalar for key, _ in child.entries}
    entries += [
        (key, value)
        for key, value in parent.entries
        if key.scalar not in own and key.scalar not in NEVER_INHERITED
    ]
    return replace(child, entries=entries)
