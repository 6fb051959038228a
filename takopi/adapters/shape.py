"""Checks a document against the pydantic models and says what is wrong in the file's own words."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from takopi.adapters.model import (
    EXTENDABLE_LISTS,
    OPTION_PATTERN,
    PATH_PATTERN,
    ActionSpec,
    AdapterSpec,
    Condition,
    EnvSpec,
    Hint,
    KeyProblem,
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
from takopi.diagnostics import Diagnostic, Span, did_you_mean, suggest
from takopi.ids import ID_PATTERN

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
            wrong.add(_spoilt(path))
    return found, wrong


def _spoilt(path: Path) -> Path:
    """What is no longer what was meant when the value at ``path`` is wrong."""
    if "match" in path:  # without one of its keys it would match more
        return path[: path.index("match") + 1]
    return path[:-1] if is_cut_expression(str(path[-1])) else path


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
    errors = [error for _, error in group]
    missing = [str(keys[0]) for keys, error in group if error["type"] == "missing"]
    if any(error["type"] == "extra_forbidden" for error in errors):
        return [_unknown_key(root, path)]
    if missing:
        return [_missing(root, path, key) for key in missing]
    if errors[0]["loc"] and errors[0]["loc"][-1] == "[key]":
        return [_bad_key(root, path, errors[0])]
    if errors[0]["type"] == "value_error":
        return [_key_problem(root, path, errors[0])]
    return [_wrong(root, path, errors)]


def _name_of(root: Node, path: Path) -> Span:
    """What a mapping is called by: the key it stands under, or its own first key."""
    node, _ = resolve(root, path)
    holder, _ = resolve(root, path[:-1])
    key = holder.key_node(str(path[-1])) if path else None
    if key is None and node.entries:
        key = node.entries[0][0]
    return key.span if key is not None else node.span


def _missing(root: Node, path: Path, key: str) -> Diagnostic:
    message = f"`{key}` is missing" + (f" in `{format_path(path)}`" if path else "")
    advice = f"write `{key}: …`"
    model = _model_at(path)
    for name, info in model.model_fields.items() if model else ():
        if (info.alias or name) == key and info.description:
            advice += f" ({info.description})"
    where = format_path((*path, key))
    return Diagnostic("schema", message, _name_of(root, path), where, advice)


def _unknown_key(root: Node, path: Path) -> Diagnostic:
    parent, key = path[:-1], str(path[-1])
    holder, _ = resolve(root, parent)
    if is_cut_expression(key):
        advice = "a comma inside `{…}` separates keys: put the expression in quotes"
    else:
        advice = (
            did_you_mean(key, keys_of(parent)) or "`takopi adapters schema` describes every key"
        )
    node = holder.key_node(key) or holder
    message = f"unknown key `{key}`"
    return Diagnostic("unknown-key", message, node.span, format_path(path), advice)


def is_cut_expression(key: str) -> bool:
    """Whether a key is the rest of an expression that a comma inside ``{…}`` cut off."""
    return any(char in key for char in "()'|&")


_PATTERNS = {
    ID_PATTERN: "an id is 1 to 32 of `a-z`, `0-9` and `_`",
    OPTION_PATTERN: "an option's name is `a-z`, `0-9` and `_`, and begins with a letter",
    PATH_PATTERN: "write names with a dot between them, such as `item.type`",
}


def _bad_key(root: Node, path: Path, error: ErrorDetails) -> Diagnostic:
    holder, _ = resolve(root, path[:-1])
    key = holder.key_node(str(path[-1])) or holder
    empty = error["type"] == "string_too_short"
    message = "a name must not be empty" if empty else f"`{path[-1]}` is not allowed here"
    advice = _PATTERNS.get(error.get("ctx", {}).get("pattern", ""))
    return Diagnostic("schema", message, key.span, format_path(path), advice)


def _key_problem(root: Node, path: Path, error: ErrorDetails) -> Diagnostic:
    problem: KeyProblem = error["ctx"]["error"]
    node, _ = resolve(root, path)
    key = node.key_node(problem.key)
    span = key.span if key is not None else _name_of(root, path)
    where = format_path((*path, problem.key) if problem.key else path)
    return Diagnostic("schema", str(problem), span, where, problem.help)


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


def _wrong(root: Node, path: Path, errors: list[ErrorDetails]) -> Diagnostic:
    """A value of the wrong type, or one of the right type that is not allowed."""
    node, _ = resolve(root, path)
    ctx = {key: value for error in errors for key, value in error.get("ctx", {}).items()}
    types = {error["type"] for error in errors}
    advice: str | None = None
    if "literal_error" in types:
        message = f"{_shown(node)} is not allowed here"
        words = [word.strip("' ") for word in ctx["expected"].replace(" or ", ", ").split(",")]
        advice = did_you_mean(str(node.scalar), words)
        if "pattern" in ctx and not suggest(str(node.scalar), words):
            advice = f"{advice}; an expression is written `${{ … }}`"
    elif types & {"too_short", "string_too_short"}:
        message = "this must not be empty"
    elif "pattern" in ctx:
        message = f"{_shown(node)} is not allowed here"
        advice = _PATTERNS.get(ctx["pattern"])
    elif "ge" in ctx:
        message = f"{_shown(node)} is not allowed here"
        advice = f"it must be at least {ctx['ge']:g}"
    else:
        wanted = list(dict.fromkeys(_EXPECTED.get(e["type"], e["msg"].lower()) for e in errors))
        message = f"expected {_either(wanted)}, not {_shown(node)}"
        advice = _advice(node, path, wanted)
    return Diagnostic("schema", message, node.span, format_path(path), advice)


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def _advice(node: Node, path: Path, wanted: list[str]) -> str | None:
    """What to write instead of a value of the wrong type."""
    if "text" in wanted and isinstance(node.scalar, (bool, int, float)):
        return f'quote it: "{node.source.text[node.start : node.end]}"'
    if node.scalar == "inherit" and path[0] in EXTENDABLE_LISTS:
        return "`inherit` stands for the items of the adapter that `extends` names; there is none"
    if path[0] == "args" and node.kind == "list":
        return "write each argument as an item of its own"
    if "match" in path and node.kind == "map" and node.entries:
        return f"join the names with a dot: `{path[-1]}.{node.entries[0][0].scalar}: …`"
    if "a list" in wanted and node.kind == "scalar":
        return "write `[…]`, or begin each item with `- ` on a line of its own"
    if "a mapping" in wanted and "text" not in wanted:
        keys = ", ".join(f"`{key}`" for key in keys_of(path))
        return f"write keys and values: {keys}" if keys else "write keys and values"
    return None


def _shown(node: Node) -> str:
    if node.kind == "map":
        return "a mapping"
    if node.kind == "list":
        return "a list"
    if node.scalar is None:
        return "null"
    written = node.source.text[node.start : node.end].split("\n", 1)[0].rstrip()
    return f"`{written if len(written) <= 60 else written[:59] + '…'}`"


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
