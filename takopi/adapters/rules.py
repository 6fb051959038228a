"""Rules as they run: matching by dispatch tables, and what a matched rule does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from takopi.adapters.code import Code, Value, Write, Writer, apart, group, literal, stores, variable
from takopi.adapters.expressions import NULL
from takopi.adapters.scope import Place, Scope

MatchPath: TypeAlias = tuple[str, ...]
Literal_: TypeAlias = str | int | float | bool | None
Match: TypeAlias = dict[MatchPath, tuple[Literal_, ...]]
Test: TypeAlias = Callable[[Any], bool]


def read_path(node: Any, path: MatchPath) -> Any:
    """The value at a dotted path, null where there is none."""
    for part in path:
        if type(node) is not dict:
            return None
        node = node.get(part)
    return node


def json_equal(left: Any, right: Literal_) -> bool:
    """Equality as JSON has it: ``1`` is not ``true``."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


@dataclass(slots=True, eq=False)
class ActionPlan:
    """A compiled ``action``. What the file does not give is None (or `NULL` for plain values)."""

    id: Value
    phase: Value | None
    kind: Value | None
    title: Value | None
    tool_name: Value | None
    tool_input: Value
    changes: Value | None
    exit_code: Value | None
    ok: Value | None
    detail: Value | None
    values: Value = field(init=False)  # all of them, in the order of the fields
    ends: bool = field(init=False)  # it says how the action went: so that is over

    def __post_init__(self) -> None:
        written = (
            self.id,
            self.phase,
            self.kind,
            self.title,
            self.tool_name,
            self.tool_input,
            self.changes,
            self.exit_code,
            self.ok,
            self.detail,
        )
        self.values = group([value or NULL for value in written])
        self.ends = self.ok is not None or self.exit_code is not None


@dataclass(slots=True, eq=False)
class OutcomePlan:
    """A compiled ``complete`` or ``end``; None stands for the state variable of that name."""

    answer: Value | None
    error: Value | None
    usage: Value | None
    ok: Value | None
    values: Value = field(init=False)  # all of them, in the order of the fields

    def __post_init__(self) -> None:
        answer = self.answer or variable("answer")
        error, usage = self.error or variable("error"), self.usage or variable("usage")
        self.values = group([answer, error, usage, self.ok or NULL])


@dataclass(slots=True, eq=False)
class Rule:
    """One compiled rule."""

    place: Place
    match: Match
    condition: Value | None
    set: tuple[tuple[str, Value], ...]
    append: tuple[tuple[str, Value], ...]
    action: ActionPlan | None
    complete: OutcomePlan | None
    each: Value | None
    rules: RuleSet | None
    values: tuple[tuple[str, Value], ...]  # all that is written in it, by place: ("set.answer", …)
    inherited: bool
    acts: bool = field(init=False)  # false: what matches is known and not shown
    store: Value = field(init=False)  # does what `set` says

    def __post_init__(self) -> None:
        does = (self.set, self.append, self.action, self.complete, self.each)
        self.acts = any(part not in ((), None) for part in does)
        self.store = stores(self.set)


@dataclass(slots=True, eq=False)
class RuleSet:
    """Rules tried in order; ``choice`` evaluates to the first that matches, or None."""

    rules: tuple[Rule, ...]
    choice: Value

    def find(self, node: Any, scope: Scope) -> Rule | None:
        """The first rule that matches, or None."""
        return self.choice.evaluate(node, scope)  # type: ignore[no-any-return]


def compile_rules(rules: Sequence[Rule]) -> RuleSet:
    """Rules that are found through dispatch tables."""
    found = tuple(rules)
    return RuleSet(found, Value(_written(_choose, found, frozenset())))


def _written(
    choose: Callable[[Writer, str, tuple[Rule, ...], frozenset[MatchPath]], None],
    rules: tuple[Rule, ...],
    tested: frozenset[MatchPath],
) -> Write:
    def write(writer: Writer, here: str) -> Code:
        choose(writer, here, rules, tested)
        return literal(writer, None)

    return write


_MAX_DISPATCH_DEPTH = 4


