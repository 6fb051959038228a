"""Markdown to `RichText`: the parser's tokens are walked straight to text and spans.

Commonmark with tables and strikethrough; HTML is text. What Telegram has no entity for is written:
bullets, rules, the table's bars. Single newlines are kept: agents mean them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from takopi.telegram.entities import RichText, Span, join
from takopi.telegram.tables import Table, render_table

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token

# Deeper nesting than this is no text for people; the parser would drop it. A list counts twice.
_MAX_NESTING = 20
_RULE = "⎯" * 10
_INDENT = "\u00a0"  # Telegram would trim an ordinary blank at the start of a message
_TAB_SIZE = 4
_FORMATS = {"strong": "bold", "em": "italic", "s": "strikethrough"}
_CHECKBOXES = {"[ ] ": "☐ ", "[x] ": "☑ ", "[X] ": "☑ "}

# Telegram drops control characters or makes blanks of them, and moves the entities: so none is sent.
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f\u202a-\u202e]")
_LINE_ENDS = str.maketrans({"\x0b": " ", "\x0c": " ", "\u2028": "\n", "\u2029": "\n"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_LANGUAGE = re.compile(r"[\w+#][\w.+#-]*")
_HOST = re.compile(r"(?!localhost$)[\w.:-]+")  # a phone has another one, and a server says no
_TG_HOST = re.compile(r"[a-zA-Z0-9_-]+")


def render_rich(markdown: str) -> RichText:
    """Markdown as text with formatting; blocks are one empty line apart."""
    source = clean(markdown)
    tokens = _parser().parse(source)
    containers = ("blockquote_open", "list_item_open")
    if any(t.level >= _MAX_NESTING - 1 and t.type in containers for t in tokens):
        return RichText(source.strip())
    return _Document(source).render(tokens)


def clean(text: str) -> str:
    """``text`` without what cannot be sent: control characters, halves of surrogate pairs."""
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")).translate(_LINE_ENDS)
    if _SURROGATE.search(text):
        # Two halves that belong together become one character, others U+FFFD.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    class Parser(MarkdownIt):
        def validateLink(self, url: str) -> bool:
            return True  # a link that is refused would be shown as source; we show its text

    parser = Parser("commonmark", {"html": False, "maxNesting": _MAX_NESTING})
    parser.enable(["table", "strikethrough"])
    parser.block.ruler.at("reference", _link_definition)
    parser.parse("x")  # it makes its tables of rules now: several threads may use it
    return parser


def _link_definition(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A line that gives a link its address, and is not shown. `[INFO]: done` is none for people."""
    from markdown_it.rules_block import reference

    line, known = state.line, set(state.env.get("references", ()))
    if not reference(state, start, end, silent):
        return False
    links = state.env.get("references", {})
    useless = [
        label for label in links if label not in known and not _is_linkable(links[label]["href"])
    ]
    for label in useless:
        del links[label]
        state.line = line
    return not useless


class _Writer:
    """Text and spans in the order they are read."""

    def __init__(self) -> None:
        self.length = 0
        self._texts: list[str] = []
        self._spans: list[Span] = []
        self._open: dict[str, tuple[int, int, str]] = {}  # kind -> depth, start, value

    def write(self, text: str) -> None:
        self._texts.append(text)
        self.length += len(text)

    def open(self, kind: str, value: str = "") -> None:
        """Format from here on. Bold in bold is bold."""
        depth, start, value = self._open.get(kind, (0, self.length, value))
        self._open[kind] = (depth + 1, start, value)

    def close(self, kind: str) -> None:
        depth, start, value = self._open.pop(kind)
        if depth > 1:
            self._open[kind] = (depth - 1, start, value)
        elif start < self.length:
            self._spans.append(Span(kind, start, self.length, value))

    def code(self, text: str) -> None:
        """Inline code: other formats end before it and go on after it; a link stays a link."""
        if "text_link" in self._open:
            self.write(text)
            return
        start, end = self.length, self.length + len(text)
        for kind, (depth, begin, value) in self._open.items():
            if begin < start:
                self._spans.append(Span(kind, begin, start, value))
            self._open[kind] = (depth, end, value)
        self._spans.append(Span("code", start, end))
        self.write(text)

    def append(self, rich: RichText) -> None:
        base = self.length
        self._spans += [Span(s.kind, s.start + base, s.end + base, s.value) for s in rich.spans]
        self.write(rich.text)

    def finish(self) -> RichText:
        return RichText("".join(self._texts), tuple(self._spans)).stripped()


