"""Progress and answers as Markdown, for any chat: no I/O, and the same state gives the same text.

::

    working · acme · 1m 05s · step 7        header

    ✓ `pytest -q` (exit 1)␠␠                body: the last steps, or the answer
    ▸ files: update `src/app.py`

    `ctx: z80 @feat/name`␠␠                 footer: context and resume line
    `acme resume 0199a213`
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from takopi.bridge.delivery import RenderedMessage
from takopi.bridge.progress import ProgressState
from takopi.model import Action, ActionEvent, StartedEvent, TakopiEvent
from takopi.paths import relativize_path

DEFAULT_MAX_ACTIONS = 5
DEFAULT_COMMAND_WIDTH = 300

_HARD_BREAK = "  \n"
_SEPARATOR = " · "
_ELLIPSIS = "…"
_MAX_CHANGES = 3
_TITLE_PREFIX = {"tool": "tool: ", "web_search": "searched: ", "subagent": "subagent: "}
_BACKTICKS = re.compile("`+")
# A whole span, else only the back-ticks that nothing closes: a run as long as theirs would.
_CODE_SPAN = re.compile(r"(`+)(?:.*?(?<!`)\1(?!`))?")


@dataclass(frozen=True, slots=True)
class MarkdownParts:
    """A message in parts. A transport that must trim one trims the body only."""

    header: str
    body: str | None = None
    footer: str | None = None


def assemble_markdown_parts(parts: MarkdownParts) -> str:
    """The whole message: the parts that are not empty, one blank line between them."""
    return "\n\n".join(part for part in (parts.header, parts.body, parts.footer) if part)


class MarkdownFormatter:
    """Renders a `ProgressState`.

    ``max_actions``    how many of the last steps a progress message shows; 0 for none
    ``command_width``  characters of a step's title before it is decorated; None for no limit
    """

    def __init__(
        self,
        *,
        max_actions: int = DEFAULT_MAX_ACTIONS,
        command_width: int | None = DEFAULT_COMMAND_WIDTH,
    ) -> None:
        self.max_actions = max(0, max_actions)
        self.command_width = command_width

    def render_progress_parts(
        self, state: ProgressState, *, elapsed_s: float, label: str = "working"
    ) -> MarkdownParts:
        """A run under way: its last steps."""
        shown = state.actions[-self.max_actions :] if self.max_actions else ()
        lines = (
            format_action_line(
                step.action, step.display_phase, step.ok, command_width=self.command_width
            )
            for step in shown
        )
        return MarkdownParts(
            header=_format_header(label, state, elapsed_s),
            body=_join_lines(lines),
            footer=_join_lines((state.context_line, state.resume_line)),
        )

    def render_final_parts(
        self, state: ProgressState, *, elapsed_s: float, status: str, answer: str
    ) -> MarkdownParts:
        """A run that is over: its answer, no steps."""
        return MarkdownParts(
            header=_format_header(status, state, elapsed_s),
            body=answer.strip() or None,
            footer=_join_lines((state.context_line, state.resume_line)),
        )


class MarkdownPresenter:
    """The presenter of chats that understand Markdown."""

    def __init__(self, *, formatter: MarkdownFormatter | None = None) -> None:
        self._formatter = formatter or MarkdownFormatter()

    def render_progress(
        self, state: ProgressState, *, elapsed_s: float, label: str = "working"
    ) -> RenderedMessage:
        """A run under way."""
        parts = self._formatter.render_progress_parts(state, elapsed_s=elapsed_s, label=label)
        return RenderedMessage(assemble_markdown_parts(parts))

    def render_final(
        self, state: ProgressState, *, elapsed_s: float, status: str, answer: str
    ) -> RenderedMessage:
        """A run that is over."""
        parts = self._formatter.render_final_parts(
            state, elapsed_s=elapsed_s, status=status, answer=answer
        )
        return RenderedMessage(assemble_markdown_parts(parts))


def render_event_cli(event: TakopiEvent) -> list[str]:
    """An event as lines for a log: none for the end of a run and for turns."""
    if isinstance(event, StartedEvent):
        return [event.engine]
    if isinstance(event, ActionEvent) and event.action.kind != "turn":
        return [format_action_line(event.action, event.phase, event.ok)]
    return []


def format_elapsed(elapsed_s: float) -> str:
    """Whole seconds, cut off, never negative: ``59s``, ``1m 05s``, ``25h 01m``."""
    seconds = max(0, int(elapsed_s))
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m"


def format_action_line(
    action: Action,
    display_phase: str,
    ok: bool | None,
    *,
    command_width: int | None = DEFAULT_COMMAND_WIDTH,
) -> str:
    """One step as one line: ``✓ `pytest -q` (exit 1)``."""
    exit_code = _exit_code(action)
    if display_phase == "completed":
        failed = bool(exit_code) if ok is None else not ok
        glyph, suffix = ("✗" if failed else "✓"), (f" (exit {exit_code})" if exit_code else "")
    else:
        glyph, suffix = ("↻" if display_phase == "updated" else "▸"), ""
    return f"{glyph} {format_action_title(action, command_width=command_width)}".rstrip() + suffix


def format_action_title(
    action: Action, *, command_width: int | None = DEFAULT_COMMAND_WIDTH
) -> str:
    """A step's title in one line, shortened, then decorated by kind; unknown kinds are bare."""
    if action.kind == "command":
        return code_span(shorten(action.title, command_width))
    if action.kind == "file_change":
        return f"files: {_format_changes(action, command_width)}"
    return _TITLE_PREFIX.get(action.kind, "") + _shorten_markdown(action.title, command_width)


