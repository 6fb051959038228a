"""Rules as they run: matching by dispatch tables, and what a matched rule does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from takopi.adapters.code import Value, group, is_true, stores, variable
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


Finder: TypeAlias = Callable[[Any, Scope], Rule | None]


@dataclass(slots=True, eq=False)
class RuleSet:
    """Rules tried in order; ``find(node, scope)`` gives the first that matches, or None."""

    rules: tuple[Rule, ...]
    find: Finder


def compile_rules(rules: Sequence[Rule]) -> RuleSet:
    """Build the dispatch tables of a list of rules."""
    return RuleSet(tuple(rules), _finder(tuple(rules), frozenset()))


_MAX_DISPATCH_DEPTH = 4


def _finder(rules: tuple[Rule, ...], tested: frozenset[MatchPath]) -> Finder:
    """A function equal to trying ``rules`` in order, their paths in ``tested`` known to match."""
    counts: dict[MatchPath, int] = {}
    for rule in rules:
        for path in rule.match:
            if path not in tested:
                counts[path] = counts.get(path, 0) + 1
    path = max(counts, key=lambda p: counts[p]) if counts else ()
    if counts.get(path, 0) < 2 or len(tested) >= _MAX_DISPATCH_DEPTH:
        return _linear(rules, tested)
    return _dispatch(rules, tested, path)


def _dispatch(rules: tuple[Rule, ...], tested: frozenset[MatchPath], path: MatchPath) -> Finder:
    done = tested | {path}

    def keep(value: Any) -> tuple[Rule, ...]:
        return tuple(
            rule
            for rule in rules
            if path not in rule.match or any(json_equal(value, v) for v in rule.match[path])
        )

    values = {v for rule in rules for v in rule.match.get(path, ()) if isinstance(v, str)}
    table = {value: _finder(keep(value), done) for value in values}
    absent = _finder(keep(None), done)
    others = _finder(tuple(rule for rule in rules if path not in rule.match), done)
    slow = _linear(rules, tested)  # numbers, booleans, lists and objects
    lookup = table.get
    if len(path) == 1:
        key = path[0]

        def find(node: Any, scope: Scope) -> Rule | None:
            value = node.get(key) if type(node) is dict else None
            if type(value) is str:
                return lookup(value, others)(node, scope)
            return (absent if value is None else slow)(node, scope)

        return find

    def find_deep(node: Any, scope: Scope) -> Rule | None:
        value = read_path(node, path)
        if type(value) is str:
            return lookup(value, others)(node, scope)
        return (absent if value is None else slow)(node, scope)

    return find_deep


def _linear(rules: tuple[Rule, ...], tested: frozenset[MatchPath]) -> Finder:
    entries: list[tuple[Test | None, Value | None, Rule]] = []
    for rule in rules:
        test = _test({p: v for p, v in rule.match.items() if p not in tested})
        entries.append((test, rule.condition, rule))
        if test is None and rule.condition is None:
            break  # nothing behind it can be reached
    if not entries:
        return lambda node, scope: None
    if len(entries) == 1 and entries[0][:2] == (None, None):
        only = entries[0][2]
        return lambda node, scope: only
    plan = tuple(entries)

    def find(node: Any, scope: Scope) -> Rule | None:
        for test, condition, rule in plan:
            if (test is None or test(node)) and (
                condition is None or is_true(condition.evaluate(node, scope))
            ):
                return rule
        return None

    return find


def _test(match: Match) -> Test | None:
    if not match:
        return None
    items = tuple(match.items())
    if len(items) == 1 and all(type(value) is str for value in items[0][1]):
        ((path, wanted),) = items
        if len(path) == 1:
            return lambda node: type(node) is dict and node.get(path[0]) in wanted

    def test(node: Any) -> bool:
        for path, values in items:
            value = read_path(node, path)
            if not any(json_equal(value, v) for v in values):
                return False
        return True

    return test


def matcher(match: Match) -> Test:
    """A function that tells whether a node has every value ``match`` asks for."""
    return _test(match) or (lambda node: True)
