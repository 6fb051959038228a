"""Messages as a terminal of some width shows them, and fit to be copied from it."""

from __future__ import annotations

import io
import re
from typing import ClassVar

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markdown import CodeBlock, Markdown, MarkdownElement
from rich.syntax import Syntax
from rich.text import Text

from takopi.ansi import without_escapes
from takopi.bridge.markdown import MarkdownParts
from takopi.terminal.screen import footer_lines

_LONG_ANSWER = 200_000  # characters of Markdown that are worth the time to render
_ERROR = re.compile(r"\Aerror:\n")  # on a phone's screen it has a line of its own
_COLOURED_PADDING = re.compile(r"\x1b\[3\dm +\x1b\[0m$")


def render_message(parts: MarkdownParts, *, columns: int) -> str:
    """A message: an empty line, its header, its body from Markdown, its footer."""
    console = Console(file=io.StringIO(), force_terminal=True, width=columns, highlight=False)
    shown = [""]
    if parts.header:
        failed = parts.header.split(" · ")[0].endswith("error")
        header = Text(without_escapes(parts.header), "bold red" if failed else "bold")
        shown.append(_rendered(console, header))
    if parts.body:
        body = _ERROR.sub("error: ", without_escapes(parts.body))
        whole = _Markdown(body) if len(body) <= _LONG_ANSWER else Text(body)
        shown += map(_without_padding, _rendered(console, whole).split("\n"))
    footer = footer_lines(parts)
    if footer and parts.body:
        shown.append("")
    # The terminal wraps it: a line break of ours would be in the way when it is copied.
    shown += [_rendered(console, Text(line, "dim"), soft_wrap=True) for line in footer]
    return "".join(f"{text}\n" for text in shown)


def _rendered(console: Console, what: RenderableType, *, soft_wrap: bool = False) -> str:
    with console.capture() as capture:
        console.print(what, soft_wrap=soft_wrap)
    return capture.get().strip("\n")


def _without_padding(line: str) -> str:
    """A line without spaces that nobody sees until the terminal gets narrower and folds them."""
    return _COLOURED_PADDING.sub("", line).rstrip(" ")


class _Code(CodeBlock):
    """Code without a margin, which would be copied with it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Syntax(str(self.text).rstrip(), self.lexer_name, theme=self.theme, word_wrap=True)


class _Markdown(Markdown):
    """Markdown as a chat has it: lines stay lines, and the targets of links can be read."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, markup: str) -> None:
        super().__init__(markup, justify="default", hyperlinks=False)
        for token in self.parsed:
            if token.children is not None:
                # The link of `<https://…>` has nothing to add: its text is its target.
                token.children = [child for child in token.children if child.info != "auto"]
                for child in token.children:
                    if child.type == "softbreak":
                        child.type = "hardbreak"
