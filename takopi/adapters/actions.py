"""Builds the action events of one run, and remembers what later phases inherit."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

from takopi.adapters.adapter import Adapter
from takopi.adapters.decode import mend
from takopi.adapters.jmes import is_true
from takopi.adapters.rules import ActionPlan
from takopi.adapters.scope import Scope
from takopi.adapters.template import as_text
from takopi.model import ACTION_PHASES, Action, ActionEvent, ActionPhase
from takopi.paths import relativize_path

# Actions whose kind, title and detail a later phase inherits. Beyond that the oldest are forgotten:
# an engine that runs for days, or never says that a step ended, must not fill memory.
MAX_OPEN_ACTIONS = 10_000
MAX_CLOSED_ACTIONS = 256  # at least so many, fewer than twice as many


class Actions:
    """The actions of one run of ``adapter``, whose expressions see ``scope``."""

    def __init__(self, adapter: Adapter, scope: Scope) -> None:
        self._engine = adapter.id
        self._tools = adapter.tools
        self._scope = scope
        self._open: OrderedDict[str, Action] = OrderedDict()
        self._closed: dict[str, Action] = {}
        self._closed_before: dict[str, Action] = {}  # forgotten all at once
        self._counts: dict[str, int] = {}

    def event(self, plan: ActionPlan, node: Any) -> ActionEvent:
        """What a rule's ``action`` says about ``node``."""
        scope = self._scope
        action_id, phase, kind, title, name, given, changes, exit_code, ok, extra = (
            plan.values.evaluate(node, scope)
        )
        if type(action_id) is not str:
            action_id = as_text(action_id)
        if phase is None or phase not in ACTION_PHASES:
            phase = "completed" if plan.ends or not action_id else "started"
        before = (
            self._open.get(action_id)
            or self._closed.get(action_id)
            or self._closed_before.get(action_id)
        )
        if kind is None:
            kind = ""
        elif type(kind) is not str or not kind.isascii():
            kind = text_of(kind)
        if title is None:
            title = ""
        elif type(title) is not str or not title.isascii():
            title = text_of(title)
        detail = dict(before.detail) if before is not None else {}
        if type(extra) is dict:
            detail.update(extra)
        if changes is not None and (changes := _changes(changes)):
            detail["changes"] = changes
        if type(name) is str and name:
            kind, title = self._tool(name, given, kind, title, detail, before)
        if before is not None:
            kind, title = kind or before.kind, title or before.title
        kind = kind or "note"
        title = title or _paths(detail, scope.run.get("cwd")) or kind
        if exit_code is not None:
            exit_code = _number(exit_code)
            if exit_code is not None:
                detail["exit_code"] = exit_code
        if phase != "completed":
            ok = None
        elif exit_code:
            ok = False
        else:
            ok = is_true(ok) if ok is not None else kind != "warning"
        action = Action(action_id or self._next_id(kind), kind, title, detail)
        if action_id:
            self._remember(action, phase)
        return ActionEvent(self._engine, action, phase, ok)

    def warning(self, text: str, detail: dict[str, Any] | None = None) -> ActionEvent:
        """A problem the runner itself noticed."""
        action = Action(self._next_id("note"), "warning", text, detail or {})
        return ActionEvent(self._engine, action, "completed", False, text, "warning")

    def note(self, text: str) -> ActionEvent:
        """Something the runner itself noticed and that is no problem yet."""
        return ActionEvent(self._engine, Action(self._next_id("note"), "note", text), "updated")

    def _tool(
        self,
        name: str,
        given: Any,
        kind: str,
        title: str,
        detail: dict[str, Any],
        before: Action | None,
    ) -> tuple[str, str]:
        view = self._tools.view(name, given, self._scope)
        if view.paths and "changes" not in detail:
            detail["changes"] = [{"path": path, "kind": "update"} for path in view.paths]
        if given is None and before is not None:
            # A tool's end that repeats the name only: the start's title says more.
            return kind or view.kind, title
        return kind or view.kind, title or mend(view.title)

    def _remember(self, action: Action, phase: ActionPhase) -> None:
        if phase != "completed":
            self._open[action.id] = action
            if len(self._open) > MAX_OPEN_ACTIONS:
                self._open.popitem(last=False)
            return
        self._open.pop(action.id, None)
        self._closed[action.id] = action
        if len(self._closed) >= MAX_CLOSED_ACTIONS:
            self._closed_before, self._closed = self._closed, {}

    def _next_id(self, kind: str) -> str:
        number = self._counts.get(kind, 0) + 1
        self._counts[kind] = number
        return f"{self._engine}.{kind}.{number}"


def text_of(value: Any) -> str:
    """A value meant as text: what JMESPath calls false is no text."""
    if type(value) is str:
        return mend(value)
    return mend(as_text(value)) if is_true(value) else ""


def _number(value: Any) -> int | float | None:
    """An exit code; true and false are none."""
    if type(value) is float and math.isfinite(value):
        return int(value) if value.is_integer() else value
    return value if type(value) is int else None


def _changes(value: Any) -> list[dict[str, Any]]:
    """The items of a list that name a path; one item need not be in a list."""
    items = value if isinstance(value, list) else [value]
    return [
        item
        for item in items
        if isinstance(item, dict) and isinstance(item.get("path"), str) and item["path"]
    ]


def _paths(detail: dict[str, Any], cwd: str | None) -> str:
    if "changes" not in detail:
        return ""
    paths = (change["path"] for change in _changes(detail["changes"]))
    return ", ".join(relativize_path(path, base_dir=cwd) for path in paths)
