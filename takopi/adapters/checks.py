"""Checks that need more than one value of an adapter, or more than one adapter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from takopi.adapters.adapter import Adapter
from takopi.adapters.expressions import Read
from takopi.adapters.model import AdapterSpec
from takopi.adapters.options import COMMON_OPTIONS, check_value
from takopi.adapters.resume import SAMPLE_TOKENS, ResumeFormat
from takopi.adapters.rules import Match, json_equal
from takopi.adapters.source import Node, format_path
from takopi.diagnostics import Diagnostic, did_you_mean
from takopi.ids import RESERVED_ENGINE_IDS

# `run().model` is the per-chat override, else the option of that name.
_RUN_OPTIONS = ("model", "reasoning")


def identity(root: Node, stem: str | None) -> list[Diagnostic]:
    """The id must equal the file's stem and must not be a command's."""
    node = root.get("id")
    if node is None or not isinstance(node.scalar, str):
        return []
    found = []
    if stem is not None and node.scalar != stem:
        found.append(
            Diagnostic(
                "schema",
                f"the id `{node.scalar}` is not the file's name `{stem}`",
                node.span,
                "id",
                f"name the file `{node.scalar}.yaml`, or write `id: {stem}`",
            )
        )
    if node.scalar in RESERVED_ENGINE_IDS:
        found.append(
            Diagnostic(
                "reserved-id",
                f"`{node.scalar}` is the name of a command and cannot be an engine's id",
                node.span,
                "id",
                "choose another id",
            )
        )
    return found


def resume_roundtrip(form: ResumeFormat, node: Node) -> list[Diagnostic]:
    """The line, rendered for sample tokens, must be understood and give the same token back."""
    understood = 0
    for token in SAMPLE_TOKENS:
        line = form.format(token)
        for shown in (line, f"`{line}`"):
            back = form.extract(f"answer\n\n{shown}\n")
            if back is None:
                continue
            if back != token:
                where = node.get("regex") or node.get("line") or node
                return [
                    Diagnostic(
                        "resume-roundtrip",
                        f"the line `{line}` gives back `{back}`, not `{token}`",
                        where.span,
                        "resume",
                        "let the group `token` match the token and nothing else",
                    )
                ]
            understood += 1
    if understood:
        return []
    where = node.get("regex") or node.get("line") or node
    return [
        Diagnostic(
            "resume-roundtrip",
            f"the line `{form.format(SAMPLE_TOKENS[0])}` is not matched by its own regular expression",
            where.span,
            "resume",
            "leave `regex` out to have it built from `line`, or make both say the same",
        )
    ]


def resume_overlap(
    adapter: Adapter, node: Node | None, others: Iterable[Adapter]
) -> list[Diagnostic]:
    """Lines of one adapter that another understands too; ``adapter`` has the lower precedence."""
    found = []
    for other in others:
        if adapter.resume is None or other.resume is None or other.id == adapter.id:
            continue
        line = _shared_line(adapter.resume, other.resume) or _shared_line(
            other.resume, adapter.resume
        )
        if line is None:
            continue
        related = adapter.spec.extends == other.id or other.spec.extends == adapter.id
        found.append(
            Diagnostic(
                "resume-overlap",
                f"the resume line `{line}` is understood by `{other.id}` too",
                node.span if node is not None else None,
                "resume",
                "begin the line with this engine's own command",
                severity="warning" if related else "error",
            )
        )
    return found


def _shared_line(writer: ResumeFormat, reader: ResumeFormat) -> str | None:
    for token in SAMPLE_TOKENS:
        line = writer.format(token)
        if writer.extract(line) is not None and reader.extract(line) is not None:
            return line
    return None


def options_read(reads: Sequence[Read], spec: AdapterSpec) -> frozenset[str]:
    """The options that some expression reads."""
    names: set[str] = set()
    for read in reads:
        if read.function == "options":
            names |= {*spec.options, *COMMON_OPTIONS} if read.field is None else {read.field}
        elif read.function == "run" and read.field in _RUN_OPTIONS:
            names.add(str(read.field))
    return frozenset(names)


def cross_field(root: Node, spec: AdapterSpec, reads: Sequence[Read]) -> list[Diagnostic]:
    """Options and state variables: what is read must be declared or set, and the other way round."""
    found = [*_options(root, spec, reads), *_state(root, reads)]
    own = root.source.file
    # What a parent has wrong is the parent's to report.
    return [d for d in found if d.span is None or d.span.file == own]


def _options(root: Node, spec: AdapterSpec, reads: Sequence[Read]) -> list[Diagnostic]:
    declared = spec.options
    used = options_read(reads, spec)
    known = {**COMMON_OPTIONS, **declared}
    found = [
        Diagnostic(
            "unknown-option",
            f"option `{read.field}` is not declared",
            read.span,
            read.path,
            did_you_mean(read.field, declared) or "declare it under `options`",
        )
        for read in reads
        if read.function == "options" and read.field is not None and read.field not in known
    ]
    node = root.get("options")
    for key, value in node.entries if node is not None else []:
        name = str(key.scalar)
        path = format_path(("options", name))
        if name not in used and name not in ("command", "env", "timeout"):
            found.append(
                Diagnostic(
                    "unknown-option",
                    f"option `{name}` is declared but no expression reads it",
                    key.span,
                    path,
                    f"read it with `options().{name}`, or delete it",
                )
            )
        default = value.get("default")
        option = declared[name]
        if default is not None and option.default is not None:
            expected = check_value(option, option.default)
            if expected is not None:
                found.append(
                    Diagnostic(
                        "schema",
                        f"the default is not allowed by its own option: expected {expected}",
                        default.span,
                        f"{path}.default",
                    )
                )
    return found


def _set_variables(node: Node) -> set[str]:
    names: set[str] = set()
    for item in node.items:
        for key in ("set", "append"):
            table = item.get(key)
            names |= {str(k.scalar) for k, _ in table.entries} if table is not None else set()
        below = item.get("rules")
        names |= _set_variables(below) if below is not None else set()
    return names


def _state(root: Node, reads: Sequence[Read]) -> list[Diagnostic]:
    events = root.get("events")
    names = _set_variables(events) if events is not None else set()
    return [
        Diagnostic(
            "unset-state",
            f"no rule sets the state variable `{read.field}`",
            read.span,
            read.path,
            did_you_mean(read.field, names) or "set it with `set` or `append`",
        )
        for read in reads
        if read.function == "state" and read.field is not None and read.field not in names
    ]


def unreachable(
    rules: Sequence[tuple[Match, bool]], nodes: Sequence[Node], path: tuple[str | int, ...]
) -> list[Diagnostic]:
    """Rules that an earlier rule without a condition always beats."""
    found = []
    for later, (match, _) in enumerate(rules):
        for earlier in range(later):
            broad, conditional = rules[earlier]
            if not conditional and _covers(broad, match):
                node = nodes[later].get("match") or nodes[later]
                first = nodes[earlier].get("match") or nodes[earlier]
                found.append(
                    Diagnostic(
                        "unreachable-rule",
                        f"this rule never acts: `{format_path((*path, earlier))}` matches all it matches",
                        node.span,
                        format_path((*path, later)),
                        "put the narrower rule first, or delete it",
                        related=((first.span, "matches first"),),
                    )
                )
                break
    return found


def _covers(broad: Match, narrow: Match) -> bool:
    return all(
        path in narrow and all(any(json_equal(v, w) for w in values) for v in narrow[path])
        for path, values in broad.items()
    )


__all__ = [
    "cross_field",
    "identity",
    "options_read",
    "resume_overlap",
    "resume_roundtrip",
    "unreachable",
]
