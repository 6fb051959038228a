"""What a YAML reader's complaint means for the person who wrote the file."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Complaint:
    """What libyaml says: ``problem`` at the index ``at``, while it was reading what began at ``begin``."""

    problem: str
    context: str
    at: int
    begin: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """A message about ``text[start:end]``, with a second place where that helps."""

    message: str
    start: int
    end: int
    help: str | None = None
    other: int | None = None
    label: str = ""


def explain(text: str, complaint: Complaint) -> Explanation:
    """The complaint in words about adapters instead of words about YAML's grammar."""
    at, problem, context = complaint.at, complaint.problem, complaint.context
    if "expected ',' or" in problem:
        return _unclosed(text, complaint)
    if "expected node content" in problem and not text[at:].strip():
        return _open_at_the_end(text)
    if "did not find expected" in problem and text[at : at + 1] in ("]", "}"):
        message = f"this `{text[at]}` closes nothing"
        return Explanation(message, at, at + 1, "delete it, or put the whole value in quotes")
    if "unexpected end of stream" in problem and "quoted scalar" in context:
        begin = complaint.begin
        help = "close it; inside single quotes a `'` is written twice"
        return Explanation("this quote is never closed", begin, begin + 1, help)
    if "cannot start any token" in problem:
        return _bad_start(text, at)
    if "alias" in problem or "an alias" in context or "an anchor" in context:
        return _alias(text, complaint)
    if "a tag" in context:
        begin, message = complaint.begin, "an unquoted leading `!` begins a YAML tag"
        return Explanation(message, begin, begin + 1, "put the whole value in double quotes")
    if "unknown escape character" in problem:
        message = f"`{text[at : at + 2]}` is not an escape that double quotes know"
        help = "use single quotes: they keep backslashes as they are"
        return Explanation(message, at, at + 2, help)
    line = text[: at + 1].splitlines()[-1][:-1].rstrip() if text[: at + 1].strip() else ""
    if "expected key" in problem and line.endswith(("'", '"')):
        help = "put the whole value in double quotes"
        return Explanation("there is text after the closing quote", at, at + 1, help)
    for part, message, help in _MESSAGES:
        if part in problem:
            return Explanation(message, at, at + 1, help)
    other = complaint.begin if context and complaint.begin != at else None
    return Explanation(problem, at, at + 1, None, other, context)


_MESSAGES = (
    ("found a tab character", "a tab cannot indent", "indent with spaces"),
    (
        "directive",
        "a line that begins with `%` is an instruction to the YAML reader",
        "delete it: an adapter needs none",
    ),
    (
        "found incompatible YAML document",
        "a `%YAML` line with a version that cannot be read",
        "delete it: an adapter needs none",
    ),
    (
        "mapping values are not allowed",
        "a `: ` cannot stand here, it begins a mapping",
        "quote a text that contains `: `, and check the indentation",
    ),
    (
        "did not find expected key",
        "this line does not fit those before it",
        "check the indentation of this line and the one before",
    ),
    (
        "did not find expected '-' indicator",
        "this line does not fit the list before it",
        "check the indentation, or begin the item with `- `",
    ),
    (
        "could not find expected ':'",
        "a key without its `: `",
        "write `key: value`; quote a text that is none",
    ),
    (
        "block sequence entries are not allowed",
        "a list item cannot begin here",
        "begin the list on a line of its own",
    ),
    (
        "did not find expected node content",
        "a value is missing here",
        'write `""` for an empty text, `null` for nothing',
    ),
    (
        "did not find expected <document start>",
        "this stands outside of the document",
        "check the indentation of this line and the one before",
    ),
    (
        "did not find expected comment or line break",
        "an unquoted `|` or `>` begins a block of text on the lines below",
        "put the whole value in double quotes",
    ),
    ("found another document", "a second document begins here", "one file is one adapter"),
)


def _unclosed(text: str, complaint: Complaint) -> Explanation:
    bracket = "{" if "mapping" in complaint.context else "["
    between = text[complaint.begin : complaint.at]
    help = f"close the `{bracket}`, and quote texts that hold brackets, quotes or a comma"
    exclaimed = re.search(r"(?:[{\[,]|: )\s*(![^,}\]\s]*)", between)
    template = re.search(r"(?:[{\[,]|: )\s*([^{\[,\s'\"]*\$\{[^}\n]*\}?)", text[complaint.begin :])
    if template and complaint.begin + template.start() > complaint.at:
        template = None
    if template:
        help = f'quote a text with `${{`: "{template[1]}"'
    if exclaimed:
        help = f'quote a text that begins with `!`: "{exclaimed[1]}"'
    return Explanation(
        f"something in this `{bracket}` must be quoted, or it is not closed",
        complaint.at,
        complaint.at + 1,
        help,
        complaint.begin,
        "it begins here",
    )


def _open_at_the_end(text: str) -> Explanation:
    """The file ends inside brackets: the innermost one that is still open."""
    opened: list[int] = []
    for token in _BRACKETS.finditer(text):
        if token[0] in "[{":
            opened.append(token.start())
        elif token[0] in "]}" and opened:
            opened.pop()
    at = opened[-1] if opened else len(text)
    bracket = text[at : at + 1] or "["
    return Explanation(f"this `{bracket}` is never closed", at, at + 1, f"close the `{bracket}`")


# Brackets; quoted texts and comments are passed over.
_BRACKETS = re.compile(r"""'[^']*'|"(?:\\.|[^"\\])*"|(?<!\S)#[^\n]*|[\[\]{}]""", re.DOTALL)


def _bad_start(text: str, at: int) -> Explanation:
    char = text[at : at + 1]
    if char == "\t":
        return Explanation("a tab cannot indent", at, at + 1, "indent with spaces")
    shown = "a back-tick" if char == "`" else f"`{char}`"
    message = f"an unquoted text cannot begin with {shown}"
    return Explanation(message, at, at + 1, "put the whole value in double quotes")


def _alias(text: str, complaint: Complaint) -> Explanation:
    start = complaint.begin if complaint.context else complaint.at
    sign = text[start : start + 1]
    if "undefined alias" in complaint.problem:
        written = re.compile(r"\*[^\s,\]}]*").match(text, complaint.at)
        name = written[0] if written else "*"
        message = f"`{name}` stands for what is marked `&{name[1:]}`, and nothing is"
        end = complaint.at + len(name)
        return Explanation(message, complaint.at, end, "quote a text that begins with `*`")
    message = f"an unquoted `{sign}` {'repeats' if sign == '*' else 'marks'} a value by its name"
    return Explanation(message, start, start + 1, f"quote a text that begins with `{sign}`")
