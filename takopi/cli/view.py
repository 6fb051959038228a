"""How a run looks in a terminal: live where there is one, plain lines where there is not.

stdout is data (the answer); progress, errors and the resume line go to stderr.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from takopi.adapters.adapter import Adapter
from takopi.adapters.replay import event_line
from takopi.ansi import strip_ansi
from takopi.bridge.markdown import MarkdownFormatter, format_action_line, format_elapsed
from takopi.bridge.progress import ProgressTracker
from takopi.engines.base import Runner
from takopi.model import ActionEvent, CompletedEvent, StartedEvent, TakopiEvent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_LIVE_ACTIONS = 8


class View(Protocol):
    """Shows one run: every event, then its outcome."""

    def event(self, event: TakopiEvent) -> None: ...

    def finish(
        self, outcome: CompletedEvent, resume_line: str, *, cancelled: bool = False
    ) -> None: ...

    def close(self) -> None: ...


def make_view(engine: str, *, as_json: bool) -> View:
    """The view that fits where the output goes."""
    if as_json:
        return JsonView()
    return LiveView(engine) if sys.stderr.isatty() else PlainView(engine)


class JsonView:
    """Events as JSON lines."""

    def event(self, event: TakopiEvent) -> None:
        # A lone surrogate in the stream must not keep the event from being printed.
        escape = not (sys.stdout.encoding or "").lower().startswith("utf")
        text = event_line(event, ascii=escape)
        sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")
        sys.stdout.flush()

    def finish(self, outcome: CompletedEvent, resume_line: str, *, cancelled: bool = False) -> None:
        pass

    def close(self) -> None:
        pass


class PlainView:
    """One line per step on ``out`` (default: stderr), the answer on stdout."""

    def __init__(self, engine: str, *, out: TextIO | None = None) -> None:
        self._engine = engine
        self._out = out
        self._began = time.monotonic()
        self._tracker = ProgressTracker(engine=engine)
        self._shown: dict[str, str] = {}
        self._say(f"starting · {engine}")

    def event(self, event: TakopiEvent) -> None:
        if not self._tracker.note_event(event):
            return
        if isinstance(event, StartedEvent):
            self._say(" · ".join(p for p in ("session", event.resume.value, event.title) if p))
        elif isinstance(event, ActionEvent):
            line = format_action_line(event.action, event.phase, event.ok)
            if self._shown.get(event.action.id) != line:
                self._shown[event.action.id] = line
                self._say(line)

    def finish(self, outcome: CompletedEvent, resume_line: str, *, cancelled: bool = False) -> None:
        status = _status(outcome, cancelled=cancelled)
        self._say(_header(status, self._engine, self._tracker, self._began))
        print_outcome(outcome, resume_line, cancelled=cancelled)

    def close(self) -> None:
        pass

    def _say(self, text: str) -> None:
        print(strip_ansi(text), file=self._out or sys.stderr, flush=True)


class LiveView:
    """The last steps of the run, redrawn in place; then the answer."""

    def __init__(self, engine: str) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._engine = engine
        self._began = time.monotonic()
        self._tracker = ProgressTracker(engine=engine)
        self._formatter = MarkdownFormatter(max_actions=_LIVE_ACTIONS)
        self._spinner = Spinner("dots")
        self._label: str | None = None
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=10,
            transient=False,
        )
        self._live.start()

    def event(self, event: TakopiEvent) -> None:
        self._tracker.note_event(event)

    def finish(self, outcome: CompletedEvent, resume_line: str, *, cancelled: bool = False) -> None:
        status = _status(outcome, cancelled=cancelled)
        self._label = _header(status, self._engine, self._tracker, self._began)
        self.close()
        print_outcome(outcome, resume_line, self._console, cancelled=cancelled)

    def close(self) -> None:
        if self._live.is_started:
            self._live.stop()

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        state = self._tracker.snapshot()
        elapsed = time.monotonic() - self._began
        label = self._label or "working"
        parts = self._formatter.render_progress_parts(state, elapsed_s=elapsed, label=label)
        lines = [
            Text(f"  {strip_ansi(line)}", style="dim", no_wrap=True, overflow="ellipsis")
            for line in (parts.body or "").split("\n")
            if line.strip()
        ]
        if self._label is not None:
            return Group(Text(self._label, style="bold"), *lines)
        self._spinner.update(text=Text(parts.header, style="bold"))
        return Group(self._spinner, *lines)


def _status(outcome: CompletedEvent, *, cancelled: bool) -> str:
    if outcome.ok:
        return "done"
    return "cancelled" if cancelled else "error"


def _header(status: str, engine: str, tracker: ProgressTracker, began: float) -> str:
    parts = [status, engine, format_elapsed(time.monotonic() - began)]
    if tracker.action_count:
        parts.append(f"step {tracker.action_count}")
    return " · ".join(parts)


def print_outcome(
    outcome: CompletedEvent,
    resume_line: str,
    console: Console | None = None,
    *,
    cancelled: bool = False,
) -> None:
    """The answer on stdout (as Markdown in a terminal), the error and the resume line on stderr."""
    answer = outcome.answer.strip()
    if answer and sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        print(flush=True)
        Console(highlight=False).print(Markdown("\n".join(map(strip_right, answer.split("\n")))))
    elif not answer and outcome.ok:
        _err("\nthe answer is empty", console, "dim")
    elif answer:
        sys.stdout.write(outcome.answer.encode("utf-8", "replace").decode() + "\n")
        sys.stdout.flush()
    if outcome.error and not cancelled:
        text = "\n".join(strip_right(line) for line in f"error: {outcome.error}".split("\n"))
        _err("\n" + text, console, "red")
    if resume_line:
        _err(f"\nresume: {strip_ansi(resume_line.strip('`'))}", console, "dim")


def name_of(runner: Runner) -> str:
    """The engine's name for people."""
    adapter = getattr(runner, "adapter", None)
    return adapter.name if isinstance(adapter, Adapter) else runner.engine


def no_session(runner: Runner) -> str:
    """What to say when a good run told no session id."""
    adapter = getattr(runner, "adapter", None)
    see = f"; see `session` in {adapter.file}" if isinstance(adapter, Adapter) else ""
    return f"no line told a session id, so this run cannot be resumed{see}"


def strip_right(line: str) -> str:
    """A line without terminal escapes; its indentation stays."""
    indent = len(line) - len(line.lstrip(" "))
    return line[:indent] + strip_ansi(line)


def _err(text: str, console: Console | None, style: str) -> None:
    if console is None:
        print(text, file=sys.stderr, flush=True)
    else:
        # The terminal wraps it: a line break of ours would be in the way when it is copied.
        console.print(text, style=style, markup=False, soft_wrap=True)