def _render_inline(tokens: Sequence[Token], line_break: str, *, bold: bool = False) -> RichText:
    writer = _Writer()
    if bold:
        writer.open("bold")
    _write_inline(writer, tokens, line_break)
    if bold:
        writer.close("bold")
    return writer.finish()


def _write_inline(writer: _Writer, tokens: Sequence[Token], line_break: str) -> None:
    links: list[tuple[int, str]] = []  # where it starts, its target
    for token in tokens:
        kind = _FORMATS.get(token.type.partition("_")[0])
        if token.type in ("softbreak", "hardbreak"):
            writer.write(line_break)
        elif token.type == "code_inline":
            writer.code(token.content)
        elif token.type == "image":
            _write_image(writer, token, line_break)
        elif token.type == "link_open":
            links.append((writer.length, _attribute(token, "href")))
            _open_link(writer, links[-1][1])
        elif token.type == "link_close":
            start, target = links.pop()
            _close_link(writer, start, target)
        elif kind is None:
            writer.write(token.content)
        elif token.nesting > 0:
            writer.open(kind)
        else:
            writer.close(kind)


def _write_image(writer: _Writer, token: Token, line_break: str) -> None:
    start, target = writer.length, _attribute(token, "src")
    _open_link(writer, target)
    _write_inline(writer, token.children or [], line_break)
    _close_link(writer, start, target)


def _open_link(writer: _Writer, target: str) -> None:
    if _is_linkable(target):
        writer.open("text_link", target)


def _close_link(writer: _Writer, start: int, target: str) -> None:
    if writer.length == start:
        writer.write(target)  # a link without text, a picture without description
    if _is_linkable(target):
        writer.close("text_link")


def _is_linkable(target: str) -> bool:
    """Whether Telegram takes a link; it refuses the whole message otherwise."""
    try:
        url = urlsplit(target)
        if url.port == 0:
            return False
    except ValueError:
        return False
    if url.scheme == "tg":
        return bool(_TG_HOST.fullmatch(url.netloc))
    return url.scheme in ("http", "https") and bool(_HOST.fullmatch(url.hostname or ""))


def _attribute(token: Token, name: str) -> str:
    return str(token.attrs.get(name) or "")


@dataclass(slots=True)
class _List:
    """``number`` is the next item's, None for bullets. ``resumes`` is the number with which the list
    goes on that these bullets stand in; None if they stand for themselves.
    """

    number: int | None
    resumes: int | None = None
    items: int = 0


@dataclass(slots=True)
class _Container:
    """A list item or a nested quote. ``prefix`` starts each of its lines but the first.

    ``tight`` says, of an item, that its blocks have no empty lines between them.
    """

    prefix: str
    is_item: bool = True
    tight: bool = True


