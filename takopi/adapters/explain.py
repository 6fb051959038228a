"""One line through all rules: which matched, which did not and why, what was read and shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from takopi.adapters.decode import decode_line
from takopi.adapters.jmes import is_true
from takopi.adapters.rules import Rule, RuleSet, json_equal, read_path
from takopi.adapters.scope import Scope
from takopi.adapters.template import as_text
from takopi.adapters.translate import Translator

_WIDTH = 120


def explain_line(translator: Translator, raw: bytes) -> Iterator[str]:
    """Explain what the next line means to ``translator``; it is not fed to it."""
    data = decode_line(raw)
    if data is None:
        yield "not a JSON object"
        return
    before = translator.scope
    scope = Scope(event=data, state=dict(before.state), options=before.options, run=before.run)
    yield from _session(translator, data, scope)
    yield from _rules(translator.adapter.rules, data, scope, "")


def _session(translator: Translator, data: dict[str, Any], scope: Scope) -> Iterator[str]:
    plan = translator.adapter.session
    if translator.token is not None or plan is None or plan.id is None:
        return
    if plan.match is not None and not plan.match(data):
        yield "session: `match` does not fit"
        return
    yield f"session.id = {_shown(plan.id.evaluate(data, scope))}"


def _rules(rules: RuleSet, node: Any, scope: Scope, indent: str) -> Iterator[str]:
    for rule in rules.rules:
        reason = _mismatch(rule, node, scope)
        place = f"{rule.place.path} (line {rule.place.line})"
        if reason is not None:
            yield f"{indent}✗ {place}: {reason}"
            continue
        yield f"{indent}✓ {place}"
        yield from _values(rule, node, scope, indent + "    ")
        _advance(rule, node, scope)
        if rule.each is not None and rule.rules is not None:
            yield from _items(rule, rule.rules, node, scope, indent + "    ")
        return
    yield f"{indent}no rule matches: unmapped"


def _mismatch(rule: Rule, node: Any, scope: Scope) -> str | None:
    for path, values in rule.match.items():
        value = read_path(node, path)
        if not any(json_equal(value, wanted) for wanted in values):
            wanted = " or ".join(_shown(v) for v in values)
            return f"`{'.'.join(path)}` is {_shown(value)}, wanted {wanted}"
    if rule.condition is not None:
        value = rule.condition.evaluate(node, scope)
        if not is_true(value):
            return f"`if` is {_shown(value)}"
    return None


def _values(rule: Rule, node: Any, scope: Scope, indent: str) -> Iterator[str]:
    for name, value in rule.values:
        yield f"{indent}{name} = {_shown(value.evaluate(node, scope))}"
    if not rule.values:
        yield f"{indent}known, not shown"


def _advance(rule: Rule, node: Any, scope: Scope) -> None:
    """Do to the copied state what the rule does, so that the items of `each` see it."""
    scope.state.update([(name, value.evaluate(node, scope)) for name, value in rule.set])
    for name, written in rule.append:
        value = written.evaluate(node, scope)
        if value is not None:
            scope.state[name] = as_text(scope.state.get(name)) + as_text(value)


def _items(rule: Rule, rules: RuleSet, node: Any, scope: Scope, indent: str) -> Iterator[str]:
    items = rule.each.evaluate(node, scope) if rule.each is not None else None
    if isinstance(items, dict):
        items = [items]
    if not isinstance(items, list):
        yield f"{indent}no items: `each` is neither a list nor an object"
        return
    for number, item in enumerate(items):
        yield f"{indent}item {number}: {_shown(item)}"
        yield from _rules(rules, item, scope, indent + "  ")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
