"""What only data can tell: values of an adapter that never had one.

A misspelt field is null for ever, and no check of the text can know. An `Audit` watches one or more
replays and says which values were null every time their rule acted.
"""

from __future__ import annotations

from typing import Any

from takopi.adapters.adapter import Adapter
from takopi.adapters.rules import Rule
from takopi.adapters.translate import Translator

# These are often null, and mean something by it.
_MAY_BE_NULL = frozenset(
    ("action.exit_code", "action.ok", "action.detail", "complete.error", "complete.ok")
)
_MAX_FIELDS = 8


class Audit:
    """Watches replays of one adapter: give `on_rule` to each translator, and `run_ended` its end."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.translator: Translator | None = None
        self.sessions = 0
        self._acted: dict[str, int] = {}
        self._had: dict[tuple[str, str], int] = {}
        self._fields: dict[tuple[str, str], dict[str, None]] = {}
        self._order: list[Rule] = []

    def on_rule(self, rule: Rule, node: Any) -> None:
        """Note which of the rule's values are null on this node."""
        if self.translator is None:
            return
        place = rule.place.path
        if place not in self._acted:
            self._order.append(rule)
        self._acted[place] = self._acted.get(place, 0) + 1
        for name, value in rule.values:
            if value.constant or name in _MAY_BE_NULL:
                continue
            if value.evaluate(node, self.translator.scope) is not None:
                self._had[place, name] = self._had.get((place, name), 0) + 1
            elif type(node) is dict:
                self._fields.setdefault((place, name), {}).update(dict.fromkeys(node))

    def run_ended(self, translator: Translator) -> None:
        """Note whether the run told a session."""
        self.sessions += translator.token is not None

    def findings(self) -> list[str]:
        """One line per value that never had one, in the order of the rules' first appearance."""
        found = []
        if self.adapter.session is not None and not self.sessions:
            found.append("session: no line told a session id, so the run cannot be resumed")
        for rule in self._order:
            place = rule.place.path
            times = self._acted[place]
            for name, value in rule.values:
                if value.constant or name in _MAY_BE_NULL or self._had.get((place, name)):
                    continue
                fields = list(self._fields.get((place, name), {}))
                shown = ", ".join(fields[:_MAX_FIELDS]) + (
                    ", …" if len(fields) > _MAX_FIELDS else ""
                )
                where = f"{rule.place.file}:{rule.place.line} {place}.{name}"
                found.append(
                    f"{where} was null on {times} of {times} lines"
                    + (f", which have: {shown}" if shown else "")
                )
        return found
