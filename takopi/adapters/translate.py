"""The translator: lines and an exit status in, takopi events out. No I/O.

::

    translator = Translator(adapter, run)
    events = translator.line(b'{"type": "init", ...}')     # a line of stdout
    events = translator.stderr(b"warning: ...")            # a line of stderr
    events = translator.finish(exit_code=0)                # the end; the last one is completed

One translator serves one run.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from takopi.adapters.adapter import Adapter
from takopi.adapters.failure import Failure, describe_failure, strip_ansi
from takopi.adapters.functions import FUNCTIONS
from takopi.adapters.jmes import is_true
from takopi.adapters.rules import ActionPlan, OutcomePlan, Rule, read_path
from takopi.adapters.scope import Place, Scope
from takopi.adapters.template import as_text
from takopi.lines import Oversized
from takopi.model import (
    Action,
    ActionEvent,
    ActionPhase,
    CompletedEvent,
    ResumeToken,
    StartedEvent,
    TakopiEvent,
)
from takopi.paths import relativize_path

logger = logging.getLogger(__name__)

MAX_NON_JSON_WARNINGS = 5
MAX_SHAPES = 50  # unmapped shapes told apart; an engine cannot fill memory with new ones
MAX_CLOSED_ACTIONS = 256  # finished actions whose kind and title a late phase may still inherit
TAIL_LINES = 20
TAIL_LINE_CHARS = 2_000

_decode = msgspec.json.Decoder().decode
_to_text = FUNCTIONS["text"].implementation


class NotJsonObject(ValueError):
    """A line that is not one JSON object."""


def decode_line(raw: bytes) -> dict[str, Any]:
    """Decode one line. Raises `NotJsonObject`.

    The fast decoder refuses lone surrogates (what Node prints when a CLI cuts an emoji in half) and
    invalid UTF-8; such a line is decoded once more by the standard library before it counts as
    non-JSON.
    """
    try:
        data = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            data = json.loads(raw.decode("utf-8", errors="replace"))
        except (ValueError, RecursionError) as error:
            raise NotJsonObject from error
    if type(data) is not dict:
        raise NotJsonObject
    return data


class _Outcome:
    """What ``complete`` recorded; the last one wins."""

    __slots__ = ("answer", "error", "ok", "usage")

    def __init__(self, ok: bool, answer: str, error: str | None, usage: dict[str, Any]) -> None:
        self.ok = ok
        self.answer = answer
        self.error = error
        self.usage = usage


class Translator:
    """Applies one adapter's rules to one run.

    ``run``        what ``run()`` returns: prompt, resume, session, model, reasoning, cwd, engine
    ``options``    what ``options()`` returns
    ``token``      the session asked for or created beforehand: `run["session"]`
    ``redact``     applied to text of the engine's that goes into an error (hides secrets)
    ``on_rule``    told about every rule that matches (coverage, tests)
    """

    def __init__(
        self,
        adapter: Adapter,
        run: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        *,
        redact: Callable[[str], str] = str,
        on_rule: Callable[[Rule, Any], None] | None = None,
    ) -> None:
        self.adapter = adapter
        self.engine = adapter.id
        self.scope = Scope(run=run, options=options, failed=self._expression_failed)
        self.token: ResumeToken | None = None
        self.ended = False  # a CompletedEvent was given out: nothing follows
        self.settle_s: float | None = None  # seconds the CLI may linger now; None: no clock runs
        self.lines = 0
        self.mapped = 0
        self.unmapped: dict[str, int] = {}
        self.failures: dict[Place, str] = {}
        self._wanted: str | None = run.get("session")
        self._resumed: str | None = run.get("resume")
        self._redact = redact
        self._on_rule = on_rule
        self._outcome: _Outcome | None = None
        self._pending: dict[str, list[str]] = {}
        self._open: dict[str, Action] = {}
        self._closed: dict[str, Action] = {}
        self._counts: dict[str, int] = {}
        self._non_json = 0
        self._stderr: deque[str] = deque(maxlen=TAIL_LINES)
        self._stdout: deque[str] = deque(maxlen=TAIL_LINES)

    # -- input -------------------------------------------------------------------------------

    @property
    def has_outcome(self) -> bool:
        """Whether a ``complete`` rule has recorded the run's end."""
        return self._outcome is not None

    def line(self, raw: bytes) -> list[TakopiEvent]:
        """The events of one line of stdout (without its newline)."""
        if self.ended:
            return []
        try:
            data = decode_line(raw)
        except NotJsonObject:
            return self._non_json_line(raw)
        out: list[TakopiEvent] = []
        scope = self.scope
        scope.event = data
        self.lines += 1
        self.settle_s = None
        if self.token is None and not self._find_session(data, out):
            return out
        rules = self.adapter.rules
        if rules.reads_state and self._pending:
            self._flush()
        rule = rules.find(data, scope)
        if rule is not None:
            self.mapped += 1
            self._apply(rule, data, out)
        elif self._session_claims(data):
            self.mapped += 1
        else:
            self._note_unmapped(self._shape(data))
        return out

    def skipped(self, line: Oversized) -> list[TakopiEvent]:
        """The warning for a line that was too long to keep."""
        if self.ended:
            return []
        self.settle_s = None
        size = line.size_bytes / 1_000_000
        return [self._warning(f"skipped a line of {size:.1f} MB: too long")]

    def stderr(self, raw: bytes) -> list[TakopiEvent]:
        """The events of one line of stderr: a session at most. stderr never decides success."""
        if self.ended:
            return []
        text = _display(raw)
        if not text:
            return []
        self._stderr.append(text)
        return self._session_in_text(text)[0]

    def quiet(self, seconds: float) -> list[TakopiEvent]:
        """The note that the engine has printed nothing for ``seconds``."""
        if self.ended:
            return []
        title = f"no output for {seconds:g} s"
        action = Action(self._next_id("note"), "note", title)
        return [ActionEvent(self.engine, action, "updated")]

    def finish(self, exit_code: int | None, *, failure: str | None = None) -> list[TakopiEvent]:
        """The end of the run: the last events, `CompletedEvent` the very last.

        ``exit_code`` is negative when the process died by that signal and None when it was ended by
        takopi; ``failure`` is takopi's own reason for ending it. A recorded outcome beats both.
        """
        if self.ended:
            return []
        self._flush()
        self.scope.event = {}
        out: list[TakopiEvent] = []
        hidden = self._non_json - MAX_NON_JSON_WARNINGS
        if hidden > 0 and self.adapter.spec.non_json == "warn":
            lines = "line was" if hidden == 1 else "lines were"
            out.append(self._warning(f"{hidden} more {lines} not JSON"))
        outcome = self._outcome or self._end_without_outcome(exit_code, failure)
        out.append(self._completed(outcome, exit_code))
        return out

    # -- session -----------------------------------------------------------------------------

    def _find_session(self, data: dict[str, Any], out: list[TakopiEvent]) -> bool:
        """Emit the StartedEvent if this line tells the session; False ends the run (mismatch)."""
        plan = self.adapter.session
        if plan is None:
            self._start(str(self._wanted), data, out)
            return True
        value = None
        if plan.id is not None and (plan.match is None or plan.match(data)):
            if self._pending:
                self._flush()
            value = plan.id.evaluate(data, self.scope)
        found = value if type(value) is str else as_text(value) if is_true(value) else ""
        if not found and plan.create is not None and self._wanted is not None:
            found = self._wanted
        return not found or self._accept(found, data, out)

    def _accept(self, found: str, data: dict[str, Any], out: list[TakopiEvent]) -> bool:
        plan, wanted = self.adapter.session, self._wanted
        if wanted is not None and found != wanted and not (plan is not None and plan.adopt):
            asked = "resume" if self._resumed is not None else "open"
            error = (
                f"{self.adapter.name} was asked to {asked} session {wanted} "
                f"but opened {found}; the run was stopped, start a new session"
            )
            outcome = _Outcome(False, "", error, {})
            self.token = ResumeToken(self.engine, wanted)
            out.append(self._completed(outcome, None))
            return False
        self._start(found, data, out)
        return True

    def _start(self, value: str, data: dict[str, Any], out: list[TakopiEvent]) -> None:
        plan = self.adapter.session
        self.token = ResumeToken(self.engine, value)
        title = plan.title.evaluate(data, self.scope) if plan and plan.title else None
        meta = plan.meta.evaluate(data, self.scope) if plan and plan.meta else None
        out.append(
            StartedEvent(
                self.engine,
                self.token,
                as_text(title) if is_true(title) else None,
                meta if isinstance(meta, dict) else None,
            )
        )

    def _session_claims(self, data: dict[str, Any]) -> bool:
        plan = self.adapter.session
        return plan is not None and plan.match is not None and plan.match(data)

    def _session_in_text(self, text: str) -> tuple[list[TakopiEvent], bool]:
        """A session told in plain text; also whether the line was about the session."""
        plan = self.adapter.session
        if plan is None or plan.text is None:
            return [], False
        match = plan.text.search(text)
        if match is None or not match.group("token"):
            return [], False
        out: list[TakopiEvent] = []
        if self.token is None:
            self._accept(match.group("token"), {}, out)
        return out, True

    # -- rules -------------------------------------------------------------------------------

    def _apply(self, rule: Rule, node: Any, out: list[TakopiEvent]) -> None:
        scope = self.scope
        if rule.reads_state and self._pending:
            self._flush()
        if self._on_rule is not None:
            self._on_rule(rule, node)
        if rule.set:
            values = [(name, evaluate(node, scope)) for name, evaluate in rule.set]
            for name, value in values:
                self._pending.pop(name, None)
                scope.state[name] = value
        for name, evaluate in rule.append:
            text = evaluate(node, scope)
            if text is not None:
                self._pending.setdefault(name, []).append(as_text(text))
        if rule.action is not None:
            out.append(self._action(rule.action, node))
        if rule.complete is not None:
            self._record(rule.complete, node)
        if rule.each is not None and rule.rules is not None:
            self._apply_each(rule, node, out)

    def _apply_each(self, rule: Rule, node: Any, out: list[TakopiEvent]) -> None:
        if self._pending and (rule.set or rule.append or rule.reads_state):
            self._flush()
        items = rule.each(node, self.scope) if rule.each is not None else None
        if type(items) is dict:
            items = [items]
        if type(items) is not list or rule.rules is None:
            return
        rules = rule.rules
        for item in items:
            if rules.reads_state and self._pending:
                self._flush()
            found = rules.find(item, self.scope)
            if found is None:
                self._note_unmapped(f"{self._shape(node)} › {self._shape(item)}")
            else:
                self._apply(found, item, out)

    def _flush(self) -> None:
        """Join what `append` gathered. Joining late keeps a long run of deltas linear."""
        state = self.scope.state
        for name, parts in self._pending.items():
            before = state.get(name)
            state[name] = "".join([as_text(before), *parts])
        self._pending.clear()

    # -- actions -----------------------------------------------------------------------------

    def _action(self, plan: ActionPlan, node: Any) -> ActionEvent:
        scope = self.scope
        value = plan.id.evaluate(node, scope)
        action_id = value if type(value) is str else as_text(value) if value is not None else ""
        phase = self._phase(plan, node, has_id=bool(action_id))
        before = self._open.get(action_id) or self._closed.get(action_id) if action_id else None
        kind = self._text_of(plan.kind.evaluate(node, scope)) if plan.kind is not None else ""
        title = self._text_of(plan.title.evaluate(node, scope)) if plan.title is not None else ""
        detail = dict(before.detail) if before is not None else {}
        if plan.detail is not None:
            extra = plan.detail.evaluate(node, scope)
            if isinstance(extra, dict):
                detail.update(extra)
        if plan.changes is not None:
            changes = _changes(plan.changes.evaluate(node, scope))
            if changes:
                detail["changes"] = changes
        if plan.tool_name is not None:
            kind, title = self._tool(plan, node, kind, title, detail)
        if before is not None:
            kind, title = kind or before.kind, title or before.title
        kind = kind or "note"
        title = title or _paths_of(detail, scope.run.get("cwd")) or kind
        ok = self._ok(plan, node, phase, kind, detail)
        action = Action(action_id or self._next_id(kind), kind, title, detail)
        if action_id:
            self._remember(action, phase)
        return ActionEvent(self.engine, action, phase, ok)

    def _phase(self, plan: ActionPlan, node: Any, *, has_id: bool) -> ActionPhase:
        written = plan.phase.evaluate(node, self.scope) if plan.phase is not None else None
        if written == "started":
            return "started"
        if written == "updated":
            return "updated"
        if written == "completed" or plan.ok is not None or plan.exit_code is not None:
            return "completed"
        return "started" if has_id else "completed"

    def _tool(
        self, plan: ActionPlan, node: Any, kind: str, title: str, detail: dict[str, Any]
    ) -> tuple[str, str]:
        name = plan.tool_name.evaluate(node, self.scope) if plan.tool_name is not None else None
        if not isinstance(name, str) or not name:
            return kind, title
        arguments = plan.tool_input.evaluate(node, self.scope)
        view = self.adapter.tools.view(name, arguments, self.scope)
        if view.paths and "changes" not in detail:
            detail["changes"] = [{"path": path, "kind": "update"} for path in view.paths]
        return kind or view.kind, title or view.title

    def _ok(
        self, plan: ActionPlan, node: Any, phase: ActionPhase, kind: str, detail: dict[str, Any]
    ) -> bool | None:
        exit_code = (
            plan.exit_code.evaluate(node, self.scope) if plan.exit_code is not None else None
        )
        if isinstance(exit_code, (int, float)) and not isinstance(exit_code, bool):
            detail["exit_code"] = int(exit_code) if exit_code == int(exit_code) else exit_code
        else:
            exit_code = 0
        written = plan.ok.evaluate(node, self.scope) if plan.ok is not None else None
        if phase != "completed":
            return None
        if exit_code != 0:
            return False
        return is_true(written) if written is not None else kind != "warning"

    def _remember(self, action: Action, phase: ActionPhase) -> None:
        if phase != "completed":
            self._open[action.id] = action
            return
        self._open.pop(action.id, None)
        self._closed[action.id] = action
        if len(self._closed) > MAX_CLOSED_ACTIONS:
            del self._closed[next(iter(self._closed))]

    def _next_id(self, kind: str) -> str:
        number = self._counts.get(kind, 0) + 1
        self._counts[kind] = number
        return f"{self.engine}.{kind}.{number}"

    @staticmethod
    def _text_of(value: Any) -> str:
        if type(value) is str:
            return value
        return as_text(value) if is_true(value) else ""

    def _warning(self, text: str, detail: dict[str, Any] | None = None) -> ActionEvent:
        action = Action(self._next_id("note"), "warning", text, detail or {})
        return ActionEvent(self.engine, action, "completed", False, text, "warning")

    # -- outcomes ----------------------------------------------------------------------------

    def _record(self, plan: OutcomePlan, node: Any) -> None:
        self._outcome = self._evaluate_outcome(plan, node)
        settle = self.adapter.settle.evaluate(node, self.scope)
        good = isinstance(settle, (int, float)) and not isinstance(settle, bool) and settle >= 0
        self.settle_s = float(settle) if good else 10.0

    def _evaluate_outcome(self, plan: OutcomePlan | None, node: Any) -> _Outcome:
        state, scope = self.scope.state, self.scope

        def value(name: str) -> Any:
            written = getattr(plan, name) if plan is not None else None
            return state.get(name) if written is None else written.evaluate(node, scope)

        error = value("error")
        usage = value("usage")
        ok = plan.ok.evaluate(node, scope) if plan is not None and plan.ok is not None else None
        failed = is_true(error) if ok is None else not is_true(ok)
        answer = _to_text(value("answer"))
        text = None
        if failed:
            text = "" if not is_true(error) or error is True else error_text(error)
            text = text.strip()
            if answer.strip() == text:
                answer = ""
        facts = {k: v for k, v in usage.items() if v is not None} if isinstance(usage, dict) else {}
        return _Outcome(not failed, answer, text, facts)

    def _end_without_outcome(self, exit_code: int | None, failure: str | None) -> _Outcome:
        outcome = self._evaluate_outcome(self.adapter.end, {})
        if failure is not None:
            outcome.error = failure
        elif self.adapter.end is not None and exit_code == 0 and self.mapped > 0 and outcome.ok:
            return outcome
        elif outcome.error is None or outcome.ok:
            outcome.error = ""
        outcome.ok = False
        return outcome

    def _completed(self, outcome: _Outcome, exit_code: int | None) -> CompletedEvent:
        self.ended = True
        usage = dict(outcome.usage)
        if self.unmapped:
            usage["unmapped"] = dict(self.unmapped)
        error = None
        if not outcome.ok:
            facts = Failure(
                name=self.adapter.name,
                error=outcome.error or "",
                exit_code=exit_code,
                recorded=self._outcome is not None,
                stderr=tuple(self._stderr),
                stdout=tuple(self._stdout),
            )
            error = self._redact(describe_failure(facts, self.adapter.hints))
        token = self.token
        if token is None and self._resumed is not None:
            token = ResumeToken(self.engine, self._resumed)
        return CompletedEvent(self.engine, outcome.ok, outcome.answer, token, error, usage or None)

    # -- what is not mapped ------------------------------------------------------------------

    def _non_json_line(self, raw: bytes) -> list[TakopiEvent]:
        text = _display(raw)
        if not text:
            return []
        self.settle_s = None
        out, about_session = self._session_in_text(text)
        if about_session:
            return out
        self._stdout.append(text)
        if self.adapter.spec.non_json == "ignore":
            return out
        self._non_json += 1
        if self._non_json <= MAX_NON_JSON_WARNINGS:
            shown = self._redact(text)
            out.append(self._warning(f"not JSON: {shown}", {"line": shown}))
        return out

    def _note_unmapped(self, shape: str) -> None:
        if shape not in self.unmapped and len(self.unmapped) >= MAX_SHAPES:
            shape = "other shapes"
        count = self.unmapped.get(shape, 0)
        self.unmapped[shape] = count + 1
        if count == 0:
            logger.warning("%s: no rule matches a line of the stream: %s", self.adapter.file, shape)

    def _shape(self, node: Any) -> str:
        """What tells this kind of line from others: the values of the keys that matches name."""
        if type(node) is not dict:
            return type(node).__name__ if node is not None else "null"
        found = []
        for path in self.adapter.match_paths:
            value = read_path(node, path)
            if value is not None:
                found.append(f"{'.'.join(path)}={_brief(value)}")
        if found:
            return " ".join(found)
        keys = [str(key)[:40] for key in list(node)[:5]]
        return "keys " + ",".join(keys) if keys else "empty object"

    def _expression_failed(self, place: Place, error: Exception) -> None:
        if place not in self.failures:
            self.failures[place] = str(error)
            logger.warning("%s: %s; the value is null", place, error)


def error_text(error: Any) -> str:
    """The human text of an error value: a string, or the message inside an object."""
    if isinstance(error, dict):
        for key in ("message", "error", "data"):
            inner = error.get(key)
            if is_true(inner):
                return error_text(inner)
    return _to_text(error) or as_text(error)


def _brief(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "{…}" if isinstance(value, dict) else "[…]"
    return as_text(value)[:60]


def _changes(value: Any) -> list[dict[str, Any]]:
    items: Sequence[Any] = value if isinstance(value, list) else [value]
    return [
        item
        for item in items
        if isinstance(item, dict) and isinstance(item.get("path"), str) and item["path"]
    ]


def _paths_of(detail: dict[str, Any], cwd: str | None) -> str:
    changes = detail.get("changes")
    if not isinstance(changes, list):
        return ""
    return ", ".join(relativize_path(c["path"], base_dir=cwd) for c in changes)


def _display(raw: bytes) -> str:
    """A line of plain output for people: no ANSI codes, no control characters, bounded."""
    return strip_ansi(raw[: 4 * TAIL_LINE_CHARS].decode("utf-8", errors="replace"))[
        :TAIL_LINE_CHARS
    ]