def _choose(w: Writer, here: str, rules: tuple[Rule, ...], tested: frozenset[MatchPath]) -> None:
    """Return what trying ``rules`` in order gives, their paths in ``tested`` known to match."""
    counts: dict[MatchPath, int] = {}
    for rule in rules:
        for path in rule.match:
            if path not in tested:
                counts[path] = counts.get(path, 0) + 1
    path = max(counts, key=lambda p: counts[p]) if counts else ()
    if counts.get(path, 0) < 2 or len(tested) >= _MAX_DISPATCH_DEPTH:
        _try_in_order(w, here, rules, tested)
    else:
        _dispatch(w, here, rules, tested, path)


def _dispatch(
    w: Writer,
    here: str,
    rules: tuple[Rule, ...],
    tested: frozenset[MatchPath],
    path: MatchPath,
) -> None:
    """Look up the value at ``path``: that gives the rule, or the number of a further choice."""
    choices: dict[tuple[Rule, ...], int] = {}

    def entry(left: tuple[Rule, ...]) -> Rule | int | None:
        first = left[0] if left else None
        if first is None or (first.condition is None and first.match.keys() <= tested | {path}):
            return first
        return choices.setdefault(left, len(choices))

    def keep(value: Any) -> tuple[Rule, ...]:
        return tuple(r for r in rules if path not in r.match or _any_equal(value, r.match[path]))

    texts = {v: None for rule in rules for v in rule.match.get(path, ()) if isinstance(v, str)}
    lookup = w.name({text: entry(keep(text)) for text in texts}.get)
    others = w.name(entry(tuple(rule for rule in rules if path not in rule.match)))
    absent = w.name(entry(keep(None)))
    value, found = _read(w, here, path), w.variable()
    w.add(f"if type({value}) is str:", f" {found} = {lookup}({value}, {others})")
    w.add(f"elif {value} is None:", f" {found} = {absent}")
    odd = w.name(apart(_written(_try_in_order, rules, tested)))  # numbers, lists and so on
    w.add("else:", f" return {odd}({here}, scope)")
    if choices:
        w.add(f"if type({found}) is not {w.name(int)}:", f" return {found}")
        for left, number in choices.items():
            with w.block() as block:
                _choose(w, here, left, tested | {path})
            w.place(f"if {found} == {w.name(number)}:", block)
    else:
        w.add(f"return {found}")


def _try_in_order(
    w: Writer, here: str, rules: tuple[Rule, ...], tested: frozenset[MatchPath]
) -> None:
    for rule in rules:
        tests = _tests(w, here, rule.match, tested)
        with w.block(guard=not tests) as block:
            found = f"return {w.name(rule)}"
            if rule.condition is None:
                w.add(found)
            else:
                code = rule.condition.write(w, here)
                w.add(f"if {code.true}:", f" {found}")
        w.place(f"if {' and '.join(tests)}:" if tests else None, block)
        if not tests and rule.condition is None:
            return  # nothing behind it can be reached
    w.add("return None")


def _tests(w: Writer, here: str, match: Match, tested: frozenset[MatchPath]) -> list[str]:
    """Conditions for what ``match`` asks beyond the paths that were ``tested``."""
    tests = []
    for path, values in match.items():
        if path in tested:
            continue
        value = _read(w, here, path)
        if all(type(v) is str for v in values):
            tests.append(f"{value} in {w.name(values)}")
        else:
            tests.append(f"{w.name(_any_equal)}({value}, {w.name(values)})")
    return tests


def _read(w: Writer, here: str, path: MatchPath) -> str:
    for key in path:
        here = w.field(here, key)
    return here


def _any_equal(value: Any, wanted: tuple[Literal_, ...]) -> bool:
    return any(json_equal(value, v) for v in wanted)


def matcher(match: Match) -> Test:
    """A function that tells whether a node has every value ``match`` asks for."""
    if len(match) == 1:
        ((path, wanted),) = match.items()
        if len(path) == 1 and all(type(value) is str for value in wanted):
            return lambda node: type(node) is dict and node.get(path[0]) in wanted
    items = tuple(match.items())
    return lambda node: all(_any_equal(read_path(node, path), values) for path, values in items)
