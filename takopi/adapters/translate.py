"""The translator: lines and an exit status in, takopi events out. No I/O.

::

    translator = Translator(adapter, run)
    events = translator.line(b'{"type": "init", ...}')     # a line of stdout
    events = translator.stderr(b"warning: ...")            # a line of stderr
    events = translator.finish(exit_code=0)                # the end; the last one is completed

One translator serves one run.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from takopi.adapters.actions import Actions, text_of
from takopi.adapters.adapter import Adapter
from takopi.adapters.decode import REFUSED, Decode, decode_fast, decode_line, mend
from takopi.adapters.failure import Failure, describe_failure
from takopi.adapters.functions import FUNCTIONS, NUMBERS
from takopi.adapters.jmes import is_true
from takopi.adapters.reads import fields_read, partial_decoder
from takopi.adapters.rules import OutcomePlan, Rule, Test, read_path
from takopi.adapters.scope import Place, Scope
from takopi.adapters.template import as_text
from takopi.ansi import strip_ansi
from takopi.lines import Oversized
from takopi.model import CompletedEvent, ResumeToken, StartedEvent, TakopiEvent

logger = logging.getLogger(__name__)

MAX_WARNINGS = 5  # about lines that are not JSON; what follows is only counted
MAX_SHAPES = 50  # unmapped shapes told apart; an engine cannot fill memory with new ones
TAIL_LINES = 20
TAIL_LINE_CHARS = 2_000
DEFAULT_SETTLE_S = 10.0

_to_text = FUNCTIONS["text"].implementation


@dataclass(slots=True)
class _Outcome:
    """How a run ended. ``error`` is "" for a failure that the stream gives no reason for."""

    ok: bool
    answer: str
    error: str
    usage: dict[str, Any]
    recorded: bool  # by the stream; else takopi had to conclude it


_STATE_ONLY = OutcomePlan(answer=None, error=None, usage=None, ok=None)


class Translator:
    """Applies one adapter's rules to one run.

    ``run``        what ``run()`` returns; its ``session`` is the one asked for or created beforehand
    ``options``    what ``options()`` returns
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
        self.outcomes = 0  # how many a `complete` has recorded; the last one counts
        self.settle_s: float | None = None  # seconds the CLI may linger after it; None: for ever
        self.lines = 0
        self.mapped = 0
        self.unmapped: dict[str, int] = {}
        self.failures: dict[Place, str] = {}
        self._wanted: str | None = run.get("session")
        self._resumed: str | None = run.get("resume")
        self._redact = redact
        self._on_rule = on_rule
        self._choice = adapter.rules.choice
        self._claims: Test = lambda data: False
        if adapter.session is not None and adapter.session.match is not None:
            self._claims = adapter.session.match
        self._actions = Actions(adapter, self.scope)
        self._decode: Decode = decode_fast
        self._raw = b""
        self._settle_s: float | None = None  # the last that was computed
        self._recorded: tuple[Any, Any, Any, Any] | None = None  # values of the last `complete`
        self._non_json = 0
        self._broken = 0
        self._stderr: deque[str] = deque(maxlen=TAIL_LINES)
        self._stdout: deque[str] = deque(maxlen=TAIL_LINES)

    # -- input -------------------------------------------------------------------------------

    def line(self, raw: bytes) -> list[TakopiEvent]:
        """The events of one line of stdout (without its newline)."""
        if self.ended:
            return []
        try:
            data = self._decode(raw)
        except REFUSED:
            data = decode_line(raw)
        if type(data) is not dict:
            return self._non_json_line(raw)
        out: list[TakopiEvent] = []
        self._raw = raw
        self.scope.event = data
        self.lines += 1
        self.settle_s = None
        try:
            if self.token is not None or self._find_session(data, out):
                rule = self._choice.evaluate(data, self.scope)
                if rule is not None:
                    self.mapped += 1
                    if rule.acts or self._on_rule is not None:
                        self._apply(rule, data, out)
                elif self._claims(data):  # what tells the session needs no rule
                    self.mapped += 1
                else:
                    self._note_unmapped(self._shape(data))
        except Exception as error:  # whatever it is, it must cost one line and not the run
            self._note_broken(error, out)
        return out

    def skipped(self, line: Oversized) -> list[TakopiEvent]:
        """The warning for a line that was too long to keep."""
        if self.ended:
            return []
        self.settle_s = None
        size = line.size_bytes / 1_000_000
        return [self._actions.warning(f"skipped a line of {size:.1f} MB: too long")]

    def stderr(self, raw: bytes) -> list[TakopiEvent]:
        """The events of one line of stderr: a session at most. stderr never decides success."""
        text = _plain_text(raw)
        if self.ended or not text:
            return []
        self._stderr.append(self._shown(text))
        return self._session_in_text(text) or []

    def quiet(self, seconds: float) -> list[TakopiEvent]:
        """The note that the engine has printed nothing for ``seconds``."""
        return [] if self.ended else [self._actions.note(f"no output for {seconds:g} s")]

    def finish(self, exit_code: int | None, *, failure: str | None = None) -> list[TakopiEvent]:
        """The end of the run: the last events, `CompletedEvent` the very last.

        ``exit_code`` is negative when the process died by that signal and None when it was ended by
        takopi; ``failure`` is takopi's own reason for ending it. A recorded success beats both.
        """
        if self.ended:
            return []
        self.scope.event = {}
        out: list[TakopiEvent] = []
        hidden = self._non_json - MAX_WARNINGS
        if hidden > 0:
            lines = "line was" if hidden == 1 else "lines were"
            out.append(self._actions.warning(f"{hidden} more {lines} not JSON"))
        outcome = self._last_recorded(out)
        if outcome is None or (failure is not None and not outcome.ok):
            # What a CLI says of itself after takopi ended it is not why it ended.
            outcome = self._conclude(exit_code, failure)
        out.append(self._completed(outcome, exit_code))
        return out

    # -- session -----------------------------------------------------------------------------

    def _find_session(self, data: dict[str, Any], out: list[TakopiEvent]) -> bool:
        """Emit the StartedEvent if this line tells the session; False ends the run (mismatch)."""
        plan = self.adapter.session
        if plan is None:
            return self._start(str(self._wanted), data, out)
        found = ""
        if plan.id is not None and (plan.match is None or plan.match(data)):
            found = text_of(plan.id.evaluate(data, self.scope))
        if not found and plan.create is not None:
            # What was created is taken as it is; what was resumed the CLI may tell, if it can.
            silent = plan.id is None and plan.text is None
            if self._wanted is not None and (silent or self._resumed is None):
                found = self._wanted
        return not found or self._accept(found, data, out)

    def _accept(self, found: str, data: dict[str, Any], out: list[TakopiEvent]) -> bool:
        plan, wanted = self.adapter.session, self._wanted
        if wanted is None or found == wanted or (plan is not None and plan.adopt):
            return self._start(found, data, out)
        asked = "resume" if self._resumed is not None else "open"
        error = (
            f"{self.adapter.name} was asked to {asked} session {wanted} "
            f"but opened {found}; the run was stopped, start a new session"
        )
        self.token = ResumeToken(self.engine, wanted)
        out.append(self._completed(_Outcome(False, "", error, {}, recorded=False), None))
        return False

    def _start(self, value: str, data: dict[str, Any], out: list[TakopiEvent]) -> bool:
        plan = self.adapter.session
        self.token = ResumeToken(self.engine, value)
        title = text_of(plan.title.evaluate(data, self.scope)) if plan and plan.title else None
        meta = plan.meta.evaluate(data, self.scope) if plan and plan.meta else None
        if not isinstance(meta, dict):
            meta = None
        out.append(StartedEvent(self.engine, self.token, title or None, meta))
        if self._on_rule is None:  # who listens to rules wants whole lines
            self._decode = partial_decoder(fields_read(self.adapter)) or decode_fast
        return True

    def _session_in_text(self, text: str) -> list[TakopiEvent] | None:
        """The events of a plain line that tells a session; None if it does not."""
        plan = self.adapter.session
        match = plan.text.search(text) if plan is not None and plan.text is not None else None
        if match is None or not match.group("token"):
            return None
        out: list[TakopiEvent] = []
        if self.token is None:
            self._accept(match.group("token"), {}, out)
        return out

    # -- rules -------------------------------------------------------------------------------

    def _apply(self, rule: Rule, node: Any, out: list[TakopiEvent]) -> None:
        scope = self.scope
        if self._on_rule is not None:
            self._on_rule(rule, node)
        if rule.set:
            rule.store.evaluate(node, scope)
        for name, value in rule.append:
            self._append(name, value.evaluate(node, scope))
        if rule.action is not None:
            out.append(self._actions.event(rule.action, node))
        if rule.complete is not None:
            self._record(rule.complete, node)
        if rule.each is None or rule.rules is None:
            return
        items = rule.each.evaluate(node, scope)
        if type(items) is dict:
            items = [items]
        elif type(items) is not list:
            return
        choice = rule.rules.choice
        for item in items:
            found = choice.evaluate(item, scope)
            if found is not None:
                if found.acts or self._on_rule is not None:
                    self._apply(found, item, out)
            else:
                self._note_unmapped(f"{self._shape(node)} › {self._shape(item)}")

    def _append(self, name: str, value: Any) -> None:
        """Add text to a variable.

        Taken out of the state first: a string that nobody else holds grows in place, so that a long
        answer in many small pieces costs linear time.
        """
        if value is None:
            return
        text = as_text(self.scope.state.pop(name, None))
        text += as_text(value)
        self.scope.state[name] = text

    # -- outcomes ----------------------------------------------------------------------------

    def _record(self, plan: OutcomePlan, node: Any) -> None:
        self._recorded = plan.values.evaluate(node, self.scope)
        self.outcomes += 1
        settle = self.adapter.settle
        if self._settle_s is None or not settle.constant:
            seconds = settle.evaluate(node, self.scope)
            good = type(seconds) in NUMBERS and seconds >= 0
            self._settle_s = float(seconds) if good else DEFAULT_SETTLE_S
        self.settle_s = self._settle_s

    def _last_recorded(self, out: list[TakopiEvent]) -> _Outcome | None:
        """The outcome that counts: only the last one is ever made sense of."""
        if self._recorded is None:
            return None
        try:
            return self._outcome(*self._recorded)
        except Exception as error:  # it must not cost the end of the run
            self._note_broken(error, out)
            return None

    def _outcome(self, said: Any, error: Any, usage: Any, ok: Any) -> _Outcome:
        """An outcome from the values of its plan."""
        answer = mend(_to_text(said))
        failed = is_true(error) if ok is None else not is_true(ok)
        text = ""
        if failed:
            text = mend(_error_text(error).strip()) if is_true(error) else ""
            if answer.strip() == text:
                answer = ""
        facts = {k: v for k, v in usage.items() if v is not None} if isinstance(usage, dict) else {}
        return _Outcome(not failed, answer, text, facts, recorded=True)

    def _conclude(self, exit_code: int | None, failure: str | None) -> _Outcome:
        """The outcome of a run whose stream recorded none."""
        end = self.adapter.end
        outcome = self._outcome(*(end or _STATE_ONLY).values.evaluate({}, self.scope))
        if failure is not None:
            outcome.error = failure
        elif end is not None and exit_code == 0 and self.mapped > 0:
            return outcome
        outcome.ok = outcome.recorded = False
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
                error=outcome.error,
                exit_code=exit_code,
                recorded=outcome.recorded,
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
        text = _plain_text(raw)
        if not text:
            return []
        self.settle_s = None
        told = self._session_in_text(text)
        if told is not None:
            return told
        shown = self._shown(text)
        self._stdout.append(shown)
        if self.adapter.spec.non_json == "ignore":
            return []
        self._non_json += 1
        if self._non_json > MAX_WARNINGS:
            return []
        return [self._actions.warning(f"not JSON: {shown}", {"line": shown})]

    def _shown(self, text: str) -> str:
        """A plain line as people may see it. Secrets go first: half of one would not be found."""
        return self._redact(text)[:TAIL_LINE_CHARS]

    def _note_broken(self, error: Exception, out: list[TakopiEvent]) -> None:
        logger.exception("%s: a line of the stream could not be translated", self.adapter.file)
        self._broken += 1
        if self._broken <= MAX_WARNINGS:
            text = f"{self.adapter.name}: a line could not be translated"
            out.append(self._actions.warning(text, {"error": f"{type(error).__name__}: {error}"}))

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
        if node is self.scope.event:  # perhaps decoded in part
            node = decode_line(self._raw) or node
        keys = [str(key)[:40] for key in list(node)[:5]]
        return "keys " + ",".join(keys) if keys else "empty object"

    def _expression_failed(self, place: Place, error: Exception) -> None:
        if place not in self.failures:
            self.failures[place] = str(error)
            logger.warning("%s: %s; the value is null", place, error)


def _error_text(error: Any) -> str:
    """The human text of an error value: a string, or the message inside objects."""
    inner = error
    while type(inner) is dict:
        error = inner
        found = (error.get(key) for key in ("message", "error", "data"))
        inner = next((value for value in found if is_true(value)), None)
    if inner is not None:
        error = inner
    return "" if error is True else _to_text(error) or as_text(error)


def _brief(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "{…}" if isinstance(value, dict) else "[…]"
    return as_text(value)[:60]


def _plain_text(raw: bytes) -> str:
    """A line of plain output for people: no ANSI codes, no control characters, bounded."""
    return strip_ansi(raw[: 4 * TAIL_LINE_CHARS].decode("utf-8", errors="replace"))