def shorten(text: str, width: int | None) -> str:
    """``text`` in one line of at most ``width`` characters, ending in ``…`` if something was cut.

    Whole words are kept, unless they fill less than half the width: then it is cut anywhere. White
    space other than newlines is kept in a text that fits.
    """
    if width is None or len(text) <= width:
        return _one_line(text)
    if width <= 0:
        return ""
    head = _squeezed_head(text, width)
    if len(head) <= width:
        return head
    cut = head.rfind(" ", 0, width)
    if cut * 2 < width:
        cut = width - 1
    return head[:cut].rstrip() + _ELLIPSIS


def code_span(text: str) -> str:
    """``text`` as inline code, fenced by more back-ticks than it has in a row; empty stays empty."""
    if not text:
        return ""
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(len(run) for run in _BACKTICKS.findall(text)))
    # A back-tick next to the fence would be part of it; Markdown takes this blank away again.
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _format_header(label: str, state: ProgressState, elapsed_s: float) -> str:
    parts = [label, state.engine, format_elapsed(elapsed_s)]
    if state.action_count > 0:
        parts.append(f"step {state.action_count}")
    return _SEPARATOR.join(parts)


def _join_lines(lines: Iterable[str | None]) -> str | None:
    return _HARD_BREAK.join(line for line in lines if line) or None


def _exit_code(action: Action) -> int:
    """The exit code, 0 also where there is none. A boolean is an int to Python, but no exit code."""
    code = action.detail.get("exit_code")
    return code if isinstance(code, int) and not isinstance(code, bool) else 0


def _format_changes(action: Action, width: int | None) -> str:
    """The changed files, else the title, as code if it looks like a path."""
    changes = action.detail.get("changes")
    found = [*map(_parse_change, changes)] if isinstance(changes, list) else []
    valid = [change for change in found if change is not None]
    if valid:
        shown = [
            f"{verb} {code_span(shorten(relativize_path(path), width))}"
            for verb, path in valid[:_MAX_CHANGES]
        ]
        if len(valid) > _MAX_CHANGES:
            shown.append(f"{_ELLIPSIS}({len(valid) - _MAX_CHANGES} more)")
        return _shorten_markdown(", ".join(shown), width)
    title = relativize_path(action.title)
    is_path = title != action.title or os.sep in title
    if is_path and "`" not in title:
        return code_span(shorten(title, width))
    return _shorten_markdown(title, width)


def _parse_change(change: Any) -> tuple[str, str] | None:
    """Verb and path of one element of ``detail["changes"]``: a dict or an object; None if invalid."""
    if isinstance(change, dict):
        path, kind = change.get("path"), change.get("kind")
    else:
        path, kind = getattr(change, "path", None), getattr(change, "kind", None)
    if not isinstance(path, str) or not path:
        return None
    return (kind if isinstance(kind, str) and kind else "update"), path


def _shorten_markdown(text: str, width: int | None) -> str:
    """`shorten` for a title that may hold code spans: one that was cut open loses its back-ticks.

    Left open it could reach into the lines below; closed it would no longer end in ``…``.
    """
    short = shorten(text, width)
    if width is None or len(text) <= width or not short.endswith(_ELLIPSIS):
        return short
    return _CODE_SPAN.sub(lambda span: span[0] if span.end() > span.end(1) else "", short)


def _one_line(text: str) -> str:
    lines = text.splitlines()
    if lines == [text]:
        return text
    return " ".join(stripped for line in lines if (stripped := line.strip()))


def _squeezed_head(text: str, width: int) -> str:
    """The beginning of ``text`` with single blanks; all of it if that has up to ``width`` characters.

    Looks no further into a long text than it must.
    """
    size = width * 2
    while True:
        head = " ".join(text[:size].split())
        if len(head) > width or size >= len(text):
            return head
        size *= 4