class _Document:
    def __init__(self, source: str) -> None:
        self._lines = source.split("\n")
        self._out = _Writer()
        self._containers: list[_Container] = []
        self._lists: list[_List] = []
        self._closed: _List | None = None  # the list that ended with the token before
        self._quotes = 0
        self._outside = 0  # how many containers the outermost quote stands in
        self._is_quote_due = False  # it begins with the next line
        self._gap = 0  # newlines before the next line
        self._lead: str | None = None  # start of the next line, where that is not the prefix

    def render(self, tokens: Sequence[Token]) -> RichText:
        remaining = iter(tokens)
        heading = False
        for token in remaining:
            closed, self._closed = self._closed, None
            match token.type:
                case "inline":
                    self._add_text(token, bold=heading)
                case "paragraph_open" | "heading_open":
                    heading = token.type == "heading_open"
                    self._note_tightness(token)
                case "fence" | "code_block":
                    self._add_code(token)
                case "hr":
                    self._add_block(RichText(_RULE))
                case "table_open":
                    self._add_table(remaining)
                case "blockquote_open":
                    self._open_quote()
                case "blockquote_close":
                    self._close_quote()
                case "bullet_list_open" | "ordered_list_open":
                    self._open_list(token, closed)
                case "list_item_open":
                    self._open_item(token)
                case "list_item_close":
                    self._close_item()
                case "bullet_list_close" | "ordered_list_close":
                    self._close_list()
        return self._out.finish()

    @property
    def _prefix(self) -> str:
        return "".join(container.prefix for container in self._containers[self._outside :])

    @property
    def _item(self) -> _Container | None:
        innermost = self._containers[-1] if self._containers else None
        return innermost if innermost and innermost.is_item else None

    def _start_line(self, *, code: bool = False) -> None:
        """Write what comes before a block. Code starts a line of its own and is not indented."""
        line = self._prefix if self._lead is None else self._lead
        if code:
            line = "" if self._lead is None else f"{self._lead.rstrip()}\n"
        if self._out.length:
            self._out.write("\n" * self._gap)
        if self._is_quote_due:
            self._out.open("blockquote")
            self._is_quote_due = False
        self._out.write(line)
        self._lead = None

    def _want_gap(self, gap: int) -> None:
        # Not for the first block of an item or a quote: the gap is before those.
        if self._lead is None and not self._is_quote_due:
            self._gap = gap

    def _want_block_gap(self) -> None:
        self._want_gap(1 if self._item and self._item.tight else 2)

    def _add_block(self, rich: RichText) -> None:
        if rich.text:
            self._want_block_gap()
            self._start_line()
            self._out.append(rich)

    def _add_pre(self, text: str, language: str = "") -> None:
        self._want_block_gap()
        self._start_line(code=True)
        self._out.append(RichText(text, (Span("pre", 0, len(text), language),)))

    def _add_text(self, token: Token, *, bold: bool) -> None:
        children = token.children or []
        if self._lead is not None and children and children[0].type == "text":
            text = children[0].content
            children[0].content = _CHECKBOXES.get(text[:4], text[:4]) + text[4:]
        self._add_block(_render_inline(children, "\n" + self._prefix, bold=bold))

    def _add_code(self, token: Token) -> None:
        text = token.content.expandtabs(_TAB_SIZE).rstrip().lstrip("\n")
        language = _LANGUAGE.search(token.info)
        if text:
            self._add_pre(text, language[0] if language else "")
        elif token.info.strip():
            self._add_pre(token.info.strip())

    def _add_table(self, remaining: Iterator[Token]) -> None:
        table = Table()
        for token in remaining:
            match token.type:
                case "tr_open":
                    table.rows.append([])
                case "th_open":
                    table.alignments.append(_attribute(token, "style").rpartition(":")[2])
                case "inline":
                    table.rows[-1].append(_render_inline(token.children or [], " "))
                case "table_close":
                    break
        rendered = render_table(table)
        if not isinstance(rendered, str):
            for row in rendered:
                self._add_block(join(row, "\n" + self._prefix))
        elif rendered:
            self._add_pre(rendered)

    def _open_quote(self) -> None:
        """Telegram has no quotes in quotes: the inner ones are marked as in Markdown."""
        self._want_block_gap()
        self._quotes += 1
        if self._quotes > 1:
            if self._lead is not None:
                self._lead += "> "
            self._containers.append(_Container("> ", is_item=False))
            return
        if self._lead is not None:
            self._add_marker()
            self._gap = 1
        self._outside = len(self._containers)
        self._containers.append(_Container("", is_item=False))
        self._is_quote_due = True

    def _close_quote(self) -> None:
        self._containers.pop()
        self._quotes -= 1
        if self._quotes == 0:
            if not self._is_quote_due:
                self._out.close("blockquote")
            self._is_quote_due = False
            self._outside = 0

    def _open_list(self, token: Token, before: _List | None) -> None:
        """Bullets right below a numbered item are shown as its own, and the numbers go on after them.

        Agents indent too little to say so in Markdown.
        """
        self._want_gap(1 if self._item else 2)
        if token.type == "ordered_list_open":
            number = int(token.attrs.get("start", 1))
            if before is not None and before.resumes is not None:
                number = before.resumes
                self._want_gap(1)
            self._lists.append(_List(number))
            return
        first = token.map[0] if token.map else 0
        attached = before is not None and self._lines[first - 1].strip("> \t")
        self._lists.append(_List(None, before.number if before and attached else None))
        if self._lists[-1].resumes is not None:
            self._want_gap(1)
            self._containers.append(_Container(_INDENT))

    def _close_list(self) -> None:
        self._closed = self._lists.pop()
        if self._closed.resumes is not None:
            self._containers.pop()

    def _open_item(self, token: Token) -> None:
        current = self._lists[-1]
        if current.items:
            self._want_gap(1)
        current.items += 1
        marker = "-"
        if current.number is not None:
            marker = f"{current.number}{token.markup}"
            current.number += 1
        line = self._prefix if self._lead is None else self._lead
        self._lead = f"{line}{marker} "
        self._containers.append(_Container(_INDENT))

    def _close_item(self) -> None:
        if self._lead is not None:
            self._add_marker()
        self._containers.pop()

    def _add_marker(self) -> None:
        """An item's marker on a line of its own."""
        self._lead = (self._lead or "").rstrip(" ")
        self._start_line()

    def _note_tightness(self, token: Token) -> None:
        if self._item and token.type == "paragraph_open":
            self._item.tight = token.hidden
