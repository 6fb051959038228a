"""The terminal with somebody at it: runs redrawn above the line that is typed, messages above them."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import get_cwidth

from takopi.ansi import without_escapes
from takopi.bridge.delivery import MessageRef
from takopi.bridge.markdown import MarkdownParts
from takopi.terminal.screen import footer_lines

_PROMPT = "› "
_LIVE_RUNS = 4
_LONG_PASTE = 2000  # characters; a longer one is shown as a few words, or typing would be slow
_LONG_ANSWER = 200_000  # characters of Markdown that are worth the time to render
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
        self._output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
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

    async def read(self) -> str | None:
        """What was typed or pasted."""
        try:
            typed = await self._session.prompt_async(handle_sigint=False)
        except EOFError:
            return None
        self._print(f"\n{_PROMPT}{without_escapes(typed)}\n")
        return _PASTE.sub(self._pasted, typed)

    def _prompt(self) -> StyleAndTextTuples:
        size = self._output.get_size()
        fragments: StyleAndTextTuples = []
        room = max(1, size.rows - 4)
        lines = [
            line for parts in list(self._live.values())[-_LIVE_RUNS:] for line in _lines(parts)
        ]
        for style, line in lines[-room:]:
            fragments.append((style, _cut(line, size.columns - 1) + "\n"))
        return [*fragments, ("bold", _PROMPT)]

    # -- keys --------------------------------------------------------------------------------

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("c-c")
        def _interrupt(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            else:
                self._on_interrupt()

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


def _lines(parts: MarkdownParts) -> Iterator[tuple[str, str]]:
    """A run under way: its header and its last steps."""
    yield "bold", without_escapes(parts.header)
    for line in (parts.body or "").split("\n"):
        if step := without_escapes(line).strip():
            yield "fg:ansibrightblack", f"   {step}"


def _cut(text: str, columns: int) -> str:
    """As much of a line as fits."""
    text = text.replace("\t", " ")
    if get_cwidth(text) <= columns:
        return text
    while text and get_cwidth(text) >= columns:
        text = text[:-1]
    return f"{text}…"


def render_message(parts: MarkdownParts, *, columns: int) -> str:
    """A message as a terminal of that width shows it: header, Markdown, footer."""
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.text import Text

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=columns, highlight=False)
    console.print()
    if parts.header:
        failed = parts.header.split(" · ")[0].endswith("error")
        console.print(Text(without_escapes(parts.header), "bold red" if failed else "bold"))
    if parts.body:
        body = without_escapes(parts.body)
        console.print(Markdown(body) if len(body) <= _LONG_ANSWER else Text(body))
    footer = footer_lines(parts)
    if footer and parts.body:
        console.print()
    for line in footer:
        # The terminal wraps it: a line break of ours would be in the way when it is copied.
        console.print(Text(line, "dim"), soft_wrap=True)
    return out.getvalue()
