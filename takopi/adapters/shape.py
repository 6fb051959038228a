"""Checks a document against the pydantic models and says what is wrong in the file's own words."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from takopi.adapters.model import (
    ActionSpec,
    AdapterSpec,
    Condition,
    EnvSpec,
    Hint,
    Model,
    OptionSpec,
    OutcomeSpec,
    ResumeSpec,
    Rule,
    SessionSpec,
    ToolCall,
    ToolSpec,
)
from takopi.adapters.source import Node, format_path, plain, resolve
from takopi.diagnostics import Diagnostic, did_you_mean, suggest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Path: TypeAlias = tuple[str | int, ...]

# Which model a mapping is, by the key it stands under (through any list indices).
_MODELS: dict[str, type[Model]] = {
    "args": Condition,
    "then": Condition,
    "env": EnvSpec,
    "resume": ResumeSpec,
    "session": SessionSpec,
    "tools": ToolSpec,
    "events": Rule,
    "rules": Rule,
    "action": ActionSpec,
    "tool": ToolCall,
    "complete": OutcomeSpec,
    "end": OutcomeSpec,
    "hints": Hint,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """``spec`` is None when something is wrong; ``sound`` is the document without what is wrong."""

    spec: AdapterSpec | None
    sound: Node
    diagnostics: tuple[Diagnostic, ...] = ()


def check_shape(root: Node) -> Shape:
    """The document as a model, or everything that is wrong with its shape."""
    from pydantic import ValidationError

    try:
        return Shape(AdapterSpec.model_validate(plain(root)), root)
    except ValidationError as error:
        found, wrong = _explain(root, error.errors(include_url=False, include_context=True))
        return Shape(None, _without(root, wrong), tuple(_merge_causes(found)))


def _without(node: Node, wrong: set[Path], path: Path = ()) -> Node:
    """The node without the values at ``wrong``; in lists a null is left, so that places stay."""
    if not any(w[: len(path)] == path for w in wrong):
        return node
    if node.kind == "map":
        entries = [
            (key, _without(value, wrong, (*path, str(key.scalar))))
            for key, value in node.entries
            if (*path, key.scalar) not in wrong
        ]
        return replace(node, entries=entries)
    items = [
        Node("scalar", item.source, item.start, item.end)
        if (*path, i) in wrong
        else _without(item, wrong, (*path, i))
        for i, item in enumerate(node.items)
    ]
    return replace(node, items=items)


def keys_of(path: Path) -> dict[str, bool]:
    """The keys the mapping at ``path`` may have, and whether each is required."""
    model = _model_at(path)
    return (
        {f.alias or name: f.is_required() for name, f in model.model_fields.items()}
        if model
        else {}
    )


def _model_at(path: Path) -> type[Model] | None:
    names = [p for p in path if isinstance(p, str)]
    if not names:
        return AdapterSpec
    if len(names) == 2 and names[0] == "options":
        return OptionSpec
    return _MODELS.get(names[-1])


def _explain(root: Node, errors: list[ErrorDetails]) -> tuple[list[Diagnostic], set[Path]]:
    places: dict[Path, list[tuple[Path, ErrorDetails]]] = defaultdict(list)
    for error in errors:
        loc, missing = _document_path(root, error)
        places[loc].append((missing, error))
    found: list[Diagnostic] = []
    wrong: set[Path] = set()
    for path, group in places.items():
        if any(other[: len(path)] == path and len(other) > len(path) for other in places) and all(
            e["type"].endswith("_type") or e["type"] == "model_type" for _, e in group
        ):
            continue  # one member of a union was meant; its own problems say it better
        found += _at(root, path, group)
        if all(error["type"] not in ("missing", "value_error") for _, error in group):
            # Without one of its keys a `match` would match more: it goes as a whole.
            wrong.add(path[: path.index("match") + 1] if "match" in path else path)
    return found, wrong


def _document_path(root: Node, error: ErrorDetails) -> tuple[Path, Path]:
    """The place in the document a pydantic location means, and the missing key if there is one.

    Locations hold the tags of union members between the keys; what the document does not have at
    that place is such a tag and is skipped.
    """
    loc = list(error["loc"])
    missing: Path = ()
    if error["type"] == "missing":
        missing = (str(loc.pop()),)
    key_problem = bool(loc) and loc[-1] == "[key]"
    path: Path = ()
    for part in loc[:-1] if key_problem else loc:
        _, taken = resolve(root, (*path, part))
        if taken == len(path) + 1:
            path = (*path, part)
    return path, missing


def _at(root: Node, path: Path, group: list[tuple[Path, ErrorDetails]]) -> list[Diagnostic]:
    node, _ = resolve(root, path)
    missing = [m[0] for m, e in group if e["type"] == "missing"]
    types = {e["type"] for _, e in group}
    found: list[Diagnostic] = []
    if "extra_forbidden" in types:
        return [_unknown_key(root, path)]
    if missing:
        found += [
            Diagnostic(
                "schema",
                f"`{key}` is missing" + (f" in `{format_path(path)}`" if path else ""),
                node.source.span(node.start, node.start + 1),
                path=format_path((*path, str(key))),
                help=_describe(path, str(key)),
            )
            for key in missing
        ]
        return found
    return [_wrong(node, path, group)]


def _describe(path: Path, key: str) -> str | None:
    model = _model_at(path)
    for name, info in model.model_fields.items() if model else ():
        if (info.alias or name) == key:
            return f"{key}: {info.description}" if info.description else None
    return None


def _unknown_key(root: Node, path: Path) -> Diagnostic:
    parent, key = path[:-1], str(path[-1])
    holder, _ = resolve(root, parent)
    known = keys_of(parent)
    if "(" in key or ")" in key or "'" in key:
        advice = "a comma inside `{…}` separates keys: put the expression in quotes"
    else:
        advice = did_you_mean(key, known) or "`takopi adapters schema` describes every key"
    node = holder.key_node(key) or holder
    return Diagnostic(
        "unknown-key",
        f"unknown key `{key}`",
        node.span,
        path=format_path(path),
        help=advice,
    )


_EXPECTED = {
    "string_type": "text",
    "int_type": "a number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
}


def _wrong(node: Node, path: Path, group: list[tuple[Path, ErrorDetails]]) -> Diagnostic:
    where = format_path(path)
    written = _shown(node)
    span = node.span
    advice: str | None = None
    errors = [e for _, e in group]
    literal = next((e for e in errors if e["type"] == "literal_error"), None)
    first = errors[0]
    if first["type"] == "value_error":
        message = str(first["ctx"]["error"])
        return Diagnostic(
            "schema", message, node.source.span(node.start, node.start + 1), path=where or None
        )
    if literal is not None:
        expected = str(literal["ctx"]["expected"])
        words = [w.strip("' ") for w in expected.replace(" or ", ", ").split(",")]
        advice = did_you_mean(str(node.scalar), words) or f"one of {expected}"
        message = f"{written} is not allowed here"
    elif first["type"] in ("too_short", "string_too_short"):
        message = "this must not be empty"
    elif first["type"] in ("string_pattern_mismatch", "greater_than_equal"):
        message = f"{written} is not allowed here"
        ctx = first["ctx"]
        advice = (
            f"must match `{ctx['pattern']}`"
            if "pattern" in ctx
            else f"must be at least {ctx['ge']}"
        )
    else:
        wanted = list(dict.fromkeys(_EXPECTED.get(e["type"], e["msg"].lower()) for e in errors))
        message = f"expected {' or '.join(wanted)}, not {written}"
        if "text" in wanted and isinstance(node.scalar, (bool, int, float)):
            raw = node.source.text[node.start : node.end]
            advice = f'quote it: "{raw}"'
    return Diagnostic("schema", message, span, path=where or None, help=advice)


def _shown(node: Node) -> str:
    if node.kind == "map":
        return "a mapping"
    if node.kind == "list":
        return "a list"
    if node.scalar is None:
        return "null"
    text: Any = node.source.text[node.start : node.end].split("\n")[0]
    return f"`{text[:60]}`"


def _merge_causes(found: list[Diagnostic]) -> list[Diagnostic]:
    """One problem per cause: a missing key beside its own misspelling is one."""
    unknown = [d for d in found if d.code == "unknown-key"]
    out: list[Diagnostic] = []
    settled: dict[str, Diagnostic] = {}
    for d in found:
        if d.code == "schema" and d.path and d.message.startswith("`"):
            parent, _, key = d.path.rpartition(".")
            twin = next(
                (
                    u
                    for u in unknown
                    if u.path
                    and u.path.rpartition(".")[0] == parent
                    and suggest(u.path.rpartition(".")[2], [key]) == key
                ),
                None,
            )
            if twin is not None and twin.path:
                settled[twin.path] = Diagnostic(
                    twin.code,
                    twin.message,
                    twin.span,
                    twin.path,
                    f"did you mean `{key}`? It is required here",
                )
                continue
        out.append(d)
    return [settled.get(d.path or "", d) if d.code == "unknown-key" else d for d in out]
