"""Checks that need more than one value of an adapter, or more than one adapter."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from takopi.adapters.adapter import Adapter
from takopi.adapters.expressions import Read
from takopi.adapters.model import AdapterSpec, OptionSpec
from takopi.adapters.options import COMMON_OPTIONS, check_value, item_spec
from takopi.adapters.resume import SAMPLE_TOKENS, ResumeFormat
from takopi.adapters.rules import Literal_, Match, MatchPath, json_equal
from takopi.adapters.source import Node, Source, format_path
from takopi.diagnostics import Diagnostic, did_you_mean, suggest
from takopi.ids import ID_PATTERN, RESERVED_ENGINE_IDS

# `run().model` is the per-chat override, else the option of that name.
# Variables that outcomes read by themselves.
_OUTCOME_VARIABLES = ("answer", "error", "usage")
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
                f"name the file `{node.scalar}.yaml`"
                + (f", or write `id: {stem}`" if re.match(ID_PATTERN, stem) else ""),
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
    key = "regex" if node.get("regex") else "line"
    span, path = (node.get(key) or node).span, f"resume.{key}"
    understood = 0
    for token in SAMPLE_TOKENS:
        line = form.format(token)
        for shown in (line, f"`{line}`"):
            back = form.extract(f"answer\n\n{shown}\n")
            if back is not None and back != token:
                message = f"the line `{line}` gives back `{back}`, not `{token}`"
                advice = "let the group `token` match the token and nothing else"
                return [Diagnostic("resume-roundtrip", message, span, path, advice)]
            understood += back is not None
    if understood:
        return []
    line = form.format(SAMPLE_TOKENS[0])
    message = f"the line `{line}` is not matched by its own regular expression"
    advice = "leave `regex` out to have it built from `line`, or make both say the same"
    return [Diagnostic("resume-roundtrip", message, span, path, advice)]


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


def cross_field(root: Node, spec: AdapterSpec | None, reads: Sequence[Read]) -> list[Diagnostic]:
    """Options and state variables: what is read must be declared or set, and the other way round.

    ``spec`` is None where something else is wrong: what nobody reads may be read there.
    """
    options, events = root.get("options"), root.get("events")
    declared = {str(key.scalar) for key, _ in options.entries} if options is not None else set()
    found = [
        *_undefined(root, "options", _reads_of(reads, "options", {*COMMON_OPTIONS, *declared})),
        *_undefined(root, "events", _reads_of(reads, "state", _variables(events))),
    ]
    if spec is not None and options is not None and options.source is root.source:
        used = options_read(reads, spec)
        for key, value in options.entries:
            found += _declaration(key, value, spec.options[str(key.scalar)], used)
    return found


def _reads_of(reads: Sequence[Read], function: str, known: set[str]) -> dict[str, list[Read]]:
    """The reads of ``function().name`` by name, those of ``known`` names left out."""
    found: dict[str, list[Read]] = {}
    for read in reads:
        if read.function == function and read.field is not None and read.field not in known:
            found.setdefault(read.field, []).append(read)
    return found


def _undefined(root: Node, key: str, unknown: dict[str, list[Read]]) -> list[Diagnostic]:
    """Reads of what nothing under ``key`` defines: one problem per name."""
    found = []
    holder, key_node = root.get(key), root.key_node(key)
    own_holder = holder is not None and holder.source is root.source
    for name, reads in unknown.items():
        if key == "options":
            code, message = "unknown-option", f"option `{name}` is not declared"
            known, advice = _names(holder), "declare it under `options`"
        else:
            code, message = "unset-state", f"no rule sets the state variable `{name}`"
            known, advice = _variables(holder), "set it with `set` or `append`"
        near = suggest(name, known)
        advice = f"did you mean `{near}`?" if near else advice
        own = [read for read in reads if read.span.file == root.source.file]
        first, label = own[0] if own else reads[0], "read here"
        others = tuple((read.span, label) for read in reads if read is not first)
        if own:
            found.append(Diagnostic(code, message, first.span, first.path, advice, related=others))
        elif own_holder and key_node is not None:
            # An inherited expression lacks what the parent had here; else the parent is to blame.
            message += ", but what is inherited reads it"
            related = ((first.span, label), *others)
            found.append(Diagnostic(code, message, key_node.span, key, advice, related=related))
    return found


def _names(node: Node | None) -> set[str]:
    return {str(key.scalar) for key, _ in node.entries} if node is not None else set()


def _declaration(
    key: Node, value: Node, option: OptionSpec, used: frozenset[str]
) -> Iterator[Diagnostic]:
    """What is wrong with one declared option."""
    name = str(key.scalar)
    path = format_path(("options", name))
    if name not in used and name not in ("command", "env", "timeout"):
        yield Diagnostic(
            "unknown-option",
            f"option `{name}` is declared but no expression reads it",
            key.span,
            path,
            f"read it with `options().{name}`, or delete it",
        )
    common = COMMON_OPTIONS.get(name)
    given = value.get("type")
    if common is not None and option.type != common.type and given is not None:
        message = f"every engine has the option `{name}`, and its type is `{common.type}`"
        yield Diagnostic("schema", message, given.span, f"{path}.type", "choose another name")
    choices, default = value.get("choices"), value.get("default")
    for i, choice in enumerate(choices.items if choices is not None else ()):
        expected = check_value(item_spec(option), choice.scalar)
        if expected is not None:
            message = f"the choice can never be chosen: expected {expected}"
            yield Diagnostic("schema", message, choice.span, f"{path}.choices[{i}]")
    if default is not None and option.default is not None:
        expected = check_value(option, option.default)
        if expected is not None:
            message = f"the default is not allowed by its own option: expected {expected}"
            yield Diagnostic("schema", message, default.span, f"{path}.default")


def _variables(rules: Node | None) -> set[str]:
    """The state variables that some rule sets."""
    names: set[str] = set()
    for rule in rules.items if rules is not None else ():
        names |= (
            _names(rule.get("set")) | _names(rule.get("append")) | _variables(rule.get("rules"))
        )
    return names


def unfinished(root: Node, reads: Sequence[Read]) -> list[Diagnostic]:
    """What a file without errors still lacks to be of use.

    Warnings: a draft that cannot run yet can be replayed.
    """
    return [*_unused(root, reads), *_never_ends(root)]


def _unused(root: Node, reads: Sequence[Read]) -> Iterator[Diagnostic]:
    """Prompt and session should reach the engine, and a variable that is set should be read."""
    read = {(r.function, r.field) for r in reads}
    whole = {r.function for r in reads if r.field is None}
    args, resume, events = root.key_node("args"), root.get("resume"), root.get("events")
    if args is not None and "run" not in whole:
        if ("run", "prompt") not in read:
            yield Diagnostic(
                "schema",
                "nothing reads `run().prompt`: the engine would never get the prompt",
                args.span,
                "args",
                "write `${run().prompt}` in `args` or `stdin`",
                severity="warning",
            )
        if (
            resume is not None
            and resume.kind == "map"
            and not {("run", "resume"), ("run", "session")} & read
        ):
            yield Diagnostic(
                "schema",
                "nothing reads `run().resume`: a session could never be resumed",
                args.span,
                "args",
                'add `{if: run().resume, then: [--resume, "${run().resume}"]}` with this CLI\'s flag, '
                "or write `resume: null`",
                severity="warning",
            )
    known = {*_OUTCOME_VARIABLES, *(str(r.field) for r in reads if r.function == "state")}
    if "state" in whole or events is None:
        return
    for name, key in _written(events):
        if name not in known and key.source is root.source:
            yield Diagnostic(
                "unset-state",
                f"the state variable `{name}` is set, but nothing reads it",
                key.span,
                "events",
                did_you_mean(name, known) or f"read it with `state().{name}`, or delete it",
                severity="warning",
            )


def _written(rules: Node) -> Iterator[tuple[str, Node]]:
    """The variables that rules set, each once, with the key that sets it first."""
    seen: set[str] = set()
    for rule in rules.items:
        tables = (rule.get("set"), rule.get("append"))
        keys = [key for table in tables if table is not None for key, _ in table.entries]
        below = rule.get("rules")
        found = [(str(key.scalar), key) for key in keys]
        found += list(_written(below)) if below is not None else []
        for name, key in found:
            if name not in seen:
                seen.add(name)
                yield name, key


def _never_ends(root: Node) -> Iterator[Diagnostic]:
    events, end = root.get("events"), root.get("end")
    key = root.key_node("events")
    if events is None or key is None or (end is not None and end.kind == "map"):
        return
    if not _completes(events):
        yield Diagnostic(
            "schema",
            "no rule has `complete` and there is no `end`: every run would fail",
            key.span,
            "events",
            "write `complete` in the rule of the line that closes a run; if the CLI prints none, "
            "add the key `end: {}` beside `events`",
            severity="warning",
        )


def _completes(rules: Node) -> bool:
    for rule in rules.items:
        below = rule.get("rules")
        if rule.get("complete") is not None or (below is not None and _completes(below)):
            return True
    return False


_MAX_COMBINATIONS = 64


def unreachable(
    rules: Sequence[tuple[Match, str | None]],
    nodes: Sequence[Node],
    path: tuple[str | int, ...],
    source: Source,
) -> list[Diagnostic]:
    """Rules that earlier ones always beat. A rule is its ``match`` and the text of its ``if``.

    Those inherited, not from ``source``, may be beaten: that is how an adapter overrides them.
    """
    found = []
    for later, (match, condition) in enumerate(rules):
        if nodes[later].source is not source:
            continue
        winners = _winners(rules[:later], match, condition)
        if winners:
            node = nodes[later].get("match") or nodes[later]
            firsts = [nodes[w].get("match") or nodes[w] for w in winners]
            names = " and ".join(f"`{format_path((*path, w))}`" for w in winners)
            verb = "matches" if len(winners) == 1 else "match"
            found.append(
                Diagnostic(
                    "unreachable-rule",
                    f"this rule never acts: {names} {verb} all it matches",
                    node.span,
                    format_path((*path, later)),
                    "put the narrower rule first, or delete it",
                    related=tuple((first.span, "matches first") for first in firsts),
                )
            )
    return found


def _winners(
    earlier: Sequence[tuple[Match, str | None]], match: Match, condition: str | None
) -> list[int]:
    """The earlier rules that together match all that ``match`` does, none if something is left."""
    sure = [
        (index, broad)
        for index, (broad, test) in enumerate(earlier)
        if broad and (test is None or test == condition)
    ]
    if not match or math.prod(len(values) for values in match.values()) > _MAX_COMBINATIONS:
        return []
    winners: dict[int, None] = {}
    for values in itertools.product(*match.values()):
        one = dict(zip(match, values, strict=True))
        winner = next((index for index, broad in sure if _covers(broad, one)), None)
        if winner is None:
            return []
        winners[winner] = None
    return list(winners)


def _covers(broad: Match, one: Mapping[MatchPath, Literal_]) -> bool:
    return all(
        path in one and any(json_equal(one[path], value) for value in values)
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
