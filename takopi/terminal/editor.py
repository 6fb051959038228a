"""The terminal with somebody at it: runs redrawn above the line that is typed, messages above them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.screen import Char
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import get_cwidth

from takopi.ansi import without_escapes
from takopi.bridge.delivery import MessageRef
from takopi.bridge.markdown import MarkdownParts

_Line = tuple[str, str]  # a style and a text

_PROMPT = "› "
_LIVE_RUNS = 4
_LONG_PASTE = 2000  # characters; a longer one is shown as a few words, or typing would be slow
_PASTE = re.compile(r"\[pasted text #(\d+), \d+ characters\]")


class LineScreen:
    """A line editor with history and completion.

    ``words``         what Tab completes, without the slash
    ``on_interrupt``  called for Ctrl-C on an empty line; elsewhere it clears the line
    """

    interactive = True

    def __init__(
        self,
        history_path: Path,
        *,
        words: Callable[[], Iterable[str]],
        on_interrupt: Callable[[], None],
    ) -> None:
        self._live: dict[MessageRef, MarkdownParts] = {}
        self._pastes: list[str] = []
        self._on_interrupt = on_interrupt
        output = _Output.from_pty(
            sys.stdout, os.environ.get("TERM"), default_color_depth=ColorDepth.from_env()
        )
        assert isinstance(output, _Output)
        self._output = output
        self._output.enable_cpr = False  # nothing here needs to know where on the screen it is
        self._session: PromptSession[str] = PromptSession(
            self._prompt,
            output=self._output,
            history=_history(history_path),
            completer=_Words(words),
            complete_while_typing=False,
            key_bindings=self._bindings(),
            erase_when_done=True,
        )
        self._output.app = self._session.app

    @contextmanager
    def open(self) -> Iterator[None]:
        """While it is open, what anybody prints comes above the line that is typed.

        In raw mode also between two messages: elsewhere a terminal keeps some keys for itself.
        """
        with patch_stdout(raw=True), self._session.input.raw_mode():
            yield

    # -- messages ----------------------------------------------------------------------------

    def update(self, ref: MessageRef, parts: MarkdownParts) -> None:
        """Show a run under way, above the line that is typed."""
        self._live[ref] = parts
        self._session.app.invalidate()

    def drop(self, ref: MessageRef) -> None:
        """Take a run away."""
        self._live.pop(ref, None)
        self._session.app.invalidate()

    def say(self, parts: MarkdownParts, *, ring: bool = False) -> None:
        """Print a message, rendered."""
        from takopi.terminal.render import render_message

        text = render_message(parts, columns=self._output.get_size().columns)
        self._print(text + "\a" * ring)

    def _print(self, text: str) -> None:
        """Write above the line that is typed, without leaving raw mode: no key must get lost."""
        app = self._session.app
        if app.is_running:
            app.renderer.erase()
        self._output.write_raw(text.encode("utf-8", "replace").decode())
        self._output.flush()
        if app.is_running:
            app.renderer.reset()
            app.invalidate()

    def echo(self, text: str) -> None:
        """Print what the user said."""
        self._print(f"\n{_PROMPT}{without_escapes(text)}\n")

    async def read(self) -> str | None:
        """What was typed or pasted."""
        typed = ""
        while not typed.strip():
            try:
                typed = await self._session.prompt_async(handle_sigint=False)
            except EOFError:
                return None
        self.echo(typed)
        return _PASTE.sub(self._pasted, typed)

    def _prompt(self) -> StyleAndTextTuples:
        size = self._output.get_size()
        runs = list(self._live.values())[-_LIVE_RUNS:]
        fragments: StyleAndTextTuples = [
            (style, _cut(line, size.columns - 1) + "\n")
            for style, line in _fitting([list(_lines(run)) for run in runs], size.rows - 4)
        ]
        return [*fragments, ("bold", _PROMPT)]

    # -- keys --------------------------------------------------------------------------------

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("c-c", filter=~is_searching)  # a search is only left
        def _interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                self._on_interrupt()

        @bindings.add("escape", "enter")
        def _new_line(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add(Keys.BracketedPaste)
        def _paste(event: KeyPressEvent) -> None:
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            if len(text) > _LONG_PASTE:
                self._pastes.append(text)
                text = f"[pasted text #{len(self._pastes)}, {len(text)} characters]"
            event.current_buffer.insert_text(text)

        return bindings

    def _pasted(self, found: re.Match[str]) -> str:
        """A long paste in place of the words that stood for it; those of an earlier chat stay."""
        number = int(found[1])
        return self._pastes[number - 1] if 0 < number <= len(self._pastes) else found[0]


class _Output(Vt100_Output):
    """Erases all of what was drawn, also if a terminal that got narrower has folded its lines."""

    app: Application[str]

    def erase_down(self) -> None:
        """Erase from where the drawing began, or would have without the folding."""
        self.cursor_up(self._folded())
        super().erase_down()

    def _folded(self) -> int:
        """How many lines the cursor is further down than it was put."""
        screen = self.app.renderer.last_rendered_screen
        cuts = {"XTERM_VERSION", "STY"} & os.environ.keys() or os.environ.get("TERM") == "linux"
        if screen is None or cuts:  # xterm, screen and the console do not fold
            return 0
        cursor = screen.get_cursor_position(self.app.layout.current_window)
        columns = self.get_size().columns
        above = (_length(screen.data_buffer[row]) for row in range(cursor.y))
        return sum(max(0, length - 1) // columns for length in above) + cursor.x // columns


def _length(row: Mapping[int, Char]) -> int:
    """The columns of a line that are drawn."""
    return max((at + cell.width for at, cell in row.items() if cell.char != " "), default=0)


class _Words(Completer):
    """Completes ``/words`` at the head of a message."""

    def __init__(self, words: Callable[[], Iterable[str]]) -> None:
        self._words = words

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        typed = document.text_before_cursor.split(" ")
        if not all(word.startswith(("/", "@")) for word in typed if word):
            return
        word = typed[-1]
        for known in sorted(self._words()):
            if word.startswith("/") and f"/{known}".startswith(word.lower()):
                yield Completion(f"/{known} ", start_position=-len(word))


class _PrivateHistory(FileHistory):
    """A history that nobody else can read, and whose failures keep nobody from typing."""

    def store_string(self, string: str) -> None:
        with suppress(OSError):
            super().store_string(string.encode("utf-8", "replace").decode())


def _history(path: Path) -> History:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError:
        return InMemoryHistory()
    return _PrivateHistory(str(path))


def _lines(parts: MarkdownParts) -> Iterator[_Line]:
    """A run under way: its header and its last steps."""
    yield "bold", without_escapes(parts.header)
    for line in (parts.body or "").split("\n"):
        if step := without_escapes(line).strip():
            yield "fg:ansibrightblack", f"   {step}"


def _fitting(runs: Sequence[list[_Line]], room: int) -> list[_Line]:
    """The lines of runs in so many rows: the headers, and as many of the last steps as fit."""
    runs = runs[-max(1, room) :]
    steps = max((len(run) - 1 for run in runs), default=0)
    while steps and sum(min(steps + 1, len(run)) for run in runs) > room:
        steps -= 1
    return [line for run in runs for line in (run[0], *run[1:][max(0, len(run) - 1 - steps) :])]


def _cut(text: str, columns: int) -> str:
    """As much of a line as fits."""
    text = text.replace("\t", " ")
    if get_cwidth(text) <= columns:
        return text
    while text and get_cwidth(text) >= columns:
        text = text[:-1]
    return f"{text}…"
